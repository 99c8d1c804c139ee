"""Figures as SVG that stands in an HTML page: text stays text and takes the page's colours."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Curve", "curves_svg", "figure_svg"]


@dataclass(frozen=True)
class Curve:
    """A line of a chart.

    Args:
        label: what the legend calls it.
        points: pairs of x and y.
    """

    label: str
    points: Sequence[tuple[float, float]]


def curves_svg(curves: Sequence[Curve], *, title: str, x_label: str, y_label: str = "") -> str:
    """A line chart.

    Raises:
        ImportError: matplotlib is not installed.
    """
    with figure_svg(width=7.2, height=3.6) as (figure, written):
        axes = figure.subplots()
        for curve in curves:
            axes.plot(*zip(*curve.points, strict=True), label=curve.label)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    return written[0]


@contextmanager
def figure_svg(*, width: float, height: float) -> Iterator[tuple[Any, list[str]]]:
    """Give a matplotlib figure to draw on, and a list that holds its SVG when the block has ended.

    Args:
        width, height: of the figure, in inches.

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
    with matplotlib.rc_context({"svg.fonttype": "none", "axes.edgecolor": "#808890"}):
        figure = Figure(figsize=(width, height))
        written: list[str] = []
        yield figure, written
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, bbox_inches="tight")
    svg = file.getvalue()
    written.append(svg[svg.index("<svg") :])
