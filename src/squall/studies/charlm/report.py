"""What the report of language models shows: tables, curves along the training, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from squall.engine.experiment import Experiment
from squall.engine.scored import read_json, read_run
from squall.report.comparison import ScoredRun, is_comparison
from squall.report.differences import comparison_tables
from squall.report.figures import Curve
from squall.report.page import figure_html, prose_html, table_html
from squall.report.published import published_tables
from squall.report.records import Record
from squall.report.reliability import RELIABILITY_NOTE, reliability_svg
from squall.report.report import Report, Run, Section, curve_figure
from squall.report.tables import Layout, Table, results_table
from squall.scoring.metrics import declared
from squall.scoring.reliability import ReliabilityBins
from squall.studies.charlm.predictions import FORMS
from squall.studies.charlm.published import PUBLISHED
from squall.studies.charlm.recipe import MODEL, condition, prepared_folder, system_scores
from squall.studies.charlm.scores import read_test_scores
from squall.studies.charlm.tokens import read_counts

__all__ = ["CHARLM", "collect", "language_tables"]

_COLUMNS = {
    **{
        metric: declared(metric).heading
        for metric in ("accuracy", "bpc", "ece", "smooth_ece", "ece_adaptive", "mce", "brier")
    },
    **{metric: declared(metric).heading for metric in ("nll", "aurc", "e_aurc")},
    **{metric: declared(metric).title for metric in ("params", "epochs", "train_seconds")},
}
_PARTS = ("nll_refinement", "nll_calibration", "brier_refinement", "brier_calibration")
_RECALIBRATED = {
    "scaled temperature": declared("temperature").title,
    "scaled bpc": f"{declared('bpc').title}, scaled",
    "scaled ece": f"{declared('ece').heading}, scaled",
    "scaled smooth_ece": f"{declared('smooth_ece').heading}, scaled",
    **{f"scaled {metric}": declared(metric).heading for metric in _PARTS},
    "clipped bpc": f"{declared('bpc').title}, clipped",
    "clipped ece": f"{declared('ece').heading}, clipped",
    "clipped nll": f"{declared('nll').heading}, clipped",
}
_CURVES = {
    "error": ("tokens of dev that are not predicted, %", 100.0),
    "bpc": ("bits per character on dev, softmax of the logits", 1.0),
    "loss": ("training loss (each loss on its own scale)", 1.0),
}


def collect(experiments: Sequence[Experiment[Any]]) -> Report:
    """Read finished experiments.

    Raises:
        FileNotFoundError: an experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    return Report(
        tuple(map(_run, experiments)),
        CHARLM,
        partial(_sections, experiments),
        partial(_scored_runs, experiments),
    )


def _run(experiment: Experiment[Any]) -> Run:
    path = experiment.directory / "train" / "history.json"
    scored = experiment.result_path.is_file()
    return read_run(experiment, read_json(path, null_as_nan=True)["epochs"] if scored else ())


def _scored_runs(experiments: Sequence[Experiment[Any]], runs: Sequence[Run]) -> list[ScoredRun]:
    """Networks and n-gram models by blocks of the test part; the networks come first."""
    found: dict[bool, list[ScoredRun]] = {True: [], False: []}
    for experiment, run in zip(experiments, runs, strict=True):
        where = condition(experiment.config)
        for record in _one_for_each_system(run.records, where):
            is_model = record.system == experiment.config.system
            _, blocks = read_test_scores(
                system_scores(experiment, MODEL if is_model else record.system)
            )
            found[is_model].append(ScoredRun(record, blocks.item_scores()))
    return found[True] + found[False]


def _one_for_each_system(records: Sequence[Record], where: str) -> list[Record]:
    here = [r for r in records if (r.condition, r.metric) == (where, "accuracy")]
    return list({r.system: r for r in here}.values())


def _sections(experiments: Sequence[Experiment[Any]], runs: Sequence[Run]) -> list[Section]:
    sections = [
        Section("Learning curves", "".join(_curves(runs))),
        Section("Calibration", _reliability(experiments, runs)),
        Section("Texts", _texts(experiments)),
    ]
    return [section for section in sections if section.body]


