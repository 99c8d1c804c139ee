"""Resamples of utterances, groups and seeds, and the statistics that they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BootstrapDifference",
    "BootstrapInterval",
    "NoIntervalError",
    "Statistic",
    "bootstrap_statistic",
    "compare_statistics",
]

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A function of sums (..., K) over the units of a resample, that gives (...) numbers."""

_BLOCK_ELEMENTS = 2**19  # 4 MiB for each of the three arrays of a block of resamples
_ROUNDING = 1e-12  # relative; two equal rates that were summed in another order differ by less


class NoIntervalError(ValueError):
    """Of these data no interval can be given; the message says why."""


@dataclass(frozen=True)
class BootstrapInterval:
    """A statistic with its percentile interval.

    Args:
        value: the statistic of the data; of several seeds the mean over them.
        low, high: the interval; the value is inside for all but strongly skewed statistics.
        level: nominal coverage, in (0, 1).
        units: how many utterances or groups were resampled.
        resamples: how many resamples were drawn.
    """

    value: float
    low: float
    high: float
    level: float
    units: int
    resamples: int


@dataclass(frozen=True)
class BootstrapDifference(BootstrapInterval):
    """The difference A - B of a statistic of two systems on the same units.

    Args:
        p_value: two-sided, of the hypothesis that the difference is 0; see `compare_rates`.
        probability_lower: share of the resamples in which A is below B, where they are equal
            counted half. Of error rates this is the probability that A improves on B; of what is
            better when higher, 1 minus it is.
    """

    p_value: float
    probability_lower: float


