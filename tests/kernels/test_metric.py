from __future__ import annotations

import numpy as np
import pytest
import torch

import kernels.naive_kernels as naive
from squall.kernels import (
    EigenProRegressor,
    ExponentialPowerKernel,
    median_distance,
    squared_distances,
)
from squall.kernels.metric import average_gradient_outer_product, learn_metric, metric_factor

RNG = np.random.default_rng(0)
CENTRES, POINTS = RNG.standard_normal((40, 6)), RNG.standard_normal((15, 6))
ALPHA = RNG.standard_normal((40, 5))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.4, 2.0])
def test_gradients_are_those_of_differences(gamma: float) -> None:
    expected = naive.gradient_outer_product(POINTS, CENTRES, ALPHA, gamma, 2.0)
    found = average_gradient_outer_product(
        *(torch.from_numpy(part) for part in (POINTS, CENTRES, ALPHA)),
        ExponentialPowerKernel(gamma, 2.0),
        projections=None,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_random_projections_have_the_right_mean() -> None:
    points, centres, alpha = (torch.from_numpy(part) for part in (POINTS, CENTRES, ALPHA))
    kernel = ExponentialPowerKernel(1.0, 2.0)
    exact = average_gradient_outer_product(points, centres, alpha, kernel, projections=None)
    drawn = sum(
        average_gradient_outer_product(points, centres, alpha, kernel, projections=2, seed=seed)
        for seed in range(400)
    )
    assert np.linalg.norm(drawn / 400 - exact) < 0.1 * np.linalg.norm(exact)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.4])
def test_gradients_at_the_centres_are_finite(gamma: float) -> None:
    centres, alpha = (torch.from_numpy(part) for part in (CENTRES, ALPHA))
    kernel = ExponentialPowerKernel(gamma, 2.0)
    assert torch.isfinite(average_gradient_outer_product(centres, centres, alpha, kernel)).all()


def test_factor_measures_distances_under_the_matrix() -> None:
    root = torch.from_numpy(RNG.standard_normal((6, 6)))
    matrix, rows = root @ root.T, torch.from_numpy(POINTS)
    factor = metric_factor(matrix, rank=6)
    difference = rows[0] - rows[1]
    under_matrix = difference @ matrix @ difference
    assert (difference @ factor).square().sum().item() == pytest.approx(under_matrix.item())
    assert metric_factor(matrix, rank=2).shape == (6, 2)


def test_median_distance_is_kept() -> None:
    points, centres, alpha = (torch.from_numpy(part) for part in (POINTS, CENTRES, ALPHA))
    factor = learn_metric(points, centres, alpha, ExponentialPowerKernel(1.0, 2.0), rank=3)
    before, after = (
        median_distance(squared_distances(rows)) for rows in (centres, centres @ factor)
    )
    assert after == pytest.approx(before)


def test_metric_finds_the_features_that_matter() -> None:
    """Two of twenty independent features decide; under the learned metric less data suffice."""
    x = RNG.standard_normal((1500, 20)).astype("f4")
    y = np.sin(x[:, :1]) * x[:, 1:2]
    errors = {}
    for metric in ("euclidean", "learned"):
        model = EigenProRegressor(metric=metric, metric_rank=10, metric_power=0.5).fit(
            x[:1000], y[:1000]
        )
        errors[metric] = np.mean((model.predict(x[1000:]) - y[1000:]) ** 2)
    assert errors["learned"] < 0.3 * errors["euclidean"]
    assert model.metric_factor_ is not None
    assert model.metric_factor_.shape == (20, 10)
    assert model.centres_.shape[1] == 10
    strength = np.square(model.metric_factor_).sum(1)
    assert set(np.argsort(strength)[-2:]) == {0, 1}
