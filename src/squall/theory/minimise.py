"""Minima of the rescaled square loss behind a ReLU on given data, to rounding.

    f(w) = |R Y - (X w)_+|^2 + (lambda/2) |w|^2,     a sum over outputs.

Where no output changes its sign f is quadratic, so that Newton's method with a line search ends
after some steps: its last step is exact. The derivative of (z)_+ at 0 is 0, as deep learning takes
it. f is not convex, and a sample whose true class has a negative output has no gradient there:
which minimum is found depends on the start, which is therefore part of the result.

For one start nothing moves: at w = 0 the gradient is 0, though it is no minimum. And as f is
homogeneous, R in the place of 1 from a start w is R times 1 from w / R: where R matters, it is the
size of the start that does, of which a large R leaves nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "STARTS",
    "Minimum",
    "best_minimum",
    "gradient_descent",
    "initial_weights",
    "minimise",
]

Array = NDArray[np.float64]

STARTS = ("zero", "least_squares", "random")
"""What `initial_weights` knows."""

_CG_STEPS = 60  # of conjugate gradients, before a direct solution is cheaper
_CG_TOLERANCE = 1e-4  # the gradient shrinks by this per step once the signs have settled
_DECREASE = 1e-4  # Armijo's


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where the search ended, output by output.

    Args:
        start: its name.
        weights: (D, C).
        objective: (C,) f of each output.
        gradient_norm: (C,) Euclidean.
        alive: (C,) the share of the class's samples with a positive output; NaN without samples.
        steps: (C,) Newton steps.
        converged: (C,) whether the gradient norm is within the tolerance.
    """

    start: str
    weights: Array
    objective: Array
    gradient_norm: Array
    alive: Array
    steps: NDArray[np.int64]
    converged: NDArray[np.bool_]


def initial_weights(
    start: str,
    X: Array,
    one_hot: Array,
    *,
    rescale: float,
    ridge: float,
    scale: float = 1e-3,
    seed: int = 0,
) -> Array:
    """Weights (D, C) to start from.

    Args:
        start: "zero"; "least_squares", the minimum without the ReLU; "random", N(0, scale^2).
        X, one_hot, rescale, ridge: as in `minimise`.
        scale, seed: of "random".

    Raises:
        ValueError: an unknown start, or as in `minimise`.
    """
    _check(X, one_hot, rescale, ridge)
    if start == "zero":
        return np.zeros((X.shape[1], one_hot.shape[1]))
    if start == "random":
        return scale * np.random.default_rng(seed).standard_normal((X.shape[1], one_hot.shape[1]))
    if start == "least_squares":
        return _ridge_solve(X, 2 * rescale * (X.T @ one_hot), ridge)
    raise ValueError(f"start is {start!r}; there are {', '.join(STARTS)}")


def minimise(
    X: Array,
    one_hot: Array,
    *,
    rescale: float,
    ridge: float,
    start: Array,
    name: str = "given",
    tolerance: float = 1e-8,
    max_steps: int = 300,
    convex: bool = False,
) -> Minimum:
    """Go down from a start by Newton's method to a minimum of every output.

    Args:
        X: (N, D).
        one_hot: (N, C) of 0 and 1.
        rescale: R, positive.
        ridge: lambda, positive.
        start: (D, C).
        name: of the start, for the result.
        tolerance: of the gradient's norm, per output.
        max_steps: after which an output is given up (`converged` False).
        convex: whether to leave the ReLU of true classes out: then f is convex, and its one minimum
            is also one of f with the ReLU for each output whose `alive` is 1.

    Returns:
        Outputs that do not converge are returned where they are.

    Raises:
        ValueError: a rescale, ridge or tolerance that is not positive, or sizes that do not fit.
    """
    _check(X, one_hot, rescale, ridge)
    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance}; it has to be positive")
    if start.shape != (X.shape[1], one_hot.shape[1]):
        raise ValueError(f"start is {start.shape}, not {(X.shape[1], one_hot.shape[1])} as w is")
    weights, targets = start.astype(np.float64), rescale * one_hot
    outputs = X @ weights
    steps = np.zeros(one_hot.shape[1], dtype=np.int64)
    todo = np.arange(one_hot.shape[1])
    norms = np.zeros(one_hot.shape[1])
    for step in range(max_steps + 1):
        z, w, y = outputs[:, todo], weights[:, todo], targets[:, todo]
        active = (z > 0) | (convex & (y > 0))
        gradient = 2 * (X.T @ np.where(active, z - y, 0.0)) + ridge * w
        norms[todo] = np.linalg.norm(gradient, axis=0)
        left = norms[todo] > tolerance
        if step == max_steps or not left.any():
            break
        todo, z, w, y = todo[left], z[:, left], w[:, left], y[:, left]
        active, gradient = active[:, left], gradient[:, left]
        move = -_newton_steps(X, active, ridge, gradient)
        through = X @ move
        lengths = _line_search(
            *(z, through, w, move, y), ridge, (gradient * move).sum(axis=0), convex
        )
        weights[:, todo] += lengths * move
        outputs[:, todo] = z + lengths * through
        steps[todo] += 1
    outputs = X @ weights
    members = one_hot.sum(axis=0)
    won = ((outputs > 0) & (one_hot > 0)).sum(axis=0)
    return Minimum(
        start=name,
        weights=weights,
        objective=_objective(outputs, weights, targets, ridge, convex),
        gradient_norm=norms,
        alive=np.where(members > 0, won / np.maximum(members, 1), math.nan),
        steps=steps,
        converged=norms <= tolerance,
    )


