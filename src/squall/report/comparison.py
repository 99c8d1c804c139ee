"""Differences between systems on the same utterances: intervals and tests, as records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.report.records import Record
from squall.scoring.alignment import Alignment
from squall.scoring.metrics import declared
from squall.scoring.resampling import (
    BootstrapDifference,
    NoIntervalError,
    Statistic,
    compare_statistics,
)
from squall.scoring.significance import adjust_p_values, mapsswe, mcnemar

__all__ = [
    "AGAINST",
    "OVER_SEEDS",
    "ItemScores",
    "ScoredRun",
    "compare_systems",
    "ece_scores",
    "is_comparison",
    "likelihood_scores",
    "mean_scores",
    "rate_scores",
]

OVER_SEEDS = -1
"""The seed of a record that speaks about several seeds."""

AGAINST = "/vs "
"""Stands between the condition of a difference and the baseline."""


@dataclass(frozen=True, eq=False)
class ItemScores:
    """One metric of one run in a form that adds up over utterances.

    Args:
        metric: its name.
        ids: (N,) the utterances.
        groups: (N,) their speakers, or whatever makes utterances alike; empty where unknown.
        sums: (N, K) what is summed over utterances.
        statistic: makes the metric, in its unit, from such sums (..., K).
    """

    metric: str
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    sums: NDArray[np.float64]
    statistic: Statistic


@dataclass(frozen=True, eq=False)
class ScoredRun:
    """One run on one set of utterances.

    Args:
        record: any number of that run and condition: who, where and when.
        scores: its metrics.
        alignments: of each utterance with its reference, for MAPSSWE; may be empty.
        correct: (N,) whether each item was classified right, for McNemar's test; None where items
            are no single answers.
    """

    record: Record
    scores: tuple[ItemScores, ...]
    alignments: Mapping[str, Alignment] = field(default_factory=dict)
    correct: NDArray[np.bool_] | None = None


def rate_scores(
    metric: str,
    *,
    ids: Sequence[str],
    groups: Sequence[str],
    errors: ArrayLike,
    lengths: ArrayLike,
) -> ItemScores:
    """A metric that is sum of errors / sum of lengths, as error rates are.

    Args:
        metric: its name; if its unit is `%`, the ratio is multiplied by 100.
        ids, groups: (N,) utterances and their speakers.
        errors, lengths: (N,) what is summed above and below the line.
    """
    factor = 100.0 if declared(metric).unit == "%" else 1.0
    sums = np.stack([np.asarray(errors, np.float64), np.asarray(lengths, np.float64)], axis=1)
    return ItemScores(
        metric, tuple(ids), tuple(groups), sums, lambda s: factor * s[..., 0] / s[..., 1]
    )


def mean_scores(
    metric: str, *, ids: Sequence[str], groups: Sequence[str], values: ArrayLike
) -> ItemScores:
    """A metric that is the mean of a value of each utterance, as STOI is.

    Args:
        metric: its name.
        ids, groups: (N,) utterances and their speakers.
        values: (N,), in its unit.
    """
    sums = np.stack([np.asarray(values, np.float64), np.ones(len(ids))], axis=1)
    return ItemScores(metric, tuple(ids), tuple(groups), sums, lambda s: s[..., 0] / s[..., 1])


def ece_scores(
    *, ids: Sequence[str], groups: Sequence[str], gaps: NDArray[np.float64]
) -> ItemScores:
    """The calibration error, in percent.

    Args:
        ids, groups: (N,) items and what makes them alike.
        gaps: (N, B + 1) of each item right answers minus confidences in each of B bins, and the
            number of answers; see `squall.scoring.levels.sum_gaps`.
    """
    return ItemScores(
        "ece",
        tuple(ids),
        tuple(groups),
        gaps,
        lambda s: np.asarray(100.0 * np.abs(s[..., :-1]).sum(axis=-1) / s[..., -1]),
    )


def likelihood_scores(
    *, ids: Sequence[str], groups: Sequence[str], nlls: NDArray[np.float64]
) -> list[ItemScores]:
    """The two parts of the negative log-likelihood, in nats.

    Args:
        ids, groups: (N,) items and what makes them alike.
        nlls: (N, 3) of each item, see `squall.scoring.levels.sum_nlls`.
    """
    parts: dict[str, Statistic] = {
        "nll_refinement": lambda s: np.asarray(s[..., 1] / s[..., 2]),
        "nll_calibration": lambda s: np.asarray((s[..., 0] - s[..., 1]) / s[..., 2]),
    }
    return [ItemScores(m, tuple(ids), tuple(groups), nlls, of) for m, of in parts.items()]


def compare_systems(runs: Sequence[ScoredRun], *, baseline: str | None = None) -> list[Record]:
    """Compare every system with the baseline, wherever both were run on the same utterances.

    Args:
        runs: of any experiments, conditions, systems and seeds.
        baseline: the system that the others are compared with; by default the first of each
            experiment.

    Returns:
        For each corpus, experiment, condition, system and metric the difference system - baseline
        of the means over seeds, with intervals and p values. The condition is
        `<condition>/vs <baseline>`, the seed `OVER_SEEDS`, the metric `<metric>_difference` with
        these endings:

        - `_utterances_low`, `_utterances_high`: 95 % interval for these models on other utterances
          of the same speakers; `_speakers_*` on other speakers; `_seeds_*` for other speakers and
          other seeds, where both systems have several;
        - `_p`: p value of the widest of these claims; `_p_holm`: corrected for the number of
          systems (Holm 1979);
        - and for each seed that both have, with that seed, `<metric>_mapsswe_p` of the first metric
          where there are alignments, `accuracy_mcnemar_p` where there are answers.

        What the data cannot give, as the intervals of a single utterance, has no value but a
        reason.

    Raises:
        ValueError: there is no such baseline, or runs that should be compared have different
            utterances; the message names them.
    """
    groups: dict[tuple[str, str, str], dict[str, dict[int, ScoredRun]]] = {}
    for run in runs:
        place = (run.record.dataset, run.record.experiment, run.record.condition)
        systems = groups.setdefault(place, {})
        systems.setdefault(run.record.system, {})[run.record.seed] = run
    if baseline is not None and not any(baseline in systems for systems in groups.values()):
        found = sorted({system for systems in groups.values() for system in systems})
        there = f"there are {', '.join(found)}" if found else "there is one, and nothing to compare"
        raise ValueError(f"--baseline {baseline}: there is no such system; {there}")
    records: list[Record] = []
    for systems in groups.values():
        first = baseline or next(iter(systems))
        if first in systems:
            records += _compare_with(first, systems)
    return records


def _compare_with(baseline: str, systems: Mapping[str, Mapping[int, ScoredRun]]) -> list[Record]:
    base = systems[baseline]
    records: list[Record] = []
    for metric in [scores.metric for scores in next(iter(base.values())).scores]:
        if not all(_has(run, metric) for run in base.values()):
            continue
        p_values: list[Record] = []
        for system, of_system in systems.items():
            if system == baseline or not all(_has(run, metric) for run in of_system.values()):
                continue
            found = _compare(metric, of_system, base)
            p_values += [record for record in found if record.metric.endswith("_difference_p")]
            records += found
        tested = [record for record in p_values if record.value is not None]
        corrected = adjust_p_values([record.number for record in tested], method="holm")
        records += [
            record.measured(f"{record.metric}_holm", float(value))
            for record, value in zip(tested, corrected, strict=True)
        ]
    return records


def _has(run: ScoredRun, metric: str) -> bool:
    return any(scores.metric == metric for scores in run.scores)


def _of(run: ScoredRun, metric: str) -> ItemScores:
    return next(scores for scores in run.scores if scores.metric == metric)


def _compare(
    metric: str, ours: Mapping[int, ScoredRun], base: Mapping[int, ScoredRun]
) -> list[Record]:
    a = [_of(run, metric) for _, run in sorted(ours.items())]
    b = [_of(run, metric) for _, run in sorted(base.items())]
    one = next(iter(ours.values())).record
    other = next(iter(base.values())).record
    for scores in (*a, *b):
        if scores.ids != a[0].ids:
            raise ValueError(
                f"{one.system} and {other.system} of {one.dataset} {one.condition} were scored on "
                "different utterances; score both again with --stage 6"
            )
    template = replace(
        one,
        condition=f"{one.condition}{AGAINST}{other.system}",
        seed=OVER_SEEDS,
        n=len(a[0].ids),
        seconds=0.0,
    )
    found, why_not = _intervals(a, b)
    widest = list(found.values())[-1] if found else None
    values = {"": widest.value if widest else _mean(a) - _mean(b)}
    for population in (*found, *why_not):
        difference = found.get(population)
        values[f"_{population}_low"] = difference.low if difference else math.nan
        values[f"_{population}_high"] = difference.high if difference else math.nan
    values["_p"] = widest.p_value if widest else math.nan
    reason = "; ".join(dict.fromkeys(why_not.values()))
    records = [
        template.measured(f"{metric}_difference{ending}", value, otherwise=reason)
        for ending, value in values.items()
    ]
    return [
        *records,
        *_matched_pairs(metric, template, ours, base),
        *_mcnemar(metric, template, ours, base),
    ]


def _mean(scores: Sequence[ItemScores]) -> float:
    """The mean over models of a statistic of all utterances; NaN where it is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.mean([one.statistic(one.sums.sum(axis=0)) for one in scores]))


