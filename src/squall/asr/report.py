"""What the report of recognition experiments shows: tables, learning curves, alignments."""

from __future__ import annotations

import csv
import html
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from squall.asr.tables import RECOGNITION
from squall.experiment import Experiment
from squall.figures import Curve
from squall.report import Report, Run, Section, curve_figure, read_json, read_run

__all__ = ["collect"]

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
