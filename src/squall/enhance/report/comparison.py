"""Scored enhancement experiments in the form that systems are compared in."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from squall.engine.experiment import Experiment
from squall.enhance.estimators.registry import entry_of_system
from squall.enhance.settings import EnhancementConfig
from squall.report.comparison import ItemScores, ScoredRun, mean_scores
from squall.report.records import Record
from squall.report.report import Run
from squall.scoring.cells import row_texts
from squall.scoring.speech_scores import SPEECH_SCORES

__all__ = ["MixtureScores", "are_rivals", "read_mixture_scores", "scored_runs"]

_METRICS = (*SPEECH_SCORES, "mse")

Values = dict[tuple[str, str], float]
"""By condition and utterance."""


def scored_runs(
    experiments: Sequence[Experiment[EnhancementConfig]], runs: Sequence[Run]
) -> list[ScoredRun]:
    """The scores and the mask error of every clean utterance, the baseline's first.

    The mixtures of all noises and SNRs that were trained on are compared together, and those of the
    noises that were not: a difference is that of the means over mixtures. An interval is over the
    clean utterances, each of which stands for its mixtures with every noise, or over their
    speakers; a mixture that a score is not defined for in one of the runs is left out of all.

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
    tables = [read_mixture_scores(run) for _, run in kept]
    defined = _defined([table.values for table in tables])
    found = []
    for (experiment, run), table in zip(kept, tables, strict=True):
        noise = experiment.config.noise
        for condition, names in (("seen noises", noise.seen), ("unseen noises", noise.unseen)):
            scores = [
                _of_metric(metric, table, defined[metric], names)
                for metric in _METRICS
                if any(map(math.isfinite, table.values[metric].values()))
            ]
            shown = tuple(one for one in scores if one.ids)
            if shown:
                found.append(ScoredRun(replace(run.records[0], condition=condition), shown))
    return sorted(found, key=lambda one: not entry_of_system(one.record.system).baseline)


def are_rivals(one: Record, other: Record) -> bool:
    """Whether two records are of different systems in the same experiment with the same seed."""
    places = [(r.dataset, r.experiment, r.seed) for r in (one, other)]
    return places[0] == places[1] and one.system != other.system


@dataclass(frozen=True)
class MixtureScores:
    """What the mixtures.csv of a run holds.

    Args:
        values: by metric; NaN where a score is undefined.
        speakers: by utterance; empty where unknown.
    """

    values: dict[str, Values]
    speakers: dict[str, str]


def read_mixture_scores(run: Run) -> MixtureScores:
    """The values of each metric; none where it was not computed, or where there are no masks.

    Raises:
        FileNotFoundError: the scores by mixture were not kept.
    """
    with (run.score_dir / "mixtures.csv").open(encoding="utf-8", newline="") as file:
        rows = [row_texts(row) for row in csv.DictReader(file)]
    values = {
        metric: {
            (row["condition"], row["utterance"]): float(row[metric])
            for row in rows
            if row.get(metric)
        }
        for metric in _METRICS
    }
    # Before there was a column for it, the speaker was not written.
    return MixtureScores(values, {row["utterance"]: row.get("speaker") or "" for row in rows})


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
    metric: str, table: MixtureScores, defined: set[tuple[str, str]], noises: Sequence[Any]
) -> ItemScores:
    values = table.values[metric]
    places = sorted(place for place in values.keys() & defined if place[0].split("/")[0] in noises)
    utterances = sorted({utterance for _, utterance in places})
    speakers = [table.speakers[utterance] for utterance in utterances]
    scores = mean_scores(
        metric,
        ids=utterances,
        groups=speakers if all(speakers) else (),
        values=np.zeros(len(utterances)),
    )
    sums = np.zeros_like(scores.sums)
    for place in places:
        sums[utterances.index(place[1])] += (values[place], 1.0)
    return replace(scores, sums=sums)
