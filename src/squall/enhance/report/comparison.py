"""Scored enhancement experiments in the form that systems are compared in."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from squall.engine.experiment import Experiment
from squall.enhance.estimators.registry import entry_of_system
from squall.enhance.settings import EnhancementConfig
from squall.report.comparison import ItemScores, ScoredRun, mean_scores
from squall.report.report import Run

__all__ = ["scored_runs"]

_METRICS = ("stoi", "pesq_nb", "pesq_wb", "si_sdr", "mse")

Values = dict[tuple[str, str], float]
"""By condition and utterance."""


def scored_runs(
    experiments: Sequence[Experiment[EnhancementConfig]], runs: Sequence[Run]
) -> list[ScoredRun]:
    """STOI, PESQ, SI-SDR and mask error of every mixture, the baseline's first.

    The mixtures of all noises and SNRs that were trained on are compared together, and those of the
    noises that were not: a difference is that of the means over their conditions. An interval is
    over the clean utterances, each of which is mixed with every noise; a mixture that a metric is
    not defined for in one of the runs is left out of all. The mixtures of a single utterance are
    one item.

    Args:
        experiments: the experiments.
        runs: what the report read of each; those whose scores by mixture were not kept are left
            out.
    """
    kept = [
        (experiment, run)
        for experiment, run in zip(experiments, runs, strict=True)
        if (run.score_dir / "mixtures.csv").is_file()
    ]
    tables = [_read(run) for _, run in kept]
    defined = _defined(tables)
    found = []
    for (experiment, run), values in zip(kept, tables, strict=True):
        noise = experiment.config.noise
        for condition, names in (("seen noises", noise.seen), ("unseen noises", noise.unseen)):
            scores = [
                _of_metric(metric, values[metric], defined[metric], names)
                for metric in _METRICS
                if any(map(math.isfinite, values[metric].values()))
            ]
            shown = tuple(one for one in scores if one.ids)
            if shown:
                found.append(ScoredRun(replace(run.records[0], condition=condition), shown))
    return sorted(found, key=lambda one: not entry_of_system(one.record.system).baseline)


def _read(run: Run) -> dict[str, Values]:
    """The values of each metric in mixtures.csv; of the masks none where there are no masks."""
    with (run.score_dir / "mixtures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        metric: {
            (row["condition"], row["utterance"]): float(row[metric]) for row in rows if row[metric]
        }
        for metric in _METRICS
    }


def _defined(tables: Sequence[Mapping[str, Values]]) -> dict[str, set[tuple[str, str]]]:
    """The mixtures that have each metric in every run that has it for any."""
    defined: dict[str, set[tuple[str, str]]] = {}
    for metric in _METRICS:
        finite = [
            {place for place, value in values[metric].items() if math.isfinite(value)}
            for values in tables
        ]
        # A run without any, as of a system that is not installed, takes none from the others.
        defined[metric] = set.intersection(*filter(None, finite)) if any(finite) else set()
    return defined


def _of_metric(
    metric: str, values: Values, defined: set[tuple[str, str]], noises: Sequence[Any]
) -> ItemScores:
    places = sorted(place for place in values.keys() & defined if place[0].split("/")[0] in noises)
    scores = mean_scores(
        metric,
        ids=["/".join(place) for place in places],
        groups=[utterance for _, utterance in places],
        values=[values[place] for place in places],
    )
    if len(set(scores.groups)) > 1 or not places:
        return scores
    # Mixtures of one utterance say nothing about others: they are one item, without an interval.
    total = scores.sums.sum(axis=0, keepdims=True)
    return replace(scores, ids=scores.groups[:1], groups=scores.groups[:1], sums=total)
