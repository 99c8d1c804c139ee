"""Figures of calibration: reliability diagrams, histograms, risk against coverage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from squall.report.figures import SERIES, Curve, figure_svg
from squall.report.levels import read_bins, read_risks
from squall.report.page import Section, figure_html
from squall.report.report import Run, curve_figure
from squall.scoring.reliability import ReliabilityBins

__all__ = ["CALIBRATION", "calibration_sections", "reliability_svg"]

CALIBRATION = "test.calibration.json"
"""Where the score stage keeps the levels of the test set, see `squall.report.levels`."""

_COLUMNS = 3


def calibration_sections(
    runs: Sequence[Run], levels: Mapping[str, str], name_of: Callable[[Run], str]
) -> list[Section]:
    """Reliability diagrams and confidence histograms of the test set.

    A diagram for each system and level; the runs of one name, its seeds and folds, are put
    together. Beside it the curves of risk and coverage, one for each run.

    Args:
        runs: scored experiments. Those without a scored test set have no diagram.
        levels: those to show, in this order, and what each means.
        name_of: the name of a run.
    """
    systems: dict[str, dict[str, ReliabilityBins]] = {}
    risks: dict[str, list[Curve]] = {}
    for run in runs:
        path = run.score_dir / CALIBRATION
        if not path.is_file():
            continue
        pooled = systems.setdefault(name_of(run), {})
        for level, bins in read_bins(path).items():
            pooled[level] = pooled[level] + bins if level in pooled else bins
        for level, values in read_risks(path).items():
            points = [(100 * k / len(values), 100 * y) for k, y in enumerate(values, start=1)]
            risks.setdefault(level, []).append(Curve(run.label, points, group=run.group))
    figures = []
    for level, meaning in levels.items():
        shown = {name: found[level] for name, found in systems.items() if level in found}
        shown = {name: bins for name, bins in shown.items() if bins.samples}
        if shown:
            figures.append(
                f"<h3>{level}</h3><p>{meaning}</p>"
                + figure_html(reliability_svg(shown, level), label=f"calibration, {level}")
                + curve_figure(
                    risks.get(level, []),
                    f"errors among the most confident, {level}, %",
                    "coverage: share that is kept, %",
                )
            )
    if not figures:
        return []
    explained = (
        "<p>Above, the share of what is right in each bin of confidence (bars) against the mean "
        "confidence (line): bars below the line are overconfident. Below, the share of all samples "
        "in each bin; the dashed lines are mean confidence and, dotted, accuracy. The curves tell "
        "what confidence is worth when only the most certain is kept: the lower, the better it "
        "sorts right from wrong; at 100 % stands the error rate.</p>"
    )
    return [Section("Calibration", explained + "".join(figures))]


def reliability_svg(systems: dict[str, ReliabilityBins], level: str) -> str:
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
