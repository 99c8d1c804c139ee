"""The numbers of the tabular study: gathered from records, and losses compared over sets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from squall.report.records import Record
from squall.scoring.bootstrap import compare_means
from squall.scoring.metrics import declared
from squall.scoring.ranks import FriedmanRanks, friedman, wilcoxon_signed_rank
from squall.scoring.significance import SIGNIFICANT, adjust_p_values

__all__ = [
    "EQUAL",
    "METRICS",
    "UNTRAINED",
    "Comparison",
    "StudyScores",
    "compare_losses",
    "gains",
    "leads",
    "rank_losses",
    "study_scores",
]

METRICS = ("accuracy", "ece")
UNTRAINED = "untrained"
EQUAL = 1e-9
"""In percent; means that differ by less are ties."""
_BEYOND = 1000.0  # any percentage


@dataclass(frozen=True, eq=False)
class StudyScores:
    """The numbers of one experiment.

    Args:
        experiment: its name, with the choices that are not the usual ones.
        losses: (L,) their names.
        sets: (S,) their names.
        rows: (S,) samples in the test parts.
        values: metric to (S, L, seeds), percent; NaN where a network diverged.
        untrained: (S, L) how many networks have learnt nothing, of all folds and seeds.
        networks: (S,) of how many of each loss.
    """

    experiment: str
    losses: tuple[str, ...]
    sets: tuple[str, ...]
    rows: tuple[int, ...]
    values: dict[str, NDArray[np.float64]]
    untrained: NDArray[np.int64]
    networks: NDArray[np.int64]

    def means(self, metric: str) -> NDArray[np.float64]:
        """(S, L) means over seeds."""
        found: NDArray[np.float64] = self.values[metric].mean(axis=2)
        return found

    def ranked(self, metric: str) -> NDArray[np.float64]:
        """(S, L) means over seeds to order the losses by: with a diverged network, the worst."""
        means = self.means(metric)
        worst = _BEYOND if declared(metric).lower_is_better else -_BEYOND
        return np.where(np.isnan(means), worst, means)

    def deviations(self, metric: str) -> NDArray[np.float64]:
        """(S, L) standard deviations over seeds; 0 of one seed."""
        values = self.values[metric]
        found: NDArray[np.float64] = values.std(axis=2, ddof=1 if values.shape[2] > 1 else 0)
        return found

    @property
    def sound(self) -> StudyScores:
        """Without the sets on which a network of any loss diverged, so that means compare."""
        keep = np.all([np.isfinite(v).all(axis=(1, 2)) for v in self.values.values()], axis=0)
        return self.of_sets(list(itertools.compress(self.sets, keep)))

    def of_sets(self, names: Sequence[str]) -> StudyScores:
        """The numbers of these sets, in this order."""
        rows = [self.sets.index(name) for name in names]
        return replace(
            self,
            sets=tuple(names),
            rows=tuple(self.rows[row] for row in rows),
            values={metric: values[rows] for metric, values in self.values.items()},
            untrained=self.untrained[rows],
            networks=self.networks[rows],
        )

    def rounded(self, decimals: int) -> StudyScores:
        """With the means over seeds, rounded, as those of one seed."""
        means = {m: np.round(self.means(m), decimals)[:, :, None] for m in self.values}
        return replace(self, values=means)


@dataclass(frozen=True)
class Comparison:
    """Two losses over the sets of an experiment, in one metric.

    Args:
        loss, other: their names.
        metric: what is compared.
        better, equal, worse: on how many sets `loss` is; worse where a network of it diverged.
        difference: mean of `loss` - `other` in points, over the sets without a diverged network.
        low, high: its 95 % bootstrap interval over sets.
        ahead: whether the ranks of Wilcoxon's test favour `loss`.
        p_value: of that test over sets, two-sided.
        p_corrected: with Holm's correction for the pairs of losses.
    """

    loss: str
    other: str
    metric: str
    better: int
    equal: int
    worse: int
    difference: float
    low: float
    high: float
    ahead: bool
    p_value: float
    p_corrected: float

    @property
    def verdict(self) -> str:
        """Whether `loss` is better or worse beyond chance."""
        if self.p_corrected >= SIGNIFICANT:
            return "not told apart"
        return "better" if self.ahead else "worse"


def study_scores(records: Iterable[Record]) -> list[StudyScores]:
    """The experiments that records are of; those with the most sets come first."""
    by_experiment: dict[str, list[Record]] = {}
    for record in records:
        by_experiment.setdefault(record.experiment, []).append(record)
    found = [_of_experiment(name, own) for name, own in by_experiment.items()]
    return sorted(found, key=lambda one: (-len(one.sets), one.experiment))


def _of_experiment(experiment: str, records: Sequence[Record]) -> StudyScores:
    losses = sorted({record.system for record in records}, key=_place)
    sets = sorted({record.condition for record in records})
    seeds = sorted({record.seed for record in records})
    rows = {record.condition: record.n for record in records if record.metric in METRICS}
    values = {metric: np.full((len(sets), len(losses), len(seeds)), np.nan) for metric in METRICS}
    untrained, networks = np.zeros((2, len(sets), len(losses)), dtype=np.int64)
    for record in records:
        row, column = sets.index(record.condition), losses.index(record.system)
        if record.metric == UNTRAINED:
            untrained[row, column] += int(record.number)
            networks[row, column] += record.n
        else:
            values[record.metric][row, column, seeds.index(record.seed)] = record.number
    return StudyScores(
        experiment,
        tuple(losses),
        tuple(sets),
        tuple(rows[name] for name in sets),
        values,
        untrained,
        networks.max(axis=1),
    )


def _place(loss: str) -> tuple[int, str]:
    usual = ("ce", "squentropy", "rescaled_square")
    return (usual.index(loss) if loss in usual else len(usual), loss)


def compare_losses(scores: StudyScores, metric: str) -> list[Comparison]:
    """Every pair of losses, the later one with the earlier one, `squentropy` with each other one.

    Args:
        scores: of an experiment.
        metric: what to compare.

    Returns:
        No pair where there are fewer than two sets without a diverged network.
    """
    sound = scores.sound
    means = dict(zip(sound.losses, sound.means(metric).T, strict=True))
    ranked = dict(zip(scores.losses, scores.ranked(metric).T, strict=True))
    pairs = [
        (a, b) if a == "squentropy" else (b, a) for a, b in itertools.combinations(scores.losses, 2)
    ]
    if len(sound.sets) < 2:
        return []
    tests = [wilcoxon_signed_rank(a=ranked[a], b=ranked[b]) for a, b in pairs]
    p_values = [test.p_value for test in tests]
    corrected = adjust_p_values(p_values, method="holm").tolist() if pairs else []
    found = []
    for (a, b), test, p_corrected in zip(pairs, tests, corrected, strict=True):
        difference = compare_means(values_a=means[a], values_b=means[b])
        better = gains(ranked[a] - ranked[b], metric)
        found.append(
            Comparison(
                loss=a,
                other=b,
                metric=metric,
                better=int((better > 0).sum()),
                equal=int((better == 0).sum()),
                worse=int((better < 0).sum()),
                difference=difference.value,
                low=difference.low,
                high=difference.high,
                ahead=(test.positive > test.negative) != declared(metric).lower_is_better,
                p_value=test.p_value,
                p_corrected=p_corrected,
            )
        )
    return found


def rank_losses(scores: StudyScores, metric: str) -> FriedmanRanks | None:
    """Friedman's test of the losses over sets; None of fewer than two losses or sets."""
    if min(len(scores.losses), len(scores.sets)) < 2:
        return None
    return friedman(values=scores.ranked(metric), lower_is_better=declared(metric).lower_is_better)


def leads(
    scores: StudyScores, metric: str, loss: str, others: Sequence[str]
) -> NDArray[np.float64]:
    """How much better a loss is than the best of others on each set, (S,); 0 where they tie."""
    means = dict(zip(scores.losses, scores.ranked(metric).T, strict=True))
    by_other = np.stack([gains(means[loss] - means[other], metric) for other in others])
    least: NDArray[np.float64] = by_other.min(axis=0)
    return least


def gains(values: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """Values with the better ones higher; what is next to nothing is 0."""
    better = -values if declared(metric).lower_is_better else values
    return np.where(np.abs(better) <= EQUAL, 0.0, better)
