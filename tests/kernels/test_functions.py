from __future__ import annotations

import numpy as np
import pytest
import torch

import kernels.naive_kernels as naive
from squall.kernels import (
    ExponentialPowerKernel,
    exponential_power,
    functions,
    median_distance,
    squared_distances,
)

GAMMAS = [0.3, 0.5, 0.85, 1.0, 1.4, 2.0]


def _rows(n: int, d: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)).astype("f4"))


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles, the last of them ragged."""
    monkeypatch.setattr(functions, "TILE_ROWS", {"cpu": 8})


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(("n", "m"), [(1, 1), (8, 8), (21, 9), (3, 30)])
def test_distances_are_those_of_the_loop(n: int, m: int) -> None:
    x, z = _rows(n), _rows(m, seed=1)
    expected = naive.squared_distances(x.numpy(), z.numpy())
    np.testing.assert_allclose(squared_distances(x, z), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.usefixtures("small_tiles")
def test_distances_of_a_set_to_itself() -> None:
    x = _rows(21)
    squared = squared_distances(x)
    np.testing.assert_allclose(squared, naive.squared_distances(x.numpy(), x.numpy()), rtol=1e-5)
    assert torch.equal(squared, squared.T)
    assert torch.equal(squared.diagonal(), torch.zeros(21))
    assert torch.equal(squared_distances(x, x), squared)


@pytest.mark.parametrize("shift", [0.0, 1000.0])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("copies", [1, 60])
def test_near_duplicates_keep_their_distance(shift: float, symmetric: bool, copies: int) -> None:
    """One near-duplicate is repaired alone, a set full of them by GEMM in float64."""
    x = _rows(60, d=500) + shift
    z = x.clone()
    z[:copies] += 2e-3 * _rows(copies, d=500, seed=3)
    both = torch.cat([x[:1].repeat(copies, 1) if copies > 1 else x, z])
    squared = squared_distances(both) if symmetric else squared_distances(both, both.clone())
    expected = naive.squared_distances(both.numpy(), both.numpy())
    np.testing.assert_allclose(squared, expected, rtol=2e-4, atol=1e-9)


def test_duplicates_have_no_distance() -> None:
    x = _rows(30, d=300).repeat(2, 1) + 5
    squared = squared_distances(x[:30], x[30:])
    assert torch.equal(squared.diagonal(), torch.zeros(30))
    constant = torch.full((40, 300), 0.1)
    assert torch.equal(squared_distances(constant[:20], constant[20:]), torch.zeros(20, 20))


def test_inputs_are_untouched_and_output_is_used() -> None:
    x, z = _rows(5), _rows(6, seed=1)
    copies, out = (x.clone(), z.clone()), torch.empty(5, 6)
    assert squared_distances(x, z, out=out) is out
    assert torch.equal(x, copies[0])
    assert torch.equal(z, copies[1])


def test_distances_of_unequal_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"equal width, not \(3, 7\) and \(3, 8\)"):
        squared_distances(_rows(3), _rows(3, d=8))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_kernel_is_that_of_the_loop(gamma: float) -> None:
    squared = squared_distances(_rows(30))
    expected = naive.exponential_power(squared.double().numpy(), gamma, 1.7)
    np.testing.assert_allclose(
        exponential_power(squared, gamma=gamma, sigma=1.7), expected, rtol=3e-6
    )


@pytest.mark.parametrize("gamma", GAMMAS)
def test_kernel_of_equal_points_is_exactly_one(gamma: float) -> None:
    kernel = ExponentialPowerKernel(gamma, 0.01)
    assert torch.equal(kernel(torch.zeros(3, 3)), torch.ones(3, 3))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_kernel_in_place_is_the_same(gamma: float) -> None:
    squared = squared_distances(_rows(30))
    kernel = ExponentialPowerKernel(gamma, 2.0)
    expected, before = kernel(squared), squared.clone()
    assert torch.equal(squared, before)
    assert kernel(squared, out=squared) is squared
    assert torch.equal(squared, expected)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_kernel_matrix_is_positive_semidefinite(gamma: float) -> None:
    squared = squared_distances(_rows(150).double())
    values = torch.linalg.eigvalsh(exponential_power(squared, gamma=gamma, sigma=2.0))
    assert values.min() > -1e-12


@pytest.mark.parametrize(
    ("gamma", "sigma", "message"),
    [
        (0.0, 1.0, "gamma is 0.0"),
        (2.1, 1.0, "gamma is 2.1"),
        (float("nan"), 1.0, "gamma is nan"),
        (1.0, 0.0, "sigma is 0.0"),
        (1.0, -3.0, "sigma is -3.0"),
        (1.0, float("inf"), "sigma is inf"),
    ],
)
def test_parameters_out_of_range(gamma: float, sigma: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exponential_power(torch.zeros(1, 1), gamma=gamma, sigma=sigma)
    with pytest.raises(ValueError, match=message):
        ExponentialPowerKernel(gamma, sigma)


def test_median_leaves_the_diagonal_out() -> None:
    line = torch.tensor([[0.0], [1.0], [3.0]])
    assert median_distance(squared_distances(line)) == pytest.approx(2.0)


def test_median_of_equal_points_is_positive() -> None:
    assert median_distance(torch.zeros(4, 4)) == 1.0
    assert median_distance(torch.zeros(1, 1)) == 1.0
    mostly = torch.zeros(9, 1)
    mostly[0] = 3.0
    assert median_distance(squared_distances(mostly)) == pytest.approx(2**0.5)
