"""Softmax with a temperature, and the temperature that makes held-out data most likely."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.arrays import as_array
from squall.scoring.reliability import check_confidences

__all__ = [
    "PROB_FLOOR",
    "TEMPERATURE_BOUNDS",
    "TemperatureFit",
    "check_logits",
    "check_targets",
    "check_temperature",
    "fit_confidence_temperature",
    "fit_other_temperatures",
    "fit_temperature",
    "logit_blocks",
    "scale_confidences",
    "softmax",
]

PROB_FLOOR = 2.0**-52
"""What a given probability of 0 counts as where its logarithm is taken: 36.04 nats."""

TEMPERATURE_BOUNDS = (1e-3, 1e3)
"""The smallest and the largest temperature that a fit gives."""

_LARGEST_LOGIT = 1e100  # squares of differences stay finite
_BLOCK_ELEMENTS = 2**18  # 2 MiB of float64: a block and its exponentials fit the cache
_TOLERANCE = 1e-8  # relative, of T
_TOLERANCE_OF_OTHERS = 1e-4  # before the last step


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature fitted on held-out data.

    Args:
        temperature: T > 0, which logits are divided by; above 1 where they are overconfident.
        nll_before: mean negative log-likelihood of the data at T = 1, in nats.
        nll: the same at `temperature`; not larger.
        at_bound: the likelihood still rises towards this end of `TEMPERATURE_BOUNDS`, so that the
            best temperature lies beyond. It is 0 where every sample is right, and infinity where
            the logits do not point to the targets at all.
    """

    temperature: float
    nll_before: float
    nll: float
    at_bound: bool