def _curves(runs: Sequence[Run]) -> list[str]:
    figures = []
    for key, (title, factor) in _CURVES.items():
        curves = [
            Curve(run.label, [(one["step"], factor * one[key]) for one in run.history], run.group)
            for run in runs
        ]
        figures.append(curve_figure(curves, title, "steps"))
    curves = [
        Curve(run.label, [(one["seconds"] / 60, one["bpc"]) for one in run.history], run.group)
        for run in runs
    ]
    figures.append(curve_figure(curves, _CURVES["bpc"][0], "minutes of training"))
    return figures


def _reliability(experiments: Sequence[Experiment[Any]], runs: Sequence[Run]) -> str:
    """A diagram for each form of the probabilities; the seeds of a system are put together."""
    systems: dict[str, dict[str, ReliabilityBins]] = {form: {} for form in FORMS}
    for experiment, run in zip(experiments, runs, strict=True):
        every, _ = read_test_scores(system_scores(experiment, MODEL))
        for form, bins in every.items():
            pooled = systems[form]
            pooled[run.group] = pooled[run.group] + bins if run.group in pooled else bins
    figures = [
        f"<h3>{form}</h3>{prose_html(FORMS[form])}"
        + figure_html(reliability_svg(found, form), label=f"calibration, {form}")
        for form, found in systems.items()
        if found
    ]
    return prose_html(RELIABILITY_NOTE) + "".join(figures)


def _texts(experiments: Sequence[Experiment[Any]]) -> str:
    """What was trained and tested on, one table for all."""
    folders = {prepared_folder(one): one.config for one in experiments}
    rows = []
    for folder, config in folders.items():
        for part, counts in read_counts(folder).items():
            rows.append([config.corpus.name, config.text.units, part, *map(str, counts)])
    head = ["corpus", "units", "part", "characters", "unknown characters", "classes"]
    return table_html(head, rows, label="texts")


def language_tables(records: Sequence[Record]) -> list[Table]:
    """For each corpus and kind of tokens what was measured of the test part, and with what
    temperature; then the differences between systems, and the sources' values beside ours."""
    others = [record for record in records if not is_comparison(record)]
    # The form becomes part of the metric's name, so that a run has one row.
    named = [_with_form(record) for record in others]
    tables = []
    for dataset, where in dict.fromkeys((r.dataset, r.condition) for r in named):
        here = [r for r in named if (r.dataset, r.condition) == (dataset, where)]
        layouts = {"": _COLUMNS, ": one temperature, and other probabilities": _RECALIBRATED}
        for title, columns in layouts.items():
            table = results_table(here, where, columns)
            tables.append(Table(f"{dataset}, {where}{title}", *table))
    compared = comparison_tables(filter(is_comparison, records), items="stretches of text")
    return [*tables, *compared, *published_tables(PUBLISHED, records)]


def _with_form(record: Record) -> Record:
    where, _, form = record.condition.partition("/")
    metric = f"{form} {record.metric}" if form else record.metric
    return replace(record, condition=where, metric=metric)


CHARLM = Layout(
    language_tables,
    "Each token of the test part but the first is predicted from the true ones before it "
    "(teacher-forced); accuracy is the share of those to which the largest probability was given, "
    "next-character accuracy where tokens are characters. A character of enwik8 is a byte. Bits "
    "per character are -log2 of the probabilities, summed over tokens and divided by the "
    "characters that they stand for; of pieces they are an upper bound, as other ways to cut the "
    "same text are not counted. Probabilities are the softmax of the logits for every loss, the "
    "square losses too, as in the sources; `scaled` has one temperature that was fitted on the "
    "development part, `clipped` takes the logits of a square loss themselves, cut off at 0.001 "
    "and normalised. Refinement is the score with that temperature, calibration error the rest of "
    "the score without it, below 0 where it does harm. ECE over 10 bins of equal width, adaptive "
    "ECE over 10 with equally many tokens, smooth ECE with a kernel in place of bins; AURC is the "
    "area under the curve of the error rate of the most confident against their share. The n-gram "
    "models have modified Kneser-Ney smoothing and the same training part; they have no seed. "
    "Differences are of the same stretches of text, 500 characters each. Epochs: that of the "
    "weights that were kept, which have the fewest wrong tokens of dev.",
)
"""The layout of language models."""
