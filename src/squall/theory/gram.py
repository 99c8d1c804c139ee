"""Minima and descent of `squall.theory.minimise` from the products of samples with one another.

Weights are X'a and a share of the start, so that outputs come from K = XX' and those of the start.
Nothing here is as long as the features are many, and nothing is divided by the ridge: features that
are far from white, as pixels are, go with a ridge near 0. Conjugate gradients do not settle there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GramMinimum", "gradient_descent_gram", "minimise_gram"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GramMinimum:
    """Where the search ended, output by output.

    Args:
        coefficients: (N, C), a; weights are X'a, outputs for other samples T are TX'a.
        objective: (C,) f of each output.
        alive: (C,) the share of the class's samples with a positive output; NaN without samples.
        steps: (C,) Newton steps.
        converged: (C,) whether the gradient is within the tolerance.
    """

    coefficients: Array
    objective: Array
    alive: Array
    steps: NDArray[np.int64]
    converged: NDArray[np.bool_]


def minimise_gram(
    gram: Array,
    one_hot: Array,
    *,
    rescale: float,
    ridge: float,
    start_outputs: Array,
    tolerance: float = 1e-7,
    max_steps: int = 50,
) -> GramMinimum:
    """Go from a start to a minimum of every output by whole steps of Newton's method.

    A step takes the signs of the outputs as they are and goes to the minimum for those,
    a = (K + ridge/2)^-1 R y on the samples with a positive output and 0 on the others. f need not
    fall from step to step, and of the start only the signs of its outputs count. Where f has
    several minima the one that is found may be another than that of `squall.theory.minimise`, which
    goes down all the way.

    Args:
        gram: (N, N), K = XX'.
        one_hot: (N, C) of 0 and 1.
        rescale: R, positive.
        ridge: lambda, positive.
        start_outputs: (N, C), X w of the start.
        tolerance: of the gradient's norm in terms of w, as a share of that at w = 0 with all
            samples active.
        max_steps: after which an output is given up (`converged` False).

    Returns:
        Outputs that do not converge are returned where they are.

    Raises:
        ValueError: a rescale or ridge that is not positive, sizes that do not fit, or a ridge that
            is too small for K to rounding.

    Source: the step is that of Chapelle 2007, Training a support vector machine in the primal.
    """
    _check(gram, one_hot, start_outputs, rescale, ridge)
    found = [
        _minimum(gram, rescale * one_hot[:, k], ridge, start_outputs[:, k], tolerance, max_steps)
        for k in range(one_hot.shape[1])
    ]
    coefficients, steps, converged = (np.stack(part, axis=-1) for part in zip(*found, strict=True))
    outputs = gram @ coefficients
    misfit = ((rescale * one_hot - np.maximum(outputs, 0)) ** 2).sum(axis=0)
    members = one_hot.sum(axis=0)
    won = ((outputs > 0) & (one_hot > 0)).sum(axis=0)
    return GramMinimum(
        coefficients=coefficients,
        objective=misfit + ridge / 2 * (coefficients * outputs).sum(axis=0),
        alive=np.where(members > 0, won / np.maximum(members, 1), math.nan),
        steps=steps,
        converged=converged,
    )


def _minimum(
    gram: Array, y: Array, ridge: float, z: Array, tolerance: float, max_steps: int
) -> tuple[Array, int, bool]:
    a = np.zeros(len(y))
    goal = tolerance * 2 * math.sqrt(y @ gram @ y)
    for step in range(max_steps + 1):
        active = np.flatnonzero(z > 0)
        if step:
            slope = ridge * a
            slope[active] += 2 * (z - y)[active]
            # Rounding may leave a square below 0.
            if math.sqrt(max(float(slope @ (gram @ slope)), 0.0)) <= goal:
                return a, step, True
        if step == max_steps:
            break
        a = np.zeros(len(y))
        a[active] = _solve(gram[np.ix_(active, active)], ridge / 2, y[active])
        z = gram @ a
    return a, max_steps, False


def _solve(gram: Array, shift: float, right: Array) -> Array:
    from scipy.linalg import cho_factor, cho_solve

    if not len(right):
        return right
    gram.flat[:: len(right) + 1] += shift
    try:
        # The transpose, which is the same matrix, lies as LAPACK takes it: no copy is made.
        factor = cho_factor(gram.T, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"ridge (lambda) is {2 * shift}, which rounding makes 0 beside {len(right)} samples; "
            "give a larger one"
        ) from error
    return np.asarray(cho_solve(factor, right, check_finite=False))


def gradient_descent_gram(
    gram: NDArray[Any],
    one_hot: Array,
    *,
    rescale: float,
    ridge: float,
    start_outputs: Array,
    steps: int,
) -> tuple[NDArray[Any], float]:
    """What `squall.theory.gradient_descent` does, in the precision of `gram`.

    Args:
        gram: (N, N), K = XX'; of float32 it takes half the time.
        one_hot, rescale, ridge, start_outputs: as in `minimise_gram`.
        steps: each of length 1 / (2 s_max^2 + ridge).

    Returns:
        a (N, C) and the share of the start that is left: w = X'a + share * start.

    Raises:
        ValueError: as in `minimise_gram`.
    """
    from scipy.sparse.linalg import eigsh

    _check(gram, one_hot, start_outputs, rescale, ridge)
    # Lanczos from a start of its own would be random.
    (largest,) = eigsh(gram, k=1, v0=np.ones(len(gram)), return_eigenvectors=False)
    rate = 1 / (2 * float(largest) + ridge)
    kept = 1 - rate * ridge
    z = start_outputs.astype(gram.dtype)
    targets = (rescale * one_hot).astype(gram.dtype)
    a = np.zeros_like(z)
    for _ in range(steps):
        change = 2 * rate * np.where(z > 0, z - targets, 0)
        a = kept * a - change
        z = kept * z - gram @ change
    return a, kept**steps


def _check(
    gram: NDArray[Any], one_hot: Array, start_outputs: Array, rescale: float, ridge: float
) -> None:
    for name, value in (("rescale (R)", rescale), ("ridge (lambda)", ridge)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; it has to be positive")
    if gram.shape != (len(one_hot), len(one_hot)) or start_outputs.shape != one_hot.shape:
        raise ValueError(
            f"gram {gram.shape}, one_hot {one_hot.shape} and start_outputs {start_outputs.shape} "
            "have to be (N, N), (N, C) and (N, C)"
        )
