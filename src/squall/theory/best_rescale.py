"""The R of the best predicted accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from squall.theory.setting import Setting

__all__ = ["BestRescale", "best_rescale"]


class _Prediction(Protocol):
    @property
    def accuracy(self) -> float: ...


@dataclass(frozen=True)
class BestRescale:
    """Where accuracy is best.

    Args:
        rescale: R; NaN where accuracy does not depend on it, or where there is no prediction.
        accuracy: there.
        flat: whether accuracy is the same over the whole range.
        at_edge: whether the best R is an end of the range, beyond which it may be better.
        predictions: how many settings were solved.
    """

    rescale: float
    accuracy: float
    flat: bool
    at_edge: bool
    predictions: int


def best_rescale(
    setting: Setting,
    predict: Callable[[Setting], _Prediction],
    *,
    low: float = 0.1,
    high: float = 100.0,
    tolerance: float = 1e-3,
) -> BestRescale:
    """Search R: nine values over the range, then golden section around the best of them.

    Args:
        setting: its own rescale is not used.
        predict: `solve` or `solve_printed`, or anything that returns an `accuracy`.
        low, high: the range of R, 0 < low < high.
        tolerance: of log R.

    Raises:
        ValueError: no such range.
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"R from {low} to {high} is no range of positive numbers")
    known: dict[float, float] = {}

    def accuracy(log_r: float) -> float:
        if log_r not in known:
            value = predict(replace(setting, rescale=math.exp(log_r))).accuracy
            known[log_r] = -math.inf if math.isnan(value) else value
        return known[log_r]

    grid = [float(x) for x in np.linspace(math.log(low), math.log(high), 9)]
    values = [accuracy(x) for x in grid]
    best = int(np.argmax(values))
    if math.isinf(values[best]):
        return BestRescale(math.nan, math.nan, False, False, len(known))
    if max(values) - min(values) < 1e-7:
        return BestRescale(math.nan, values[best], True, False, len(known))
    a, b = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    golden = (math.sqrt(5) - 1) / 2
    while b - a > tolerance:
        x, y = b - golden * (b - a), a + golden * (b - a)
        if accuracy(x) >= accuracy(y):
            b = y
        else:
            a = x
    at = max(known, key=lambda log_r: known[log_r])
    edge = min(at - grid[0], grid[-1] - at) <= tolerance
    return BestRescale(math.exp(at), known[at], False, edge, len(known))
