"""The Marchenko-Pastur law of the data's singular values, and what state evolution needs of it.

The data are n rows of d features, X_ij ~ N(0, 1/d), beta = n/d. Over the n eigenvalues s^2 of X X',
in the limit of large n and d,

    T(u)  = E[u / (s^2 + u)]          -u times the Stieltjes transform at -u,
    T2(u) = E[s^2 / (s^2 + u)^2]      = T'(u),
    T4(u) = E[s^4 / (s^2 + u)^2]      = 1 - T - u T'.

T is the positive root of beta T^2 + (1 - beta + u) T - u = 0. The formulas below are that root and
its derivative in forms that lose no digits for small and large u.

Source: Hui 2023, chapter 3, whose T, T2 and T4 these are; Marchenko and Pastur 1967.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SpectralMeans", "density", "share_of_zeros", "spectral_means", "support"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SpectralMeans:
    """Means over the eigenvalues s^2 of X X', each of the shape of u.

    Args:
        t: E[u / (s^2 + u)], in (max(0, 1 - 1/beta), 1).
        complement: 1 - t, exact where t is close to 1.
        t2: E[s^2 / (s^2 + u)^2], the derivative of t; positive.
        t4: E[s^4 / (s^2 + u)^2], in (0, 1).
    """

    t: Array
    complement: Array
    t2: Array
    t4: Array


def spectral_means(u: ArrayLike, beta: float) -> SpectralMeans:
    """T, T2 and T4 of the module's docstring.

    Args:
        u: positive and finite, of any shape; ridge over precision.
        beta: n/d, positive.

    Raises:
        ValueError: u or beta is not positive.

    >>> means = spectral_means(1.0, beta=1.0)
    >>> round(float(means.t), 6), round(float(means.t2), 6)  # (sqrt(5) - 1)/2
    (0.618034, 0.17082)
    """
    points = np.asarray(u, dtype=np.float64)
    if not np.all((points > 0) & np.isfinite(points)):
        raise ValueError(f"u is {points.tolist()}; it has to be positive and finite")
    _check_beta(beta)
    root = np.sqrt((1 - beta + points) ** 2 + 4 * beta * points)
    # Of the two forms of each root of a quadratic equation the one without a difference.
    slope = 1 - beta + points
    t = np.where(
        slope > 0, 2 * points / (np.abs(slope) + root), (np.abs(slope) + root) / (2 * beta)
    )
    complement = 2 / (1 + beta + points + root)
    rest = ((1 - beta) ** 2 + 2 * (1 + beta) * points) / (root + points)  # root - u
    return SpectralMeans(t, complement, complement / root, complement * rest / root)


def support(beta: float) -> tuple[float, float]:
    """The least and the largest eigenvalue of X X' that is not 0: (1 -+ sqrt(beta))^2.

    Raises:
        ValueError: beta is not positive.
    """
    _check_beta(beta)
    return (1 - beta**0.5) ** 2, (1 + beta**0.5) ** 2


def share_of_zeros(beta: float) -> float:
    """The share of the n eigenvalues of X X' that are 0: max(0, 1 - 1/beta).

    Raises:
        ValueError: beta is not positive.
    """
    _check_beta(beta)
    return max(0.0, 1 - 1 / beta)


def density(x: ArrayLike, beta: float) -> Array:
    """The density of the eigenvalues of X X' that are not 0, at x.

        sqrt((x_max - x) (x - x_min)) / (2 pi beta x)

    Its integral is 1 - share_of_zeros(beta); it is 0 outside `support(beta)`.

    Args:
        x: of any shape.

    Raises:
        ValueError: beta is not positive.
    """
    least, largest = support(beta)
    points = np.asarray(x, dtype=np.float64)
    inside = (points > least) & (points < largest)
    safe = np.where(inside, points, 1.0)
    under = np.where(inside, (largest - safe) * (safe - least), 0.0)
    return np.asarray(np.sqrt(under) / (2 * np.pi * beta * safe), dtype=np.float64)


def _check_beta(beta: float) -> None:
    if not 0 < beta < np.inf:
        raise ValueError(f"beta is {beta}; n/d has to be positive")
