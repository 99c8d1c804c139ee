from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from squall.theory.mixtures import (
    Mixture,
    ccql,
    ccql_lower_bound,
    ccql_minimiser,
    ccql_minimum,
    ccql_upper_bound,
    equiangular_centres,
    printed_ccql_bound,
    printed_ql_minimiser,
    printed_ql_minimum,
    random_centres,
    worst_ccql_upper_bound,
)

SLIPS = Mixture(random_centres(classes=12, features=8, seed=0), noise=0.3)
MIXTURES = [
    SLIPS,
    Mixture(random_centres(classes=3, features=7, seed=1), noise=1.0),
    Mixture(random_centres(classes=6, features=6, seed=2), noise=0.05, kind="bounded"),
    Mixture(equiangular_centres(classes=4, features=5, correlation=0.6), noise=0.5),
]


def search_minimum(mixture: Mixture, weight: float) -> tuple[float, np.ndarray]:
    """The least CCQL by a search with differences for its gradient: from the losses alone."""
    shape = mixture.centres.shape

    def loss(theta):
        return ccql(mixture, theta.reshape(shape), weight=weight)

    found = minimize(loss, np.zeros(shape).ravel(), method="BFGS", options={"gtol": 1e-7})
    return float(found.fun), found.x.reshape(shape)


@pytest.mark.parametrize("weight", [0.0, 2.5])
@pytest.mark.parametrize("mixture", MIXTURES[1:])
def test_the_minimum_is_that_of_a_search(mixture: Mixture, weight: float) -> None:
    value, theta = search_minimum(mixture, weight)
    assert ccql_minimum(mixture, weight=weight) == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(ccql_minimiser(mixture, weight=weight), theta, atol=1e-4)


@pytest.mark.parametrize("weight", [0.0, 1.0, 120.0])
@pytest.mark.parametrize("mixture", MIXTURES)
def test_the_minimiser_attains_the_minimum(mixture: Mixture, weight: float) -> None:
    best = ccql_minimiser(mixture, weight=weight)
    value = ccql_minimum(mixture, weight=weight)
    assert ccql(mixture, best, weight=weight) == pytest.approx(value, rel=1e-10)
    for direction in np.random.default_rng(0).standard_normal((5, *best.shape)):
        for sign in (1e-3, -1e-3):
            assert ccql(mixture, best + sign * direction, weight=weight) > value


@pytest.mark.parametrize("kind", ["gaussian", "bounded"])
def test_the_loss_is_the_mean_over_samples(kind) -> None:
    mixture = Mixture(random_centres(classes=4, features=3, seed=3), noise=0.7, kind=kind)
    rng = np.random.default_rng(1)
    theta, weight = rng.standard_normal((4, 3)), 1.5
    x, labels = mixture.draw(100_000, rng)
    errors = (labels[:, None] == np.arange(4)) - x @ theta.T
    own = errors[np.arange(len(x)), labels]
    losses = (errors**2).sum(axis=1) / 2 + weight / 2 * own**2
    deviation = losses.mean() - ccql(mixture, theta, weight=weight)
    assert abs(deviation) < 4 * losses.std() / np.sqrt(len(x))
    if kind == "bounded":
        lengths = np.linalg.norm(x - mixture.centres[labels], axis=1)
        np.testing.assert_allclose(lengths, 0.7 * np.sqrt(3))


def test_lemma_3_4_without_k_misses_the_minimum() -> None:
    """0.583 at the printed minimiser, 0.341 at the least."""
    assert ccql(SLIPS, printed_ql_minimiser(SLIPS), weight=0.0) == pytest.approx(0.583, abs=1e-3)
    assert ccql_minimum(SLIPS, weight=0.0) == pytest.approx(0.341, abs=1e-3)
    value, _ = search_minimum(SLIPS, 0.0)
    assert ccql_minimum(SLIPS, weight=0.0) == pytest.approx(value, abs=1e-6)
    M = SLIPS.centres
    corrected = M @ np.linalg.inv(M.T @ M + 12 * 0.3**2 * np.eye(8))
    np.testing.assert_allclose(ccql_minimiser(SLIPS, weight=0.0), corrected, atol=1e-12)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_lemma_3_4_prints_twice_the_minimum(mixture: Mixture) -> None:
    assert printed_ql_minimum(mixture) == pytest.approx(
        2 * ccql_minimum(mixture, weight=0.0), rel=1e-9
    )


