"""The style and the script of the HTML page of a report, both of which stand in the page itself."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root { color-scheme: light dark;
  --ink: #1b2430; --soft: #525e6d; --paper: #fff; --panel: #f3f5f8; --line: #d3dae2;
  --edge: #808b99; --shade: #1b243040; --link: #0b57a4;
  --substituted: #a33b00; --deleted: #0b5c99; --inserted: #7a2f8a;
  --series-1: #0072b2; --series-2: #d55e00; --series-3: #00704f; --series-4: #7b2080;
  --series-5: #5a4700; --series-6: #87919c }
@media screen and (prefers-color-scheme: dark) { :root {
  --ink: #e6eaf0; --soft: #a7b2c0; --paper: #12161c; --panel: #1b212a; --line: #313b48;
  --edge: #7c8896; --shade: #000c; --link: #8ec5ff;
  --substituted: #ffab7d; --deleted: #84c5ff; --inserted: #e3adf2;
  --series-1: #56b4e9; --series-2: #f28e2b; --series-3: #7be8ba; --series-4: #e35d9f;
  --series-5: #f7e948; --series-6: #c4ccd4 } }
* { box-sizing: border-box }
body { margin: 0; font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  color: var(--ink); background: var(--paper); overflow-wrap: break-word }
.skip { position: absolute; left: -100rem }
.skip:focus { left: .5rem; top: .5rem; padding: .5rem 1rem; background: var(--paper); z-index: 2 }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px }
a { color: var(--link); text-underline-offset: .15em }
header, main, nav { padding: 0 1.25rem; max-width: 76rem; margin: 0 auto }
header { padding-top: 1.5rem }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem }
h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .8rem }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem }
p, dl { max-width: 70ch; margin: .6rem 0 }
section { padding: 1.6rem 0; border-top: 1px solid var(--line); scroll-margin-top: .5rem }
.soft { color: var(--soft) }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap }
nav ol { margin: .5rem 0 1rem; padding: 0; list-style: none; font-size: .9rem; line-height: 1.35 }
nav li a { display: block; padding: .3rem 0; text-decoration: none }
nav li a:hover { text-decoration: underline }
nav summary { font-weight: 600 }
@media screen and (min-width: 75rem) {
  body { display: grid; grid-template-columns: 15rem minmax(0, 1fr); max-width: 96rem;
    margin: 0 auto; grid-template-rows: auto 1fr }
  nav { grid-row: 1 / 3; margin: 0; position: sticky; top: 0; max-height: 100vh; overflow: auto;
    padding: 1.9rem .5rem 1.5rem 1.5rem; width: 100% }
  header, main { grid-column: 2; width: 100%; margin: 0 }
}
.scroll { position: relative; overflow: auto; max-width: 100%;
  background: linear-gradient(to right, var(--paper) 40%, transparent) 0 0 / 3rem 100% local,
    linear-gradient(to left, var(--paper) 40%, transparent) 100% 0 / 3rem 100% local,
    linear-gradient(to right, var(--shade), transparent) 0 0 / .8rem 100% scroll,
    linear-gradient(to left, var(--shade), transparent) 100% 0 / .8rem 100% scroll;
  background-repeat: no-repeat }
.scroll.long { max-height: 85vh }
table { border-collapse: collapse; font-size: .92rem; line-height: 1.4;
  font-variant-numeric: tabular-nums }
th, td { padding: .4rem .75rem; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line) }
td { white-space: nowrap }
td.long { white-space: normal; min-width: 14rem; max-width: 30rem }
tr.mean { font-weight: 600 }
thead th { position: sticky; top: 0; background: var(--panel); vertical-align: bottom;
  box-shadow: inset 0 -1px var(--edge); border: 0 }
tbody tr:hover { background: var(--panel) }
.number { text-align: right }
th.sorts { padding: 0 }
th button { font: inherit; color: inherit; text-align: inherit; background: none; border: 0;
  margin: 0; padding: .4rem .75rem; width: 100%; cursor: pointer }
th button:hover { color: var(--link) }
th button:focus-visible { outline-offset: -3px }
th button::after { content: "\\2195"; content: "\\2195" / ""; margin-left: .4em;
  color: var(--soft); font-weight: 400 }
th[aria-sort=ascending] button::after { content: "\\2191"; content: "\\2191" / "";
  color: var(--link) }
th[aria-sort=descending] button::after { content: "\\2193"; content: "\\2193" / "";
  color: var(--link) }
code, pre { font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace }
code { font-size: .92em }
pre { font-size: .85rem; line-height: 1.45; margin: .5rem 0; padding: .7rem 1rem;
  background: var(--panel); white-space: pre-wrap; overflow-wrap: anywhere }
details { margin: .5rem 0 }
summary { cursor: pointer; padding: .25rem 0; max-width: 70ch }
figure { margin: 0 0 1.5rem }
figure svg { display: block }
svg text { fill: currentColor; font-family: system-ui, "DejaVu Sans", sans-serif !important }
audio { display: block; width: 100%; max-width: 26rem; height: 2.75rem; margin: .4rem 0 }
.players { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr));
  gap: .4rem; align-items: end }
dt { margin-top: .6rem; font-size: .9rem; color: var(--soft) }
dd { margin: 0 }
.aligned { line-height: 2 }
.error { white-space: nowrap; padding: .1rem .15rem; border-radius: 2px }
.error del { text-decoration: line-through; opacity: 1 }
.error ins { text-decoration: none }
.error b { font-size: .7em; vertical-align: super; margin-left: .1em }
.substituted { color: var(--substituted) } .substituted ins { border-bottom: 2px solid }
.substituted del { font-size: .85em; margin-right: .3em }
.deleted { color: var(--deleted); border: 1px dashed }
.inserted { color: var(--inserted) } .inserted ins { border-bottom: 3px double }
@page { margin: 12mm }
@media print {
  body { font-size: 10pt }
  nav, audio, .skip, th button::after { display: none }
  header, main { max-width: none; padding: 0 }
  .scroll, .scroll.long { overflow: visible; max-height: none }
  .scroll { background: none } figure svg { max-width: 100%; height: auto }
  thead { display: table-header-group }
  tr, figure, dd, pre { break-inside: avoid }
  h1, h2, h3, dt, summary { break-after: avoid }
  table { font-size: 7.5pt } thead th { position: static; hyphens: auto }
  th, td, th button { padding: .15rem .3rem } td, td.long { white-space: normal; min-width: 0 }
  a { color: inherit }
}
"""
"""Light and dark by the reader's own choice, paper in light; contrast by WCAG 2.1, level AA."""

