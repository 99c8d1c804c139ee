"""All scores of all systems in one figure: a panel for each score, a row for each system."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.enhance.estimators.registry import order_of_systems
from squall.report.comparison import ItemScores, ScoredRun
from squall.report.figures import SERIES, figure_svg
from squall.report.page import figure_html, prose_html
from squall.report.report import Section
from squall.scoring.metrics import METRICS, declared
from squall.scoring.resampling import NoIntervalError, bootstrap_statistic

__all__ = ["score_section"]

Dots = dict[tuple[str, str, str], tuple[float, float, float]]
"""Mean and ends of its interval by metric, system and condition."""

_COLUMNS = 3
_LABEL_WIDTH = 30  # characters
_LOOKS = {"seen noises": ("o", "--", -0.15), "unseen noises": ("D", ":", 0.15)}
_NOTE = (
    "Dots are means over all mixtures of noises that were trained on and of those that were not, "
    "as far as every system has the score; with 95 % intervals over the clean utterances, each of "
    "which stands for its mixtures. Lines are at the mean of the mixtures themselves."
)


def score_section(scored: Sequence[ScoredRun]) -> Section:
    """A dot plot of each experiment; several seeds of a system are averaged."""
    experiments = sorted({(one.record.dataset, one.record.experiment) for one in scored})
    figures = []
    for dataset, experiment in experiments:
        place = (dataset, experiment)
        dots = _dots([o for o in scored if (o.record.dataset, o.record.experiment) == place])
        label = f"all scores, {dataset}, {experiment}"
        figures.append(figure_html(_dots_svg(dots), label=label))
    return Section("All scores", "".join(figures) + prose_html(_NOTE) if figures else "")


def _dots(scored: Sequence[ScoredRun]) -> Dots:
    seeds: dict[tuple[str, str, str], list[ItemScores]] = {}
    for run in scored:
        for scores in run.scores:
            place = (scores.metric, run.record.system, run.record.condition)
            seeds.setdefault(place, []).append(scores)
    return {place: _mean(of_seeds) for place, of_seeds in seeds.items()}


def _mean(of_seeds: Sequence[ItemScores]) -> tuple[float, float, float]:
    """The mean over mixtures and seeds with its interval; of one utterance there is none."""
    by_utterance: dict[str, NDArray[np.float64]] = {}
    for scores in of_seeds:
        for id, row in zip(scores.ids, scores.sums, strict=True):
            by_utterance[id] = by_utterance.get(id, 0.0) + row
    sums, statistic = np.stack([*by_utterance.values()]), of_seeds[0].statistic
    try:
        found = bootstrap_statistic(sums=sums, statistic=statistic)
    except NoIntervalError:
        value = float(statistic(sums.sum(axis=0)))
        return value, value, value
    return found.value, found.low, found.high


def _dots_svg(dots: Dots) -> str:
    metrics = [name for name in METRICS if any(name == metric for metric, _, _ in dots)]
    systems = order_of_systems(system for _, system, _ in dots)
    columns = min(_COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    name = (
        f"Dot plots of {', '.join(declared(metric).title for metric in metrics)}: means over seen "
        f"and unseen noises; systems: {', '.join(systems)}"
    )
    titles: dict[str, str] = {}
    size = {"width": 2.6 + 2.3 * columns, "height": rows * (0.9 + 0.32 * len(systems))}
    with figure_svg(**size, name=name, titles=titles) as (figure, written):
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for panel in grid.flat[len(metrics) :]:
            panel.set_visible(False)
        for axes, metric in zip(grid.flat, metrics, strict=False):
            _panel(axes, metric, systems, dots, titles)
        labels = [textwrap.fill(system, _LABEL_WIDTH) for system in systems]
        grid[0, 0].set_yticks(range(len(systems)), labels, fontsize=8)
        grid[0, 0].set_ylim(len(systems) - 0.5, -0.5)
        shown = [c for c in _LOOKS if any(c == condition for _, _, condition in dots)]
        figure.legend(
            handles=[_key(condition) for condition in shown],
            frameon=False,
            fontsize=9,
            ncols=len(shown),
            loc="upper left",
            bbox_to_anchor=(0, 0),
        )
        figure.tight_layout()
    return written[0]


def _panel(
    axes: Any, metric: str, systems: Sequence[str], dots: Dots, titles: dict[str, str]
) -> None:
    shown = declared(metric)
    for number, (condition, (marker, dashes, offset)) in enumerate(_LOOKS.items()):
        color = SERIES[number]
        for row, system in enumerate(systems):
            if (metric, system, condition) not in dots:
                continue
            value, low, high = dots[metric, system, condition]
            written = [f"{end:.{shown.digits}f}" for end in (value, low, high)]
            gid = f"dot-{metric}-{number}-{row}"
            titles[gid] = f"{system}, {condition}: {written[0]} ({written[1]} to {written[2]})"
            axes.plot([low, high], [row + offset] * 2, color=color, linewidth=1.4)
            axes.plot([value], [row + offset], marker, color=color, markersize=5, gid=gid)
            if system == "noisy":
                gid = f"line-{metric}-{number}"
                titles[gid] = f"the mixture, {condition}: {written[0]}"
                axes.axvline(value, color=color, linestyle=dashes, linewidth=1, gid=gid)
    unit = f", {shown.unit}" if shown.unit else ""
    axes.set_title(f"{shown.title}{unit}\n{shown.better} is better", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _key(condition: str) -> Any:
    from matplotlib.lines import Line2D

    marker, dashes, _ = _LOOKS[condition]
    color = SERIES[list(_LOOKS).index(condition)]
    label = f"{condition} (line: the mixture)"
    return Line2D([], [], color=color, marker=marker, linestyle=dashes, markersize=5, label=label)
