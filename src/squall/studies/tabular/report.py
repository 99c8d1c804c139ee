"""What the report of the tabular study shows beside its tables: scatter plots and ranks."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.engine.experiment import Experiment
from squall.engine.scored import read_run
from squall.report.figures import SERIES, figure_svg
from squall.report.page import figure_html
from squall.report.report import Report, Run, Section
from squall.report.tables import Layout
from squall.scoring.metrics import declared
from squall.scoring.ranks import nemenyi_critical_difference
from squall.studies.tabular.recipe import read_left_out
from squall.studies.tabular.scores import METRICS, StudyScores, rank_losses, study_scores
from squall.studies.tabular.source import on_shared_sets, read_source
from squall.studies.tabular.tables import NOTES, tabular_tables

__all__ = ["collect", "ranks_svg", "scatter_svg", "source_svg"]

Values = NDArray[np.float64]

_MARKERS = ("o", "s", "^")


def collect(experiments: Sequence[Experiment[Any]]) -> Report:
    """Read finished experiments.

    Raises:
        FileNotFoundError: an experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    runs = tuple(read_run(experiment) for experiment in experiments)
    left_out = {name: reason for one in experiments for name, reason in read_left_out(one).items()}
    notes = NOTES
    if left_out:
        notes += f" Left out: {'; '.join(left_out.values())}."
    return Report(runs, Layout(tabular_tables, notes), _sections)


def _sections(runs: Sequence[Run]) -> list[Section]:
    every = study_scores(record for run in runs for record in run.records)
    widest, sound = every[0], every[0].sound
    figures = []
    if "squentropy" in widest.losses and sound.sets:
        for other in widest.losses:
            if other != "squentropy":
                svg = scatter_svg(sound, "squentropy", other)
                figures.append(figure_html(svg, label=f"squentropy against {other}"))
    ranks = []
    for metric in METRICS:
        name = declared(metric).title
        svg = ranks_svg(widest, metric)
        if svg:
            ranks.append(f"<h3>{html.escape(name)}</h3>" + figure_html(svg, label=f"{name} ranks"))
    beside = source_svg(sound, read_source())
    sections = [
        Section("One loss against another", "".join(figures)),
        Section(
            "Here against the source",
            figure_html(beside, label="here against the source") if beside else "",
        ),
        Section("Ranks, and the difference that is beyond chance", "".join(ranks)),
    ]
    return [section for section in sections if section.body]


def scatter_svg(scores: StudyScores, loss: str, other: str) -> str:
    """Two losses on every set, a panel per metric: a dot above the diagonal has `loss` higher.

    Raises:
        ImportError: matplotlib is not installed.
    """
    titles: dict[str, str] = {}
    name = f"Scatter plots of {loss} against {other} on {len(scores.sets)} sets"
    with figure_svg(width=8.4, height=4.2, name=name, titles=titles) as (figure, written):
        for axes, metric in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
            means = scores.means(metric)
            x, y = (means[:, scores.losses.index(one)] for one in (other, loss))
            titles |= _dots(axes, scores.sets, x, y, f"{metric}-")
            _square(axes, x, y)
            _label(axes, metric, f"of {other}", f"of {loss}")
            axes.set_title(f"{int((y > x).sum())} above, {int((y < x).sum())} below", fontsize=10)
        figure.tight_layout()
    return written[0]


def source_svg(scores: StudyScores, source: StudyScores) -> str:
    """Every loss on every set here, against the source's value; a panel per metric.

    Returns:
        The figure; nothing where the two have no set or no loss in common.

    Raises:
        ImportError: matplotlib is not installed.
    """
    here, its = on_shared_sets(scores, source)
    losses = [loss for loss in here.losses if loss in its.losses]
    if not here.sets or not losses:
        return ""
    titles: dict[str, str] = {}
    name = f"Scatter plots of {', '.join(losses)} here against the source on {len(here.sets)} sets"
    with figure_svg(width=8.4, height=4.4, name=name, titles=titles) as (figure, written):
        for axes, metric in zip(figure.subplots(1, len(METRICS)), METRICS, strict=True):
            every = []
            for number, loss in enumerate(losses):
                x = its.means(metric)[:, its.losses.index(loss)]
                y = here.means(metric)[:, here.losses.index(loss)]
                titles |= _dots(axes, here.sets, x, y, f"{metric}-{loss}-", number, f"{loss}, ")
                every.append((x, y))
            _square(axes, *(np.concatenate(values) for values in zip(*every, strict=True)))
            _label(axes, metric, "in the source", "here")
        figure.tight_layout()
        handles = [
            axes.plot([], [], _MARKERS[number], color=SERIES[number], label=loss)[0]
            for number, loss in enumerate(losses)
        ]
        figure.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3, frameon=False
        )
    return written[0]


