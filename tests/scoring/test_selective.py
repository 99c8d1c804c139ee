"""Risk and coverage: by hand, all orders of ties, bounds, edges."""

from __future__ import annotations

import doctest
import math
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.scoring import score_risk_coverage, selective


def _in_order(correct: list[bool]) -> float:
    """AURC of samples from the most to the least confident."""
    errors, risks = 0, []
    for n, right in enumerate(correct, start=1):
        errors += not right
        risks.append(errors / n)
    return sum(risks) / len(risks)


def test_by_hand() -> None:
    curve = score_risk_coverage(
        confidences=[0.1, 0.9, 0.5, 0.7], correct=[False, True, False, True]
    )
    assert curve.risks.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert curve.aurc == pytest.approx(5 / 24)
    assert curve.e_aurc == pytest.approx(0.0)


def test_the_worst_order() -> None:
    curve = score_risk_coverage(confidences=[0.9, 0.1], correct=[False, True])
    assert curve.aurc == 0.75
    assert curve.e_aurc == 0.5


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_ties_give_the_mean_over_all_their_orders(samples: list[tuple[int, bool]]) -> None:
    found = [
        _in_order([right for _, right in order])
        for order in permutations(samples)
        if all(a[0] >= b[0] for a, b in pairwise(order))
    ]
    curve = score_risk_coverage(
        confidences=[c / 2 for c, _ in samples], correct=[right for _, right in samples]
    )
    assert curve.aurc == pytest.approx(np.mean(found))
    best = _in_order(sorted((right for _, right in samples), reverse=True))
    assert curve.e_aurc == pytest.approx(curve.aurc - best, abs=1e-12)
    assert curve.e_aurc >= -1e-12


def test_without_any_order_the_risk_is_the_error_rate() -> None:
    curve = score_risk_coverage(confidences=[0.5] * 8, correct=[True] * 6 + [False] * 2)
    assert curve.risks == pytest.approx([0.25] * 8)


def test_only_the_order_of_the_confidences_matters() -> None:
    random = np.random.default_rng(0)
    confidences, correct = random.random(300).round(2), random.random(300) < 0.6
    order = random.permutation(300)
    first = score_risk_coverage(confidences=confidences, correct=correct)
    second = score_risk_coverage(confidences=confidences[order] ** 3, correct=correct[order])
    assert first.aurc == second.aurc
    assert np.array_equal(first.risks, second.risks)


@pytest.mark.parametrize(("count", "points"), [(1000, 100), (7, 100), (7, 3), (3, 1)])
def test_a_thinned_curve_has_the_risks_at_its_coverages(count: int, points: int) -> None:
    random = np.random.default_rng(1)
    curve = score_risk_coverage(
        confidences=random.random(count), correct=random.random(count) < 0.5
    )
    coverages, risks = curve.thinned(points)
    assert coverages.tolist() == [k / points for k in range(1, points + 1)]
    kept = [math.ceil(k * count / points) for k in range(1, points + 1)]
    assert risks.tolist() == [curve.risks[n - 1] for n in kept]


def test_no_samples_have_no_risk() -> None:
    curve = score_risk_coverage(confidences=[], correct=[])
    assert math.isnan(curve.aurc)
    assert math.isnan(curve.e_aurc)
    assert [part.tolist() for part in curve.thinned()] == [[], []]


def test_a_curve_has_points() -> None:
    with pytest.raises(ValueError, match="points is 0; it must be at least 1"):
        score_risk_coverage(confidences=[0.5], correct=[True]).thinned(0)


def test_the_example_holds() -> None:
    found = doctest.testmod(selective)
    assert (found.attempted, found.failed) == (2, 0)
