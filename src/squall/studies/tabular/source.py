"""The source of the study: its values of every set, its counts, and the same here.

Convention: the source counts a set on which two losses are equal at the one decimal that it prints
as one on which squentropy is better: its 94 of 121 in accuracy are 82 and 12 ties. Counts that are
set beside its own have to do the same, on the same sets. Strict counts, of means that are not
rounded, stand beside them.

Source: Hui 2023 (thesis), section 4.3.3 and tables C.2 to C.4.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.engine.experiment import repository_root
from squall.scoring.bootstrap import compare_means
from squall.scoring.metrics import declared
from squall.studies.tabular.scores import METRICS, StudyScores, leads

__all__ = [
    "Agreement",
    "Claim",
    "Count",
    "agreements",
    "claims_of_source",
    "correlation",
    "on_shared_sets",
    "read_source",
]

_FILE = Path("recipes", "tabular", "source.tsv")
_LOSSES = ("ce", "squentropy", "rescaled_square")


@dataclass(frozen=True)
class Count:
    """On how many sets a loss is ahead of all others, and on how many more it ties for the lead."""

    ahead: int
    tied: int

    @property
    def with_ties(self) -> int:
        """As the source counts."""
        return self.ahead + self.tied


@dataclass(frozen=True)
class Claim:
    """A count of the source, and the same here.

    Args:
        text: what is counted.
        source: on all sets of the source.
        source_shared: on those of them that are here too; None if none is.
        here: on the same sets, or on all where there are none; of means at one decimal, as the
            source has them.
        here_exact: of means that are not rounded.
    """

    text: str
    source: Count
    source_shared: Count | None
    here: Count
    here_exact: Count


@dataclass(frozen=True)
class Agreement:
    """Values of one metric here and in the source, over the sets that both have.

    Args:
        what: a loss, or the difference of two.
        here, source: means over sets, percent.
        difference: here - source.
        low, high: its 95 % bootstrap interval over sets; NaN of one set.
        correlation: Pearson's over sets, see `correlation`.
    """

    what: str
    here: float
    source: float
    difference: float
    low: float
    high: float
    correlation: float


def read_source(path: Path | None = None) -> StudyScores:
    """Read the source's values of all its sets, as an experiment with one seed.

    Args:
        path: a table with the columns `set` and `LOSS_METRIC`, separated by tabs; lines that begin
            with # are comments. None takes that of the recipe.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a set is there twice or a value is no percentage; the
            message has the file and the set.
    """
    path = repository_root() / _FILE if path is None else path
    with path.open(encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        rows = list(csv.DictReader(lines, delimiter="\t"))
    sets = tuple(str(row.get("set")) for row in rows)
    twice = [name for place, name in enumerate(sets) if name in sets[:place]]
    if twice:
        raise ValueError(f"{path} has the set {twice[0]!r} twice; leave one out")
    values = {
        metric: np.array(
            [[[_percent(path, row, f"{loss}_{metric}")] for loss in _LOSSES] for row in rows]
        )
        for metric in METRICS
    }
    nothing = np.zeros((len(sets), len(_LOSSES)), dtype=np.int64)
    return StudyScores("source", _LOSSES, sets, (0,) * len(sets), values, nothing, nothing[:, 0])


def _percent(path: Path, row: dict[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        value = -1.0
    if not 0.0 <= value <= 100.0:
        raise ValueError(
            f"{path}: {column} of {row.get('set')!r} is {row.get(column)!r}; it must be a "
            "percentage. Restore the file from version control"
        )
    return value


def on_shared_sets(scores: StudyScores, source: StudyScores) -> tuple[StudyScores, StudyScores]:
    """Both on the sets that both have, in the same order."""
    names = [name for name in scores.sets if name in source.sets]
    return scores.of_sets(names), source.of_sets(names)


def claims_of_source(scores: StudyScores, source: StudyScores) -> list[Claim]:
    """The counts that the source gives; none where a loss of its three is absent."""
    if not set(_LOSSES) <= set(scores.losses):
        return []
    here, same = on_shared_sets(scores, source)
    if not here.sets:
        here = scores
    claims = []
    for metric in METRICS:
        for text, others in (
            ("best of the three", ("ce", "rescaled_square")),
            ("better than ce", ("ce",)),
        ):
            claims.append(
                Claim(
                    f"squentropy {text} in {declared(metric).title}",
                    _count(source, metric, others),
                    _count(same, metric, others) if same.sets else None,
                    _count(here.rounded(1), metric, others),
                    _count(here, metric, others),
                )
            )
    return claims


def _count(scores: StudyScores, metric: str, others: Sequence[str]) -> Count:
    """Of squentropy; a set on which a network of it diverged counts for it in no way."""
    lead = leads(scores, metric, "squentropy", others)
    sound = np.isfinite(scores.means(metric)[:, scores.losses.index("squentropy")])
    return Count(int((sound & (lead > 0)).sum()), int((sound & (lead == 0)).sum()))


def agreements(scores: StudyScores, source: StudyScores, metric: str) -> list[Agreement]:
    """Each loss that both have, then the differences of squentropy to the others.

    Returns:
        Nothing where no set without a diverged network is in the source.
    """
    here, same = on_shared_sets(scores.sound, source)
    if not here.sets:
        return []
    own, its = (dict(zip(one.losses, one.means(metric).T, strict=True)) for one in (here, same))
    losses = [loss for loss in here.losses if loss in its]
    pairs = {loss: (own[loss], its[loss]) for loss in losses}
    if "squentropy" in losses:
        for other in losses:
            if other != "squentropy":
                pairs[f"squentropy - {other}"] = (
                    own["squentropy"] - own[other],
                    its["squentropy"] - its[other],
                )
    return [_agreement(what, *values) for what, values in pairs.items()]


def _agreement(what: str, here: NDArray[np.float64], source: NDArray[np.float64]) -> Agreement:
    low = high = np.nan
    if len(here) > 1:
        interval = compare_means(values_a=here, values_b=source)
        low, high = interval.low, interval.high
    means = float(here.mean()), float(source.mean())
    return Agreement(what, *means, means[0] - means[1], low, high, correlation(here, source))


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's, of (S,) and (S,); NaN of fewer than three, or where nothing varies."""
    if len(a) < 3 or min(a.std(), b.std()) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])
