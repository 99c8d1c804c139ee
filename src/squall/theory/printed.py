"""The fixed point of the rescaled square loss as Hui 2023, chapter 3, prints it.

With u = lambda / g-, T, T2 and T4 of `squall.theory.marchenko_pastur`, s the standard deviation of
z, p* of `squall.theory.prox` for the pull g+, and E = erf(-p* / sqrt(2 (s^2 + kappa^2))):

    g+ = (lambda / u) T / (1 - T),
    T = (2 k g+ + k - E) / (2 k (1 + g+)),
    kappa^2 = (tau^2 (T4 - (1 - T)^2) + s^2 u^2 T2) / T^2,
    tau^2 = [kappa^2 (k^2 + k E - 2 E) / 2 + 2 (1 + E)^2 R^2 + 2 (k + E)^2 s^2]
            / (2 k g+ + k - E)^2.

Accuracy is that of w = S Q / (S^2 + u) with Q = J + N(0, tau^2) and J the rotated z: an overlap of
beta (1 - T) with w* and a norm of beta (s^2 T4 + tau^2 T2), outputs independent.

Given E, the first two are one equation for u, of which (1 - T) + lambda T / u falls with u, and the
other two are linear; what is left is one equation for the argument of the erf.

What holds, what does not (`squall.theory.state_evolution` derives what does):

- T, T2, T4, g+ and, for z + N(0, tau^2) in, kappa^2 as the variance of p - z: hold.
- T as the mean slope of the prox: without its jump, and with a label independent of p.
- tau^2: is not the variance that those same assumptions give (`assumed_tau_squared`).
- kappa^2 as the noise of p: p - z is correlated with z, p's overlap with z is beta (1 - T), not 1.
- R: accuracy falls with R, while the objective is homogeneous and its minimiser's does not depend
  on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import erf, ndtr

from squall.theory.accuracy import plurality_agreement, student_correlation
from squall.theory.marchenko_pastur import spectral_means
from squall.theory.prox import threshold
from squall.theory.setting import Setting

__all__ = ["PrintedFixedPoint", "assumed_tau_squared", "printed_kappa_squared", "solve_printed"]


@dataclass(frozen=True)
class PrintedFixedPoint:
    """A solution of the printed equations; NaN with a reason where there is none.

    Args:
        u, gamma, kappa, tau, erf_value: u, g+, kappa, tau, E of the module's docstring.
        accuracy: against arg max z.
        noisy_accuracy: against arg max (z + e).
        residual: how much E moves when the equations are gone through once more.
        found: how many solutions there are; this is the one of the smallest tau.
        reason: empty, or why there are no values.
    """

    u: float = math.nan
    gamma: float = math.nan
    kappa: float = math.nan
    tau: float = math.nan
    erf_value: float = math.nan
    accuracy: float = math.nan
    noisy_accuracy: float = math.nan
    residual: float = math.nan
    found: int = 0
    reason: str = ""


@dataclass(frozen=True)
class _Given:
    """What the equations give for one E, and the argument of the erf that follows."""

    u: float
    gamma: float
    kappa_squared: float
    tau_squared: float
    argument: float


def solve_printed(setting: Setting) -> PrintedFixedPoint:
    """Find the solutions of the printed equations.

    Label noise enters the accuracy alone.

    >>> round(solve_printed(Setting(classes=10, beta=0.2)).accuracy, 3)
    0.161
    """
    grid = np.geomspace(1e-9, 1e9, 361)

    def excess(argument: float) -> float:
        return _given(setting, math.erf(argument)).argument / argument - 1

    values = [excess(a) for a in grid]
    if all(math.isnan(value) for value in values):
        return PrintedFixedPoint(reason="kappa^2 is negative for every E")
    roots = [
        float(brentq(excess, grid[i], grid[i + 1], rtol=1e-13))
        for i in range(len(grid) - 1)
        if values[i] * values[i + 1] < 0
    ]
    if not roots:
        return PrintedFixedPoint(reason="no E gives itself back where kappa^2 is positive")
    points = [(_given(setting, math.erf(root)), root) for root in roots]
    point, root = min(points, key=lambda pair: pair[0].tau_squared)
    spectral = spectral_means(point.u, setting.beta)
    overlap = setting.beta * float(spectral.complement) * setting.signal
    norm = setting.beta * (
        setting.signal**2 * float(spectral.t4) + point.tau_squared * float(spectral.t2)
    )
    r = student_correlation(overlap=overlap, noise=math.sqrt(max(norm - overlap**2, 0.0)))
    return PrintedFixedPoint(
        u=point.u,
        gamma=point.gamma,
        kappa=math.sqrt(point.kappa_squared),
        tau=math.sqrt(point.tau_squared),
        erf_value=math.erf(root),
        accuracy=plurality_agreement(setting.classes, r),
        noisy_accuracy=plurality_agreement(setting.classes, setting.label_correlation * r),
        residual=abs(math.erf(point.argument) - math.erf(root)),
        found=len(roots),
    )


def printed_kappa_squared(*, tau_squared: float, u: float, beta: float, signal: float) -> float:
    """The variance of p - z where z + N(0, tau^2) goes into the linear side.

    p = (X X' (X X' + u)^-1 - (1 - T)) r / T. Holds, for beta, u and signal positive.
    """
    m = spectral_means(u, beta)
    value = tau_squared * (m.t4 - m.complement**2) + signal**2 * u**2 * m.t2
    return float(value / m.t**2)


def assumed_tau_squared(setting: Setting, *, gamma: float, kappa: float) -> float:
    """What the printed assumptions give for tau^2 = E[(r - z)^2], to set beside the printed value.

    They are: p = z + N(0, kappa^2), a label independent of p, r = (prox - alpha p) / (1 - alpha)
    with alpha the mean slope without the jump. With c = 1 / (1 - alpha) / (1 + g+) and the residual
    G of the prox it is kappa^2 + 2 c E[(p - z) G] + c^2 E[G^2].
    """
    k, R, s = setting.classes, setting.rescale, setting.signal
    variance = s * s + kappa * kappa
    sd = math.sqrt(variance)
    at = float(threshold(rescale=R, pull=gamma))
    x = at / sd
    f = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    share, first, second = (
        float(ndtr(-x)),
        sd * f,
        variance * float(ndtr(-x)) + sd * at * f,
    )
    rest = (k - 1) / k * variance / 2
    power = (R * R * share - 2 * R * first + second) / k + rest
    along = (R * first - second) / k - rest  # E[p G]
    c = 2 * k / (k + float(erf(-at / sd / math.sqrt(2))))
    return kappa**2 + 2 * c * kappa**2 / variance * along + c * c * power


def _given(setting: Setting, E: float) -> _Given:
    k, R, s, ridge = setting.classes, setting.rescale, setting.signal, setting.ridge
    goal = (k + E) / (2 * k)

    def excess(log_u: float) -> float:
        u = math.exp(log_u)
        means = spectral_means(u, setting.beta)
        return float(means.complement + ridge * means.t / u) - goal

    u = math.exp(brentq(excess, -200, 200, xtol=1e-14))
    means = spectral_means(u, setting.beta)
    t, rest = float(means.t), float(means.complement)
    gamma = ridge / u * t / rest
    slope = (2 * k * gamma + k - E) ** 2
    # kappa^2 = a tau^2 + b and tau^2 = d kappa^2 + e
    a = (float(means.t4) - rest**2) / t**2
    b = s * s * u * u * float(means.t2) / t**2
    d = (k * k + k * E - 2 * E) / 2 / slope
    e = (2 * (1 + E) ** 2 * R * R + 2 * (k + E) ** 2 * s * s) / slope
    if a * d >= 1:
        return _Given(u, gamma, math.nan, math.nan, math.nan)
    kappa_squared = (a * e + b) / (1 - a * d)
    at = float(threshold(rescale=R, pull=gamma))
    argument = -at / math.sqrt(2 * (s * s + kappa_squared))
    return _Given(u, gamma, kappa_squared, d * kappa_squared + e, argument)
