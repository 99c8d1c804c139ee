"""What the report of the two-spirals study shows: a table, and the boundaries of every run."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

from squall.experiment import Experiment
from squall.page import figure_html
from squall.report import Report, Run, Section, read_run
from squall.results import Layout, Record, Table
from squall.studies.spiral import spirals_svg
from squall.studies.spiral_recipe import read_study

__all__ = ["SPIRALS", "collect", "spiral_tables"]

_METRICS = {"accuracy": "accuracy %", "ece": "ECE %"}


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
        for metric, name in _METRICS.items():
            rows = [
                [
                    loss,
                    *(
                        _cell([r.value for r in own if _is(r, loss, epoch, metric)])
                        for epoch in epochs
                    ),
                ]
                for loss in losses
            ]
            title = f"{experiment}: {name}, {seeds} seed{'s' if seeds > 1 else ''}"
            tables.append(Table(title, ["loss", *epochs], rows))
    return tables


def _is(record: Record, loss: str, epoch: str, metric: str) -> bool:
    return (record.system, record.condition, record.metric) == (loss, epoch, metric)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    if any(map(math.isnan, values)):
        return "undefined"
    mean = f"{statistics.fmean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


SPIRALS = Layout(
    spiral_tables,
    "Accuracy and expected calibration error on a test part drawn like the training part, of the "
    "softmax of the logits for every loss. The losses of a seed have the same samples, initial "
    "weights and order. ± is the standard deviation over seeds.",
)
"""The layout of the two-spirals study."""