def _intervals(
    a: Sequence[ItemScores], b: Sequence[ItemScores]
) -> tuple[dict[str, BootstrapDifference], dict[str, str]]:
    """The difference over each population that the data can speak about, and why not over others.

    Both begin with the narrowest population.
    """
    statistic, columns = a[0].statistic, a[0].sums.shape[1]

    def of_these_models(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean over models whose sums stand side by side in the last dimension."""
        models = sums.reshape(*sums.shape[:-1], -1, columns)
        mean: NDArray[np.float64] = statistic(models).mean(axis=-1)
        return mean

    groups = a[0].groups
    several = len(set(groups)) > 1
    beside = [np.concatenate([scores.sums for scores in system], axis=1) for system in (a, b)]
    above = [np.stack([scores.sums for scores in system]) for system in (a, b)]
    wanted: dict[str, tuple[list[NDArray[np.float64]], Statistic, tuple[str, ...] | None]] = {
        "utterances": (beside, of_these_models, None)
    }
    if several:
        wanted["speakers"] = (beside, of_these_models, groups)
    if len(a) > 1 and len(b) > 1:
        wanted["seeds"] = (above, statistic, groups if several else None)
    found, why_not = {}, {}
    for population, (sums, of, units) in wanted.items():
        try:
            with np.errstate(divide="ignore", invalid="ignore"):
                found[population] = compare_statistics(
                    sums_a=sums[0], sums_b=sums[1], statistic=of, groups=units
                )
        except NoIntervalError as error:
            why_not[population] = str(error)
    return found, why_not


def _matched_pairs(
    metric: str, template: Record, ours: Mapping[int, ScoredRun], base: Mapping[int, ScoredRun]
) -> list[Record]:
    """MAPSSWE of the first metric, which is what the alignments are of, for each shared seed."""
    records = []
    for seed in sorted(ours.keys() & base.keys()):
        one, other = ours[seed], base[seed]
        if not one.alignments or not other.alignments or one.scores[0].metric != metric:
            continue
        test = mapsswe(a=one.alignments, b=other.alignments)
        records.append(
            template.measured(f"{metric}_mapsswe_p", test.p_value, seed=seed, n=test.segments)
        )
    return records


def _mcnemar(
    metric: str, template: Record, ours: Mapping[int, ScoredRun], base: Mapping[int, ScoredRun]
) -> list[Record]:
    """McNemar's test of the accuracy, for each shared seed."""
    records = []
    for seed in sorted(ours.keys() & base.keys()):
        a, b = ours[seed].correct, base[seed].correct
        if metric == "accuracy" and a is not None and b is not None:
            p_value = mcnemar(correct_a=a, correct_b=b)
            records.append(template.measured("accuracy_mcnemar_p", p_value, seed=seed, n=len(a)))
    return records


def is_comparison(record: Record) -> bool:
    """Whether a record is a difference that `compare_systems` made."""
    return AGAINST in record.condition
