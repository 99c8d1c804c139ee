"""Accuracy of a student whose outputs are the teacher's with independent noise.

The teacher's scores z_1, ..., z_k and the student's are k independent pairs of normal variables of
correlation r, but for what is common to all outputs, which changes no arg max. The arg max of both
is the same with probability

    A_k(r) = k int int phi(x) phi(t) Phi_2(x, y; r)^(k-1) dt dx,   y = r x + sqrt(1 - r^2) t,

where Phi_2 is the bivariate normal distribution, the probability that another pair lies below
(x, y). No sample is drawn; A_2 = 1/2 + arcsin(r) / pi, A_k(0) = 1/k.

With label noise the same function holds at r times the correlation of z with z + e.
"""

from __future__ import annotations

import math

import numpy as np

from squall.theory.channel import bivariate_normal_cdf

__all__ = ["plurality_agreement", "student_correlation"]

_NODES = 161  # of a trapezoidal rule over a smooth function that is 0 at both ends
_END = 8.5


def plurality_agreement(classes: int, correlation: float) -> float:
    """A_k(r) of the module's docstring, to about 1e-9.

    Args:
        classes: k, at least 2.
        correlation: r, in [-1, 1].

    Raises:
        ValueError: one of them is out of range.

    >>> round(plurality_agreement(2, 0.5), 9)  # 1/2 + (pi/6) / pi
    0.666666667
    """
    if classes < 2:
        raise ValueError(f"classes is {classes}; there have to be at least two")
    if not -1 <= correlation <= 1:
        raise ValueError(f"correlation is {correlation}; it has to be in [-1, 1]")
    if correlation == 1:
        return 1.0
    if classes == 2:
        return 0.5 + math.asin(correlation) / math.pi
    if correlation == -1:
        return 0.0
    nodes = np.linspace(-_END, _END, _NODES)
    step = nodes[1] - nodes[0]
    weights = step * np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    x, t = nodes[:, None], nodes[None, :]
    y = correlation * x + math.sqrt(1 - correlation**2) * t
    below = bivariate_normal_cdf(np.broadcast_to(x, y.shape), y, correlation)
    return float(classes * (weights @ below ** (classes - 1) @ weights))


def student_correlation(*, overlap: float, noise: float) -> float:
    """r of a student with outputs overlap * z + noise * s, for z and s of the same variance.

    Args:
        overlap: of either sign.
        noise: at least 0; not both 0.
    """
    if noise < 0 or overlap == noise == 0:
        raise ValueError(f"overlap {overlap} and noise {noise} have no correlation")
    return overlap / math.hypot(overlap, noise)
