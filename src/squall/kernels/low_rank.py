"""Direct solution where few rows span all, which EigenPro iteration cannot solve.

Repeated rows, few distinct values, and smooth kernels in few dimensions give kernel matrices whose
eigenvalues soon are rounding. A preconditioner that goes into those lengthens the step without
bound, and one that stops before them leaves directions that are hardly learnt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from scipy.linalg.lapack import dpstrf
from torch import Tensor
from typing_extensions import Self

from squall.kernels.functions import ExponentialPowerKernel, Points, fill_squared_distances

__all__ = ["LowRank", "Solution", "count_distinct", "first_of_each", "has_low_rank"]

# Squared distance (of 1) of a row's kernel function from the span of others that counts as none.
SPANNED = 1e-9
# The same in float32; and what may be left of a row where the number of spanning rows is bounded.
ROUGHLY_SPANNED = 1e-5
# Rows that are looked at, and the share of them that may span the others: a few first, as what
# 500 of 1,000 rows span leaves no more than 200 independent ones among 250.
LOOKED_AT = ((250, 0.95), (1000, 0.5))
# Times the number of rows, with which eigenvalues grow.
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
# By how much of the best validation error a smaller ridge may be worse.
TOLERANCE = 0.01
BLOCK_ROWS = 2048


def has_low_rank(kernel: ExponentialPowerKernel, squared: Tensor) -> bool:
    """Whether less than half of the rows span the others.

    Args:
        kernel: the kernel.
        squared: (s, s) squared distances of a sample of the rows, in the iteration's precision.
    """
    for count, share in LOOKED_AT:
        matrix = kernel(squared[:count, :count]).double().cpu().numpy()
        rank = dpstrf(matrix, tol=ROUGHLY_SPANNED, lower=1)[2]
        if rank > share * len(matrix):
            return False
    return True


def count_distinct(rows: Tensor) -> int:
    """How many different rows (n, D) there are in float32."""
    return len(first_of_each(rows))


def first_of_each(rows: Tensor) -> Tensor:
    """The first of all equal rows (n, D) of float32, by random sums of the bits of each."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=generator)
    sums = [
        ((part + 0.0).view(torch.int32) * factors.to(rows.device)).sum(1)
        for part in torch.split(rows, BLOCK_ROWS)  # with 0 added, as -0 is 0
    ]
    first: dict[int, int] = {}
    for place, total in enumerate(torch.cat(sums).tolist()):
        first.setdefault(total, place)
    return torch.tensor(sorted(first.values()), device=rows.device)


@dataclass(frozen=True)
class Solution:
    """Coefficients of a group of output channels.

    Args:
        alpha: (n, F) float64.
        ridge: what was added to the diagonal of the kernel matrix.
        train_mse: (F,) of the training rows.
        validation_mse: (F,) of the validation rows; NaN without any.
    """

    alpha: Tensor
    ridge: float
    train_mse: Tensor
    validation_mse: Tensor


