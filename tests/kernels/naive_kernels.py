"""Slow float64 twins of `squall.kernels`, written as the formulas are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def squared_distances(x: Array, z: Array) -> Array:
    out = np.zeros((len(x), len(z)))
    for i, a in enumerate(np.asarray(x, dtype=np.float64)):
        for j, b in enumerate(np.asarray(z, dtype=np.float64)):
            out[i, j] = ((a - b) ** 2).sum()
    return out


def exponential_power(squared: Array, gamma: float, sigma: float) -> Array:
    out = np.zeros(squared.shape)
    for place, value in np.ndenumerate(squared):
        out[place] = math.exp(-(math.sqrt(value) ** gamma) / sigma)
    return out


def kernel_matrix(x: Array, z: Array, gamma: float, sigma: float) -> Array:
    """As the two above, vectorised for systems of some thousand points."""
    x, z = np.asarray(x, dtype=np.float64), np.asarray(z, dtype=np.float64)
    squared = np.stack([((z - row) ** 2).sum(1) for row in x])
    return np.exp(-(np.sqrt(squared) ** gamma) / sigma)


def predict_exactly(
    x: Array, y: Array, points: Array, gamma: float, sigma: float, ridge: float = 0.0
) -> Array:
    """Kernel interpolation of the targets less their mean."""
    mean = y.mean(0)
    system = kernel_matrix(x, x, gamma, sigma) + ridge * np.eye(len(x))
    return kernel_matrix(points, x, gamma, sigma) @ np.linalg.solve(system, y - mean) + mean


def gradient_outer_product(
    points: Array, centres: Array, alpha: Array, gamma: float, sigma: float
) -> Array:
    """By central differences of the predictor."""
    step = 1e-5
    total = np.zeros((points.shape[1], points.shape[1]))
    for x in points:
        gradient = np.zeros((points.shape[1], alpha.shape[1]))
        for d in range(points.shape[1]):
            shift = np.zeros_like(x)
            shift[d] = step
            ahead, behind = (
                kernel_matrix(np.array([moved]), centres, gamma, sigma) @ alpha
                for moved in (x + shift, x - shift)
            )
            gradient[d] = ((ahead - behind) / (2 * step))[0]
        total += gradient @ gradient.T
    return total / len(points)


def eigenpro(
    kernel: Array, y: Array, *, s: int, q: int, step: float, epochs: list[list[list[int]]]
) -> Array:
    """EigenPro iteration over the batches of epochs, the preconditioner as a full matrix.

    The gradient of a batch in function space is sum_b g_b K(x_b, .); P takes from it the parts
    along the eigenfunctions e_i = sum_j v_ij K(x_j, .) / sqrt(s lambda_i). The mean of the
    coefficients after the steps of the last epoch is given.
    """
    values, vectors = np.linalg.eigh(kernel[:s, :s] / s)
    values, vectors = values[::-1], vectors[:, ::-1]
    alpha = np.zeros(y.shape)
    for batches in epochs:
        after = []
        for batch in batches:
            residual = kernel[batch] @ alpha - y[batch]
            alpha[batch] -= step * residual
            for i in range(q):
                norm = math.sqrt(s * values[i])
                function_at_batch = kernel[batch][:, :s] @ vectors[:, i] / norm  # e_i(x_b)
                along = (1 - values[q] / values[i]) * (function_at_batch @ residual)
                alpha[:s] += step * np.outer(vectors[:, i] / norm, along)
            after.append(alpha.copy())
    return np.mean(after, axis=0)


def projected_eigenpro(
    samples: Array,
    y: Array,
    centres: Array,
    kernel: Callable[[Array, Array], Array],
    *,
    s: int,
    q: int,
    step: float,
    batches: list[list[int]],
) -> tuple[Array, Array]:
    """EigenPro iteration projected onto the centres, and the average of its coefficients.

    The step is a function in the span of batch and first centres; its coefficients among the
    centres are those of the function of the span that agrees with it at the centres.
    """
    among = kernel(centres, centres)
    values, vectors = np.linalg.eigh(among[:s, :s] / s)
    values, vectors = values[::-1], vectors[:, ::-1]
    alpha = np.zeros((len(centres), y.shape[1]))
    average = np.zeros_like(alpha)
    for number, batch in enumerate(batches, 1):
        to_batch = kernel(samples[batch], centres)
        residual = to_batch @ alpha - y[batch]
        at_centres = to_batch.T @ residual  # the gradient's values there
        for i in range(q):
            norm = math.sqrt(s * values[i])
            function = vectors[:, i] / norm  # coefficients of the i-th eigenfunction
            along = (1 - values[q] / values[i]) * ((to_batch[:, :s] @ function) @ residual)
            at_centres = at_centres - np.outer(among[:, :s] @ function, along)
        alpha = alpha - step * np.linalg.solve(among, at_centres)
        average += (1 + 3) / (number + 3) * (alpha - average)
    return alpha, average
