"""Figures as SVG that stands in an HTML page: text stays text and takes the page's colours."""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["SERIES", "Curve", "curves_svg", "figure_svg"]

SERIES = ("#0072b2", "#d55e00", "#00704f", "#7b2080", "#5a4700", "#87919c")
"""Colours to draw in. On a dark background the page has others in their place. Those who do not see
red or green tell any two apart too (as simulated after Machado, Oliveira and Fernandes 2009).
"""

_INK, _EDGE = "#1b2430", "#808b99"
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MARKS = 8  # on a line
_LEGEND_WIDTH = 90  # characters at the width of a chart


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Args:
        label: what the legend calls it.
        points: pairs of x and y.
        group: curves of the same group, say the seeds of a system, look alike and have one entry in
            the legend; a curve without a group is its own.
    """

    label: str
    points: Sequence[tuple[float, float]]
    group: str = ""


def curves_svg(curves: Sequence[Curve], *, title: str, x_label: str, y_label: str = "") -> str:
    """A line chart. Groups differ in colour, dashes and marker; a line tells its label when asked.

    Raises:
        ImportError: matplotlib is not installed.
    """
    groups: dict[str, list[Curve]] = {}
    for number, curve in enumerate(curves):
        groups.setdefault(curve.group or f"\0{number}", []).append(curve)
    entries = {
        key: of_group[0].label if len(of_group) == 1 else f"{key} ({len(of_group)} runs)"
        for key, of_group in groups.items()
    }
    name = f"Line chart: {title}, against {x_label}; lines: {', '.join(entries.values())}"
    titles: dict[str, str] = {}
    with figure_svg(width=8.4, height=4.0, name=name, titles=titles) as (figure, written):
        axes = figure.subplots()
        for number, (key, of_group) in enumerate(groups.items()):
            for place, curve in enumerate(of_group):
                (line,) = axes.plot(
                    *zip(*curve.points, strict=True), **_look(number, curve, len(of_group))
                )
                line.set_gid(f"curve-{number}-{place}")
                titles[f"curve-{number}-{place}"] = curve.label
                if place == 0:
                    line.set_label(entries[key])
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if curves:
            longest = max(map(len, entries.values()))
            axes.legend(
                frameon=False,
                fontsize=9,
                loc="upper left",
                bbox_to_anchor=(0, -0.16),
                ncols=max(1, min(3, _LEGEND_WIDTH // (longest + 6))),
                handlelength=3.5,
            )
    return written[0]


def _look(number: int, curve: Curve, group_size: int) -> dict[str, Any]:
    return {
        "color": SERIES[number % len(SERIES)],
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 4,
        "markevery": max(1, len(curve.points) // _MARKS),
        "linewidth": 1.6 if group_size == 1 else 1.1,
        "label": "_",  # none in the legend
    }


@contextmanager
def figure_svg(
    *, width: float, height: float, name: str = "", titles: Mapping[str, str] | None = None
) -> Iterator[tuple[Any, list[str]]]:
    """Give a matplotlib figure to draw on, and a list that holds its SVG when the block has ended.

    The same drawing gives the same bytes. Its ids are unique in the figure, not in a page.

    Args:
        width, height: of the figure, in inches.
        name: what a screen reader calls it.
        titles: what parts of it tell when they are pointed at, by the `gid` given to them.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"the report's figures need matplotlib ({error}): pip install 'squall[report]'"
        ) from error
    with matplotlib.rc_context(_settings()):
        figure = Figure(figsize=(width, height))
        written: list[str] = []
        yield figure, written
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, bbox_inches="tight", metadata=nothing)
    svg = file.getvalue()
    written.append(_for_page(svg[svg.index("<svg") :].strip(), name, titles or {}))


def _settings() -> dict[str, Any]:
    from cycler import cycler

    inked = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor")
    edged = ("axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "squall",
        "axes.prop_cycle": cycler(color=SERIES),
        **dict.fromkeys((*inked, "ytick.labelcolor"), _INK),
        **dict.fromkeys(edged, _EDGE),
    }


def _for_page(svg: str, name: str, titles: Mapping[str, str]) -> str:
    """Put the page's colours in place of those drawn in, and the names in."""
    svg = svg.replace(_INK, "currentColor").replace(_EDGE, f"var(--edge, {_EDGE})")
    for number, color in enumerate(SERIES, start=1):
        svg = svg.replace(color, f"var(--series-{number}, {color})")
    for gid, title in titles.items():
        opening = f'<g id="{gid}">'
        svg = svg.replace(opening, f"{opening}<title>{html.escape(title)}</title>", 1)
    if name:
        svg = svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(name)}"', 1)
    return svg