SCRIPT = """
(() => {
  "use strict";
  const MISSING = ["", "undefined", "\\u2013", "\\u2014", "-", "n/a", "nan"];
  const collator = new Intl.Collator(document.documentElement.lang, {numeric: true});

  function keyOf(cell, byValue) {
    const text = cell ? cell.textContent.trim() : "";
    if (!byValue) return MISSING.includes(text) ? null : text;
    return cell && cell.dataset.value !== undefined ? Number(cell.dataset.value) : null;
  }

  // What is missing comes last in both directions, and equals keep the order in which they stand.
  function sort(table, column, descending) {
    const byValue = table.tHead.rows[0].cells[column].classList.contains("number");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => [keyOf(row.cells[column], byValue), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = byValue ? a - b : collator.compare(a, b);
      return descending ? -order : order;
    });
    body.append(...rows.map(([, row]) => row));
  }

  function toggle(table, th) {
    const descending = th.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", descending ? "descending" : "ascending");
    sort(table, th.cellIndex, descending);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const th of table.tHead.rows[0].cells) {
      if (!th.textContent.trim()) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...th.childNodes);
      button.addEventListener("click", () => toggle(table, th));
      th.append(button);
      th.classList.add("sorts");
    }
  }

  const contents = document.querySelector("nav details");
  if (contents && matchMedia("(max-width: 75rem)").matches) contents.open = false;

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details[data-print]:not([open])"));
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
})();
"""
"""Makes tables sort, closes the table of contents on small screens, opens some details on paper."""