@dataclass(frozen=True)
class LowRank:
    """A kernel matrix as L L', where L = K(x, p) C^-T and C C' = K(p, p), in float64.

    Args:
        kernel: the kernel.
        rows: (n, D) float32 training rows x, centred.
        pivots: (r, D) float64, the rows p that span the others.
        factor: (r, r) float64, the lower triangle C.
    """

    kernel: ExponentialPowerKernel
    rows: Tensor
    pivots: Points
    factor: Tensor

    @classmethod
    def find(cls, kernel: ExponentialPowerKernel, rows: Tensor, sample: int) -> Self | None:
        """Choose the rows that span the others by pivoted Cholesky decomposition.

        It is made of the first rows, a sample, and then of those that span them and what they do
        not span.

        Args:
            kernel: the kernel.
            rows: (n, D) float32, centred, in an order that means nothing.
            sample: rows to begin with, and the most that may span the others.

        Returns:
            None where more rows than that are needed.

        Source: Fine, Scheinberg 2001.
        """
        chosen = torch.arange(min(sample, len(rows)), device=rows.device)
        before = math.inf
        while True:
            points = Points.of(rows[chosen].double())
            matrix = _values(kernel, points, None).cpu().numpy()
            decomposed, order, rank, _ = dpstrf(matrix, tol=SPANNED, lower=1)
            rank = min(rank, sample)
            first = torch.from_numpy(order[:rank] - 1).long().to(rows.device)
            factor = torch.from_numpy(decomposed[:rank, :rank]).tril().to(rows.device)
            chosen = chosen[first]
            found = cls(kernel, rows, Points.of(rows[chosen].double()), factor)
            left = torch.cat([1 - part.square().sum(1) for _, part in found.parts(rows)])
            most = left.max().item()
            # Rounding may leave of a row a little more than what its pivot was.
            if most <= (ROUGHLY_SPANNED if rank == sample else 2 * SPANNED):
                return found
            if rank == sample and most > before / 2:  # what was not spanned has had its turn
                return None
            before = most
            worst = left.argsort(descending=True)[:sample]
            chosen = torch.cat([chosen, worst[left[worst] > 2 * SPANNED]])

    def __len__(self) -> int:
        return len(self.pivots)

    def parts(self, rows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Which of the rows (m, D), and their part of L."""
        for start in range(0, len(rows), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            values = _values(self.kernel, Points.of(rows[block].double()), self.pivots)
            yield block, torch.linalg.solve_triangular(self.factor, values.T, upper=False).T

    def solve(
        self, targets: Tensor, validation: tuple[Tensor, Tensor], groups: Sequence[slice]
    ) -> list[Solution]:
        """Solve (K + ridge I) alpha = Y, with a ridge for each group of channels.

        Of all coefficients with these predictions the smallest are given: repeated rows share
        theirs equally, and float32 holds them.

        Args:
            targets: (n, F).
            validation: features (v, D) and targets (v, F). The ridge is the smallest among n times
                1e-6 to 0.1 whose validation error is not more than 1 % above the least; without
                validation rows it is n times 1e-6.
            groups: columns of the targets.
        """
        n, count = len(targets), len(validation[0])
        y, held_y = targets.double(), validation[1].double()
        gram = self.factor.new_zeros(len(self), len(self))
        against = self.factor.new_zeros(len(self), y.shape[1])
        for block, part in self.parts(self.rows):
            gram.addmm_(part.T, part)
            against.addmm_(part.T, y[block])
        values, vectors = torch.linalg.eigh(gram)
        values = values.clamp(min=0)[:, None]  # (r, 1)
        along = vectors.T @ against  # (r, F)
        ridges = [n * ridge for ridge in (RIDGES if count else RIDGES[:1])]
        weights = torch.stack([along / (values + ridge) for ridge in ridges])
        reached = 2 * along * weights - values * weights.square()
        train = (y.square().sum(0) - reached.sum(1)).clamp(min=0) / n  # (ridges, F)
        held = torch.zeros_like(train)
        for block, part in self.parts(validation[0]):
            held += ((part @ vectors) @ weights - held_y[block]).square().sum(1)
        held /= count  # NaN without any

        solutions = []
        for group in groups:
            errors = held[:, group].mean(1)
            good = (errors <= (1 + TOLERANCE) * errors.min()) | errors.isnan()
            chosen = int(good.nonzero()[0])
            ridge = ridges[chosen]
            kept = values[:, 0] > 1e-4 * ridge
            shares = vectors[:, kept] @ (weights[chosen][kept][:, group] / values[kept])
            alpha = torch.cat([part @ shares for _, part in self.parts(self.rows)])
            solutions.append(Solution(alpha, ridge, train[chosen, group], held[chosen, group]))
        return solutions


def _values(kernel: ExponentialPowerKernel, points: Points, others: Points | None) -> Tensor:
    columns = points if others is None else others
    out = points.rows.new_empty(len(points), len(columns))
    return kernel(fill_squared_distances(points, others, out=out))
