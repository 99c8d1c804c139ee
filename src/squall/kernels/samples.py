"""Training rows, in memory or mapped from disk, that are read in parts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

__all__ = ["Samples", "first_not_finite"]

READ_ROWS = 16384
# That are read together, and so many batches that they are dealt out to.
BLOCK_ROWS = 16
# Squares of what is larger or smaller would leave the range of float32, or its precision.
PLAIN_RANGE = (2.0**-30, 2.0**30)
LARGEST = 1e150  # whose square float64 still holds


@dataclass(frozen=True)
class Samples:
    """Features and targets of some rows.

    Args:
        X: (N, D) features.
        y: (N,) or (N, F) targets.
        used: (n,) which of the rows, ascending; None for all.
    """

    X: NDArray[Any]
    y: NDArray[Any]
    used: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.X) if self.used is None else len(self.used)

    def with_columns(self) -> Self:
        """The same with targets (N, F)."""
        return type(self)(self.X, self.y[:, None] if self.y.ndim == 1 else self.y, self.used)

    def take(self, places: NDArray[np.intp]) -> Self:
        """A copy of some of the rows, in this order."""
        rows = places if self.used is None else self.used[places]
        return type(self)(self.X[rows], self.y[rows])

    def gathered(self) -> Self:
        """The same with only the rows that are used."""
        return self if self.used is None else self.take(np.arange(len(self)))

    def batches(self, size: int, *, seed: int, turn: int) -> list[NDArray[np.intp]]:
        """All rows in batches, in an order that `seed` and `turn` decide.

        Blocks of neighbouring rows are dealt out to some consecutive batches, so that a disk reads
        a page once and yet the rows of a batch lie apart: neighbouring frames are much alike, and
        steps are as long as batches of unlike rows allow.
        """
        rng = np.random.default_rng((seed, turn))
        blocks = rng.permutation(math.ceil(len(self) / BLOCK_ROWS))
        order = (blocks[:, None] * BLOCK_ROWS + np.arange(BLOCK_ROWS)).ravel()
        order = order[order < len(self)]
        batches = []
        for start in range(0, len(order), BLOCK_ROWS * size):
            dealt = rng.permutation(order[start : start + BLOCK_ROWS * size])
            cuts = range(0, len(dealt), size)
            batches += [np.sort(dealt[cut : cut + size]) for cut in cuts]
        return batches

    def mean_and_scale(self, name: str) -> tuple[NDArray[np.float64], float]:
        """The mean of each column, and the power of two that brings extreme deviations to about 1.

        Args:
            name: `X` or `y`.

        Raises:
            ValueError: a value is too large to square.
        """
        total: NDArray[np.float64] | float = 0.0
        least, most = np.inf, -np.inf
        for part in self._parts(name):
            total = total + part.sum(0, dtype=np.float64)
            least, most = np.minimum(least, part.min(0)), np.maximum(most, part.max(0))
        mean = np.atleast_1d(total / len(self))
        if (extreme := float(np.maximum(-least, most).max())) > LARGEST:
            raise ValueError(f"a value of {extreme:g} is too large to square; scale the data")
        largest = float(np.maximum(most - mean, mean - least).max())
        if not largest or PLAIN_RANGE[0] <= largest <= PLAIN_RANGE[1]:
            return mean, 1.0
        return mean, 2.0 ** -math.frexp(largest)[1]

    def _parts(self, name: str) -> Iterator[NDArray[Any]]:
        values: NDArray[Any] = getattr(self, name)
        for start in range(0, len(self), READ_ROWS):
            rows = slice(start, start + READ_ROWS)
            yield values[rows] if self.used is None else values[self.used[rows]]


def first_not_finite(values: NDArray[Any]) -> int | None:
    """The first row with a value that is NaN or infinite."""
    for start in range(0, len(values), READ_ROWS):
        part = values[start : start + READ_ROWS]
        wrong = ~np.isfinite(part).reshape(len(part), -1).all(1)
        if wrong.any():
            return start + int(wrong.argmax())
    return None
