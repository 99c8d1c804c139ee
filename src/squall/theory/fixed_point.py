"""The fixed point of `squall.theory.state_evolution`, and the accuracy that it predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, root

from squall.theory.accuracy import plurality_agreement, student_correlation
from squall.theory.channel import ChannelMeans, residual_correlation
from squall.theory.setting import Setting
from squall.theory.state_evolution import means_at, next_step

__all__ = ["FixedPoint", "solve"]

Array = NDArray[np.float64]

_TOLERANCE = 1e-9  # of the residual, relative to the terms of the equations
_SAME = 1e-4  # fixed points whose logarithms differ by less are one


@dataclass(frozen=True)
class FixedPoint:
    """What state evolution says of the minimiser; NaN with a reason where it says nothing.

    Args:
        overlap: mu, of an output's prediction with its score's deviation of variance 1.
        noise: nu.
        gamma: the precision of p in the last iteration, positive.
        noise_correlation: q, of the noises of two outputs, in [-1/(k-1), 1].
        accuracy: against arg max z.
        noisy_accuracy: against the labels, arg max (z + e).
        loss: |R Y - (X w)_+|^2 per sample and output.
        objective: loss with the ridge's part, per sample and output.
        alive: the share of samples whose true class has a positive output, in training.
        jump: the share of alpha's divergence that is due to the jump of the prox; 0 where the fixed
            point is stable, see `squall.theory.state_evolution`.
        residual: the largest of the equations' residuals, relative to their terms.
        quadrature_error: how much the accuracy moves with half the nodes.
        found: how many different fixed points the starts led to; this is the one of the lowest
            objective.
        reason: empty, or why there are no values.
    """

    overlap: float = math.nan
    noise: float = math.nan
    gamma: float = math.nan
    noise_correlation: float = math.nan
    accuracy: float = math.nan
    noisy_accuracy: float = math.nan
    loss: float = math.nan
    objective: float = math.nan
    alive: float = math.nan
    jump: float = math.nan
    residual: float = math.nan
    quadrature_error: float = math.nan
    found: int = 0
    reason: str = ""


def solve(setting: Setting, *, convex: bool = False) -> FixedPoint:
    """Find the fixed point: damped iterations from several starts, then a root of the equations.

    Args:
        setting: what the prediction is made for.
        convex: the convex twin.

    Returns:
        The fixed point of the lowest objective; without any a result of NaN with a `reason`.

    >>> point = solve(Setting(classes=10, beta=0.2))
    >>> round(point.accuracy, 3), point.found
    (0.174, 1)
    """
    points: list[Array] = []
    reasons: list[str] = []
    for start in _starts(setting):
        x, reason = _polish(setting, _damped(setting, start, convex), convex)
        if reason:
            reasons.append(reason)
        elif not any(np.allclose(x, other, rtol=0, atol=_SAME) for other in points):
            points.append(x)
    if not points:
        return FixedPoint(reason=f"no start led to a fixed point: {reasons[0]}")
    described = [_describe(setting, x, convex, len(points)) for x in points]
    return min(described, key=lambda point: point.objective)


def _starts(setting: Setting) -> list[Array]:
    """Logarithms of mu, nu and gamma: weak and strong students, loose and tight."""
    small = setting.ridge / max(1 - setting.beta, 1e-2)
    return [
        np.log([mu, nu, gamma])
        for mu, nu in ((0.05, 0.2), (0.3, 0.3), (0.5, 1.5))
        for gamma in (2 * small, 0.2, 2.0, 2.0 * (1 + setting.ridge))
    ]


def _damped(setting: Setting, start: Array, convex: bool, steps: int = 20) -> Array:
    """The start after some iterations, each of half its length in logarithms."""
    x = start
    for _ in range(steps):
        mu, nu, gamma = np.exp(x)
        following = next_step(
            setting, mu, nu, gamma, means_at(setting, mu, nu, gamma / 2, convex, 100)
        )
        if following is None or following[1] <= 0:
            return start if x is start else x
        x = (x + np.log(following[1:])) / 2
    return x


def _equations(x: Array, setting: Setting, convex: bool, nodes: int = 400) -> Array:
    """Item 4 of state evolution's docstring, each equation over one of its terms."""
    mu, nu, gamma = np.exp(np.clip(x, -60, 60))
    theta, pull = setting.ridge / gamma, gamma / 2
    means = means_at(setting, mu, nu, pull, convex, nodes)
    return np.array(
        [
            theta * (1 + pull) - setting.beta * means.alignment / mu,
            nu * nu * (1 + pull) ** 2 / (setting.beta * means.power) - 1,
            (1 - theta) * (1 + pull) / setting.beta - means.divergence,
        ]
    )


def _polish(setting: Setting, x: Array, convex: bool) -> tuple[Array, str]:
    found = root(_equations, x, args=(setting, convex), tol=1e-13)
    residual = float(np.max(np.abs(_equations(found.x, setting, convex))))
    if not residual < _TOLERANCE:
        return found.x, f"the best residual of the equations is {residual:.1e}"
    if np.max(np.abs(found.x)) > 50:
        return found.x, "the iterates run away to 0 or infinity"
    return found.x, ""


def _describe(setting: Setting, x: Array, convex: bool, found: int) -> FixedPoint:
    mu, nu, gamma = (float(value) for value in np.exp(x))
    R, k = setting.rescale, setting.classes
    means = means_at(setting, mu, nu, gamma / 2, convex)
    correlation, agreement = _agreement(setting, x, convex, means, 48)
    rough = root(_equations, x, args=(setting, convex, 200), tol=1e-13).x
    mu_nu_gamma = [float(value) for value in np.exp(rough)]
    rough_means = means_at(setting, mu_nu_gamma[0], mu_nu_gamma[1], mu_nu_gamma[2] / 2, convex, 200)
    _, other = _agreement(setting, rough, convex, rough_means, 24)
    accuracy = plurality_agreement(k, agreement)
    norm = setting.ridge / 2 * (mu * mu + nu * nu) / setting.beta
    return FixedPoint(
        overlap=R * mu,
        noise=R * nu,
        gamma=gamma,
        noise_correlation=correlation,
        accuracy=accuracy,
        noisy_accuracy=plurality_agreement(k, setting.label_correlation * agreement),
        loss=R * R * means.loss,
        objective=R * R * (means.loss + norm),
        alive=means.alive,
        jump=means.jump / means.divergence,
        residual=float(np.max(np.abs(_equations(x, setting, convex)))),
        quadrature_error=abs(plurality_agreement(k, other) - accuracy),
        found=found,
    )


def _agreement(
    setting: Setting, x: Array, convex: bool, means: ChannelMeans, nodes: int
) -> tuple[float, float]:
    """q of item 5, and the correlation of a student's output with its teacher's."""
    mu, nu, gamma = (float(value) for value in np.exp(x))
    k = setting.classes

    def excess(q: float) -> float:
        product = residual_correlation(
            classes=k,
            label_correlation=setting.label_correlation,
            pull=gamma / 2,
            overlap=mu,
            noise=nu,
            noise_correlation=q,
            convex=convex,
            nodes=nodes,
        )
        return product / means.power - q

    # Noises of all outputs have a covariance: at the one end their sum would be constant, at the
    # other they would be equal, and the excess has opposite signs.
    q = float(brentq(excess, -1 / (k - 1), 1.0, xtol=1e-10))
    a = mu * math.sqrt(k / (k - 1))
    return q, student_correlation(overlap=a, noise=nu * math.sqrt(1 - q))
