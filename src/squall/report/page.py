"""The HTML page of a report: one file that loads nothing, for screens, paper and the keyboard."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray

from squall.report.style import SCRIPT, STYLE

__all__ = [
    "Html",
    "Section",
    "audio_html",
    "cell_value",
    "details_html",
    "figure_html",
    "page_html",
    "prose_html",
    "table_html",
]

_LONG_TABLE_ROWS = 25
_LONG_CELL = 40  # characters
_PEAK = 0.7  # of full scale
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; media-src data:"
)


class Html(str):
    """Text that is HTML already: a table takes it as it is."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A part of the page: its heading and its HTML."""

    title: str
    body: str


def page_html(title: str, sections: Sequence[Section], *, summary: str = "") -> str:
    """A whole page.

    Args:
        title: of the page, as text.
        sections: its parts, in order; each gets a heading and an entry in the table of contents.
        summary: HTML below the title.

    Returns:
        HTML that a browser is forbidden to load anything for. Without its script the tables do not
        sort, and nothing else is missing. The ids of its figures are made unique in the page.
    """
    anchors = _anchors([section.title for section in sections])
    entries = "".join(
        f'<li><a href="#{anchor}">{html.escape(section.title)}</a></li>'
        for anchor, section in zip(anchors, sections, strict=True)
    )
    parts = "".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h2 id="{anchor}-title">{html.escape(section.title)}</h2>'
        f"{_with_figures(section)}</section>"
        for anchor, section in zip(anchors, sections, strict=True)
    )
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
        '<a class="skip" href="#main">Skip to the results</a>'
        f'<nav aria-label="Contents"><details open><summary>Contents</summary><ol>{entries}</ol>'
        f"</details></nav><header><h1>{html.escape(title)}</h1>{summary}</header>"
        f'<main id="main" tabindex="-1">{parts}</main><script>{SCRIPT}</script></body></html>\n'
    )
    return _with_own_ids(page)


def _anchors(titles: Sequence[str]) -> list[str]:
    """An id for each title: its letters and digits, with a number where that is taken."""
    taken = {"main", ""}
    anchors = []
    for title in titles:
        stem = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"
        anchor, number = stem, 1
        while anchor in taken or f"{anchor}-title" in taken:
            number += 1
            anchor = f"{stem}-{number}"
        taken |= {anchor, f"{anchor}-title"}
        anchors.append(anchor)
    return anchors


_FIGURE = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_BARE_FIGURE = re.compile(r"<figure>\s*(<svg\b.*?</svg>)\s*</figure>", re.DOTALL)
_ID = re.compile(r'(\sid="|\b(?:xlink:)?href="#|url\(#)')


def _with_own_ids(page: str) -> str:
    """Number the figures, and put the number before each id in them and each reference to it."""
    number = 0

    def own(figure: re.Match[str]) -> str:
        nonlocal number
        number += 1
        return _ID.sub(rf"\g<1>figure{number}-", figure[0])

    return _FIGURE.sub(own, page)


def _with_figures(section: Section) -> str:
    """The body of a section; a figure gets the section's name and a container if it has none."""
    name = f'<svg role="img" aria-label="{html.escape(section.title)}"'
    body = re.sub(r"<svg(?=\s)(?![^>]*\srole=)", lambda _: name, section.body)
    return _BARE_FIGURE.sub(lambda found: figure_html(found[1], label=section.title), body)


_NUMBER = re.compile(
    r"[<>≤≥~≈]?\s*"
    r"(?P<number>[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?inf)"
    r"(?![\w.,/:-])"
)
_MISSING = ("", "undefined", "-", "\u2013", "\u2014", "n/a", "nan")  # as the script has them


def cell_value(text: str) -> float | None:
    """The number that a cell of a table begins with, by which its column is sorted.

    Returns:
        The value; None where the text is not a number with, at most, something behind it.

    Example:
        >>> [cell_value(text) for text in ("8.93 (of 773)", "1.2 ± 0.3", "< 0.001", "2026-01-31")]
        [8.93, 1.2, 0.001, None]
    """
    found = _NUMBER.match(text.strip())
    return float(found["number"].replace(",", "")) if found else None