def bootstrap_statistic(
    *,
    sums: ArrayLike,
    statistic: Statistic,
    groups: ArrayLike | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapInterval:
    """Give any statistic that is made from sums over utterances, with its interval.

    An error rate is made from two sums, an ECE from two per bin: `counts`, and `correct_counts` -
    `confidence_sums` of `ReliabilityBins` of each utterance.

    Args:
        sums: (N, K) finite numbers that add up over utterances, or (S, N, K) of S models.
        statistic: takes sums (..., K) of a resample, gives (...) finite numbers. It is computed per
            model and then averaged over the models.
        groups, resamples, level, seed: as in `compare_rates`.

    Raises:
        ValueError: as in `compare_rates`, or the statistic is not finite. It is a `NoIntervalError`
            where the call is right and the data are too few, or have no such statistic.

    Convention: the percentile interval does not correct for bias. An ECE of a resample is larger on
    average than that of the data, as every bin's gap gets noise added; the difference of two
    systems suffers less.
    """
    _check_level(level)
    observed, drawn, units = _resample([sums], statistic, groups, resamples, seed)
    low, high = _percentiles(drawn[0], level)
    return BootstrapInterval(float(observed[0]), low, high, level, units, resamples)


def compare_statistics(
    *,
    sums_a: ArrayLike,
    sums_b: ArrayLike,
    statistic: Statistic,
    groups: ArrayLike | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapDifference:
    """Give the difference A - B of a statistic as in `bootstrap_statistic`, with its interval.

    Args and errors are those of `bootstrap_statistic`; p value and what the interval speaks about
    are as in `compare_rates`.
    """
    _check_level(level)
    observed, drawn, units = _resample([sums_a, sums_b], statistic, groups, resamples, seed)
    value = _subtract(observed[:1], observed[1:])[0]
    differences = _subtract(drawn[0], drawn[1])
    low, high = _percentiles(differences, level)
    below, above = int((differences < 0.0).sum()), int((differences > 0.0).sum())
    ties = resamples - below - above
    return BootstrapDifference(
        value=float(value),
        low=low,
        high=high,
        level=level,
        units=units,
        resamples=resamples,
        p_value=min(1.0, 2.0 * (1 + min(below, above) + ties) / (resamples + 1)),
        probability_lower=(below + 0.5 * ties) / resamples,
    )


def _resample(
    systems: Sequence[ArrayLike],
    statistic: Statistic,
    groups: ArrayLike | None,
    resamples: int,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Statistic of each system (systems,), of its resamples (systems, R), and the units drawn."""
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; it must be at least 1")
    pooled = _pool([np.asarray(sums) for sums in systems], groups)
    units = pooled[0].shape[1]
    if units < 2:
        what = "utterance" if groups is None else "group"
        raise NoIntervalError(f"only one {what}: there is nothing to tell its spread from")
    drawn = np.empty((len(systems), resamples))
    widest = max(sums[:, 0].size for sums in pooled)
    rows = max(1, _BLOCK_ELEMENTS // max(units, widest))
    # A generator of its own for each purpose, so that the size of blocks changes no draw.
    of_units, *of_seeds = (
        np.random.default_rng(source)
        for source in np.random.SeedSequence(seed).spawn(1 + len(systems))
    )
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        weights = _draw_weights(of_units, stop - start, units)
        for system, (sums, random) in enumerate(zip(pooled, of_seeds, strict=True)):
            drawn[system, start:stop] = _evaluate(sums, statistic, weights, random)
    everything = np.ones((1, units))
    observed = np.array([_evaluate(sums, statistic, everything, None)[0] for sums in pooled])
    if not np.isfinite(observed).all():
        raise NoIntervalError("the statistic of the data is not finite")
    undefined = int((~np.isfinite(drawn)).any(axis=0).sum())
    if undefined:
        raise NoIntervalError(
            f"the statistic is undefined in {undefined} of {resamples} resamples: too few of the "
            f"{units} utterances or groups have reference tokens"
        )
    return observed, drawn, units


def _pool(
    systems: Sequence[NDArray[np.float64]], groups: ArrayLike | None
) -> list[NDArray[np.float64]]:
    """Sums (S, units, K) of each system; the units are the groups, or else the utterances."""
    for sums in systems:
        if sums.ndim not in (2, 3) or 0 in sums.shape or sums.dtype.kind not in "fiu":
            raise ValueError(
                f"sums have shape {sums.shape} and type {sums.dtype}; they must be numbers "
                "(utterances, sums) or (seeds, utterances, sums), at least one of each"
            )
        if sums.shape[-2] != systems[0].shape[-2]:
            raise ValueError(
                f"A has {systems[0].shape[-2]} utterances or items, B {sums.shape[-2]}; a paired "
                "difference needs the same ones"
            )
        if not np.isfinite(sums).all():
            place = np.argwhere(~np.isfinite(sums))[0]
            raise ValueError(
                f"the value of utterance or item {place[-2]} is {sums[tuple(place)]}, not finite"
            )
    stacks = [sums.astype(np.float64).reshape(-1, *sums.shape[-2:]) for sums in systems]
    if groups is None:
        return stacks
    labels = np.asarray(groups)
    items = stacks[0].shape[1]
    if labels.shape != (items,):
        raise ValueError(
            f"groups have shape {labels.shape}, but there are {items} utterances or items; each "
            "needs one label"
        )
    names, members = np.unique(labels, return_inverse=True)
    pooled = []
    for stack in stacks:
        totals = np.zeros((len(names), stack.shape[0], stack.shape[2]))
        np.add.at(totals, members, stack.swapaxes(0, 1))
        pooled.append(totals.swapaxes(0, 1))
    return pooled


def _draw_weights(random: np.random.Generator, rows: int, count: int) -> NDArray[np.float64]:
    """(rows, count) how often each of `count` things is among count - 1 drawn with replacement."""
    drawn = random.integers(0, count, size=(rows, count - 1))
    drawn += count * np.arange(rows)[:, np.newaxis]
    weights = np.bincount(drawn.ravel(), minlength=rows * count)
    return weights.reshape(rows, count).astype(np.float64)


def _evaluate(
    sums: NDArray[np.float64],
    statistic: Statistic,
    weights: NDArray[np.float64],
    random: np.random.Generator | None,
) -> NDArray[np.float64]:
    """The statistic (R,) of resamples with weights (R, units), averaged over the drawn seeds."""
    seeds, units, columns = sums.shape
    flat = sums.transpose(1, 0, 2).reshape(units, seeds * columns)
    values = statistic((weights @ flat).reshape(len(weights), seeds, columns))
    if random is None or seeds == 1:
        mean: NDArray[np.float64] = values.mean(axis=1)
        return mean
    chosen = _draw_weights(random, len(weights), seeds)
    return np.asarray((values * chosen).sum(axis=1) / (seeds - 1), dtype=np.float64)


def _subtract(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    # Rates of several seeds that are equal on paper must not count as better or worse.
    difference = a - b
    difference[np.abs(difference) <= _ROUNDING * np.maximum(np.abs(a), np.abs(b))] = 0.0
    return difference


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}; it must be between 0 and 1, such as 0.95")


def _percentiles(drawn: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
