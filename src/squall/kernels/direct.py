"""Direct solution of small systems."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["RIDGE", "solve_directly"]

RIDGE = 1e-5


def solve_directly(kernel_matrix: Tensor, y: Tensor, ridge: float = RIDGE) -> Tensor:
    """Solve (K + ridge I) alpha = Y by Cholesky; in float64 where float32 fails.

    Where the rounding of K exceeds the ridge, as in very wide kernels, it is raised tenfold until
    the matrix is positive definite.

    Args:
        kernel_matrix: (s, s); overwritten.
        y: (s, F).
        ridge: added to the diagonal of ones.

    Raises:
        ValueError: the matrix is not positive definite with a ridge of 0.1 either.
    """
    kernel_matrix.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(kernel_matrix)
    if int(failed) == 0:
        return torch.cholesky_solve(y, factor)
    exact = kernel_matrix.double()
    while ridge <= 0.1:
        factor, failed = torch.linalg.cholesky_ex(exact)
        if int(failed) == 0:
            return torch.cholesky_solve(y.double(), factor).to(y.dtype)
        exact.diagonal().add_(9 * ridge)
        ridge *= 10
    raise ValueError("the kernel matrix is not positive definite: are all features finite?")