def softmax(*, logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits: p_j = exp(f_j / T) / sum_i exp(f_i / T).

    Args:
        logits: (N, C) finite.
        temperature: T > 0.

    Returns:
        (N, C) float64, rows that sum to 1.

    Raises:
        ValueError: the shape is not (N, C), a logit is not finite or larger than 1e100 in size (the
            message names the row), or the temperature is not positive and finite.

    >>> softmax(logits=[[0.0, 0.0], [0.0, -800.0]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    check_temperature(temperature)
    given = check_logits(logits)
    probs = np.empty(given.shape)
    for start, shifted in logit_blocks(given):
        powers = np.exp(shifted / temperature)
        powers /= powers.sum(axis=1, keepdims=True)
        probs[start : start + len(shifted)] = powers
    return probs


def fit_temperature(*, logits: ArrayLike, targets: ArrayLike) -> TemperatureFit:
    """Find the temperature that makes held-out targets most likely.

    T minimises -(1/N) sum_n log softmax(f_n / T)[y_n], which is convex in 1/T: Newton's method for
    the zero of its slope, held in a bracket.

    Args:
        logits: (N, C) of tokens that the model was not trained on, in any floating type. They are
            read in blocks of rows, about ten times over; a memory-mapped file will do.
        targets: (N,) integers in [0, C).

    Returns:
        The temperature, to 8 digits, or one of `TEMPERATURE_BOUNDS`. It is 1 where the likelihood
        does not change around 1: with one class, with equal logits, or where every sample is right
        and certain in float64.

    Raises:
        ValueError: no samples, or as in `softmax` and `score_logits`.

    Convention: no statistic of fixed size stands for the logits here, as each temperature weighs
    all C of them differently. Keep those of the held-out set, or of a random part of it: one
    parameter needs few samples.

    Source: Guo et al. 2017, section 4.2.
    """
    given = check_logits(logits)
    labels = check_targets(targets, samples=len(given), classes=given.shape[1])
    if not len(given):
        raise ValueError("no samples to fit a temperature on")
    slopes_at = partial(_slopes, given, labels)
    start = slopes_at(1.0)
    if start.slope == 0.0:
        return TemperatureFit(1.0, start.nll, start.nll, at_bound=False)
    # beta = 1 / T has to grow where the loss falls with it.
    bound = TEMPERATURE_BOUNDS[0 if start.slope < 0.0 else 1]
    end = slopes_at(1.0 / bound)
    if start.slope * end.slope >= 0.0:
        return TemperatureFit(bound, start.nll, end.nll, at_bound=True)
    best = _minimise(slopes_at, start, end, tolerance=_TOLERANCE)
    return TemperatureFit(1.0 / best.beta, start.nll, best.nll, at_bound=False)


def fit_other_temperatures(parts: Sequence[tuple[ArrayLike, ArrayLike]]) -> list[float]:
    """Find for each part of the data the temperature that makes all others most likely.

    As `fit_temperature` on the others, to 7 digits. What was read at a temperature serves all
    parts: theirs are near each other, so that together they take little longer than one.

    Args:
        parts: at least two; logits (N, C) and targets (N,) of each, of one C, none of them empty.

    Raises:
        ValueError: as in `fit_temperature`.
    """
    given = [check_logits(logits) for logits, _ in parts]
    labels = [
        check_targets(targets, samples=len(own), classes=own.shape[1])
        for own, (_, targets) in zip(given, parts, strict=True)
    ]
    known: dict[float, list[_Slopes]] = {}

    def of_others(part: int, beta: float) -> _Slopes:
        if beta not in known:
            known[beta] = [_slopes(*own, beta) for own in zip(given, labels, strict=True)]
        return _pooled([(len(given[k]), found) for k, found in enumerate(known[beta]) if k != part])

    return [_fit_from(known, partial(of_others, part)) for part in range(len(given))]


def _fit_from(known: Mapping[float, Any], slopes_at: Callable[[float], _Slopes]) -> float:
    """A temperature whose search starts from the nearest points at which it is known."""
    if slopes_at(1.0).slope == 0.0:
        return 1.0
    found = [slopes_at(beta) for beta in known]
    for sign, bound in zip((1.0, -1.0), TEMPERATURE_BOUNDS, strict=True):
        if not any(sign * one.slope > 0.0 for one in found):
            found.append(slopes_at(1.0 / bound))
            if sign * found[-1].slope <= 0.0:
                return bound
    low = max((one for one in found if one.slope < 0.0), key=lambda one: one.beta)
    high = min((one for one in found if one.slope > 0.0), key=lambda one: one.beta)
    start, end = sorted((low, high), key=lambda one: abs(one.slope))
    best = _minimise(slopes_at, start, end, tolerance=_TOLERANCE_OF_OTHERS)
    # The last step of Newton's method squares the distance, and needs no reading.
    return 1.0 / (best.beta - best.slope / best.curvature if best.curvature > 0.0 else best.beta)


def fit_confidence_temperature(*, confidences: ArrayLike, correct: ArrayLike) -> TemperatureFit:
    """Find the temperature for confidences of which only the one number is known, as of words.

    T minimises the negative log-likelihood of `correct` under the scaled confidences
    sigmoid(logit(c) / T), of `scale_confidences`.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.

    Returns:
        As `fit_temperature`. A confidence of 0.5 stays 0.5 at every temperature: confidences above
        it that are right in less than half of the cases give the upper bound.

    Raises:
        ValueError: no samples, or as in `bin_confidences`.
    """
    values, right = check_confidences(confidences, correct)
    # The probability of "right" is a softmax over the two logits 0 and logit(c).
    logits = np.stack([np.zeros(len(values)), _logit(values)], axis=1)
    return fit_temperature(logits=logits, targets=right.astype(np.int64))


def scale_confidences(*, confidences: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Confidences at a temperature: sigmoid(logit(c) / T).

    Args:
        confidences: (N,) in [0, 1]; those within `PROB_FLOOR` of 0 and 1 count as that far away.
        temperature: T > 0, from `fit_confidence_temperature`.

    Returns:
        (N,) float64 in [0, 1], in the same order of size.

    Raises:
        ValueError: a confidence is not in [0, 1], the shape is not (N,), or the temperature is not
            positive and finite.
    """
    check_temperature(temperature)
    shape = np.shape(confidences)
    values, _ = check_confidences(confidences, np.zeros(shape, dtype=np.bool_))
    logits = _logit(values) / temperature
    powers = np.exp(-np.abs(logits))  # at most 1: no overflow
    scaled: NDArray[np.float64] = np.where(logits < 0.0, powers, 1.0) / (1.0 + powers)
    return scaled


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless the temperature is positive and finite."""
    if not (0.0 < temperature < math.inf):
        raise ValueError(f"the temperature is {temperature}; it must be positive and finite")


def check_logits(logits: ArrayLike) -> NDArray[Any]:
    """Give logits as an array (N, C), C at least 1, as they are; values are checked by the block.

    Raises:
        ValueError: the shape is another, or they are not real numbers.
    """
    given = as_array(logits)
    if given.ndim != 2 or not given.shape[1] or given.dtype.kind not in "fiu":
        raise ValueError(
            f"logits have shape {given.shape} and type {given.dtype}; they must be numbers "
            "(samples, classes), with at least one class"
        )
    return given


def check_targets(targets: ArrayLike, *, samples: int, classes: int) -> NDArray[np.int64]:
    """Give targets as int64 (N,).

    Raises:
        ValueError: the shape is another, they are not integers, or one is outside [0, C): the
            message has the first row that is wrong.
    """
    given = as_array(targets)
    if given.shape != (samples,):
        raise ValueError(f"targets have shape {given.shape}; {samples} samples need ({samples},)")
    if not samples:
        return np.zeros(0, dtype=np.int64)
    if given.dtype.kind not in "iu":
        raise ValueError(f"targets are {given.dtype}; they must be integers")
    bad = (given < 0) | (given >= classes)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"the target of row {row} is {given[row]}; it must be in [0, {classes}), "
            "and padding has to be left out"
        )
    return given.astype(np.int64)


def logit_blocks(logits: NDArray[Any]) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Go through logits a few rows at a time.

    Args:
        logits: (N, C).

    Yields:
        The index of a block's first row, and the block as a new float64 array (n, C), each row
        less its largest value, so that no exponential overflows.

    Raises:
        ValueError: a logit is not finite, or larger than 1e100 in size.
    """
    rows = max(1, _BLOCK_ELEMENTS // logits.shape[1])
    for start in range(0, len(logits), rows):
        block = logits[start : start + rows].astype(np.float64)
        bad = ~(np.abs(block) <= _LARGEST_LOGIT)  # also where it is NaN
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(
                f"the logit of row {start + row} and class {column} is {block[row, column]:g}; "
                f"it must be finite, at most {_LARGEST_LOGIT:g} in size"
            )
        block -= block.max(axis=1, keepdims=True)
        yield start, block


def _logit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(values, PROB_FLOOR, 1.0 - PROB_FLOOR)
    odds: NDArray[np.float64] = np.log(kept / (1.0 - kept))
    return odds


@dataclass(frozen=True)
class _Slopes:
    """Mean negative log-likelihood at beta = 1 / T, and its two derivatives in beta."""

    beta: float
    nll: float
    slope: float
    curvature: float


def _slopes(logits: NDArray[Any], targets: NDArray[np.int64], beta: float) -> _Slopes:
    nll = slope = curvature = 0.0
    for start, z in logit_blocks(logits):
        z_target = z[np.arange(len(z)), targets[start : start + len(z)]]
        probs = np.exp(beta * z)  # (n, C)
        total = probs.sum(axis=1)
        probs /= total[:, None]
        mean = np.einsum("nc,nc->n", probs, z)
        nll += float((np.log(total) - beta * z_target).sum())
        slope += float((mean - z_target).sum())
        z -= mean[:, None]
        curvature += float(np.einsum("nc,nc,nc->", probs, z, z))
    return _Slopes(beta, nll / len(logits), slope / len(logits), curvature / len(logits))


def _pooled(parts: Sequence[tuple[int, _Slopes]]) -> _Slopes:
    """The means over several parts at one beta, each with its number of samples."""
    samples = sum(count for count, _ in parts)
    return _Slopes(
        parts[0][1].beta,
        sum(count * one.nll for count, one in parts) / samples,
        sum(count * one.slope for count, one in parts) / samples,
        sum(count * one.curvature for count, one in parts) / samples,
    )


def _minimise(
    slopes_at: Callable[[float], _Slopes], start: _Slopes, end: _Slopes, *, tolerance: float
) -> _Slopes:
    """The minimum between two points whose slopes have different signs."""
    low, high = sorted((start.beta, end.beta))
    here, newton_helps = start, True
    while high - low > tolerance * low:
        newton = here.beta - here.slope / here.curvature if here.curvature > 0.0 else math.inf
        if abs(newton - here.beta) <= tolerance * here.beta:
            break
        inside = newton_helps and low < newton < high
        last = here
        here = slopes_at(newton if inside else math.sqrt(low * high))
        low, high = (here.beta, high) if here.slope < 0.0 else (low, here.beta)
        # Each step halves the slope, or the next one halves the bracket: there is an end to it.
        newton_helps = abs(here.slope) <= 0.5 * abs(last.slope)
    return here
