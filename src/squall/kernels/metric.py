"""A metric learnt from a first kernel model: the average gradient outer product."""

from __future__ import annotations

import torch
from torch import Tensor

from squall.kernels.direct import solve_directly
from squall.kernels.functions import (
    ExponentialPowerKernel,
    Points,
    fill_squared_distances,
    median_distance,
    squared_distances,
)

__all__ = [
    "average_gradient_outer_product",
    "learn_metric",
    "metric_factor",
    "principal_factor",
    "under_metric",
]

PROJECTIONS = 8
# Rows whose gradients are taken.
GRADIENTS = 500
# On mask features: 300 of 1,230 directions, half of the time, no difference of the error.
PRINCIPAL_SHARE = 0.99
BLOCK_ROWS = 128


def average_gradient_outer_product(
    points: Tensor,
    centres: Tensor,
    alpha: Tensor,
    kernel: ExponentialPowerKernel,
    *,
    projections: int | None = PROJECTIONS,
    diagonal: bool = False,
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
        diagonal: give the diagonal only.
        seed: of the combinations.

    Returns:
        (D, D), symmetric positive semidefinite, or (D,).

    Source: Radhakrishnan, Beaglehole, Pandit, Belkin 2024, equation 2.
    """
    generator = torch.Generator().manual_seed(seed)
    middle = centres.mean(0)
    x, z = Points.of(points - middle), Points.of(centres - middle)
    outputs, width = alpha.shape[1], points.shape[1]
    total = points.new_zeros(width) if diagonal else points.new_zeros(width, width)
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
        if diagonal:
            total += gradients.square_().sum(0)
        else:
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
    targets: Tensor,
    kernel: ExponentialPowerKernel,
    *,
    rank: int,
    power: float = 0.5,
    rounds: int = 1,
    diagonal: bool = False,
    places: int = 1,
    seed: int = 0,
) -> Tensor:
    """Factor of the metric of kernel models, scaled to keep the median distance.

    In each round a model is solved under the metric so far, and the average outer product of its
    gradients becomes the next metric.

    Args:
        x: (N, D) features, which are the models' centres; gradients are taken at the first ones.
        targets: (N, F).
        kernel: of the models.
        rank: most columns of the factor.
        power: of the eigenvalues of M; 0.5 is the metric of the source.
        rounds: models.
        diagonal: only the diagonal of M counts: every feature gets a weight.
        places: of a window of frames whose features stand side by side; a feature gets the same
            weight in all of them, so that windows that overlap still do under the metric.
        seed: of the random combinations of outputs.

    Returns:
        (D, r), or (D,) of a diagonal metric; see `under_metric`.

    Source: Radhakrishnan, Beaglehole, Pandit, Belkin 2024, algorithm 1.
    """
    factor = x.new_ones(x.shape[1])
    for turn in range(rounds):
        rows = under_metric(x, factor)
        alpha = solve_directly(kernel(squared_distances(rows)), targets)
        product = average_gradient_outer_product(
            rows[:GRADIENTS], rows, alpha, kernel, diagonal=diagonal, seed=seed + turn
        )
        # By the chain rule that of the features themselves.
        if diagonal:
            of_places = (factor.square() * product).view(places, -1)
            factor = of_places.mean(0).pow(power).repeat(places)
        else:
            product = (
                factor[:, None] * product * factor
                if factor.dim() == 1
                else factor @ product @ factor.T
            )
            factor = metric_factor(product, rank=rank, power=power)
        factor = factor * (_median(x) / _median(under_metric(x, factor)))
    return factor


def principal_factor(x: Tensor, *, share: float = PRINCIPAL_SHARE) -> Tensor:
    """The fewest principal directions (D, r) of the features that have this share of variance.

    Distances in them are those of the features but for what is left out, and cheaper.

    Args:
        x: (N, D), centred.
        share: in (0, 1].
    """
    values, vectors = torch.linalg.eigh((x.T @ x).double())
    variance = values.flip(0).clamp(min=0).cumsum(0)
    rank = int((variance < share * variance[-1]).sum()) + 1
    directions: Tensor = vectors.flip(1)[:, :rank].to(x.dtype).contiguous()
    return directions


def under_metric(x: Tensor, factor: Tensor) -> Tensor:
    """Features (N, D) times a factor (D, r), or times the weights (D,) of a diagonal metric."""
    return x * factor if factor.dim() == 1 else x @ factor


def _gradient_weights(squared: Tensor, kernel: ExponentialPowerKernel) -> Tensor:
    """K(x, z) gamma / sigma ||x - z||^(gamma - 2); zero where x = z."""
    values = kernel(squared)
    power = squared.pow(kernel.gamma / 2 - 1)
    power[squared == 0] = 0
    return values.mul_(power).mul_(kernel.gamma / kernel.sigma)


def _median(rows: Tensor) -> float:
    points = Points.of(rows - rows.mean(0))
    return median_distance(fill_squared_distances(points, out=rows.new_empty(len(rows), len(rows))))
