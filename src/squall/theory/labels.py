"""The law of a label that is the arg max of k independent Gaussian scores, given one of them.

Let xi_1, ..., xi_k be N(0, 1) and the label their arg max. It depends on xi_j - mean(xi) alone, and
for one class l on

    h = (xi_l - mean(xi)) sqrt(k / (k - 1)) ~ N(0, 1),
    P(label = l | h) = F_{k-1}(h sqrt(k / (k - 1))) for h > 0, else 0,

where F_n is the distribution of the largest of n standard normal variables less their mean: the
others' mean is independent of their deviations from it, and xi_l lies h sqrt(k / (k - 1)) above it.
(Given xi_l itself the probability is Phi(xi_l)^(k-1). But what a network learns is correlated with
the other scores too, negatively: with h and not with xi_l.)

F_1 = 1 and F_2 = erf on u >= 0. By which of the n is the largest, and where,

    F_n(u) = n int_0^u N(x; 0, (n-1)/n) F_{n-1}(n x / (n-1)) dx,

and, as adding an independent N(0, 1/n) to all deviations makes them independent,

    F_n(u) = sqrt(n / (2 pi)) int [Phi(u + i y) exp(-y^2 / 2)]^n dy.

The first is used for few variables, where the second converges slowly, the second for the others,
where the first loses digits.

Source of the first: Grubbs 1950, *Sample criteria for testing outlying observations*.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.special import erf, wofz

__all__ = ["label_nodes", "largest_deviation_cdf", "win_probability"]

Array = NDArray[np.float64]

_FEW = 12  # variables, from which on the integral over y needs few points
_LARGEST = 12.0  # F_n is 1 to double precision there
_END = 9.0  # of h, whose density is 1e-18 there


def largest_deviation_cdf(u: ArrayLike, count: int) -> Array:
    """F_n(u): P(max_j xi_j - mean(xi) <= u) of n standard normal variables, to about 1e-11.

    Args:
        u: of any shape.
        count: n, at least 1.

    Raises:
        ValueError: a count below 1.

    >>> float(largest_deviation_cdf(0.5, 2)) == math.erf(0.5)
    True
    """
    if count < 1:
        raise ValueError(f"count is {count}; there has to be a variable")
    points = np.asarray(u, dtype=np.float64)
    positive = np.clip(points, 0.0, _LARGEST)
    if count == 1:
        return np.asarray(np.where(points >= 0, 1.0, 0.0))
    if count == 2:
        return np.asarray(erf(positive), dtype=np.float64)
    if count < _FEW:
        return np.asarray(_few(count)(positive), dtype=np.float64)
    return np.asarray(_many(positive.ravel(), count).reshape(points.shape))


def win_probability(h: ArrayLike, classes: int) -> Array:
    """P(label = l | h) of the module's docstring; its mean over h ~ N(0, 1) is 1/k.

    Args:
        h: of any shape.
        classes: k, at least 2.
    """
    points = np.asarray(h, dtype=np.float64)
    cdf = largest_deviation_cdf(points * math.sqrt(classes / (classes - 1)), classes - 1)
    return np.asarray(np.where(points > 0, cdf, 0.0))


@lru_cache(maxsize=64)
def label_nodes(classes: int, count: int) -> tuple[Array, Array]:
    """Nodes h_j (count,) and weights (count,) with E[1(label = l) f(h)] = sum_j weight_j f(h_j).

    Gauss and Legendre's, so exact to rounding for an f that is smooth at the scale of 9/count.
    """
    x, w = np.polynomial.legendre.leggauss(count)
    h = _END / 2 * (x + 1)
    weights = _END / 2 * w * np.exp(-(h**2) / 2) / math.sqrt(2 * math.pi)
    return h, weights * win_probability(h, classes)


@lru_cache(maxsize=_FEW)
def _few(count: int) -> CubicSpline:
    """F_n by the recursion, as a spline over [0, 12]."""
    u = np.linspace(0.0, _LARGEST, 12001)
    values = erf(u)
    for n in range(3, count + 1):
        spread = math.sqrt((n - 1) / n)
        below = CubicSpline(u, values)(np.minimum(u * n / (n - 1), _LARGEST))
        rate = n * np.exp(-((u / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi)) * below
        values = CubicSpline(u, rate).antiderivative()(u)
    return CubicSpline(u, values)


def _many(u: Array, n: int) -> Array:
    """F_n by the trapezoidal rule over y, which for such integrands is exact to rounding."""
    step = 0.25 / math.sqrt(n)
    end = max(10 ** (15 / (n - 1)) / 2.5, 9 / math.sqrt(n))  # |Phi(iy) e^(-y^2/2)| < 1/(2.5 y)
    y = step * np.arange(math.ceil(end / step) + 1)
    once = np.where(y > 0, 2.0, 1.0) * step * math.sqrt(n / (2 * math.pi))
    points = u[:, None]
    # Phi(z) = 1 - Phi(-z), and Phi(-z) by Faddeeva's function, which does not overflow.
    lower = 0.5 * np.exp(-(points**2) / 2 - 1j * points * y) * wofz(1j * (points + 1j * y) / 2**0.5)
    return np.asarray(np.clip(((np.exp(-(y**2) / 2) - lower) ** n).real @ once, 0.0, 1.0))
