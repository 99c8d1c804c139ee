"""The leading eigenpairs of a subsample's kernel matrix."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import Tensor

__all__ = ["Eigensystem", "top_eigenpairs"]

logger = logging.getLogger(__name__)

# Lanczos iteration takes a third of a direct solver's time here, and as long at four times as many.
LANCZOS_SHARE = 1 / 50


@dataclass(frozen=True)
class Eigensystem:
    """Eigenpairs of K_ss / s, the empirical integral operator on a subsample of s points.

    Args:
        values: (q,) float64, descending, >= 0.
        vectors: (s, q) float64, orthonormal columns; the largest entry of each is positive.
    """

    values: Tensor
    vectors: Tensor

    def __len__(self) -> int:
        return len(self.values)


def top_eigenpairs(kernel_matrix: Tensor, q: int) -> Eigensystem:
    """Give the q largest eigenpairs of K_ss / s, in float64.

    float32 solvers fail at random on these matrices, whose eigenvalues span many decades. A few
    pairs of many come from Lanczos iteration with a fixed start, else from a direct solver.

    Args:
        kernel_matrix: (s, s), symmetric positive semidefinite.
        q: from 1 to s.

    Raises:
        ValueError: the matrix is not square, or q is out of range.
    """
    s = len(kernel_matrix)
    if kernel_matrix.shape != (s, s):
        raise ValueError(f"a kernel matrix is square, not {tuple(kernel_matrix.shape)}")
    if not 1 <= q <= s:
        raise ValueError(f"{q} eigenpairs of a {s} x {s} matrix; use 1 to {s}")
    scaled = kernel_matrix.double() / s
    if scaled.is_cuda:
        values, vectors = torch.linalg.eigh(scaled)
        values, vectors = values[s - q :], vectors[:, s - q :]
    else:
        values, vectors = (torch.from_numpy(part.copy()) for part in _solve(scaled.numpy(), q))
    values, vectors = values.flip(0).clamp_(min=0), vectors.flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return Eigensystem(values, vectors * largest.sign())


def _solve(matrix: NDArray[np.float64], q: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The q largest eigenpairs, ascending."""
    s = len(matrix)
    if q <= LANCZOS_SHARE * s:
        start = np.random.default_rng(0).standard_normal(s)
        try:
            values, vectors = eigsh(matrix, q, v0=start)
        except ArpackNoConvergence:
            logger.debug("Lanczos iteration did not converge; solving directly")
        else:
            order = values.argsort()
            return values[order], vectors[:, order]
    values, vectors = linalg.eigh(
        matrix, subset_by_index=(s - q, s - 1), overwrite_a=True, check_finite=False
    )
    return values, vectors
