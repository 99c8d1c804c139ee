"""Isotonic regression: the rising curve from confidences to shares of what is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.arrays import as_array
from squall.scoring.reliability import check_confidences

__all__ = ["IsotonicFit", "fit_isotonic"]


@dataclass(frozen=True, eq=False)
class IsotonicFit:
    """A curve that never falls, through K points.

    Args:
        confidences: (K,) float64 in [0, 1], rising: the different ones that it was fitted on.
        shares: (K,) float64 in [0, 1], never falling: what was right at each.
    """

    confidences: NDArray[np.float64]
    shares: NDArray[np.float64]

    def recalibrate(self, confidences: ArrayLike) -> NDArray[np.float64]:
        """Confidences (N,) in [0, 1] on the curve: lines between its points, flat beyond them."""
        values = as_array(confidences)
        return np.asarray(np.interp(values, self.confidences, self.shares), dtype=np.float64)


def fit_isotonic(*, confidences: ArrayLike, correct: ArrayLike) -> IsotonicFit:
    """Find the curve that never falls and is nearest to what was right.

    It minimises sum_n (g(c_n) - correct_n)^2 over all g that never fall, and the negative
    log-likelihood too: neighbours whose shares fall are pooled until none do.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.

    Returns:
        The curve, which does not depend on the order of the samples.

    Raises:
        ValueError: no samples, or as in `bin_confidences`.

    Convention: equal confidences are one point with the share of all of them; between the points
    the curve is straight, as in scikit-learn. Others keep it level up to the next point.

    Source: Ayer et al. 1955 (pool adjacent violators); Zadrozny and Elkan 2002 (for calibration).

    >>> fit = fit_isotonic(confidences=[0.2, 0.4, 0.6, 0.8], correct=[False, True, False, True])
    >>> fit.shares
    array([0. , 0.5, 0.5, 1. ])
    """
    values, right = check_confidences(confidences, correct)
    if not len(values):
        raise ValueError("no samples to fit a curve on")
    distinct, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    rights = np.bincount(places.ravel(), weights=right).astype(np.int64)
    blocks: list[tuple[int, int, int]] = []  # points, samples and right ones of each
    for count, of_point in zip(counts.tolist(), rights.tolist(), strict=True):
        block = (1, count, of_point)
        # Products of whole numbers: rounding pools nothing.
        while blocks and blocks[-1][2] * block[1] > block[2] * blocks[-1][1]:
            last = blocks.pop()
            block = (last[0] + block[0], last[1] + block[1], last[2] + block[2])
        blocks.append(block)
    points, samples, right_ones = np.array(blocks).T
    return IsotonicFit(distinct, np.repeat(right_ones / samples, points))
