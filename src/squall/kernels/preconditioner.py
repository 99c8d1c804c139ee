"""The EigenPro preconditioner: how far and how many samples at a time a step may go."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from squall.kernels.eigensystem import Eigensystem, top_eigenpairs

__all__ = ["Preconditioner", "choose_preconditioner"]

FIRST_Q = 32
# Times the largest eigenvalue of a batch; at 2 the step would no longer reduce its error.
LARGEST_STEP = 1.5
# Times the first eigenvalue: below it float32 kernel values and coefficients are rounding.
LEAST_EIGENVALUE = 1e-6


@dataclass(frozen=True)
class Preconditioner:
    """P = I - sum_i (1 - lambda_{q+1} / lambda_i) e_i e_i', learnt on a subsample of s points.

    The top q directions, which limit the step of plain gradient descent, are shrunk to the
    eigenvalue of the next one.

    Args:
        vectors: (s, q) eigenvectors of K_ss / s.
        weights: (q,) (1 - lambda_{q+1} / lambda_i) / (s lambda_i): what takes K(s, b) g to the
            correction of the subsample's coefficients.
        beta: largest diagonal entry of the preconditioned kernel.
        tail_eigenvalue: lambda_{q+1}, the largest eigenvalue after preconditioning.

    Source: Ma, Belkin 2019, algorithm 1 and section 4.
    """

    vectors: Tensor
    weights: Tensor
    beta: float
    tail_eigenvalue: float

    @classmethod
    def from_eigensystem(cls, system: Eigensystem, q: int) -> Preconditioner:
        """Shrink the first q directions; the system holds at least q + 1 eigenpairs."""
        if not 0 <= q < len(system):
            raise ValueError(f"q is {q}, of {len(system)} eigenpairs; use 0 to {len(system) - 1}")
        values, vectors = system.values[:q], system.vectors[:, :q]
        s, tail = len(vectors), system.values[q].item()
        shrunk = 1 - tail / values
        # f_i(x_j) = sqrt(s lambda_i) e_ij is the i-th eigenfunction, of norm 1, at x_j.
        leverage = vectors.square() @ (shrunk * s * values)
        beta = max((1 - leverage).max().item(), tail)  # less than the tail is rounding
        return cls(vectors, shrunk / (s * values), beta, tail)

    @property
    def q(self) -> int:
        """Number of directions that are shrunk."""
        return len(self.weights)

    @property
    def critical_batch_size(self) -> float:
        """m* = beta / lambda_{q+1} + 1: beyond it larger batches make an epoch worth less."""
        return self.beta / max(self.tail_eigenvalue, 1e-300) + 1

    def step_size(self, batch_size: int, measured: float = 0.0) -> float:
        """Step per sample: 1 / beta up to m*, 0.99 * 2 / (beta + (m - 1) lambda_{q+1}) beyond.

        Convention: beta and lambda_{q+1} are what the subsample shows, and other points are less
        well preconditioned than it is: on mask features the sources' step exceeded the limit of
        stability by a quarter for m = s / 4 and twofold for m = s. The step is therefore at most
        three quarters of that limit, 2 / `measured`.

        Args:
            batch_size: the samples m of a step.
            measured: `largest_eigenvalue` of a batch; 0 leaves the step as the sources have it.
        """
        if batch_size < self.critical_batch_size:
            step = 1 / self.beta
        else:
            step = 0.99 * 2 / (self.beta + (batch_size - 1) * self.tail_eigenvalue)
        return min(step, LARGEST_STEP / measured) if measured > 0 else step

    def largest_eigenvalue(self, batch: Tensor, rows: Tensor) -> float:
        """Largest eigenvalue of the preconditioned kernel matrix of a batch.

        Args:
            batch: (m, m), K(b, b) of points outside the subsample, as far as there are any.
            rows: (m, s), K(b, s).
        """
        spread = rows @ self.vectors  # (m, q)
        shrunk = batch - (spread * self.weights) @ spread.T
        largest: float = torch.linalg.eigvalsh(shrunk.double())[-1].item()
        return largest

    def correction(self, projected: Tensor, residual: Tensor) -> Tensor:
        """V D V' K(s, b) g, what the step adds to the subsample's coefficients.

        Args:
            projected: (m, q), K(b, s) V.
            residual: (m, R), prediction minus target.
        """
        return self.vectors @ (self.weights[:, None] * (projected.T @ residual))

    def to(self, like: Tensor) -> Preconditioner:
        """The same in another tensor's type and on its device."""
        vectors, weights = self.vectors.to(like), self.weights.to(like)
        return Preconditioner(vectors, weights, self.beta, self.tail_eigenvalue)


def choose_preconditioner(kernel_matrix: Tensor, *, batch_size: int) -> Preconditioner:
    """Build the preconditioner with the smallest q whose critical batch size reaches a batch.

    More directions would cost time and gain nothing: up to m* a direction's progress per epoch
    depends on its own eigenvalue only. q stays under a quarter of the subsample, beyond which its
    eigenvectors say little about other points, and lambda_{q+1} above a millionth of lambda_1,
    below which eigenpairs are rounding; the step is then the one above m*.

    Args:
        kernel_matrix: (s, s), K_ss.
        batch_size: the samples m of a step.
    """
    s = len(kernel_matrix)
    available = min(FIRST_Q, s)
    while True:
        system = top_eigenpairs(kernel_matrix, available)
        usable = int((system.values >= LEAST_EIGENVALUE * system.values[0]).sum())
        for q in range(usable):
            chosen = Preconditioner.from_eigensystem(system, q)
            if chosen.critical_batch_size >= batch_size or q >= s // 4:
                return chosen.to(kernel_matrix)
        if usable < available or available == s:
            return chosen.to(kernel_matrix)
        available = min(2 * available, s)
