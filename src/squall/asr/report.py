"""What the report of recognition experiments shows: error rates, learning curves, alignments.

Where a corpus is divided into folds, the tables show the mean over them.
"""

from __future__ import annotations

import csv
import html
import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from squall.experiment import Experiment
from squall.figures import Curve
from squall.report import Report, Run, Section, curve_figure, read_json, read_run
from squall.results import ERROR_RATES, Layout, Record, Table, error_rate_tables, results_table

__all__ = ["RECOGNITION", "collect", "recognition_tables"]

_CURVES = {
    ("valid", "acc"): "token accuracy on dev (teacher-forced)",
    ("valid", "cer_ctc"): "greedy CTC character error rate on dev",
    ("train", "loss"): "training loss (CTC and attention, each loss on its own scale)",
}


def collect(experiments: Sequence[Experiment[Any]]) -> Report:
    """Read finished experiments.

    Raises:
        FileNotFoundError: an experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    return Report(tuple(map(_run, experiments)), RECOGNITION, _sections)


def _run(experiment: Experiment[Any]) -> Run:
    path = experiment.directory / "train" / "history.json"
    run = read_run(experiment, read_json(path) if experiment.result_path.is_file() else ())
    fold = experiment.config.fold
    return run if fold is None else replace(run, experiment=f"{run.experiment} fold {fold}")


_FOLD = re.compile(r"(?P<split>.+)/fold(?P<number>\d+)")
_RATES = {"per": "PER", "wer": "WER", "cer": "CER"}


def recognition_tables(records: Sequence[Record]) -> list[Table]:
    """A table for each corpus and split, `test` first; of folds the mean, and then each fold.

    Args:
        records: numbers of any experiments; the condition is a split, or `<split>/fold<number>`.
    """
    whole = [record for record in records if not _FOLD.fullmatch(record.condition)]
    tables = error_rate_tables(whole)
    splits: dict[tuple[str, str], list[tuple[int, Record]]] = {}
    for record in records:
        if found := _FOLD.fullmatch(record.condition):
            place = (record.dataset, found["split"])
            splits.setdefault(place, []).append((int(found["number"]), record))
    for dataset, split in sorted(splits, key=lambda place: (place[0], place[1] != "test", place)):
        tables += _fold_tables(f"{dataset}, {split}", splits[dataset, split])
    return tables


def _fold_tables(title: str, records: Sequence[tuple[int, Record]]) -> list[Table]:
    """The means over the folds of a split, and the rates of each fold."""
    groups: dict[tuple[str, str, int, str], dict[int, Record]] = {}
    for fold, record in records:
        run = (record.experiment, record.system, record.seed, record.metric)
        groups.setdefault(run, {})[fold] = record
    means = [_mean(of_folds) for of_folds in groups.values()]
    tables = [Table(f"{title}, mean over folds", *results_table(means, means[0].condition))]
    numbers = sorted({fold for fold, _ in records})
    for metric, name in _RATES.items():
        rows = [
            [*map(str, run[:3]), *(_rate(of_folds.get(fold)) for fold in numbers)]
            for run, of_folds in sorted(groups.items())
            if run[3] == metric
        ]
        head = ["experiment", "system", "seed", *(f"fold {fold}" for fold in numbers)]
        if rows:
            tables.append(Table(f"{title}, {name} % of each fold", head, rows))
    return tables


def _mean(of_folds: dict[int, Record]) -> Record:
    """The mean over folds as a record, with the number of things counted in all of them."""
    records = list(of_folds.values())
    folds = f"{len(records)} fold" + ("s" if len(records) > 1 else "")
    return replace(
        records[0],
        experiment=f"{records[0].experiment}, {folds}",
        condition="mean",
        value=statistics.mean(record.value for record in records),
        n=sum(record.n for record in records),
    )


def _rate(record: Record | None) -> str:
    if record is None:
        return ""
    return "undefined" if math.isnan(record.value) else f"{record.value:.2f} (of {record.n})"


RECOGNITION = Layout(
    recognition_tables,
    ERROR_RATES.notes + " Folds: each tests other speakers with a model that was trained without "
    "them. A mean over folds is that of their values, and the number beside it what was counted in "
    "all folds together; the times are those of one fold.",
)
"""The layout of recognition experiments."""


def _sections(runs: Sequence[Run]) -> list[Section]:
    return [
        Section("Learning curves", "".join(_figures(runs))),
        *(Section(f"Alignments: {run.label}", _alignments(run)) for run in runs),
    ]


def _figures(runs: Sequence[Run]) -> list[str]:
    return [
        curve_figure([Curve(run.label, _points(run, *key)) for run in runs], title, "epoch")
        for key, title in _CURVES.items()
    ]


def _points(run: Run, phase: str, key: str) -> list[tuple[float, float]]:
    epochs = (epoch for epoch in run.history if key in epoch.get(phase, {}))
    return [(epoch["epoch"], epoch[phase][key]) for epoch in epochs]


def _alignments(run: Run) -> str:
    path = run.score_dir / "test.csv"
    if not path.is_file():
        return "<p>not decoded</p>"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [row for row in rows if row["reference"] != row["hypothesis"]]
    text = (run.score_dir / "test.alignments.txt").read_text(encoding="utf-8")
    return (
        f"<details><summary>{len(wrong)} of {len(rows)} test utterances have an error</summary>"
        f"<pre>{_marked(text)}</pre></details>"
    )


def _marked(text: str) -> str:
    """Alignment lines with the evaluation line of each block in colour."""
    mark: Callable[[str], str] = lambda line: f"<mark>{line}</mark>"  # noqa: E731
    lines = (html.escape(line) for line in text.splitlines())
    return "\n".join(mark(line) if line.lstrip().startswith("EVAL") else line for line in lines)
