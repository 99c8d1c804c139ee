"""A metric learnt from a first kernel model: the average gradient outer product."""

from __future__ import annotations

import torch
from torch import Tensor

from squall.kernels.functions import (
    ExponentialPowerKernel,
    Points,
    fill_squared_distances,
    median_distance,
)

__all__ = ["average_gradient_outer_product", "learn_metric", "metric_factor"]

PROJECTIONS = 8
BLOCK_ROWS = 128


def average_gradient_outer_product(
    points: Tensor,
    centres: Tensor,
    alpha: Tensor,
    kernel: ExponentialPowerKernel,
    *,
    projections: int | None = PROJECTIONS,
    seed: int = 0,
) -> Tensor:
    """M = mean over points x of sum over outputs f of grad f(x) grad f(x)'.

    With f(x) = sum_i alpha_i K(x, x_i),
    grad f(x) = -sum_i alpha_i K(x, x_i) gamma / sigma ||x - x_i||^(gamma - 2) (x - x_i),
    where a centre at x itself contributes nothing (for gamma < 2 it has no gradient there).

    Args:
        points: (N, D) where the gradients are taken.
        centres: (s, D).
        alpha: (s, F).
        kernel: of the model.
        projections: the F outputs are replaced by this many random combinations, drawn anew for
            every block of points, whose sum over outputs has the same mean; None takes them all.
        seed: of the combinations.

    Returns:
        (D, D), symmetric positive semidefinite.

    Source: Radhakrishnan, Beaglehole, Pandit, Belkin 2024, equation 2.
    """
    generator = torch.Generator().manual_seed(seed)
    middle = centres.mean(0)
    x, z = Points.of(points - middle), Points.of(centres - middle)
    outputs, width = alpha.shape[1], points.shape[1]
    total = points.new_zeros(width, width)
    for start in range(0, len(x), BLOCK_ROWS):
        block = x[start : start + BLOCK_ROWS]
        mixed = alpha
        if projections is not None and projections < outputs:
            draw = torch.randn(outputs, projections, generator=generator) / projections**0.5
            mixed = alpha @ draw.to(alpha)
        squared = fill_squared_distances(block, z, out=points.new_empty(len(block), len(z)))
        weights = _gradient_weights(squared, kernel)  # (B, s)
        weighted = weights[:, None, :] * mixed.T  # (B, F', s)
        gradients = weighted.flatten(0, 1) @ z.rows  # (B F', D)
        gradients -= (weighted.sum(2)[:, :, None] * block.rows[:, None, :]).flatten(0, 1)
        total.addmm_(gradients.T, gradients)
    total /= len(x)
    return total


def metric_factor(matrix: Tensor, *, rank: int, power: float = 0.5) -> Tensor:
    """Factor (D, r) by which features are multiplied, so that distances are those under M.

    Distances of X M^(1/2) and of X V_r Lambda_r^(1/2) are equal where r covers the spectrum; the
    second has fewer columns, which makes distances cheaper too.

    Args:
        matrix: (D, D), the average gradient outer product.
        rank: most columns.
        power: of the eigenvalues.
    """
    values, vectors = torch.linalg.eigh(matrix.double())
    rank = min(rank, len(values))
    leading = values[-rank:].clamp(min=0).pow(power)
    factor: Tensor = (vectors[:, -rank:] * leading).flip(1)
    return factor.to(matrix.dtype).contiguous()


def learn_metric(
    x: Tensor,
    centres: Tensor,
    alpha: Tensor,
    kernel: ExponentialPowerKernel,
    *,
    rank: int,
    power: float = 0.5,
    seed: int = 0,
) -> Tensor:
    """Factor (D, r) of the metric of a kernel model, scaled to keep the median distance.

    Args:
        x: (N, D) where gradients are taken.
        centres: (s, D) of the model.
        alpha: (s, F) of the model.
        kernel: of the model.
        rank: most columns of the factor.
        power: of the eigenvalues of M; 0.5 is the metric of the source.
        seed: of the random combinations of outputs.
    """
    matrix = average_gradient_outer_product(x, centres, alpha, kernel, seed=seed)
    factor = metric_factor(matrix, rank=rank, power=power)
    return factor * (_median(centres) / _median(centres @ factor))


def _gradient_weights(squared: Tensor, kernel: ExponentialPowerKernel) -> Tensor:
    """K(x, z) gamma / sigma ||x - z||^(gamma - 2); zero where x = z."""
    values = kernel(squared)
    power = squared.pow(kernel.gamma / 2 - 1)
    power[squared == 0] = 0
    return values.mul_(power).mul_(kernel.gamma / kernel.sigma)


def _median(rows: Tensor) -> float:
    points = Points.of(rows - rows.mean(0))
    return median_distance(fill_squared_distances(points, out=rows.new_empty(len(rows), len(rows))))
