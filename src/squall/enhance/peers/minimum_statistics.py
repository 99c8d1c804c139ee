"""Power of noise under speech, from the minima of the smoothed power of each frequency.

Source: Martin 2001, Noise power spectral density estimation based on optimal smoothing and minimum
statistics; numbers of equations are those of the paper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MinimumStatistics"]

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Smoothing.
_LARGEST_ALPHA = 0.96
_LEAST_ALPHA = 0.3
_LEAST_CORRECTION = 0.7
_LARGEST_BETA = 0.8

# A minimum is looked for in U windows of V frames: with frames every 16 ms over 1.5 s.
_U, _V = 8, 12

# M(D), table III: how the minimum of D values depends on D.
_TABLE_D = (1, 2, 5, 8, 10, 15, 20, 30, 40, 60, 80, 120, 140, 160)
_TABLE_M = (0, 0.26, 0.48, 0.58, 0.61, 0.668, 0.705, 0.762, 0.8, 0.841, 0.865, 0.89, 0.9, 0.91)

_BIAS_OF_SPREAD = 2.12  # a_v
_SLOPES = ((0.03, 8.0), (0.05, 4.0), (0.06, 2.0), (np.inf, 1.2))
"""Up to which mean of 1 / Q_eq a window's own minimum may be how many times that of all."""


class MinimumStatistics:
    """Follows the power of noise frame by frame.

    Args:
        power: (F,) what the squared magnitudes of the first frame are about, above 0.
    """

    def __init__(self, power: Array) -> None:
        self._smooth = power.copy()  # P
        self._mean, self._square = power.copy(), power**2  # of P: first and second moment
        self._noise: Array = power.copy()  # sigma_N^2
        self._correction = 1.0  # alpha_c
        self._minima = np.full((_U, len(power)), np.inf)  # of the last U windows
        self._minimum = np.full(len(power), np.inf)  # of this window, with the bias of D frames
        self._own = np.full(len(power), np.inf)  # of this window, with the bias of V frames
        self._lowest: Array = power.copy()  # P_min_u
        # Whether the minimum lies inside this window.
        self._local: Bools = np.zeros(len(power), bool)
        self._frame = 1  # within the window, from 1 to V

    def update(self, power: Array) -> Array:
        """Take the next frame.

        Args:
            power: (F,) its squared magnitudes, above 0.

        Returns:
            (F,) the power of the noise.
        """
        inverse_q = self._smooth_power(power)
        spread = 1 + _BIAS_OF_SPREAD * np.sqrt(inverse_q.mean())  # B_c, behind (23)
        unbiased = [self._smooth * spread * _minimum_bias(inverse_q, d) for d in (_U * _V, _V)]
        lower: Bools = unbiased[0] < self._minimum
        self._minimum = np.where(lower, unbiased[0], self._minimum)
        self._own = np.where(lower, unbiased[1], self._own)
        if self._frame == _V:
            self._end_window(lower, inverse_q.mean())
        else:
            if self._frame > 1:
                self._local |= lower
                self._lowest = np.minimum(self._own, self._lowest)
                self._noise = self._lowest
            self._frame += 1
        return self._noise

    def _smooth_power(self, power: Array) -> Array:
        """The next P; gives (F,) 1 / Q_eq, the spread of P, at most 1/2 (equations 3 to 23)."""
        ratio = self._smooth.sum() / power.sum()
        correction = max(1 / (1 + (ratio - 1) ** 2), _LEAST_CORRECTION)  # (9)
        self._correction = 0.7 * self._correction + 0.3 * correction  # (10)
        spread = 1 + (self._smooth / self._noise - 1) ** 2
        alpha: Array = _LARGEST_ALPHA * self._correction / spread  # (11)
        alpha = np.maximum(alpha, _LEAST_ALPHA)  # (12), without its smaller limit at high SNR
        self._smooth = alpha * self._smooth + (1 - alpha) * power  # (3)
        beta = np.minimum(alpha**2, _LARGEST_BETA)
        self._mean = beta * self._mean + (1 - beta) * self._smooth  # (20)
        self._square = beta * self._square + (1 - beta) * self._smooth**2  # (21)
        variance = np.maximum(self._square - self._mean**2, 0)  # (22)
        inverse_q: Array = np.minimum(variance / (2 * self._noise**2), 0.5)  # (23)
        return inverse_q

    def _end_window(self, lower: Bools, mean_inverse_q: float) -> None:
        """Keep the window's minimum, and follow noise that has grown."""
        self._local &= ~lower
        self._minima = np.roll(self._minima, 1, axis=0)
        self._minima[0] = self._minimum
        self._lowest = self._minima.min(axis=0)
        slope = next(slope for limit, slope in _SLOPES if mean_inverse_q < limit)
        grown = self._local & (self._own < slope * self._lowest) & (self._own > self._lowest)
        self._lowest = np.where(grown, self._own, self._lowest)
        self._minima[:, grown] = self._own[grown]
        self._noise = self._lowest
        self._minimum = np.full_like(self._minimum, np.inf)
        self._own = np.full_like(self._own, np.inf)
        self._local[:] = False
        self._frame = 1


def _minimum_bias(inverse_q: Array, frames: int) -> Array:
    """By how much the minimum of so many frames lies below the mean: B_min (16, 17)."""
    m = float(np.interp(frames, _TABLE_D, _TABLE_M))
    # 2 / Q~ with Q~ = (Q - 2 M) / (1 - M).
    bias: Array = 1 + (frames - 1) * 2 * (1 - m) * inverse_q / (1 - 2 * m * inverse_q)
    return bias
