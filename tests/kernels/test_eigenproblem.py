"""Eigensystem and preconditioner."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kernels.naive_kernels as naive
from kernels.regression_data import draw
from squall.kernels import ExponentialPowerKernel, squared_distances
from squall.kernels.eigensystem import top_eigenpairs
from squall.kernels.preconditioner import Preconditioner, choose_preconditioner


@pytest.fixture(scope="module")
def kernel_matrix() -> torch.Tensor:
    x, _ = draw(300)
    return ExponentialPowerKernel(1.0, 30.0)(squared_distances(torch.from_numpy(x)))


@pytest.mark.parametrize("q", [5, 12, 299, 300])
def test_eigenpairs_solve_the_problem(kernel_matrix: torch.Tensor, q: int) -> None:
    """By Lanczos iteration for 5, directly for more."""
    system = top_eigenpairs(kernel_matrix, q)
    scaled = kernel_matrix.double() / 300
    expected = torch.linalg.eigvalsh(scaled).flip(0)[:q]
    torch.testing.assert_close(system.values, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(scaled @ system.vectors, system.vectors * system.values)
    torch.testing.assert_close(system.vectors.T @ system.vectors, torch.eye(q, dtype=torch.float64))


def test_signs_do_not_depend_on_the_solver(kernel_matrix: torch.Tensor) -> None:
    system = top_eigenpairs(kernel_matrix, 5)
    assert torch.equal(system.vectors, top_eigenpairs(kernel_matrix, 5).vectors)
    direct = top_eigenpairs(kernel_matrix, 12).vectors[:, :5]
    torch.testing.assert_close(system.vectors, direct)
    largest = system.vectors.abs().argmax(0)
    assert (system.vectors[largest, torch.arange(5)] > 0).all()


@pytest.mark.parametrize("q", [0, 301])
def test_number_of_eigenpairs_out_of_range(kernel_matrix: torch.Tensor, q: int) -> None:
    with pytest.raises(ValueError, match=f"{q} eigenpairs of a 300 x 300"):
        top_eigenpairs(kernel_matrix, q)


def test_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not \(3, 4\)"):
        top_eigenpairs(torch.ones(3, 4), 2)


def test_preconditioned_operator_has_the_promised_eigenvalue(kernel_matrix: torch.Tensor) -> None:
    """On the subsample itself the q first eigenvalues become lambda_{q+1}, the others stay."""
    q, s = 7, 300
    system = top_eigenpairs(kernel_matrix, q + 1)
    preconditioner = Preconditioner.from_eigensystem(system, q)
    kernel = kernel_matrix.double()
    shrunk = kernel - kernel @ preconditioner.correction(
        kernel @ preconditioner.vectors, torch.eye(s).double()
    )
    values = torch.linalg.eigvalsh((shrunk + shrunk.T) / 2 / s).flip(0)
    before = torch.linalg.eigvalsh(kernel / s).flip(0)
    torch.testing.assert_close(values[: q + 1], before[q].repeat(q + 1))
    torch.testing.assert_close(values[q:], before[q:])
    assert preconditioner.beta == pytest.approx(shrunk.diagonal().max().item())


def test_step_and_critical_batch_size() -> None:
    preconditioner = Preconditioner(torch.zeros(5, 0), torch.zeros(0), 0.9, 0.01)
    assert preconditioner.critical_batch_size == pytest.approx(91)
    assert preconditioner.step_size(1) == pytest.approx(1 / 0.9)
    assert preconditioner.step_size(90) == pytest.approx(1 / 0.9)
    assert preconditioner.step_size(91) == pytest.approx(0.99 / 0.9)
    assert preconditioner.step_size(991) == pytest.approx(0.99 * 2 / (0.9 + 9.9))


def test_measured_eigenvalue_shortens_the_step(kernel_matrix: torch.Tensor) -> None:
    """It is that of the preconditioned batch, and a step under it leaves no direction growing."""
    kernel = kernel_matrix.double()
    preconditioner = choose_preconditioner(kernel[:100, :100], batch_size=50)
    batch, rows = kernel[100:150, 100:150], kernel[100:150, :100]
    measured = preconditioner.largest_eigenvalue(batch, rows)
    shrunk = batch - rows @ preconditioner.correction(
        rows @ preconditioner.vectors, torch.eye(50).double()
    )
    assert measured == pytest.approx(torch.linalg.eigvalsh(shrunk).max().item())
    assert preconditioner.step_size(50, measured) == min(1.5 / measured, 1 / preconditioner.beta)


@pytest.mark.parametrize("batch_size", [1, 10, 40])
def test_fewest_directions_that_reach_the_batch(
    kernel_matrix: torch.Tensor, batch_size: int
) -> None:
    chosen = choose_preconditioner(kernel_matrix, batch_size=batch_size)
    assert chosen.critical_batch_size >= batch_size
    system = top_eigenpairs(kernel_matrix, chosen.q + 1)
    if chosen.q:
        one_less = Preconditioner.from_eigensystem(system, chosen.q - 1)
        assert one_less.critical_batch_size < batch_size


def test_directions_stay_under_a_quarter_of_the_subsample(kernel_matrix: torch.Tensor) -> None:
    assert choose_preconditioner(kernel_matrix, batch_size=10**9).q == 75


@pytest.mark.parametrize("s", [1, 2, 3])
def test_tiny_subsamples(s: int) -> None:
    chosen = choose_preconditioner(torch.eye(s), batch_size=100)
    assert 0 < chosen.step_size(100) < 2


def test_too_few_eigenpairs_are_refused(kernel_matrix: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="q is 3, of 3 eigenpairs"):
        Preconditioner.from_eigensystem(top_eigenpairs(kernel_matrix, 3), 3)


def test_equal_points_make_a_matrix_of_ones() -> None:
    chosen = choose_preconditioner(torch.ones(50, 50), batch_size=20)
    assert np.isfinite(chosen.step_size(20))
    assert torch.isfinite(chosen.weights).all()


def test_the_twin_agrees_with_one_step(kernel_matrix: torch.Tensor) -> None:
    """alpha after one batch, from the full-matrix twin."""
    y = np.random.default_rng(0).standard_normal((300, 2))
    system = top_eigenpairs(kernel_matrix[:100, :100], 6)
    preconditioner = Preconditioner.from_eigensystem(system, 5)
    kernel = kernel_matrix.double()
    batch = list(range(150, 190))
    expected = naive.eigenpro(kernel.numpy(), y, s=100, q=5, step=0.7, epochs=[[batch]])
    residual = -torch.from_numpy(y[batch])
    alpha = torch.zeros(300, 2, dtype=torch.float64)
    alpha[batch] -= 0.7 * residual
    spread = kernel[batch][:, :100] @ preconditioner.vectors
    alpha[:100] += 0.7 * preconditioner.correction(spread, residual)
    np.testing.assert_allclose(alpha, expected, rtol=1e-9, atol=1e-12)
