from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from squall.theory.prox import (
    rescaled_square_prox,
    rescaled_square_prox_derivative,
    scalar_objective,
    threshold,
)

CASES = [(1.0, 0.3), (1.0, 2e-5), (5.0, 1.7), (0.2, 40.0), (30.0, 0.5)]


def brute_force(p: float, label: int, R: float, g: float) -> float:
    """The minimiser of (R y - (z)_+)^2 + g (z - p)^2 by ever finer grids on both sides of 0."""
    p, R, g = (np.longdouble(value) for value in (p, R, g))

    def objective(z):
        return (R * label - np.maximum(z, 0)) ** 2 + g * (z - p) ** 2

    best = []
    for low, high in ((-abs(p) - 2 * R, np.longdouble(0)), (np.longdouble(0), abs(p) + 2 * R)):
        a, b = low, high
        for _ in range(40):
            z = np.linspace(a, b, 41, dtype=np.longdouble)
            at = z[np.argmin(objective(z))]
            width = (b - a) / 10
            a, b = max(low, at - width), min(high, at + width)
        best.append(at)
    return float(min(best, key=objective))


@pytest.mark.parametrize(("R", "gamma"), CASES)
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(("convention", "factor"), [("half", 0.5), ("whole", 1.0)])
def test_the_prox_is_the_minimum_of_its_convention(R, gamma, label, convention, factor) -> None:
    g = factor * gamma
    at = float(threshold(rescale=R, pull=g))
    p = np.concatenate(
        [R * np.array([-3.0, -0.7, -0.05, 0.02, 0.5, 1.0, 4.0]), at * np.array([0.9, 1.1])]
    )
    found = rescaled_square_prox(p, label=label, rescale=R, gamma=gamma, convention=convention)
    expected = [brute_force(value, label, R, g) for value in p]
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * R)


def test_the_conventions_differ() -> None:
    """The printed formula, which has g alone, is the minimum of one problem at a time."""
    p, R, gamma = 0.5, 1.0, 2.0
    half = rescaled_square_prox(p, label=1, rescale=R, gamma=gamma)
    whole = rescaled_square_prox(p, label=1, rescale=R, gamma=gamma, convention="whole")
    assert half == pytest.approx((R + p) / 2)
    assert whole == pytest.approx((R + 2 * p) / 3)
    value = {"label": 1, "rescale": R, "gamma": gamma}
    assert scalar_objective(half, p, **value) < scalar_objective(whole, p, **value) - 1e-3
    value["convention"] = "whole"
    assert scalar_objective(whole, p, **value) < scalar_objective(half, p, **value) - 1e-3


@pytest.mark.parametrize(("R", "gamma"), CASES)
def test_both_minima_cost_the_same_at_the_threshold(R, gamma) -> None:
    at = float(threshold(rescale=R, pull=gamma / 2))
    assert at < 0
    active = (R + gamma / 2 * at) / (1 + gamma / 2)
    costs = scalar_objective(np.array([at, active]), at, label=1, rescale=R, gamma=gamma)
    assert costs[0] == pytest.approx(costs[1], rel=1e-10)
    assert active > 0


def test_the_threshold_keeps_its_digits() -> None:
    assert float(threshold(rescale=1.0, pull=1e12)) == pytest.approx(-0.5e-12, rel=1e-9)


def test_the_mean_slope_counts_the_jump() -> None:
    """Stein: E[p prox(p)] / v is the mean derivative and the jump's height times its density."""
    R, gamma, sd = 1.0, 1.5, 0.8
    g = gamma / 2
    at = float(threshold(rescale=R, pull=g))

    def density(p):
        return np.exp(-((p / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))

    def mean(function):
        values = (
            quad(lambda p: float(function(p)) * density(p), a, b, epsabs=1e-12)
            for a, b in ((-9, at), (at, 9))
        )
        return sum(value for value, _ in values)

    options = {"label": 1, "rescale": R, "gamma": gamma}
    slope = mean(lambda p: rescaled_square_prox_derivative(p, **options))
    stein = mean(lambda p: p * rescaled_square_prox(p, **options)) / sd**2
    jump = (R - at) / (1 + g) * density(at)
    assert stein == pytest.approx(slope + jump, abs=1e-9)
    assert jump > 0.2


def test_derivative_by_differences() -> None:
    p = np.array([-2.0, -0.6, -0.1, 0.3, 2.0])
    for label in (0, 1):
        for convex in (False, True):
            options = {"label": label, "rescale": 1.0, "gamma": 0.7, "convex": convex}
            difference = rescaled_square_prox(p + 1e-6, **options) - rescaled_square_prox(
                p - 1e-6, **options
            )
            slope = rescaled_square_prox_derivative(p, **options)
            np.testing.assert_allclose(difference / 2e-6, slope, atol=1e-8)


def test_the_convex_twin_has_no_threshold() -> None:
    p = np.linspace(-5, 5, 11)
    found = rescaled_square_prox(p, label=1, rescale=2.0, gamma=1.0, convex=True)
    np.testing.assert_allclose(found, (2 + p / 2) / 1.5)
    same = rescaled_square_prox(p, label=0, rescale=2.0, gamma=1.0, convex=True)
    np.testing.assert_array_equal(same, rescaled_square_prox(p, label=0, rescale=2.0, gamma=1.0))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rescale": 0.0}, r"rescale \(R\) is 0"),
        ({"rescale": -1.0}, r"rescale \(R\) is -1"),
        ({"gamma": 0.0}, "gamma is 0"),
        ({"label": 2}, "not 2"),
        ({"convention": "double"}, "'double'"),
    ],
)
def test_bad_values_are_named(change, named) -> None:
    with pytest.raises(ValueError, match=named):
        rescaled_square_prox(1.0, **{"label": 1, "rescale": 1.0, "gamma": 1.0, **change})
