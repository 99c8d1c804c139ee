"""The constant offset (DC) that recordings have: how large it is, and taking it away."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["OFFSET_SHARE", "describe_offset", "subtract_mean"]

OFFSET_SHARE = 0.05
"""A mean of more than this share of the signal's spread (standard deviation) is worth a word."""


def subtract_mean(samples: ArrayLike) -> NDArray[np.float32]:
    """A signal without its mean, x - sum(x) / N, computed in 64-bit floats.

    Nobody hears an offset, but energies count it: at an offset of five times the spread of the
    speech, 96 % of the energy is no speech.

    Args:
        samples: (N,) floats, at least one.

    Returns:
        (N,) float32; zeros for a constant signal.
    """
    exact = np.asarray(samples, np.float64)
    exact = exact - exact[0]  # so that of a constant nothing is left, not even rounding
    return np.asarray(exact - exact.mean(), np.float32)


def describe_offset(mean: float, spread: float) -> str:
    """Say that a signal has an offset; an empty text where it has none worth a word.

    Args:
        mean: of its samples.
        spread: their standard deviation.

    >>> describe_offset(-0.257, 0.048)
    'a constant offset of -0.257, 5.4 times its spread'
    >>> describe_offset(0.001, 0.048)
    ''
    """
    if not abs(mean) > OFFSET_SHARE * spread:
        return ""
    times = f", {abs(mean) / spread:.2g} times its spread" if spread else ""
    return f"a constant offset of {mean:.3g}{times}"
