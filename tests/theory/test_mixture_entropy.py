from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad

from squall.theory.mixture_entropy import (
    bounded_cross_entropy_bound,
    gaussian_cross_entropy_bound,
    printed_scale,
    sampled_cross_entropy,
    sufficient_scale,
)
from squall.theory.mixtures import Mixture, equiangular_centres, random_centres


def orthonormal_cross_entropy(classes: int, scale: float, noise: float) -> float:
    """CE of r M for orthonormal centres: E log S = int (e^-t - E e^(-t S)) / t dt.

    S = sum_j exp(f_j - f_y) given f_y has independent terms, E e^(-t e^f) of which is an integral.
    """
    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    spread = scale * noise

    def laplace(t: float) -> float:
        own = np.exp(-(scale + spread * x))  # e^-f_y
        others = np.exp(-t * own[:, None] * np.exp(spread * x)[None, :]) @ w
        return float(math.exp(-t) * (w @ others ** (classes - 1)))

    value, _ = quad(
        lambda s: math.exp(-math.exp(s)) - laplace(math.exp(s)), -30, 6, limit=200, epsabs=1e-10
    )
    return value


@pytest.mark.parametrize(("classes", "scale", "noise"), [(3, 2.0, 0.3), (8, 4.0, 0.5)])
def test_samples_against_an_integral(classes: int, scale: float, noise: float) -> None:
    mixture = Mixture(np.eye(classes), noise=noise)
    found = sampled_cross_entropy(mixture, scale * mixture.centres, seed=0)
    expected = orthonormal_cross_entropy(classes, scale, noise)
    assert abs(found.value - expected) < 4 * found.standard_error
    assert found.standard_error < 0.01 * expected


@pytest.mark.parametrize("epsilon", [0.5, 0.01])
@pytest.mark.parametrize("scale_of", [printed_scale, sufficient_scale])
def test_lemma_3_2_holds_with_bounded_noise(epsilon: float, scale_of) -> None:
    centres = equiangular_centres(classes=6, features=8, correlation=0.4)
    gap = 0.2
    mixture = Mixture(centres, noise=gap / math.sqrt(8), kind="bounded")  # |mu . n| <= |n| = g
    scale = scale_of(classes=6, gap=gap, epsilon=epsilon)
    bound = bounded_cross_entropy_bound(classes=6, gap=gap, scale=scale)
    assert bound <= epsilon * (1 + 1e-12)
    found = sampled_cross_entropy(mixture, scale * centres, seed=1, samples=5000)
    assert found.value + 4 * found.standard_error < bound


def test_the_sufficient_scale_is_smaller_and_tight() -> None:
    for epsilon in (2.0, 0.1, 1e-4):
        less = sufficient_scale(classes=10, gap=0.1, epsilon=epsilon)
        assert less < printed_scale(classes=10, gap=0.1, epsilon=epsilon)
        bound = bounded_cross_entropy_bound(classes=10, gap=0.1, scale=less) if less else epsilon
        assert bound == pytest.approx(epsilon, rel=1e-9)


def test_lemma_3_2_needs_its_bounded_noise() -> None:
    """The same centres, scale and variance with Gaussian noise cost more than eps."""
    centres = random_centres(classes=6, features=4, seed=0)
    mixture = Mixture(centres, noise=0.5)
    scale = printed_scale(classes=6, gap=mixture.gap, epsilon=0.1)
    found = sampled_cross_entropy(mixture, scale * centres, seed=2, samples=20_000)
    assert found.value - 4 * found.standard_error > 0.1


@pytest.mark.parametrize("noise", [0.1, 0.4])
def test_the_gaussian_bound_holds(noise: float) -> None:
    mixture = Mixture(random_centres(classes=5, features=6, seed=4), noise=noise)
    best = 1 / (2 * noise**2)
    for scale in (0.5, 3.0, best):
        found = sampled_cross_entropy(mixture, scale * mixture.centres, seed=3, samples=20_000)
        bound = gaussian_cross_entropy_bound(mixture, scale=scale)
        assert found.value - 4 * found.standard_error < bound
        assert bound >= gaussian_cross_entropy_bound(mixture, scale=best)
    assert gaussian_cross_entropy_bound(mixture, scale=2 * best) == pytest.approx(math.log(5))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: printed_scale(classes=1, gap=0.1, epsilon=0.1), "classes 1"),
        (lambda: sufficient_scale(classes=3, gap=0.0, epsilon=0.1), "gap 0"),
        (
            lambda: sampled_cross_entropy(Mixture(np.eye(2), noise=1.0), np.eye(3), seed=0),
            r"theta \(3, 3\)",
        ),
    ],
)
def test_bad_values_are_named(call, named) -> None:
    with pytest.raises(ValueError, match=named):
        call()
