"""Tables of the tabular study: which loss is better on how many sets, and if that is chance."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squall.report.records import Record
from squall.report.tables import UNDEFINED, Table
from squall.scoring.bootstrap import compare_means
from squall.scoring.metrics import declared
from squall.scoring.ranks import (
    FriedmanRanks,
    friedman,
    nemenyi_critical_difference,
    wilcoxon_signed_rank,
)
from squall.scoring.significance import SIGNIFICANT, adjust_p_values

__all__ = [
    "METRICS",
    "NOTES",
    "UNTRAINED",
    "Claim",
    "Comparison",
    "StudyScores",
    "claims_of_source",
    "compare_losses",
    "rank_losses",
    "study_scores",
    "tabular_tables",
]

METRICS = ("accuracy", "ece")
UNTRAINED = "untrained"
_TITLES = tuple(declared(metric).title for metric in METRICS)
_SOURCE_SETS = 121
_EQUAL = 1e-9  # percent; means that differ by less are ties
_BEYOND = 1000.0  # any percentage

NOTES = (
    "Accuracy and expected calibration error in percent, of the softmax of the logits for every "
    "loss, on the test parts of the collection's four folds; a value of a set is the mean over "
    "folds and seeds, and ± the standard deviation over seeds of the mean over folds. The losses "
    "of a set have the same folds, initial weights and order of samples. Means, counts and tests "
    "are over sets, all with the same weight. A loss with which a network diverged on a set is "
    "the worst one there in counts, ranks and tests; means leave the set out, for every loss. A "
    "network is untrained if it diverged, or ended with a training loss of at least 95 % of that "
    "of the best answer that is the same for every sample. The source is Hui 2023 (thesis), "
    "section 4.3.3."
)


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
        return StudyScores(
            self.experiment,
            self.losses,
            tuple(itertools.compress(self.sets, keep)),
            tuple(itertools.compress(self.rows, keep)),
            {metric: values[keep] for metric, values in self.values.items()},
            self.untrained[keep],
            self.networks[keep],
        )


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


@dataclass(frozen=True)
class Claim:
    """A count of the source, and the same here.

    Args:
        text: what is counted.
        source: on how many of the source's 121 sets.
        here: on how many sets here, not counting ties.
        ties: on how many more it is as good as another.
        sets: of how many.
    """

    text: str
    source: int
    here: int
    ties: int
    sets: int


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
        gains = _gains(ranked[a] - ranked[b], metric)
        found.append(
            Comparison(
                loss=a,
                other=b,
                metric=metric,
                better=int((gains > 0).sum()),
                equal=int((gains == 0).sum()),
                worse=int((gains < 0).sum()),
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


def claims_of_source(scores: StudyScores) -> list[Claim]:
    """The counts that the source gives; none where a loss of its three is absent."""
    if not {"ce", "squentropy", "rescaled_square"} <= set(scores.losses):
        return []
    claims = []
    for metric, best, than_ce in (("accuracy", 71, 94), ("ece", 60, 83)):
        for text, source, others in (
            ("best of the three", best, ("ce", "rescaled_square")),
            ("better than ce", than_ce, ("ce",)),
        ):
            ahead = _lead(scores, metric, "squentropy", others)
            claims.append(
                Claim(
                    f"squentropy {text} in {declared(metric).title}",
                    source,
                    int((ahead > 0).sum()),
                    int((ahead == 0).sum()),
                    len(scores.sets),
                )
            )
    return claims


def _lead(
    scores: StudyScores, metric: str, loss: str, others: Sequence[str]
) -> NDArray[np.float64]:
    """How much better a loss is than the best of others on each set, (S,); 0 where they tie."""
    means = dict(zip(scores.losses, scores.ranked(metric).T, strict=True))
    leads = np.stack([_gains(means[loss] - means[other], metric) for other in others])
    least: NDArray[np.float64] = leads.min(axis=0)
    return least


def _gains(values: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    """Values with the better ones higher; what is next to nothing is 0."""
    gains = -values if declared(metric).lower_is_better else values
    return np.where(np.abs(gains) <= _EQUAL, 0.0, gains)


def tabular_tables(records: Sequence[Record]) -> list[Table]:
    """The tables: claims, losses, pairs and sets of the largest experiment, then the choices."""
    every = study_scores(records)
    if not every:
        return []
    widest = every[0]
    pairs = [pair for metric in METRICS for pair in compare_losses(widest, metric)]
    tables = [
        _claims(widest, pairs),
        _losses(widest),
        _pairs(pairs),
        _choices(every),
        _untrained(widest),
        _sets(widest),
    ]
    return [table for table in tables if table.rows]


def _claims(scores: StudyScores, pairs: Sequence[Comparison]) -> Table:
    rows = [
        [
            claim.text,
            f"{claim.source} ({100 * claim.source / _SOURCE_SETS:.0f} %)",
            f"{claim.here} ({100 * claim.here / claim.sets:.0f} %)",
            str(claim.ties),
        ]
        for claim in claims_of_source(scores)
    ]
    note = "; ".join(
        f"{c.loss} against {c.other}, {declared(c.metric).title}: {c.verdict}"
        for c in pairs
        if c.loss == "squentropy"
    )
    note = f"Over these sets, by Wilcoxon's test at the 5 % level: {note}." if note else ""
    head = [
        "number of sets",
        f"source, of {_SOURCE_SETS}",
        f"here, of {len(scores.sets)}",
        "tied here",
    ]
    return Table("The source's claims", head, rows, note)


def _losses(scores: StudyScores) -> Table:
    sound = scores.sound
    rows = []
    ranks = {metric: rank_losses(scores, metric) for metric in METRICS}
    for number, loss in enumerate(sound.losses):
        cells = [loss]
        for metric, found in ranks.items():
            values = sound.means(metric)
            others = [one for one in sound.losses if one != loss]
            lead = _lead(scores, metric, loss, others) if others else np.ones(len(scores.sets))
            spread = sound.deviations(metric)[:, number].mean() if sound.sets else np.nan
            cells += [
                f"{values[:, number].mean():.2f}",
                f"{spread:.2f}",
                str(int((lead > 0).sum())),
                f"{found.average_ranks[number]:.2f}" if found else "",
            ]
        cells.append(str(int(np.isnan(scores.means("accuracy")[:, number]).sum())))
        cells.append(f"{scores.untrained[:, number].sum()} of {scores.networks.sum()}")
        rows.append(cells)
    head = ["loss"]
    for name in _TITLES:
        head += [f"{name} %", f"{name}: sd over seeds", f"{name}: best alone on", f"{name}: rank"]
    head += ["sets with a diverged network", "untrained networks"]
    notes = []
    for metric, found in ranks.items():
        if found and len(scores.losses) <= 10:
            distance = nemenyi_critical_difference(
                systems=len(scores.losses), data_sets=len(scores.sets)
            )
            notes.append(
                f"{declared(metric).title}: Friedman's test (Iman and Davenport's F) "
                f"{_p(found.f_p_value)}; ranks differ beyond chance from {distance:.2f} on "
                "(Nemenyi, 5 %)"
            )
    title = f"Means over {len(sound.sets)} sets, counts and ranks over {len(scores.sets)}"
    return Table(title, head, rows, "; ".join(notes) + "." if notes else "")


def _pairs(pairs: Sequence[Comparison]) -> Table:
    head = [
        "loss",
        "against",
        "metric",
        "better on",
        "equal on",
        "worse on",
        "mean difference",
        "95 %: other sets",
        "Wilcoxon p",
        "p, corrected",
    ]
    rows = [
        [
            c.loss,
            c.other,
            declared(c.metric).title,
            str(c.better),
            str(c.equal),
            str(c.worse),
            f"{c.difference:+.2f}",
            f"{c.low:+.2f} to {c.high:+.2f}",
            _p(c.p_value).removeprefix("p = "),
            _p(c.p_corrected).removeprefix("p = "),
        ]
        for c in pairs
    ]
    return Table(
        "Pairs of losses",
        head,
        rows,
        "Differences in points; p values corrected for the pairs of a metric (Holm).",
    )


def _choices(every: Sequence[StudyScores]) -> Table:
    """One row per experiment; nothing where there is one only."""
    if len(every) < 2:
        return Table("", [], [])
    losses = every[0].losses
    head = ["experiment", "sets", "without a diverged network"]
    for name in _TITLES:
        head += [f"{name} {loss}" for loss in losses]
        head += [f"{name}: squentropy against ce", "p"]
    head += [f"untrained {loss}" for loss in losses]
    rows = []
    for scores in every:
        cells = [scores.experiment, str(len(scores.sets)), str(len(scores.sound.sets))]
        for metric in METRICS:
            means = dict(zip(scores.losses, scores.sound.means(metric).T, strict=True))
            cells += [f"{means[loss].mean():.2f}" if loss in means else "" for loss in losses]
            pair = next(
                (
                    c
                    for c in compare_losses(scores, metric)
                    if (c.loss, c.other) == ("squentropy", "ce")
                ),
                None,
            )
            cells += (
                [f"{pair.better} / {pair.equal} / {pair.worse}", _p(pair.p_value)]
                if pair
                else ["", ""]
            )
        untrained = dict(zip(scores.losses, scores.untrained.sum(axis=0), strict=True))
        cells += [str(untrained.get(loss, "")) for loss in losses]
        rows.append(cells)
    note = (
        "What the source leaves open, chosen otherwise; `squentropy against ce` counts sets on "
        "which it is better / equal / worse, and p is Wilcoxon's, not corrected."
    )
    return Table("Other choices", head, rows, note)


def _untrained(scores: StudyScores) -> Table:
    """The sets on which networks have learnt nothing."""
    return Table(
        "Sets with untrained networks",
        ["set", "networks of each loss", *scores.losses],
        [
            [name, str(networks), *map(str, untrained)]
            for name, networks, untrained in zip(
                scores.sets, scores.networks, scores.untrained, strict=True
            )
            if untrained.any()
        ],
        "How many of a loss's networks are untrained; their answers are in the means of a set.",
    )


def _sets(scores: StudyScores) -> Table:
    head = ["set", "tested"]
    for name in _TITLES:
        head += [f"{name} {loss}" for loss in scores.losses]
    rows = []
    cells = {m: (scores.means(m), scores.deviations(m)) for m in METRICS}
    for row, name in enumerate(scores.sets):
        line = [name, str(scores.rows[row])]
        for metric, (means, deviations) in cells.items():
            gains = _gains(means[row], metric)
            best = gains >= np.nanmax(gains) - _EQUAL if np.isfinite(gains).any() else gains > 0
            line += [
                UNDEFINED if np.isnan(mean) else f"{mean:.2f} ± {sd:.2f}{' *' if top else ''}"
                for mean, sd, top in zip(means[row], deviations[row], best, strict=True)
            ]
        rows.append(line)
    return Table(
        f"Every set of {scores.experiment}",
        head,
        rows,
        "Percent; * marks the best of a set. The source's values of single sets (its tables C.2 to "
        "C.4) are not at hand.",
    )


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
