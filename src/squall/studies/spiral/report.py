"""What the report of the two-spirals study shows: a table, and the boundaries of every run."""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from squall.engine.experiment import Experiment
from squall.engine.scored import read_run
from squall.report.figures import figure_svg
from squall.report.page import figure_html
from squall.report.records import Record
from squall.report.report import Report, Run, Section
from squall.report.tables import Layout, Table, fixed, mean_and_spread
from squall.scoring.metrics import declared
from squall.studies.spiral.recipe import read_study
from squall.studies.spiral.study import Boundary, SpiralStudy

__all__ = ["SPIRALS", "collect", "spiral_tables", "spirals_svg"]

_METRICS = ("accuracy", "ece")


def collect(experiments: Sequence[Experiment[Any]]) -> Report:
    """Read finished experiments.

    Raises:
        FileNotFoundError: an experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    runs = tuple(read_run(experiment) for experiment in experiments)
    return Report(runs, SPIRALS, partial(_sections, experiments))


def _sections(experiments: Sequence[Experiment[Any]], runs: Sequence[Run]) -> list[Section]:
    figures = [
        f"<h3>{html.escape(f'{run.experiment}, seed {run.seed}')}</h3>"
        + figure_html(spirals_svg(read_study(experiment)), label=f"boundaries, seed {run.seed}")
        for experiment, run in zip(experiments, runs, strict=True)
    ]
    return [Section("Decision boundaries", "".join(figures))]


def spiral_tables(records: Sequence[Record]) -> list[Table]:
    """A table per metric: a row per loss, a column per epoch, mean and deviation over seeds."""
    tables = []
    for experiment in sorted({record.experiment for record in records}):
        own = [record for record in records if record.experiment == experiment]
        epochs = sorted({r.condition for r in own}, key=lambda name: int(name.split()[0]))
        losses = sorted({record.system for record in own})
        seeds = len({record.seed for record in own})
        for metric in _METRICS:
            rows = [
                [
                    loss,
                    *(
                        _cell([r.number for r in own if _is(r, loss, epoch, metric)])
                        for epoch in epochs
                    ),
                ]
                for loss in losses
            ]
            title = (
                f"{experiment}: {declared(metric).heading}, {seeds} seed{'s' if seeds > 1 else ''}"
            )
            tables.append(Table(title, ["loss", *epochs], rows))
    return tables


def _is(record: Record, loss: str, epoch: str, metric: str) -> bool:
    return (record.system, record.condition, record.metric) == (loss, epoch, metric)


def _cell(values: Sequence[float]) -> str:
    return mean_and_spread(values, lambda percent: fixed(percent, 1))


SPIRALS = Layout(
    spiral_tables,
    "Accuracy and expected calibration error on a test part drawn like the training part, of the "
    "softmax of the logits for every loss. The losses of a seed have the same samples, initial "
    "weights and order. ± is the standard deviation over seeds.",
)
"""The layout of the two-spirals study."""


_COLOURS = ("#c0392b", "#2464a8")


def spirals_svg(study: SpiralStudy) -> str:
    """The figure: a row per loss, a column per epoch; SVG.

    Colour is the probability of a class, a line where both are equally likely, and dots are the
    training samples. The titles have accuracy and ECE on the test part in percent.

    Raises:
        ImportError: matplotlib is not installed.
    """
    losses = list(dict.fromkeys(boundary.loss for boundary in study.boundaries))
    epochs = list(dict.fromkeys(boundary.epoch for boundary in study.boundaries))
    with figure_svg(width=2.6 * len(epochs), height=2.8 * len(losses)) as (figure, written):
        every = figure.subplots(len(losses), len(epochs), squeeze=False)
        for boundary in study.boundaries:
            axes = every[losses.index(boundary.loss)][epochs.index(boundary.epoch)]
            _draw(axes, study, boundary)
            axes.set_title(
                f"{boundary.loss}, {boundary.epoch:,} epochs\n"
                f"accuracy {100 * boundary.accuracy:.1f}, ECE {100 * boundary.ece:.1f}",
                fontsize=8,
            )
        figure.tight_layout()
    return written[0]


def _draw(axes: Any, study: SpiralStudy, boundary: Boundary) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    edge = float(study.axis[-1])
    colours = LinearSegmentedColormap.from_list("classes", [_COLOURS[0], "#ffffff", _COLOURS[1]])
    axes.imshow(
        boundary.probs,
        extent=(-edge, edge, -edge, edge),
        origin="lower",
        cmap=colours,
        vmin=0,
        vmax=1,
        alpha=0.7,
        interpolation="bilinear",
    )
    if np.nanmin(boundary.probs, initial=1) < 0.5 < np.nanmax(boundary.probs, initial=0):
        axes.contour(
            study.axis, study.axis, boundary.probs, levels=[0.5], colors="#202020", linewidths=1
        )
    for label, colour in enumerate(_COLOURS):
        points = study.inputs[study.targets == label]
        # As a picture: a thousand dots as SVG elements, nine times over, weigh more than a page.
        axes.scatter(*points.T, s=2, color=colour, linewidths=0, rasterized=True)
    axes.set_xticks([])
    axes.set_yticks([])
