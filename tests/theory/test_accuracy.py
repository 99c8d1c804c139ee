from __future__ import annotations

import math

import numpy as np
import pytest

from squall.theory.accuracy import plurality_agreement, student_correlation
from squall.theory.channel import bivariate_normal_cdf


@pytest.mark.parametrize(("classes", "r"), [(3, 0.5), (10, 0.8), (60, 0.3), (5, -0.4)])
def test_agreement_of_drawn_outputs(classes: int, r: float) -> None:
    rng = np.random.default_rng(classes)
    z = rng.standard_normal((100_000, classes))
    other = r * z + math.sqrt(1 - r * r) * rng.standard_normal(z.shape)
    measured = float((z.argmax(axis=1) == other.argmax(axis=1)).mean())
    expected = plurality_agreement(classes, r)
    assert abs(measured - expected) < 4 * math.sqrt(expected * (1 - expected) / len(z))


@pytest.mark.parametrize("r", [-0.8, 0.1, 0.7, 0.9999])
def test_two_classes_by_the_integral_too(r: float) -> None:
    """The formula for any k at k = 2, where the angle between two directions decides."""
    nodes = np.linspace(-8.5, 8.5, 161)
    weights = (nodes[1] - nodes[0]) * np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    x = np.broadcast_to(nodes[:, None], (161, 161))
    below = bivariate_normal_cdf(x, r * x + math.sqrt(1 - r * r) * nodes, r)
    assert float(2 * weights @ below @ weights) == pytest.approx(
        plurality_agreement(2, r), abs=1e-9
    )


def test_ends() -> None:
    for classes in (2, 3, 60, 1000):
        assert plurality_agreement(classes, 0.0) == pytest.approx(1 / classes, abs=1e-12)
        assert plurality_agreement(classes, 1.0) == 1.0
        values = [plurality_agreement(classes, r) for r in (-1.0, -0.5, 0.0, 0.5, 0.99, 1.0)]
        assert values == sorted(values)


def test_student_correlation() -> None:
    assert student_correlation(overlap=3.0, noise=4.0) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: plurality_agreement(1, 0.5), "classes is 1"),
        (lambda: plurality_agreement(3, 1.5), "correlation is 1.5"),
        (lambda: student_correlation(overlap=0.0, noise=0.0), "overlap 0.0"),
        (lambda: student_correlation(overlap=1.0, noise=-1.0), "noise -1.0"),
    ],
)
def test_bad_values_are_named(call, named) -> None:
    with pytest.raises(ValueError, match=named):
        call()
