"""What the report of enhancement experiments shows beside its tables."""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from squall.engine.experiment import Experiment
from squall.engine.scored import read_json, read_run
from squall.enhance.estimators.registry import order_of_systems
from squall.enhance.evaluation import read_training
from squall.enhance.report.agreement import agreement_section
from squall.enhance.report.comparison import are_rivals, scored_runs
from squall.enhance.report.dots import score_section
from squall.enhance.report.examples import example_section
from squall.enhance.report.tables import ENHANCEMENT, MATCH_SECONDS
from squall.enhance.settings import EnhancementConfig
from squall.report.figures import Curve
from squall.report.page import details_html, table_html
from squall.report.records import Record
from squall.report.report import Report, Run, Section, curve_figure
from squall.scoring.cells import row_texts

__all__ = ["collect", "match_records", "tuning_sections"]

_CURVE_MODELS = 4


def collect(experiments: Sequence[Experiment[Any]]) -> Report:
    """Read finished experiments.

    Raises:
        FileNotFoundError: an experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    ordered = sorted(
        experiments, key=lambda e: order_of_systems(_systems(experiments)).index(e.config.system)
    )
    training = [read_training(experiment.directory / "train") for experiment in ordered]
    runs = [
        read_run(experiment, [{"model": name, **record} for name, record in models.items()])
        for experiment, models in zip(ordered, training, strict=True)
    ]
    runs = [replace(run, records=(*run.records, *match_records(run, runs))) for run in runs]
    return Report(
        tuple(runs), ENHANCEMENT, partial(_sections, ordered), partial(scored_runs, ordered)
    )


def _systems(experiments: Sequence[Experiment[Any]]) -> list[str]:
    return [experiment.config.system for experiment in experiments]


def match_records(run: Run, runs: Sequence[Run]) -> list[Record]:
    """How long each model of a run took to reach the best validation error of other systems.

    Args:
        run: the run.
        runs: all runs; those of other systems in the same experiment with the same seed are
            compared with.

    Returns:
        Records in seconds; without a value where the other's error was never reached.
    """
    found = []
    templates = {r.condition: r for r in run.records if r.metric == "train_seconds"}
    own = next(iter(templates.values()), None)
    for other in runs:
        theirs = next((r for r in other.records if r.metric == "train_seconds"), None)
        if own is None or theirs is None or not are_rivals(own, theirs):
            continue
        goals = {m["model"]: min(e["dev_mse"] for e in m["history"]) for m in other.history}
        for model in run.history:
            if model["model"] not in goals or model["model"] not in templates:
                continue
            reached = [
                epoch["seconds"]
                for epoch in model["history"]
                if epoch["dev_mse"] <= goals[model["model"]]
            ]
            value = min(reached, default=math.nan)
            metric = MATCH_SECONDS + theirs.system
            reason = f"the best validation error of {theirs.system} was never reached"
            found.append(templates[model["model"]].measured(metric, value, otherwise=reason))
    return found


def _sections(
    experiments: Sequence[Experiment[EnhancementConfig]], runs: Sequence[Run]
) -> list[Section]:
    sections = [
        score_section(scored_runs(experiments, runs)),
        *tuning_sections(runs),
        *_kernels(runs),
        Section("Training", "".join(_training_figures(runs))),
        Section("Mask error of each channel", _channel_figure(runs) + _correlation_figures(runs)),
        agreement_section(runs),
        example_section(experiments, runs),
    ]
    # Where nothing is trained there is neither training nor a mask.
    return [section for section in sections if section.body]


def tuning_sections(runs: Sequence[Run]) -> list[Section]:
    """What the tune stage tried, in the order of its validation error."""
    rows = []
    for run in runs:
        path = run.directory / "tune" / "tuning.json"
        tried = read_json(path)["candidates"] if path.is_file() else []
        for one in sorted(tried, key=lambda one: float(one["dev_mse"])):
            parameters = ", ".join(f"{name} {value}" for name, value in one["parameters"].items())
            error, seconds = f"{100 * one['dev_mse']:.3f}", f"{one['seconds']:.0f}"
            rows.append([run.label, parameters, error, str(one["epochs"]), seconds])
    head = ["system", "parameters", "validation MSE x 100", "epochs", "seconds"]
    return [Section("Parameters that were tried", table_html(head, rows))] if rows else []


def _kernels(runs: Sequence[Run]) -> list[Section]:
    """The kernel that the search chose for each subband of each model."""
    rows = [
        [
            run.label,
            model["model"],
            f"{band['first']} to {band['last'] - 1}",
            f"{band['gamma']:g}",
            f"{band['bandwidth']:.2f}",
            str(band["epoch"]),
        ]
        for run in runs
        for model in run.history
        for band in model.get("details", {}).get("subbands", ())
    ]
    head = ["system", "model", "channels", "gamma", "sigma / median distance^gamma", "best epoch"]
    body = details_html("all subbands", table_html(head, rows))
    return [Section("Kernels that were chosen", body)] if rows else []


def _training_figures(runs: Sequence[Run]) -> list[str]:
    """Validation error against time: the model of all conditions and a few others."""
    models = sorted(
        {m["model"] for run in runs for m in run.history}, key=lambda m: (m != "all", m)
    )
    figures = []
    for model in models[:_CURVE_MODELS]:
        curves = [
            Curve(
                run.label,
                [(epoch["seconds"], 100 * epoch["dev_mse"]) for epoch in m["history"]],
                run.group,
            )
            for run in runs
            for m in run.history
            if m["model"] == model
        ]
        title = f"validation MSE x 100, model {model}"
        figures.append(curve_figure(curves, title, "seconds of training"))
    return figures


def _channel_figure(runs: Sequence[Run]) -> str:
    curves = []
    for run in runs:
        errors: dict[int, list[float]] = defaultdict(list)
        with (run.score_dir / "channels.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                errors[int(row["channel"])].append(100 * float(row["mse"]))
        points = [(channel, statistics.fmean(values)) for channel, values in sorted(errors.items())]
        curves.append(Curve(run.label, points, run.group))
    return curve_figure(
        curves, "test MSE x 100, mean over conditions", "channel, from low to high frequency"
    )


def _correlation_figures(runs: Sequence[Run]) -> str:
    """How the mask error of each channel goes with STOI, a figure for each condition, folded."""
    curves: dict[str, list[Curve]] = defaultdict(list)
    for run in runs:
        found: dict[str, list[tuple[int, float]]] = defaultdict(list)
        with (run.score_dir / "channels.csv").open(encoding="utf-8", newline="") as file:
            for row in map(row_texts, csv.DictReader(file)):
                if value := row.get("stoi_correlation"):
                    found[row["condition"]].append((int(row["channel"]), float(value)))
        for condition, points in found.items():
            curves[condition].append(Curve(run.label, sorted(points), run.group))
    figures = "".join(
        curve_figure(
            mine,
            f"correlation of mask error and STOI over test mixtures, {condition}",
            "channel, from low to high frequency",
        )
        for condition, mine in curves.items()
    )
    return details_html("correlation with STOI in each condition", figures) if figures else ""
