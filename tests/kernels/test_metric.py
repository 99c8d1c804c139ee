from __future__ import annotations

from pathlib import Path
from typing import Any

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
from squall.kernels.metric import (
    average_gradient_outer_product,
    learn_metric,
    metric_factor,
    principal_factor,
    under_metric,
)

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
    centres, targets = torch.from_numpy(CENTRES), torch.from_numpy(ALPHA)
    kernel = ExponentialPowerKernel(1.0, 2.0)
    before = median_distance(squared_distances(centres))
    for diagonal in (False, True):
        factor = learn_metric(centres, targets, kernel, rank=3, rounds=2, diagonal=diagonal)
        assert factor.shape == ((6,) if diagonal else (6, 3))
        after = median_distance(squared_distances(under_metric(centres, factor)))
        assert after == pytest.approx(before)


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_round_differentiates_by_the_features_themselves(diagonal: bool) -> None:
    """The second metric is that of the gradients by x of a model under the first one."""
    centres, targets = torch.from_numpy(CENTRES), torch.from_numpy(ALPHA)
    kernel = ExponentialPowerKernel(1.0, 2.0)
    options = {"rank": 6, "diagonal": diagonal}
    first = learn_metric(centres, targets, kernel, **options)
    second = learn_metric(centres, targets, kernel, rounds=2, **options)
    under = np.diag(first.numpy()) if diagonal else first.numpy()
    rows = CENTRES @ under
    alpha = np.linalg.solve(naive.kernel_matrix(rows, rows, 1.0, 2.0) + 1e-5 * np.eye(40), ALPHA)
    gradients = naive.gradient_outer_product(rows, rows, alpha, 1.0, 2.0)
    expected = under @ gradients @ under.T
    found = second.square().diag() if diagonal else second @ second.T
    if diagonal:
        expected = np.diag(np.diag(expected))
    expected *= np.trace(found.numpy()) / np.trace(expected)  # its scale keeps the median
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.05 * np.abs(expected).max())


def test_the_diagonal_is_that_of_the_product() -> None:
    centres, alpha = (torch.from_numpy(part) for part in (CENTRES, ALPHA))
    kernel = ExponentialPowerKernel(1.0, 2.0)
    whole = average_gradient_outer_product(centres, centres, alpha, kernel)
    diagonal = average_gradient_outer_product(centres, centres, alpha, kernel, diagonal=True)
    np.testing.assert_allclose(diagonal, whole.diagonal(), rtol=1e-10)


def test_places_of_a_window_share_their_weights() -> None:
    """The weight is the root of the mean over places, each of two features here."""
    centres, targets = torch.from_numpy(CENTRES), torch.from_numpy(ALPHA)
    kernel = ExponentialPowerKernel(1.0, 2.0)
    each = learn_metric(centres, targets, kernel, rank=6, diagonal=True)
    shared = learn_metric(centres, targets, kernel, rank=6, diagonal=True, places=3)
    mean = each.square().view(3, 2).mean(0).sqrt().repeat(3)
    np.testing.assert_allclose(shared / shared[0], mean / mean[0], rtol=1e-10)


def test_principal_directions_have_their_share_of_the_variance() -> None:
    x = torch.from_numpy(RNG.standard_normal((300, 3)) @ RNG.standard_normal((3, 20)))
    x += 0.05 * torch.from_numpy(RNG.standard_normal((300, 20)))
    x -= x.mean(0)
    factor = principal_factor(x, share=0.98)
    kept = (x @ factor).square().sum() / x.square().sum()
    assert kept >= 0.98
    less = (x @ factor[:, :-1]).square().sum() / x.square().sum()
    assert less < 0.98
    assert factor.shape[1] <= 3
    assert torch.allclose(factor.T @ factor, torch.eye(factor.shape[1]).double())


@pytest.mark.parametrize("metric", ["principal", "diagonal"])
def test_other_metrics_are_kept_and_predict(metric: Any, tmp_path: Path) -> None:
    x = RNG.standard_normal((600, 20)).astype("f4")
    y = np.sin(x[:, :1]) * x[:, 1:2]
    model = EigenProRegressor(metric=metric, metric_rounds=2).fit(x, y)
    assert model.metric_factor_ is not None
    if metric == "diagonal":
        assert set(np.argsort(model.metric_factor_)[-2:]) == {0, 1}
    model.save(tmp_path / "model.npz")
    loaded = EigenProRegressor.load(tmp_path / "model.npz")
    assert np.array_equal(loaded.predict(x[:50]), model.predict(x[:50]))
    together = model.predict(x[:50].astype("f8"))
    np.testing.assert_allclose(together[3], model.predict(x[3:4].astype("f8"))[0], atol=1e-7)


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
