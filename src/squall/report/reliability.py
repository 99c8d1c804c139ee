"""Reliability diagrams: how often what is said with a confidence is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from squall.report.figures import SERIES, figure_svg
from squall.scoring.reliability import ReliabilityBins

__all__ = ["RELIABILITY_NOTE", "reliability_svg"]

RELIABILITY_NOTE = (
    "Above, the share of what is right in each bin of confidence (bars) against the mean "
    "confidence (line): bars below the line are overconfident. Below, the share of all samples "
    "in each bin; the dashed lines are mean confidence and, dotted, accuracy."
)
"""What such a figure shows, in words."""

_COLUMNS = 3


def reliability_svg(systems: Mapping[str, ReliabilityBins], level: str) -> str:
    """Reliability diagram and confidence histogram of each system, side by side.

    Args:
        systems: name to bins with at least one sample.
        level: what was scored, for the figure's name.

    Raises:
        ImportError: matplotlib is not installed.

    Source: Guo et al. 2017; Hui, Belkin and Wright 2023.
    """
    columns = min(_COLUMNS, len(systems))
    rows = -(-len(systems) // columns)
    gaps = ", ".join(f"{name} ECE {100 * bins.ece:.2f} %" for name, bins in systems.items())
    name = f"Reliability diagrams and confidence histograms, {level}: {gaps}"
    with figure_svg(width=2.6 * columns + 0.4, height=3.8 * rows, name=name) as (figure, written):
        grid = figure.subplots(
            2 * rows, columns, squeeze=False, sharex=True, height_ratios=[2, 1] * rows
        )
        for number, (system, bins) in enumerate(systems.items()):
            row, column = divmod(number, columns)
            _reliability(grid[2 * row, column], bins, f"{system}\nECE {100 * bins.ece:.2f} %")
            _histogram(grid[2 * row + 1, column], bins)
        for number in range(len(systems), rows * columns):
            row, column = divmod(number, columns)
            grid[2 * row, column].set_visible(False)
            grid[2 * row + 1, column].set_visible(False)
        figure.tight_layout()
    return written[0]


def _reliability(axes: Any, bins: ReliabilityBins, title: str) -> None:
    widths = np.diff(bins.edges)
    axes.bar(
        bins.edges[:-1], np.nan_to_num(bins.accuracy), widths, align="edge",
        color=SERIES[0], alpha=0.75, edgecolor=SERIES[0],
    )  # fmt: skip
    filled = bins.counts > 0
    confidence = bins.mean_confidence[filled]
    axes.plot(confidence, confidence, color=SERIES[1], marker="o", markersize=3)
    axes.set_title(title, fontsize=9)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_ylabel("accuracy", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _histogram(axes: Any, bins: ReliabilityBins) -> None:
    axes.bar(
        bins.edges[:-1], bins.shares, np.diff(bins.edges), align="edge",
        color=SERIES[0], alpha=0.75, edgecolor=SERIES[0],
    )  # fmt: skip
    axes.axvline(bins.overall_confidence, color=SERIES[1], linestyle="--", linewidth=1.2)
    axes.axvline(bins.overall_accuracy, color=SERIES[0], linestyle=":", linewidth=1.6)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence", fontsize=8)
    axes.set_ylabel("share", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