def _dots(
    axes: Any,
    sets: Sequence[str],
    x: Values,
    y: Values,
    gid: str,
    series: int = 0,
    what: str = "",
) -> dict[str, str]:
    """Draw a dot per set; gives what each tells when it is pointed at, by its id."""
    titles = {}
    for row, set_name in enumerate(sets):
        (dot,) = axes.plot(
            x[row], y[row], _MARKERS[series], color=SERIES[series], markersize=4, alpha=0.7
        )
        dot.set_gid(f"{gid}{row}")
        titles[f"{gid}{row}"] = f"{what}{set_name}: {y[row]:.2f} against {x[row]:.2f}"
    return titles


def _square(axes: Any, x: Values, y: Values) -> None:
    """The diagonal from the lowest to the highest value, on axes of the same scale."""
    ends = [float(min(x.min(), y.min())), float(max(x.max(), y.max()))]
    axes.plot(ends, ends, color=SERIES[5], linewidth=1)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)


def _label(axes: Any, metric: str, of_x: str, of_y: str) -> None:
    shown = declared(metric).heading
    axes.set_xlabel(f"{shown} {of_x}")
    axes.set_ylabel(f"{shown} {of_y}")


def ranks_svg(scores: StudyScores, metric: str) -> str:
    """Demsar's diagram: losses at their mean rank, those joined by a bar are not told apart.

    Returns:
        The figure; nothing where fewer than two losses or sets can be ranked.

    Raises:
        ImportError: matplotlib is not installed.

    Source: Demsar 2006, section 3.2.4.
    """
    found = rank_losses(scores, metric)
    count = len(scores.losses)
    if found is None or count > 10:
        return ""
    distance = nemenyi_critical_difference(systems=count, data_sets=found.data_sets)
    order = np.argsort(found.average_ranks)
    ranks = np.array(found.average_ranks)[order]
    name = (
        f"Mean ranks in {declared(metric).title} over {found.data_sets} sets, 1 the best: "
        + ", ".join(
            f"{scores.losses[place]} {rank:.2f}" for place, rank in zip(order, ranks, strict=True)
        )
    )
    with figure_svg(width=8.4, height=0.9 + 0.3 * count, name=name) as (figure, written):
        axes = figure.subplots()
        for level, (place, rank) in enumerate(zip(order, ranks, strict=True), 1):
            axes.plot([rank, rank], [0, -level], color=SERIES[5], linewidth=1)
            axes.annotate(
                f"{scores.losses[place]}  {rank:.2f}",
                (rank, -level),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        for level, (first, last) in enumerate(_groups(ranks, distance)):
            height = -0.25 - 0.2 * level
            axes.plot([ranks[first], ranks[last]], [height, height], color=SERIES[1], linewidth=4)
        axes.plot([1, 1 + distance], [0.8, 0.8], color=SERIES[0], linewidth=2)
        axes.annotate(
            f"critical difference {distance:.2f}", (1, 0.8), xytext=(0, 4),
            textcoords="offset points", fontsize=9,
        )  # fmt: skip
        axes.plot([1, count], [0, 0], color=SERIES[5], linewidth=1)
        for rank in range(1, count + 1):
            axes.annotate(
                str(rank), (rank, 0), xytext=(0, 4), textcoords="offset points",
                ha="center", fontsize=9,
            )  # fmt: skip
        axes.set_xlim(0.9, count + 0.6)
        axes.set_ylim(-count - 0.6, 1.4)
        axes.set_axis_off()
    return written[0]


def _groups(ranks: Values, distance: float) -> list[tuple[int, int]]:
    """The widest runs of rising ranks that lie within the distance, of two at least."""
    found: list[tuple[int, int]] = []
    for first in range(len(ranks)):
        last = int(np.searchsorted(ranks, ranks[first] + distance, side="left")) - 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
