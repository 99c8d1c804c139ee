"""What the reports of classifiers share: tables of scores, differences, curves, calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from squall.classification.places import ClassifierPlaces
from squall.classification.scores import LEVELS, Items, score_f1
from squall.engine.experiment import Experiment
from squall.engine.scored import read_json, read_run
from squall.report.calibration import calibration_sections
from squall.report.comparison import (
    ItemScores,
    ScoredRun,
    ece_scores,
    is_comparison,
    likelihood_scores,
    rate_scores,
)
from squall.report.differences import comparison_tables
from squall.report.figures import Curve
from squall.report.page import Section
from squall.report.published import Published, published_tables
from squall.report.records import Record
from squall.report.report import Report, Run, curve_figure
from squall.report.tables import Layout, Table, results_table
from squall.scoring.metrics import METRICS

__all__ = ["classifier_layout", "classifier_report", "scored_runs"]

_TABLES = (
    ("test", "test", (
        "accuracy", "f1", "ece", "smooth_ece", "aurc", "epochs", "train_seconds", "learning_rate",
    )),
    ("test", "test, refinement and calibration error", (
        "nll", "nll_refinement", "nll_calibration", "brier", "brier_refinement",
        "brier_calibration",
    )),
    ("test/scaled", "test, at a temperature fitted on dev", ("ece", "nll", "brier", "temperature")),
)  # fmt: skip
"""Condition, title and metrics of each table."""

_TRIED = "dev/learning rate "

_CURVES = {
    "dev_accuracy": "accuracy on dev",
    "loss": "training loss, each on its own scale",
}
"""What the epochs of every classifier hold, and the titles of its curves."""


def classifier_report(
    experiments: Sequence[Experiment[Any]],
    layout: Layout,
    *,
    further: Callable[[Sequence[Run]], list[Section]] = lambda runs: [],
    curves: Mapping[str, str] = _CURVES,
) -> Report:
    """Read finished experiments.

    Args:
        experiments: of any corpora, losses and seeds.
        layout: what `classifier_layout` gave.
        further: makes further sections of the page.
        curves: what else the epochs hold that is drawn along the training, and its title.

    Raises:
        FileNotFoundError: an experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """

    def sections(runs: Sequence[Run]) -> list[Section]:
        return [*_sections(runs, {**_CURVES, **curves}), *further(runs)]

    return Report(tuple(map(_run, experiments)), layout, sections, scored_runs)


def classifier_layout(
    items: str,
    notes: str = "",
    *,
    extra: tuple[str, ...] = (),
    further: Callable[[str, Sequence[Record]], list[Table]] = lambda dataset, records: [],
    published: Sequence[Published] = (),
) -> Layout:
    """The layout of experiments on classifiers.

    Args:
        items: what is classified, as `texts`.
        notes: what else there is to say of the measurement.
        extra: further metrics of the first table.
        further: makes further tables of a corpus from its records.
        published: what sources have of the same corpora.
    """
    return Layout(
        partial(_tables, items=items, extra=extra, further=further, published=published),
        _NOTES.format(items=items) + notes,
    )


def _run(experiment: Experiment[Any]) -> Run:
    history = ClassifierPlaces(experiment).history
    scored = experiment.result_path.is_file()
    run = read_run(experiment, read_json(history) if scored else ())
    return replace(run, experiment=f"{run.experiment} {experiment.config.dataset}")


def scored_runs(runs: Sequence[Run]) -> list[ScoredRun]:
    """Accuracy, F1, calibration and refinement of runs, sample by sample."""
    found = []
    for run in runs:
        items = Items.read(run.score_dir)
        if items is None:
            continue
        ids = tuple(map(str, range(len(items.correct))))
        ones = np.ones(len(ids))
        scores = [rate_scores("accuracy", ids=ids, groups=(), errors=items.correct, lengths=ones)]
        scores.append(ece_scores(ids=ids, groups=(), gaps=items.gaps))
        scores += likelihood_scores(ids=ids, groups=(), nlls=items.nlls)
        if items.counts.any():
            scores.append(ItemScores("f1", ids, (), items.counts, lambda s: 100.0 * score_f1(s)))
        record = next(r for r in run.records if r.condition == "test" and r.metric == "accuracy")
        found.append(ScoredRun(record, tuple(scores), correct=items.correct))
    return found


def _tables(
    records: Sequence[Record],
    *,
    items: str,
    extra: tuple[str, ...],
    further: Callable[[str, Sequence[Record]], list[Table]],
    published: Sequence[Published],
) -> list[Table]:
    compared = [record for record in records if is_comparison(record)]
    others = [record for record in records if not is_comparison(record)]
    tables = []
    for dataset in sorted({record.dataset for record in others}):
        of_dataset = [record for record in others if record.dataset == dataset]
        for condition, title, metrics in _TABLES:
            shown = (*metrics, *extra) if title == "test" else metrics
            columns = {metric: METRICS[metric].heading for metric in shown}
            head, rows = results_table(of_dataset, condition, columns)
            if rows:
                tables.append(Table(f"{dataset}, {title}", head, rows))
        tables += [*further(dataset, of_dataset), *_tried(dataset, of_dataset)]
    tables += comparison_tables(compared, items=items)
    return tables + published_tables(published, records)


def _tried(dataset: str, records: Sequence[Record]) -> list[Table]:
    """What the learning rates came to on the development set."""
    tried = [record for record in records if record.condition.startswith(_TRIED)]
    rates = sorted({float(record.condition.removeprefix(_TRIED)) for record in tried})
    found = {
        (r.experiment, r.system, float(r.condition.removeprefix(_TRIED))): r.number for r in tried
    }
    rows = [
        [experiment, system, *(_percent(found.get((experiment, system, rate))) for rate in rates)]
        for experiment, system in sorted({(r.experiment, r.system) for r in tried})
    ]
    head = ["experiment", "system", *(f"{rate:g}" for rate in rates)]
    title = f"{dataset}, accuracy % on dev by learning rate"
    return [Table(title, head, rows)] if rows else []


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _sections(runs: Sequence[Run], curves: Mapping[str, str]) -> list[Section]:
    figures = "".join(
        curve_figure(
            [
                Curve(
                    run.label,
                    [(float(e["epoch"]), e[key]) for e in run.history if e.get(key) is not None],
                    group=run.group,
                )
                for run in runs
            ],
            title,
            "epoch",
        )
        for key, title in curves.items()
    )
    sections = [
        Section("Learning curves", figures),
        *calibration_sections(runs, LEVELS, lambda run: run.group),
    ]
    return [section for section in sections if section.body]


_NOTES = (
    "Accuracy: share of right answers. ECE over 10 bins of equal width, of the softmax of the "
    "logits for every loss. Refinement is the score that remains after the best temperature, "
    "fitted on four fifths of the {items} and scored on the other fifth, each in turn; calibration "
    "error is the rest, below 0 where that temperature does harm. Brier scores are summed over the "
    "classes. AURC is the area under the curve of the error rate of the most confident answers "
    "against their share. Epochs: the one that was kept; training: time of all epochs, development "
    "set included. Differences are of the means over seeds; where several seeds were trained, the "
    "widest interval is for other {items} and seeds."
)