def test_twice_the_minimum_in_numbers() -> None:
    assert printed_ql_minimum(SLIPS) == pytest.approx(0.681, abs=1e-3)
    zeros = np.linalg.eigvalsh(SLIPS.gram) < 1e-12
    assert zeros.sum() == 12 - 8


def test_lemma_3_5_does_not_contain_w() -> None:
    """w = 10 K: the minimum is 5.99, the printed bound 2.57."""
    assert printed_ccql_bound(SLIPS) == pytest.approx(2.57, abs=5e-3)
    assert ccql_minimum(SLIPS, weight=120.0) == pytest.approx(5.99, abs=5e-3)
    # no mixture of this size and noise has so low a minimum
    assert ccql_lower_bound(SLIPS, weight=120.0) > 5.4
    # while w is small the bound holds, far from tight
    assert ccql_minimum(SLIPS, weight=2.0) < 0.4 * printed_ccql_bound(SLIPS)
    # it is the loss of Theta = M without its factor 1/2 and without w s^2
    at_centres = ccql(SLIPS, SLIPS.centres, weight=120.0)
    assert at_centres == pytest.approx((printed_ccql_bound(SLIPS) + 120 * 0.3**2) / 2)


@pytest.mark.parametrize("weight", [0.0, 1.0, 11.0, 120.0, 1e6])
@pytest.mark.parametrize("mixture", MIXTURES)
def test_bounds_hold(mixture: Mixture, weight: float) -> None:
    value = ccql_minimum(mixture, weight=weight)
    upper = ccql_upper_bound(mixture, weight=weight)
    worst = worst_ccql_upper_bound(
        classes=mixture.classes,
        noise=mixture.noise,
        correlation=mixture.correlation,
        weight=weight,
    )
    slack = 1 + 1e-9
    assert ccql_lower_bound(mixture, weight=weight) <= value * slack
    assert value <= upper * slack <= worst * slack**2
    assert upper <= ccql(mixture, mixture.centres, weight=weight) * slack


@pytest.mark.parametrize("weight", [0.0, 3.0, 200.0])
def test_bounds_are_attained(weight: float) -> None:
    orthonormal = Mixture(np.eye(5), noise=0.4)
    value = ccql_minimum(orthonormal, weight=weight)
    assert ccql_lower_bound(orthonormal, weight=weight) == pytest.approx(value, rel=1e-10)
    assert ccql_upper_bound(orthonormal, weight=weight) == pytest.approx(value, rel=1e-10)
    # three directions in the plane, 120 degrees apart: an equiangular tight frame
    angles = 2 * np.pi / 3 * np.arange(3)
    frame = Mixture(np.stack([np.cos(angles), np.sin(angles)], axis=1), noise=0.4)
    value = ccql_minimum(frame, weight=weight)
    assert ccql_upper_bound(frame, weight=weight) == pytest.approx(value, rel=1e-10)
    worst = worst_ccql_upper_bound(classes=3, noise=0.4, correlation=0.5, weight=weight)
    assert worst == pytest.approx(value, rel=1e-10)


def test_the_gap_is_the_papers() -> None:
    mixture = MIXTURES[3]
    assert mixture.correlation == pytest.approx(0.6)
    assert 1 - 3 * mixture.gap == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Mixture(np.eye(3), noise=0.0), "noise is 0"),
        (lambda: Mixture(np.ones((1, 3)), noise=1.0), r"\(1, 3\)"),
        (lambda: Mixture(2 * np.eye(3), noise=1.0), "centre 0 has the length 2"),
        (lambda: Mixture(np.eye(3), noise=1.0, kind="uniform"), "'uniform'"),
        (lambda: ccql_minimum(SLIPS, weight=-1.0), "weight is -1"),
        (lambda: ccql(SLIPS, np.eye(3), weight=0.0), r"\(3, 3\)"),
        (lambda: equiangular_centres(classes=3, features=2, correlation=0.1), "not 2"),
        (lambda: equiangular_centres(classes=3, features=3, correlation=-0.6), "-0.6"),
        (
            lambda: worst_ccql_upper_bound(classes=1, noise=1.0, correlation=0.0, weight=0.0),
            "classes 1",
        ),
    ],
)
def test_bad_values_are_named(call, named) -> None:
    with pytest.raises(ValueError, match=named):
        call()