def table_html(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    label: str = "",
) -> str:
    """A table as HTML, in a container that scrolls where the page is too narrow for it.

    A column whose cells are all numbers, whatever stands behind them, is right-aligned and sorted
    by their values. What is empty or undefined comes last. A table of one row does not sort. A row
    of means stands out.

    Args:
        head: the names of the columns.
        rows: the cells, as many in each row as there are columns; escaped, but for `Html`.
        label: what a screen reader calls it; the names of its columns by default.
    """
    columns = [[row[k] for row in rows] for k in range(len(head))]
    numeric = [_is_numeric(cells) for cells in columns]
    name = html.escape(label or "table: " + ", ".join(head))
    heads = "".join(
        f'<th scope="col"{_class(is_number)}>{_text(cell)}</th>'
        for cell, is_number in zip(head, numeric, strict=True)
    )
    body = "".join(f"<tr{_kind(row)}>{_cells(row, numeric)}</tr>" for row in rows)
    kind = ' class="sortable"' if len(rows) > 1 else ""
    long = " long" if len(rows) > _LONG_TABLE_ROWS else ""
    return (
        f'<div class="scroll{long}" tabindex="0" role="region" aria-label="{name}"><table{kind}>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _is_numeric(cells: Sequence[str]) -> bool:
    given = [cell for cell in cells if cell.strip() not in _MISSING]
    return bool(given) and all(cell_value(cell) is not None for cell in given)


def _kind(row: Sequence[str]) -> str:
    return ' class="mean"' if any(cell.split()[:1] == ["mean"] for cell in row) else ""


def _cells(row: Sequence[str], numeric: Sequence[bool]) -> str:
    return "".join(
        f"<td{_class(is_number, cell)}{_value(cell) if is_number else ''}>{_text(cell)}</td>"
        for cell, is_number in zip(row, numeric, strict=True)
    )


def _class(is_number: bool, cell: str = "") -> str:
    long = len(cell) > _LONG_CELL and not isinstance(cell, Html)
    return ' class="number"' if is_number else ' class="long"' if long else ""


def _value(cell: str) -> str:
    value = cell_value(cell)
    return "" if value is None else f' data-value="{value}"'.replace("inf", "Infinity")


def _text(cell: str) -> str:
    return cell if isinstance(cell, Html) else html.escape(cell)


def details_html(summary: str, body: str, *, printed: bool = False) -> str:
    """What is shown on demand.

    Args:
        summary: the line that opens it, as text.
        body: its HTML.
        printed: whether it is open on paper.
    """
    mark = " data-print" if printed else ""
    return f"<details{mark}><summary>{html.escape(summary)}</summary>{body}</details>"


def figure_html(svg: str, *, label: str) -> str:
    """A wide figure, in a container that scrolls rather than making its text too small to read."""
    name = html.escape(f"figure: {label}")
    scroll = f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">'
    return f"<figure>{scroll}{svg}</div></figure>"


def prose_html(text: str) -> str:
    """A paragraph of plain text in which `names` between backquotes are set as code."""
    marked = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
    return f"<p>{marked}</p>"


def audio_html(samples: NDArray[np.float32], sample_rate_hz: int, *, label: str) -> str:
    """A player with its recording inside, as 16-bit FLAC with a peak of 0.7.

    Args:
        samples: (N,).
        sample_rate_hz: their rate.
        label: what a screen reader calls it.
    """
    loud = samples * (_PEAK / max(1e-9, float(np.abs(samples).max())))
    file = io.BytesIO()
    soundfile.write(file, loud, sample_rate_hz, subtype="PCM_16", format="FLAC")
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<audio controls preload="metadata" aria-label="{html.escape(label)}" '
        f'src="data:audio/flac;base64,{data}"></audio>'
    )
