"""Bootstrap intervals of error rates and means, and of their paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.alignment import ErrorCounts
from squall.scoring.resampling import (
    BootstrapDifference,
    BootstrapInterval,
    bootstrap_statistic,
    compare_statistics,
)

__all__ = [
    "StackedCounts",
    "bootstrap_mean",
    "bootstrap_rate",
    "check_counts",
    "compare_means",
    "compare_rates",
    "stack_counts",
]


@dataclass(frozen=True, eq=False)
class StackedCounts:
    """Counts of N utterances, recognised by S models.

    Args:
        ids: (N,) the utterances, sorted.
        errors: (S, N) float64, whole numbers.
        lengths: (N,) float64, whole numbers: reference tokens.
    """

    ids: tuple[str, ...]
    errors: NDArray[np.float64]
    lengths: NDArray[np.float64]


def stack_counts(models: Sequence[Mapping[str, ErrorCounts]]) -> StackedCounts:
    """Put the counts of several models in the same order of utterances.

    Args:
        models: counts by utterance id, one mapping per model: all seeds of all systems that are to
            be compared, so that their utterances are known to be the same.

    Raises:
        ValueError: there is no model or no utterance, or an utterance is missing in a model or has
            another number of reference tokens there; the message names it.

    >>> one, two = {"u1": ErrorCounts(1, 0, 0, 4)}, {"u1": ErrorCounts(0, 2, 0, 4)}
    >>> stack_counts([one, two]).errors.tolist()
    [[1.0], [2.0]]
    """
    if not models or not models[0]:
        raise ValueError("no counts to stack: at least one model with one utterance is needed")
    first = models[0]
    for number, counts in enumerate(models):
        different = sorted(set(first) ^ set(counts))
        if different:
            raise ValueError(
                f"models 0 and {number} have different utterances: {len(different)} are only in "
                f"one of them, the first is {different[0]}. Score both on the same utterances"
            )
        for id in first:
            if first[id].reference != counts[id].reference:
                raise ValueError(
                    f"utterance {id} has {first[id].reference} reference tokens for model 0, "
                    f"{counts[id].reference} for model {number}; the references must be the same"
                )
    ids = tuple(sorted(first))
    errors = np.array([[counts[id].errors for id in ids] for counts in models], dtype=np.float64)
    return StackedCounts(ids, errors, np.array([float(first[id].reference) for id in ids]))


def bootstrap_rate(
    *,
    errors: ArrayLike,
    lengths: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapInterval:
    """Give the error rate of one system, sum of errors / sum of lengths, with its interval.

    Args and errors are those of `compare_rates`; so is what the interval speaks about.

    >>> found = bootstrap_rate(errors=[1, 0, 2, 1], lengths=[10, 10, 10, 10])
    >>> found.value, found.units
    (0.1, 4)
    """
    _, sums = _rate_sums(lengths, errors=errors)
    return bootstrap_statistic(
        sums=sums[0], statistic=_ratio, groups=groups, resamples=resamples, level=level, seed=seed
    )


def compare_rates(
    *,
    errors_a: ArrayLike,
    errors_b: ArrayLike,
    lengths: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapDifference:
    """Give the difference of two error rates, rate(A) - rate(B), with its interval and p value.

    In each resample the same utterances are drawn for both systems, with replacement. The rate is
    the ratio of the sums over what was drawn, sum of errors / sum of lengths, not a mean of rates.

    Args:
        errors_a, errors_b: (N,) whole numbers, errors per utterance of one model of each system; or
            (S, N) of S models of that system, trained with different seeds. S may differ.
        lengths: (N,) whole numbers, reference tokens per utterance; some may be 0.
        groups: (N,) labels, such as speakers. Whole groups are then drawn in place of utterances.
        resamples: how many.
        level: nominal coverage of the interval.
        seed: of the draws. The same seed gives the same resamples for any two systems.

    Returns:
        The difference, negative where A has fewer errors. Systems with the same counts have p = 1.

    Raises:
        ValueError: shapes do not fit each other, a count is negative or not whole, there is no
            reference token in all or in one of the resamples, only one utterance or group, or
            `level` or `resamples` is out of range.

    What the interval speaks about is what is drawn:
    - utterances: the models at hand, on other utterances of the same speakers. Utterances of a
      speaker are alike, so that the interval is too narrow for other speakers.
    - groups=speakers: the models at hand, on other speakers.
    - (S, N) with S > 1: in each resample S - 1 of the S models are drawn as well, for each system
      on its own, and their rates are averaged. It then speaks about the training with its loss,
      with other seeds; not about one model. A system with S = 1 stays as it is. To speak about the
      mean of these S models alone, give their summed errors with S times the lengths.

    Convention: p = min(1, 2 (1 + min(#{d <= 0}, #{d >= 0})) / (resamples + 1)) over the differences
    d of the resamples: it is below 1 - level only where the interval leaves 0 out, and never 0.
    Others move the differences to mean 0 and count those that are as large as the observed one.

    Convention: of n utterances, groups or seeds n - 1 are drawn (McCarthy and Snowden 1985, Rao and
    Wu 1988), so that the variance of a mean is estimated without bias. Bisani and Ney draw n, which
    is the same for hundreds of utterances, but gives a standard deviation 11 % too small for five
    seeds. What remains is that few units are taken for a normal distribution: an interval at 95 %
    over 10 speakers covers about 92 %, over 5 about 88 %. With models and utterances drawn at once,
    errors that are special to a model and an utterance count three times (Owen 2007): where these
    make up most of the spread, the interval is wider than it has to be.

    Source: Bisani and Ney, *Bootstrap estimates for confidence intervals in ASR performance
    evaluation*, ICASSP 2004.

    >>> better = compare_rates(errors_a=[1, 0, 2, 1], errors_b=[2, 1, 2, 2], lengths=[10] * 4)
    >>> round(better.value, 9), better.high <= 0.0, better.probability_lower > 0.95
    (-0.075, True, True)
    """
    _, sums = _rate_sums(lengths, errors_a=errors_a, errors_b=errors_b)
    return compare_statistics(
        sums_a=sums[0],
        sums_b=sums[1],
        statistic=_ratio,
        groups=groups,
        resamples=resamples,
        level=level,
        seed=seed,
    )


def bootstrap_mean(
    *,
    values: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapInterval:
    """Give the mean over items (STOI of files, square errors) of one system, with its interval.

    Args:
        values: (N,) finite numbers, one per item, or (S, N) of S models.
        groups, resamples, level, seed: as in `compare_rates`; groups are the clean utterances where
            each was mixed with several noises.

    Raises:
        ValueError: as in `compare_rates`, or a value is not finite.
    """
    return bootstrap_statistic(
        sums=_mean_sums(values, "values"),
        statistic=_ratio,
        groups=groups,
        resamples=resamples,
        level=level,
        seed=seed,
    )


def compare_means(
    *,
    values_a: ArrayLike,
    values_b: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapDifference:
    """Give the difference of two means over the same items, mean(A) - mean(B), with its interval.

    Args and errors are those of `bootstrap_mean`; p value and what the interval speaks about are as
    in `compare_rates`.
    """
    return compare_statistics(
        sums_a=_mean_sums(values_a, "values_a"),
        sums_b=_mean_sums(values_b, "values_b"),
        statistic=_ratio,
        groups=groups,
        resamples=resamples,
        level=level,
        seed=seed,
    )


def check_counts(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Give counts as float64; ValueError with `name` unless all are whole and not negative."""
    given = np.asarray(values)
    if given.dtype.kind not in "fiu":
        raise ValueError(f"{name} have type {given.dtype}; they must be numbers")
    counts = given.astype(np.float64)
    bad = ~(np.isfinite(counts) & (counts >= 0.0) & (counts == np.floor(counts)))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name}{list(place)} is {counts[place]:g}; counts are whole and not negative"
        )
    return counts


def _rate_sums(
    lengths: ArrayLike, **errors: ArrayLike
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    tokens = check_counts(lengths, "lengths")
    if tokens.ndim != 1:
        raise ValueError(f"lengths have shape {tokens.shape}; they must be (utterances,)")
    if not tokens.any():
        raise ValueError(
            f"the references of all {len(tokens)} utterances are empty: there is no error rate"
        )
    stacked = []
    for name, values in errors.items():
        counts = check_counts(values, name)
        if counts.ndim not in (1, 2) or counts.shape[-1] != len(tokens):
            raise ValueError(
                f"{name} have shape {counts.shape}, but there are {len(tokens)} lengths; they must "
                "be (utterances,) or (seeds, utterances), of the same utterances"
            )
        stacked.append(np.stack(np.broadcast_arrays(counts, tokens), axis=-1))
    return tokens, stacked


def _mean_sums(values: ArrayLike, name: str) -> NDArray[np.float64]:
    given = np.asarray(values)
    if given.ndim not in (1, 2) or given.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} have shape {given.shape} and type {given.dtype}; they must be numbers "
            "(items,) or (seeds, items)"
        )
    return np.stack(np.broadcast_arrays(given.astype(np.float64), 1.0), axis=-1)


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.full(sums.shape[:-1], np.nan)
    np.divide(sums[..., 0], sums[..., 1], out=ratio, where=sums[..., 1] > 0.0)
    return ratio
