from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtr

from squall.theory.labels import label_nodes, largest_deviation_cdf, win_probability

CLASSES = [2, 3, 5, 10, 13, 60, 1000]


@pytest.mark.parametrize("classes", CLASSES)
def test_every_class_is_as_likely(classes: int) -> None:
    for count in (100, 400):
        _, weights = label_nodes(classes, count)
        assert weights.sum() == pytest.approx(1 / classes, rel=1e-10)


@pytest.mark.parametrize("classes", CLASSES[1:])
def test_the_score_itself_wins_with_a_power(classes: int) -> None:
    """Averaged over the mean of the scores, P(win | h) is P(win | xi) = Phi(xi)^(k-1)."""
    h = np.linspace(-9, 9, 3601)
    wins = win_probability(h, classes)
    r = math.sqrt((classes - 1) / classes)
    for xi in (-0.5, 0.7, 2.0, 3.5):
        spread = math.sqrt(1 - r * r)
        weight = np.exp(-(((h - r * xi) / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))
        mean = float((wins * weight).sum() * (h[1] - h[0]))
        # the trapezoidal rule sees the kink at 0 that few classes have
        assert mean == pytest.approx(
            float(ndtr(xi)) ** (classes - 1), abs=2e-6 if classes < 5 else 1e-9
        )


def test_the_largest_of_ten_has_its_known_mean() -> None:
    # E max of ten standard normal variables, Harter 1961
    h, weights = label_nodes(10, 200)
    assert 10 * float(weights @ h) == pytest.approx(1.5387527308 * math.sqrt(10 / 9), abs=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_deviations_of_drawn_variables(count: int) -> None:
    xi = np.random.default_rng(count).standard_normal((100_000, count))
    largest = xi.max(axis=1) - xi.mean(axis=1)
    for u in (0.3, 1.0, 1.8):
        measured = float((largest <= u).mean())
        expected = float(largest_deviation_cdf(u, count))
        error = math.sqrt(expected * (1 - expected) / len(xi))
        assert abs(measured - expected) <= 4 * error


def test_the_two_formulas_meet() -> None:
    """The recursion from eleven variables gives what the integral gives for twelve."""
    x, weights = np.polynomial.legendre.leggauss(80)
    for u in (0.4, 1.0, 2.0):
        nodes, scale = u / 2 * (x + 1), math.sqrt(11 / 12)
        density = np.exp(-((nodes / scale) ** 2) / 2) / (scale * math.sqrt(2 * math.pi))
        below = largest_deviation_cdf(nodes * 12 / 11, 11)
        assert 12 * u / 2 * float(weights @ (density * below)) == pytest.approx(
            float(largest_deviation_cdf(u, 12)), abs=1e-10
        )


def test_no_variables_are_refused() -> None:
    with pytest.raises(ValueError, match="count is 0"):
        largest_deviation_cdf(1.0, 0)
