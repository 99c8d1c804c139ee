"""The report's page in a real browser: what a person does with it, in both colour schemes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from browser.chromium import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

WIDTHS = (1280, 375)
PAPER_WIDTH = 703
"""A4 without margins of 12 mm, in CSS pixels."""
SCHEMES = ("light", "dark")


def test_the_page_opens_without_a_word_and_asks_for_nothing(
    browser: Browser, report_page: Path
) -> None:
    browser.open(report_page)
    browser.wait("requestAnimationFrame(() => setTimeout(done, 300))")
    assert browser.errors() == []
    assert browser.requests() == [report_page.as_uri()]


def test_a_page_that_asks_for_something_is_noticed(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<!doctype html><img src="missing.png">')
    browser.open(page)
    assert browser.requests() == [page.as_uri(), (tmp_path / "missing.png").as_uri()]
    assert len(browser.errors()) == 1


def test_the_browser_refuses_what_is_not_in_the_page(browser: Browser, report_page: Path) -> None:
    browser.open(report_page)
    browser.run("document.body.append(Object.assign(new Image(), {src: 'missing.png'}))")
    browser.wait("setTimeout(done, 300)")
    assert "Content Security Policy" in "".join(browser.errors())


def _rows(browser: Browser) -> list[list[str]]:
    """The cells of the first table as they stand."""
    return browser.run(
        "return Array.from(document.querySelector('table').tBodies[0].rows,"
        " row => Array.from(row.cells, cell => cell.textContent))"
    )


def _heads(browser: Browser) -> Any:
    return browser.driver.find_elements("css selector", "table:first-of-type thead th button")


def _states(browser: Browser) -> list[str | None]:
    return browser.run(
        "return Array.from(document.querySelectorAll('thead th'), th => th.ariaSort)"
    )


def _expected(rows: list[list[str]], column: int, key: Callable[[str], Any], down: bool) -> Any:
    """The rows as Python sorts them: stable, with what is missing at the end."""
    given = [row for row in rows if row[column] not in ("", "undefined")]
    missing = [row for row in rows if row[column] in ("", "undefined")]
    return sorted(given, key=lambda row: key(row[column]), reverse=down) + missing


def _number(text: str) -> float:
    return float(text.replace("< ", "").replace(",", "").split()[0])


_ALPHABET = ("<b>bold</b>", "apple", "ärger", "Zebra")


@pytest.mark.parametrize(
    ("column", "key"),
    [
        pytest.param(0, _ALPHABET.index, id="names"),
        pytest.param(1, _number, id="counts behind the value"),
        pytest.param(2, _number, id="units and spreads"),
        pytest.param(3, _number, id="below a bound"),
        pytest.param(4, ("1", "2", "10", "mean ± sd of 2").index, id="numbers in a text"),
        pytest.param(5, len, id="nothing in it"),
    ],
)
def test_a_click_sorts(
    browser: Browser, table_page: Path, column: int, key: Callable[[str], Any]
) -> None:
    browser.open(table_page)
    before = _rows(browser)
    button = _heads(browser)[column]
    button.click()
    up = _rows(browser)
    assert up == _expected(before, column, key, down=False)
    assert [k for k, state in enumerate(_states(browser)) if state == "ascending"] == [column]
    button.click()
    assert _rows(browser) == _expected(up, column, key, down=True)
    assert [k for k, state in enumerate(_states(browser)) if state == "descending"] == [column]


def test_another_column_begins_anew_and_keeps_the_order_of_equals(
    browser: Browser, table_page: Path
) -> None:
    browser.open(table_page)
    heads = _heads(browser)
    heads[1].click()
    by_rate = _rows(browser)
    heads[4].click()
    order = ("1", "2", "10", "mean ± sd of 2")
    assert _rows(browser) == sorted(by_rate, key=lambda row: order.index(row[4]))
    assert _states(browser) == [None, None, None, None, "ascending", None]


@pytest.mark.parametrize("key", ["ENTER", "SPACE"])
def test_the_keyboard_reaches_a_column_and_sorts(
    browser: Browser, report_page: Path, key: str
) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(report_page)
    for _ in range(60):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        if browser.run("return document.activeElement.textContent") == "WER %":
            break
    focused = browser.run(
        "const e = document.activeElement;"
        "return [e.tagName, e.matches(':focus-visible'), getComputedStyle(e).outlineStyle]"
    )
    assert focused == ["BUTTON", True, "solid"]
    before = _rows(browser)
    browser.driver.switch_to.active_element.send_keys(getattr(Keys, key))
    column = browser.run("return document.activeElement.parentNode.cellIndex")
    after = _rows(browser)
    assert after == sorted(before, key=lambda row: _number(row[column]))
    assert after != before


def test_the_first_tab_offers_to_skip_the_navigation(browser: Browser, report_page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(report_page)
    browser.driver.find_element("tag name", "body").send_keys(Keys.TAB)
    link = browser.run(
        "const box = document.activeElement.getBoundingClientRect();"
        "return [document.activeElement.textContent, box.left >= 0 && box.top >= 0]"
    )
    assert link == ["Skip to the results", True]
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run("return document.activeElement.id") == "main"


def test_every_container_that_scrolls_can_be_reached_and_has_a_name(
    browser: Browser, report_page: Path
) -> None:
    browser.open(report_page, width=375)
    unreachable = browser.run(
        """return Array.from(document.querySelectorAll('main *'))
        .filter(e => e.scrollWidth > e.clientWidth + 1
          && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX))
        .map(e => [e.className, e.tabIndex, e.getAttribute('role'), e.ariaLabel])"""
    )
    assert len(unreachable) > 3
    assert all(tab == 0 and role == "region" and name for _, tab, role, name in unreachable)


def test_players_load_and_play(browser: Browser, report_page: Path) -> None:
    browser.open(report_page)
    played = browser.wait(
        """Promise.all(Array.from(document.querySelectorAll('audio'), async (audio) => {
          await audio.play();
          await new Promise((ended) => audio.addEventListener('ended', ended, {once: true}));
          return [audio.duration, audio.currentTime, audio.ariaLabel];
        })).then(done, (error) => done(String(error)));"""
    )
    assert isinstance(played, list), played
    assert len(played) >= 3
    for duration, time, name in played:
        assert 0.5 < duration < 3
        assert time == pytest.approx(duration, abs=0.05)
        assert name.startswith("recording of ")
    assert browser.errors() == []


def test_examples_play_where_they_are_folded_too(browser: Browser, enhancement_page: Path) -> None:
    browser.open(enhancement_page)
    played = browser.wait(
        """Promise.all(Array.from(document.querySelectorAll('audio'), async (audio) => {
          const folded = audio.closest('details');
          if (folded) folded.open = true;
          await audio.play();
          await new Promise((ended) => audio.addEventListener('ended', ended, {once: true}));
          return [audio.duration, audio.getBoundingClientRect().width];
        })).then(done, (error) => done(String(error)));"""
    )
    assert played == [[pytest.approx(0.6, abs=0.01), pytest.approx(300, abs=150)]] * 20
    assert browser.errors() == []


# WCAG 2.1, 1.4.3 and its definition of relative luminance.
_CONTRAST = """
const luminance = (color) => {
  const linear = color.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const color = parse(getComputedStyle(e).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color.slice(0, 3);
  }
  return matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
};
const contrast = (element, color) => {
  const [a, b] = [luminance(parse(color)), luminance(behind(element))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
};
"""
_TEXTS = """
return Array.from(document.querySelectorAll('body *'))
  .filter(e => !['SCRIPT', 'STYLE', 'TITLE', 'title'].includes(e.tagName))
  .filter(e => Array.from(e.childNodes).some(n => n.nodeType === 3 && n.data.trim()))
  .filter(e => e.getClientRects().length)
  .map(e => [e.tagName + ': ' + e.textContent.trim().slice(0, 40),
    contrast(e, getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color'])]);
"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_texts_and_lines_stand_out_from_the_background(
    browser: Browser, report_page: Path, scheme: str
) -> None:
    browser.open(report_page, scheme=scheme)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    texts = browser.run(_CONTRAST + _TEXTS)
    assert len(texts) > 200
    assert {text for text, _ in texts} >= {"text: epoch", "H1: squall: toy", "B: S"}
    assert [entry for entry in texts if entry[1] < 4.5] == []
    lines = browser.run(
        _CONTRAST + "return Array.from(document.querySelectorAll('[id*=curve-] > path'),"
        " e => contrast(e, getComputedStyle(e).stroke))"
    )
    assert lines
    assert min(lines) >= 3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_dots_and_their_texts_stand_out_from_the_background(
    browser: Browser, enhancement_page: Path, scheme: str
) -> None:
    browser.open(enhancement_page, scheme=scheme)
    texts = browser.run(_CONTRAST + _TEXTS)
    assert {text for text, _ in texts} >= {"text: STOI", "text: rnnoise"}
    assert [entry for entry in texts if entry[1] < 4.5] == []
    dots = browser.run(
        _CONTRAST + "return Array.from(document.querySelectorAll('[id*=dot-] use'),"
        " e => contrast(e, getComputedStyle(e).fill))"
    )
    assert len(dots) == 2 * 3
    assert min(dots) >= 3


def test_a_pale_text_is_noticed(browser: Browser, report_page: Path) -> None:
    browser.open(report_page)
    browser.run("document.querySelector('h1').style.color = '#888'")
    pale = [text for text, contrast in browser.run(_CONTRAST + _TEXTS) if contrast < 4.5]
    assert pale == ["H1: squall: toy"]


def test_the_schemes_differ(browser: Browser, report_page: Path) -> None:
    def colours() -> list[str]:
        return browser.run(
            "return [getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.querySelector('[id*=curve-] > path')).stroke]"
        )

    browser.open(report_page, scheme="light")
    light = colours()
    browser.show(scheme="dark")
    dark = colours()
    assert light[0] == "rgb(255, 255, 255)"
    assert all(one != other for one, other in zip(light, dark, strict=True))


@pytest.mark.parametrize("page_name", ["report_page", "enhancement_page"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(
    browser: Browser, request: pytest.FixtureRequest, page_name: str, width: int
) -> None:
    browser.open(request.getfixturevalue(page_name), width=width)
    browser.run("for (const d of document.querySelectorAll('details')) d.open = true")
    page, window = browser.run(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert window > 0.9 * width
    assert page <= window


def test_every_link_leads_somewhere(browser: Browser, report_page: Path) -> None:
    browser.open(report_page)
    links = browser.run("return Array.from(document.links, a => [a.getAttribute('href'), a.href])")
    within = [href for href, _ in links if href.startswith("#")]
    ids = browser.run("return Array.from(document.querySelectorAll('[id]'), e => e.id)")
    assert {href[1:] for href in within} <= set(ids)
    assert len(within) > 5
    folders = [Path(unquote(urlsplit(address).path)) for href, address in links
               if not href.startswith("#")]  # fmt: skip
    assert {folder.name for folder in folders} >= {"logs"}
    assert all(folder.is_dir() and report_page.parent in folder.parents for folder in folders)


def test_ids_are_unique(browser: Browser, report_page: Path) -> None:
    browser.open(report_page)
    ids = browser.run("return Array.from(document.querySelectorAll('[id]'), e => e.id)")
    assert len(ids) == len(set(ids)) > 100


def test_references_within_figures_lead_into_the_same_figure(
    browser: Browser, report_page: Path
) -> None:
    browser.open(report_page)
    found = browser.run(
        """return Array.from(document.querySelectorAll('svg use, svg [clip-path]'), (e) => {
          const [, id] = (e.getAttribute('xlink:href') ?? e.getAttribute('clip-path')).split('#');
          return e.closest('svg').contains(document.getElementById(id.replace(')', '')));
        })"""
    )
    assert len(found) > 20
    assert all(found)


def test_paper_is_light_and_without_navigation(browser: Browser, report_page: Path) -> None:
    browser.open(report_page, scheme="dark")
    browser.show(width=PAPER_WIDTH, scheme="dark", media="print")
    looks = browser.run(
        "return [getComputedStyle(document.querySelector('nav')).display,"
        " getComputedStyle(document.querySelector('audio')).display,"
        " getComputedStyle(document.querySelector('.scroll')).overflowX,"
        " getComputedStyle(document.querySelector('tbody tr')).breakInside,"
        " getComputedStyle(document.body).color]"
    )
    assert looks == ["none", "none", "visible", "avoid", "rgb(27, 36, 48)"]
    page = browser.run("return document.documentElement.scrollWidth")
    assert page <= PAPER_WIDTH
    pdf = browser.driver.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert base64.b64decode(pdf).startswith(b"%PDF")


def test_details_for_paper_are_open_there_and_only_there(
    browser: Browser, table_page: Path
) -> None:
    browser.open(table_page)
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', '<details data-print><summary>a</summary>b"
        "</details><details><summary>c</summary>d</details>')"
    )
    shown = "return Array.from(document.querySelectorAll('main ~ details'), d => d.open)"
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run(shown) == [True, False]
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run(shown) == [False, False]


@pytest.mark.parametrize(("width", "is_open"), [(1280, True), (375, False)])
def test_the_contents_leave_a_small_screen_to_the_results(
    browser: Browser, report_page: Path, width: int, is_open: bool
) -> None:
    browser.open(report_page, width=width)
    assert browser.run("return document.querySelector('nav details').open") is is_open
