"""Vector approximate message passing on given data: the iteration that state evolution describes.

With X = U S V', predictions P (N, C) and their precision gamma, one iteration is

    Z = prox(P),  alpha = mean slope,  R = (Z - alpha P) / (1 - alpha),
    gamma' = gamma (1 - alpha) / alpha,  u = lambda / gamma',
    W = V S (S^2 + u)^-1 U' R,  1 - T = mean of S^2 / (S^2 + u) over the N samples,
    P <- (X W - (1 - T) R) / T,  gamma <- gamma' T / (1 - T),

where scalars are shared by the outputs, as these are exchangeable. At a fixed point X W = Z, and W
is a stationary point of |R Y - (X W)_+|^2 + (lambda/2) |W|^2.

Convention: the mean slope counts the jump of the prox at p*, by an estimate of the density of
predictions there (`jump=True`). The printed iteration leaves it out (`jump=False`); it then does
not follow a state evolution where predictions lie near p*.

Source: Rangan, Schniter and Fletcher 2019, *Vector approximate message passing*; Hui 2023,
eq. 3.14.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squall.theory.prox import (
    rescaled_square_prox,
    rescaled_square_prox_derivative,
    threshold,
)
from squall.theory.state_evolution import Step

__all__ = ["VampResult", "run_vamp"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VampResult:
    """Where the iteration ended.

    Args:
        weights: (D, C), W of the last iteration.
        steps: one `Step` for each iteration; without a teacher its overlaps are NaN and its noises
            the root mean squares.
        changes: of P, root mean square relative to that of P, one for each iteration.
        converged: whether the last change is within the tolerance.
        reason: empty, or why it ended early.
    """

    weights: Array
    steps: list[Step]
    changes: list[float]
    converged: bool
    reason: str = ""


def run_vamp(
    X: Array,
    one_hot: Array,
    *,
    rescale: float,
    ridge: float,
    start: Array,
    gamma: float,
    teacher: Array | None = None,
    iterations: int = 100,
    damping: float = 1.0,
    tolerance: float = 1e-8,
    convex: bool = False,
    jump: bool = True,
) -> VampResult:
    """Iterate from predictions and their precision.

    Args:
        X: (N, D).
        one_hot: (N, C) of 0 and 1.
        rescale, ridge: R and lambda, positive.
        start: (N, C), the first P. Independent of X and of labels if it is to follow
            `squall.theory.state_evolution.iterate`.
        gamma: its precision, positive.
        teacher: (D, C), w*, to measure overlaps with.
        iterations: how many at most.
        damping: the share in (0, 1] of the new P and log gamma. State evolution is that of 1.
        tolerance: of the relative change of P, below which it ends.
        convex: the convex twin of `squall.theory.prox`.
        jump: whether alpha counts the jump of the prox.

    Raises:
        ValueError: a value out of its range, or sizes that do not fit.
    """
    _check(X, one_hot, start, gamma=gamma, damping=damping, ridge=ridge)
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    truth = None if teacher is None else _scores(X, teacher)
    P, weights = start.astype(np.float64), np.zeros((X.shape[1], one_hot.shape[1]))
    steps: list[Step] = []
    changes: list[float] = []
    for _ in range(iterations):
        Z = rescaled_square_prox(P, label=one_hot, rescale=rescale, gamma=gamma, convex=convex)
        slopes = rescaled_square_prox_derivative(
            P, label=one_hot, rescale=rescale, gamma=gamma, convex=convex
        )
        alpha = float(slopes.mean())
        if jump and not convex:
            alpha += _jump(P, one_hot, rescale, gamma / 2)
        if not 0 < alpha < 1:
            reason = f"the mean slope of the prox is {alpha:.3g}, outside (0, 1)"
            return VampResult(weights, steps, changes, False, reason)
        R = (Z - alpha * P) / (1 - alpha)
        precision = gamma * (1 - alpha) / alpha
        u = ridge / precision
        shrunk = s**2 / (s**2 + u)
        complement = float(shrunk.sum()) / len(X)  # 1 - T
        inner = U.T @ R
        weights = Vt.T @ ((s / (s**2 + u))[:, None] * inner)
        following = (U @ (shrunk[:, None] * inner) - complement * R) / (1 - complement)
        steps.append(_step(P, R, weights, truth, teacher, gamma=gamma, alpha=alpha, u=u))
        changes.append(float(np.linalg.norm(following - P) / np.linalg.norm(P)))
        new_gamma = precision * (1 - complement) / complement
        P = (1 - damping) * P + damping * following
        gamma = gamma ** (1 - damping) * new_gamma**damping
        if changes[-1] < tolerance:
            return VampResult(weights, steps, changes, True)
    reason = f"P still changed by {changes[-1]:.1e} after {iterations} iterations"
    return VampResult(weights, steps, changes, False, reason)


def _jump(P: Array, one_hot: Array, rescale: float, pull: float) -> float:
    """What the jump adds to the mean slope: its height times the density of P at p*."""
    at = float(threshold(rescale=rescale, pull=pull))
    true = P[one_hot > 0]
    width = 1.06 * float(true.std()) * len(true) ** -0.2  # Silverman's rule
    if not width > 0:
        return 0.0
    density = np.exp(-(((true - at) / width) ** 2) / 2).sum() / (width * math.sqrt(2 * math.pi))
    return (rescale - at) / (1 + pull) * float(density) / P.size


def _scores(X: Array, teacher: Array) -> Array:
    """The deviations of the teacher's scores, of variance 1."""
    directions = teacher - teacher.mean(axis=1, keepdims=True)
    scale = math.sqrt(len(teacher)) / np.linalg.norm(directions, axis=0)
    return np.asarray(X @ (directions * scale))


def _step(
    P: Array,
    R: Array,
    weights: Array,
    truth: Array | None,
    teacher: Array | None,
    *,
    gamma: float,
    alpha: float,
    u: float,
) -> Step:
    """The measured counterparts of state evolution's numbers."""
    if truth is None or teacher is None:
        return Step(
            *(math.nan, _size(P), gamma, alpha, math.nan, _size(R), u),
            *(math.nan, _size(weights)),
        )
    square = float((truth**2).mean())
    mu, c = float((P * truth).mean()) / square, float((R * truth).mean()) / square
    directions = teacher - teacher.mean(axis=1, keepdims=True)
    directions = directions * math.sqrt(len(teacher)) / np.linalg.norm(directions, axis=0)
    weight_mu = float((weights * directions).mean())
    return Step(
        *(mu, _size(P - mu * truth), gamma, alpha, c, _size(R - c * truth), u),
        *(weight_mu, _size(weights - weight_mu * directions)),
    )


def _size(values: Array) -> float:
    return float(np.sqrt((values**2).mean()))


def _check(
    X: Array, one_hot: Array, start: Array, *, gamma: float, damping: float, ridge: float
) -> None:
    if X.ndim != 2 or one_hot.ndim != 2 or len(X) != len(one_hot):
        raise ValueError(f"X {X.shape} and one_hot {one_hot.shape} have to be (N, D) and (N, C)")
    if start.shape != one_hot.shape:
        raise ValueError(f"start is {start.shape}, not {one_hot.shape} as the predictions are")
    for name, value in (("gamma", gamma), ("ridge (lambda)", ridge)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; it has to be positive")
    if not 0 < damping <= 1:
        raise ValueError(f"damping is {damping}; it has to be in (0, 1]")
