"""Means over one sample of what the prox of the rescaled square loss does, with the true labels.

One output l of k. Its student gives a sample that it was not trained on

    p = mu g + nu s,   g = (z_l - mean(z)) / std ~ N(0, 1),   s ~ N(0, 1) independent,

and the sample is of class l with probability P(y = 1 | h) (`squall.theory.labels`), where h is g
with label noise, corr(g, h) = rho. The prox moves p to p + G(p, y) / (1 + pull) with

    G = 1(p > p*) (1 - p)  for y = 1,    G = -1(p > 0) p  for y = 0;

R is 1 here: the objective is homogeneous, a student of R is R times the student of 1.

Given h, p is N(mu rho h, nu^2 + mu^2 (1 - rho^2)), G is a piece of a line, and the rest is a sum
over nodes of h. p and h being given, g has the mean A h + B p with

    A = rho (1 - m^2) / (1 - m^2 rho^2),  B = m (1 - rho^2) / (1 - m^2 rho^2) / std(p),
    m = mu / std(p).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, owens_t

from squall.theory.labels import label_nodes, largest_deviation_cdf
from squall.theory.prox import threshold

__all__ = ["ChannelMeans", "bivariate_normal_cdf", "channel_means", "residual_correlation"]

Array = NDArray[np.float64]

_FAR = 60.0  # standard deviations, in place of an infinite threshold


@dataclass(frozen=True)
class ChannelMeans:
    """Means of G, the channel's residual at R = 1, over labels and predictions of one output.

    Args:
        divergence: -E[dG/dp], the jump at p* included: E[1 - prox'] (1 + pull).
        power: E[G^2].
        alignment: E[g G].
        jump: what the jump takes off the divergence: (1 - p*) times the density of (y = 1, p = p*).
        alive: the share of the class's samples whose output is positive after the prox.
        loss: E[(y - (prox)_+)^2], the training loss per output.
    """

    divergence: float
    power: float
    alignment: float
    jump: float
    alive: float
    loss: float


def channel_means(
    *,
    classes: int,
    label_correlation: float,
    pull: float,
    overlap: float,
    noise: float,
    convex: bool = False,
    nodes: int = 400,
) -> ChannelMeans:
    """The means of `ChannelMeans`.

    Args:
        classes: k, at least 2.
        label_correlation: rho, in (0, 1].
        pull: the prox's g, positive.
        overlap: mu, in units of R.
        noise: nu, positive, in units of R.
        convex: the convex twin of `squall.theory.prox`: no threshold p* and no jump.
        nodes: of the quadrature over h.
    """
    spread = math.hypot(overlap, noise)
    m, rho = overlap / spread, label_correlation
    t = -_FAR * spread if convex else float(threshold(rescale=1.0, pull=pull))
    h, w = label_nodes(classes, nodes)
    hidden = (noise / spread) ** 2  # 1 - m^2, without the difference
    rest = max((1 - rho) * (1 + rho) + rho * rho * hidden, 1e-20)
    center, sd = m * rho * spread * h, spread * math.sqrt(rest)
    a, density = _upper_moments(center, sd, t)
    c, _ = _upper_moments(center, sd, 0.0)
    (g0, _, g2), _ = _upper_moments(np.zeros(()), spread, 0.0)  # of all labels
    A, B = rho * hidden / rest, m * (1 - rho * rho) / rest / spread

    jump = 0.0 if convex else (1 - t) * float(w @ density)
    ones = float(w @ (a[0] - 2 * a[1] + a[2]))
    power = ones + float(g2 - w @ c[2])
    # E[y g (1 - p); p > t] and -E[(1 - y) g p; p > 0]
    positive = float(w @ (A * h * (a[0] - a[1]) + B * (a[1] - a[2])))
    negative = float(w @ (A * h * c[1] + B * c[2])) - m / spread * float(g2)
    won = float(w @ a[0])
    # In the convex twin (1 + pull p) / (1 + pull) may be negative.
    positive_share = _upper_moments(center, sd, -1 / pull)[0][0] if convex else a[0]
    return ChannelMeans(
        divergence=won + float(g0 - w @ c[0]) - jump,
        power=power,
        alignment=positive + negative,
        jump=jump,
        alive=float(w @ positive_share) * classes,
        loss=(pull / (1 + pull)) ** 2 * power + 1 / classes - won,
    )


def residual_correlation(
    *,
    classes: int,
    label_correlation: float,
    pull: float,
    overlap: float,
    noise: float,
    noise_correlation: float,
    convex: bool = False,
    nodes: int = 48,
) -> float:
    """E[G_1 G_2] of two outputs of one sample, whose noises s have the given correlation.

    As y_1 y_2 = 0, it is E[(p_1)_+ (p_2)_+] - 2 E[y_1 D(p_1) (p_2)_+] with
    D(p) = (1 - p) 1(p > p*) + p 1(p > 0). Given y_1 = 1, u = xi_1 less the mean of the others and
    v = xi_2 less that mean, p_1 and p_2 are normal; the sum is over nodes of u and v.

    Args: as in `channel_means`; `nodes` in each of the two directions.
    """
    k, rho = classes, label_correlation
    a = overlap * math.sqrt(k / (k - 1))  # of the score z_l itself
    variance, cross = overlap**2 + noise**2, noise**2 * noise_correlation - a * a / k
    r = np.clip(cross / variance, -1, 1)
    both = variance * (math.sqrt(1 - r * r) + r * (math.pi / 2 + math.asin(r))) / (2 * math.pi)

    u, v, w = _pair_nodes(k, nodes)
    means = a * rho * u * (k - 1) / k, a * rho * (v - u / k)
    hidden = 1 - rho * rho
    sd = math.sqrt(overlap**2 * hidden + noise**2)
    r = (noise**2 * noise_correlation - a * a * hidden / k) / sd**2
    t = -_FAR * math.sqrt(variance) if convex else float(threshold(rescale=1.0, pull=pull))
    above, above_p = _truncated_products(means, sd, r, t)
    _, positive_p = _truncated_products(means, sd, r, 0.0)
    return float(both - 2 * np.sum(w * (above - above_p + positive_p)))


def bivariate_normal_cdf(x: Array, y: Array, r: float) -> Array:
    """P(X < x, Y < y) of standard normal variables of correlation r in (-1, 1).

    Source: Owen 1956, by his function T.
    """
    x, y = (np.where(value == 0, 1e-300, value) for value in (x, y))
    q = math.sqrt(1 - r * r)
    apart = np.where(x * y < 0, 0.5, 0.0)
    apart = np.where((x * y == 0) & (x + y < 0), 0.5, apart)  # where the product underflows
    value = (ndtr(x) + ndtr(y)) / 2 - apart
    value = value - owens_t(x, (y - r * x) / (x * q)) - owens_t(y, (x - r * y) / (y * q))
    return np.asarray(np.clip(value, 0.0, 1.0), dtype=np.float64)


def _density(x: Array) -> Array:
    return np.asarray(np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi), dtype=np.float64)


def _upper_moments(center: Array, sd: float, t: float) -> tuple[tuple[Array, Array, Array], Array]:
    """E[p^i; p > t] for i = 0, 1, 2 and the density at t of p ~ N(center, sd^2)."""
    x = (t - center) / sd
    share, f = np.asarray(ndtr(-x)), _density(x)
    second = (center**2 + sd**2) * share + sd * (center + t) * f
    return (share, center * share + sd * f, second), f / sd


@lru_cache(maxsize=16)
def _pair_nodes(classes: int, count: int) -> tuple[Array, Array, Array]:
    """u, v and weights, whose sum is P(y_1 = 1) = 1/k."""
    k = classes
    x, weights = np.polynomial.legendre.leggauss(count)
    spread = math.sqrt(k / (k - 1))
    u = 4.5 * spread * (x[:, None] + 1)
    wu = 4.5 * spread * weights[:, None] * _density(u / spread) / spread
    if k == 2:  # no third score: v is 0
        return u, np.zeros_like(u), wu
    spread = math.sqrt((k - 2) / (k - 1))
    low, high = np.maximum(-(k - 2) * u, -9 * spread), np.minimum(u, 9 * spread)
    v = low + (high - low) / 2 * (x + 1)
    wv = (high - low) / 2 * weights * _density(v / spread) / spread
    return u, v, wu * wv * largest_deviation_cdf(u + v / (k - 2), k - 2)


def _truncated_products(
    means: tuple[Array, Array], sd: float, r: float, t: float
) -> tuple[Array, Array]:
    """E[(p_2)_+; p_1 > t] and E[p_1 (p_2)_+; p_1 > t] of normal p_1, p_2 of correlation r.

    Source: Rosenbaum 1961, *Moments of a truncated bivariate normal distribution*.
    """
    r = min(max(r, -1 + 1e-12), 1 - 1e-12)
    q = math.sqrt(1 - r * r)
    x, y = (t - means[0]) / sd, -means[1] / sd
    both = bivariate_normal_cdf(-x, -y, r)
    fx = _density(x) * ndtr((r * x - y) / q)
    fy = _density(y) * ndtr((r * y - x) / q)
    first, second = fx + r * fy, fy + r * fx
    product = r * (x * fx + y * fy + both) + q * _density(x) * _density((y - r * x) / q)
    positive = means[1] * both + sd * second
    return positive, means[0] * positive + sd * (means[1] * first + sd * product)