def best_minimum(minima: list[Minimum]) -> Minimum:
    """Of every output the minimum of the lowest objective; `start` is "best"."""
    best = np.argmin([minimum.objective for minimum in minima], axis=0)
    outputs = np.arange(len(best))
    values = {
        field: np.stack([getattr(m, field) for m in minima])[best, outputs]
        for field in ("objective", "gradient_norm", "alive", "steps", "converged")
    }
    weights = np.stack([m.weights for m in minima])[best, :, outputs].T
    return Minimum(start="best", weights=weights, **values)


def gradient_descent(
    X: Array, one_hot: Array, *, rescale: float, ridge: float, start: Array, steps: int
) -> Array:
    """Weights (D, C) after so many steps of full gradient descent, each of length 1/L.

    L = 2 s_max^2 + lambda bounds the curvature of f. What a network's training does to this loss,
    and a start for `minimise` that ends in the minimum of the valley that descent takes.

    Raises:
        ValueError: as in `minimise`.
    """
    _check(X, one_hot, rescale, ridge)
    weights, targets = start.astype(np.float64), rescale * one_hot
    rate = 1 / (2 * np.linalg.norm(X, 2) ** 2 + ridge)
    for _ in range(steps):
        z = X @ weights
        weights -= rate * (2 * (X.T @ np.where(z > 0, z - targets, 0.0)) + ridge * weights)
    return weights


def _objective(outputs: Array, weights: Array, targets: Array, ridge: float, convex: bool) -> Array:
    kept = np.where(convex & (targets > 0), outputs, np.maximum(outputs, 0))
    misfit = ((targets - kept) ** 2).sum(axis=0)
    return np.asarray(misfit + ridge / 2 * (weights**2).sum(axis=0))


def _line_search(
    z: Array,
    through: Array,
    w: Array,
    move: Array,
    y: Array,
    ridge: float,
    slope: Array,
    convex: bool,
) -> Array:
    """For each output the first of the lengths 1, 1/2, 1/4, ... that decreases f enough."""
    before = _objective(z, w, y, ridge, convex)
    lengths = np.ones(z.shape[1])
    # Near the minimum f is the same to rounding.
    slack = 1e-14 * before
    for _ in range(60):
        after = _objective(z + lengths * through, w + lengths * move, y, ridge, convex)
        short = after > before + _DECREASE * lengths * slope + slack
        if not short.any():
            break
        lengths = np.where(short, lengths / 2, lengths)
    return lengths


def _newton_steps(X: Array, active: NDArray[np.bool_], ridge: float, gradient: Array) -> Array:
    """(2 X_A' X_A + lambda)^-1 gradient of every output: all at once, the stubborn ones alone."""
    solution, solved = _conjugate_gradients(X, active, ridge, gradient)
    for output in np.flatnonzero(~solved):
        rows = X[active[:, output]]
        solution[:, output] = _ridge_solve(rows, gradient[:, output], ridge)
    return solution


def _conjugate_gradients(
    X: Array, active: NDArray[np.bool_], ridge: float, right: Array
) -> tuple[Array, NDArray[np.bool_]]:
    solution, rest = np.zeros_like(right), right.copy()
    direction, square = right.copy(), (right**2).sum(axis=0)
    goal = _CG_TOLERANCE**2 * square
    for _ in range(_CG_STEPS):
        if np.all(square <= goal):
            break
        product = 2 * (X.T @ np.where(active, X @ direction, 0.0)) + ridge * direction
        length = square / (direction * product).sum(axis=0)
        solution += length * direction
        rest -= length * product
        following = (rest**2).sum(axis=0)
        direction = rest + following / square * direction
        square = following
    return solution, square <= goal


def _ridge_solve(rows: Array, right: Array, ridge: float) -> Array:
    """(2 rows' rows + ridge)^-1 right, in the smaller of the two dimensions."""
    count, features = rows.shape
    if count < features:
        inner = 2 * rows @ rows.T + ridge * np.eye(count)
        return np.asarray((right - 2 * rows.T @ np.linalg.solve(inner, rows @ right)) / ridge)
    return np.linalg.solve(2 * rows.T @ rows + ridge * np.eye(features), right)


def _check(X: Array, one_hot: Array, rescale: float, ridge: float) -> None:
    for name, value in (("rescale (R)", rescale), ("ridge (lambda)", ridge)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; it has to be positive")
    if X.ndim != 2 or one_hot.ndim != 2 or len(X) != len(one_hot):
        raise ValueError(f"X {X.shape} and one_hot {one_hot.shape} have to be (N, D) and (N, C)")
    if one_hot.shape[1] < 2:
        raise ValueError(f"one_hot has {one_hot.shape[1]} classes; there have to be two")
