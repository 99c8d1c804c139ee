"""What the report of recognition experiments shows: tables, learning curves, utterances."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from squall.asr.calibration import LEVELS
from squall.asr.places import RecognitionPlaces
from squall.asr.report.comparison import scored_runs
from squall.asr.report.examples import examples_html
from squall.asr.report.figures import training_figures
from squall.asr.report.speakers import speakers_html
from squall.asr.report.tables import RECOGNITION
from squall.asr.report.utterances import Recognised, errors_html, read_recognised
from squall.engine.experiment import Experiment
from squall.engine.scored import read_json, read_run
from squall.report.calibration import calibration_sections
from squall.report.report import Report, Run, Section

__all__ = ["collect"]

_SHOWN_LEVELS = {
    level: LEVELS[level] for level in ("token", "token-clipped", "token-scaled", "word", "sequence")
}


def collect(experiments: Sequence[Experiment[Any]]) -> Report:
    """Read finished experiments.

    Raises:
        FileNotFoundError: an experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    return Report(
        tuple(map(_run, experiments)), RECOGNITION, partial(_sections, experiments), scored_runs
    )


def _run(experiment: Experiment[Any]) -> Run:
    path = experiment.directory / "train" / "history.json"
    scored = experiment.result_path.is_file()
    run = read_run(experiment, read_json(path, null_as_nan=True) if scored else ())
    fold = experiment.config.fold
    return run if fold is None else replace(run, experiment=f"{run.experiment} fold {fold}")


def _sections(experiments: Sequence[Experiment[Any]], runs: Sequence[Run]) -> list[Section]:
    tested = [read_recognised(run) for run in runs]
    manifests = {one.directory: RecognitionPlaces(one).data / "test.jsonl" for one in experiments}
    sections = [
        Section("Learning curves", "".join(training_figures(runs))),
        *_calibration(runs),
        Section("Examples", examples_html([one for one in tested if one], manifests)),
        Section("Speakers", speakers_html(runs)),
        Section("Errors of each run", "".join(map(_errors, runs, tested))),
    ]
    return [section for section in sections if section.body]


def _calibration(runs: Sequence[Run]) -> list[Section]:
    """With the folds and seeds of a system put together."""
    return calibration_sections(
        runs, _SHOWN_LEVELS, lambda run: f"{run.experiment.partition(' fold ')[0]} {run.system}"
    )


def _errors(run: Run, tested: Recognised | None) -> str:
    if tested:
        return errors_html(tested)
    return f"<p>{html.escape(run.label)}: its test set was not decoded</p>"
