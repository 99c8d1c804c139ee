"""What may be wrong with samples that are read well: their scale, and channels that cancel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Doubts"]

# A decoder overshoots, Opus by a factor of 4 at worst; rounded floats are a little beyond 1.
_LOSSY_PEAK = 10.0
_PEAK = 1.001
_FAINT_PEAK = 1e-4  # three steps of 16 bits


class Doubts:
    """Gathered block by block.

    Args:
        is_lossy: whether the samples come from a decoder that may overshoot full scale.
    """

    def __init__(self, *, is_lossy: bool) -> None:
        self._highest = _LOSSY_PEAK if is_lossy else _PEAK
        self._peak = 0.0
        self._samples = 0
        # Sums and sums of squares, of the mean of the channels and of each channel.
        self._sums = np.zeros(2)
        self._of_channels = np.zeros((2, 1))

    def add(self, samples: NDArray[np.float32]) -> None:
        """Take in the next block, (N, channels)."""
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))
        if samples.shape[1] == 1:
            return
        self._samples += len(samples)
        wide = samples.astype(np.float64)
        mean = wide.mean(axis=1)
        self._sums += (mean.sum(), (mean**2).sum())
        self._of_channels = self._of_channels + np.stack([wide.sum(axis=0), (wide**2).sum(axis=0)])

    def words(self) -> tuple[str, ...]:
        """The doubts about all blocks together, in words; empty for nearly all files."""
        doubts = []
        if self._peak > self._highest:
            doubts.append(
                f"its peak is {self._peak:.5g} where full scale is 1: scale its samples to [-1, 1]"
            )
        elif 0.0 < self._peak < _FAINT_PEAK:
            doubts.append(
                f"its peak is {self._peak:.2g} where full scale is 1: too quiet to be told "
                "from rounding"
            )
        if self._cancel():
            doubts.append("its channels cancel when they are mixed down: give it as one of them")
        return tuple(doubts)

    def _cancel(self) -> bool:
        """Whether the mean of the channels has under a tenth of the power that it has of channels
        which have nothing in common; of two this is a correlation below -0.9.
        """
        if not self._samples:
            return False
        count, channels = self._samples, self._of_channels.shape[1]
        total, squares = self._sums / count
        totals, squares_of = self._of_channels / count
        power_of_mean = squares - total**2
        mean_power = np.mean(squares_of - totals**2)
        return bool(power_of_mean * channels < 0.1 * mean_power)
