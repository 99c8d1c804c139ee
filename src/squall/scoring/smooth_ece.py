"""Smooth calibration error: gaps between confidence and correctness under a kernel, no bins."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.reliability import check_confidences

__all__ = ["score_smooth_ece"]

_NARROWEST, _WIDEST = 1e-4, 1e3  # widths: the grid's step is 0.00006; beyond, all is one value
_CELLS = 2**14  # of the grid over [0, 1]: far below any width that 10^7 samples give
_HALVINGS = 40


def score_smooth_ece(
    *, confidences: ArrayLike, correct: ArrayLike, width: float | None = None
) -> float:
    """Smooth expected calibration error of confidences.

    smECE_w = integral over t in [0, 1] of |(1/N) sum_n K_w(t, c_n) (correct_n - c_n)|,
    where K_w is the normal density of standard deviation w, what leaves [0, 1] reflected at its
    ends. It never rises with w; the error is that at the one width where smECE_w = w.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.
        width: w of the kernel, at least 0.0001, in place of the one where error and width agree.

    Returns:
        The error as a fraction of 1, in [0, 1]; NaN where there are no samples. It does not depend
        on the order of the samples, to the last bit.

    Raises:
        ValueError: as in `bin_confidences`, or the width is too small or not finite.

    Convention: the kernel is reflected as often as it takes, as in the source. The source's package
    `relplot` reflects once, cuts the kernel off at half a unit from its middle, and finds the width
    to 0.001: its values differ by about 0.001.

    Source: Blasiok and Nakkiran, *Smooth ECE: principled reliability diagrams via kernel
    smoothing*, 2023.

    >>> round(score_smooth_ece(confidences=[0.75] * 4, correct=[True, False] * 2), 6)
    0.25
    """
    values, right = check_confidences(confidences, correct)
    if width is not None and not _NARROWEST <= width < math.inf:
        raise ValueError(f"the width is {width}; it must be {_NARROWEST} at least, and finite")
    if not len(values):
        return math.nan
    error = _error_of_width(values, right)
    if width is not None:
        return error(min(width, _WIDEST))
    low, high = 0.0, 1.0  # no error is above 1
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return error(high)


def _error_of_width(
    values: NDArray[np.float64], right: NDArray[np.bool_]
) -> Callable[[float], float]:
    """The error as a function of the width.

    On a circle of length 2, where each gap stands with its mirror image, smoothing is a product of
    Fourier coefficients.
    """
    order = np.lexsort((right, values))
    values, gaps = values[order], (right - values)[order] / len(values)
    places = values * _CELLS
    below = np.minimum(places.astype(np.int64), _CELLS - 1)
    share = places - below  # each gap is shared by the two points of the grid beside it
    on_grid = np.bincount(below, weights=gaps * (1.0 - share), minlength=_CELLS + 1)
    on_grid += np.bincount(below + 1, weights=gaps * share, minlength=_CELLS + 1)
    circle = np.concatenate([on_grid, on_grid[-2:0:-1]])
    circle[[0, _CELLS]] *= 2.0  # a gap at an end is its own mirror image
    coefficients = np.fft.rfft(circle)
    squares = np.square(np.pi * np.arange(len(coefficients)))

    def error(width: float) -> float:
        smooth = np.fft.irfft(coefficients * np.exp(-0.5 * width * width * squares), len(circle))
        heights = np.abs(smooth[: _CELLS + 1])
        return float(heights.sum() - 0.5 * (heights[0] + heights[-1]))

    return error
