from __future__ import annotations

import numpy as np
import pytest
import torch

import kernels.naive_kernels as naive
from kernels.regression_data import draw
from squall.kernels import median_distance, search_bandwidths, squared_distances
from squall.kernels.bandwidth import Candidate, _share
from squall.kernels.direct import solve_directly

X, Y = (torch.from_numpy(part) for part in draw(400))
MEAN = Y.mean(0)
HELD_X, HELD_Y = (torch.from_numpy(part) for part in draw(150, seed=1))
VALIDATION = (HELD_X, HELD_Y - MEAN)


def test_errors_are_those_of_the_direct_solution() -> None:
    groups = [slice(channel, channel + 1) for channel in range(6)]
    search = search_bandwidths(X, Y - MEAN, validation=VALIDATION, groups=groups)
    median = median_distance(squared_distances(X))
    for tried in search.candidates[::4]:
        sigma = tried.bandwidth * median**tried.gamma
        expected = naive.predict_exactly(
            X.numpy(), Y.numpy(), HELD_X.numpy(), tried.gamma, sigma, ridge=1e-5
        )
        mse = ((expected - HELD_Y.numpy()) ** 2).mean(0)
        np.testing.assert_allclose(tried.errors, mse, rtol=0.02)


def test_walk_finds_what_the_whole_grid_has() -> None:
    gammas, bandwidths = (0.5, 0.7, 1.0, 1.4), (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    groups = [slice(0, 3), slice(3, 6)]
    walk = search_bandwidths(
        X, Y - MEAN, validation=VALIDATION, groups=groups, gammas=gammas, bandwidths=bandwidths,
        tolerance=0,
    )  # fmt: skip
    grid = [
        search_bandwidths(
            X, Y - MEAN, validation=VALIDATION, groups=groups, gammas=(gamma,),
            bandwidths=(bandwidth,),
        ).candidates[0]
        for gamma in gammas
        for bandwidth in bandwidths
    ]  # fmt: skip
    assert len(walk.candidates) < len(grid)
    for group, best in enumerate(walk.best):
        assert best.errors[group] <= 1.01 * min(tried.errors[group] for tried in grid)


def test_no_candidate_is_tried_twice() -> None:
    groups = [slice(i, i + 1) for i in range(6)]
    search = search_bandwidths(X, Y - MEAN, validation=VALIDATION, groups=groups)
    kernels = [(tried.gamma, tried.bandwidth) for tried in search.candidates]
    assert len(set(kernels)) == len(kernels)
    assert len(search.table()) == len(kernels)
    assert search.table()[0]["mse"] == search.candidates[0].mse
    assert search.candidates[0].mse == pytest.approx(np.mean(search.candidates[0].errors))


def test_groups_share_a_kernel_within_the_tolerance() -> None:
    tried = [
        Candidate(0.5, 1.0, [1.000, 2.0, 3.00], 2.0),
        Candidate(1.0, 1.0, [1.001, 1.0, 3.01], 1.7),
        Candidate(1.4, 1.0, [9.000, 9.0, 1.00], 6.3),
    ]
    assert [best.gamma for best in _share(tried, 0.002)] == [1.0, 1.0, 1.4]
    assert [best.gamma for best in _share(tried, 0.0)] == [0.5, 1.0, 1.4]


def test_ill_conditioned_matrix_is_solved_in_float64() -> None:
    squared = squared_distances(X[:, :2].contiguous())
    matrix = torch.exp(-squared / 1000)
    alpha = solve_directly(matrix.clone(), Y, ridge=1e-7)
    assert torch.isfinite(alpha).all()


def test_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(ValueError, match="not positive definite"):
        solve_directly(-torch.eye(3), torch.ones(3, 1))


def test_empty_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one gamma"):
        search_bandwidths(X, Y, validation=VALIDATION, groups=[slice(0, 6)], gammas=())
