"""Isotonic regression: by hand, scikit-learn, ties, what is best, wrong values."""

from __future__ import annotations

import doctest
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.scoring import fit_isotonic, isotonic

SAMPLES = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=60)


def _arrays(samples: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([c for c, _ in samples]) / 8, np.array([right for _, right in samples])


def test_neighbours_whose_shares_fall_are_pooled() -> None:
    fit = fit_isotonic(
        confidences=[0.1, 0.3, 0.5, 0.7, 0.9], correct=[True, False, False, True, True]
    )
    assert fit.confidences.tolist() == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert fit.shares == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1.0, 1.0])


def test_between_its_points_the_curve_is_straight_and_beyond_them_flat() -> None:
    fit = fit_isotonic(confidences=[0.2, 0.4], correct=[False, True])
    assert fit.recalibrate([0.0, 0.2, 0.25, 0.4, 1.0]) == pytest.approx([0, 0, 0.25, 1, 1])


@settings(max_examples=50, deadline=None)
@given(SAMPLES)
def test_it_is_that_of_scikit_learn(samples: list[tuple[int, bool]]) -> None:
    sklearn = pytest.importorskip("sklearn.isotonic")
    confidences, correct = _arrays(samples)
    peer = sklearn.IsotonicRegression(out_of_bounds="clip").fit(confidences, correct)
    places = np.linspace(0, 1, 41)
    found = fit_isotonic(confidences=confidences, correct=correct).recalibrate(places)
    assert found == pytest.approx(peer.predict(places), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(SAMPLES, st.randoms())
def test_the_order_of_the_samples_changes_no_bit(
    samples: list[tuple[int, bool]], order: random.Random
) -> None:
    confidences, correct = _arrays(samples)
    first = fit_isotonic(confidences=confidences, correct=correct)
    order.shuffle(samples)
    confidences, correct = _arrays(samples)
    second = fit_isotonic(confidences=confidences, correct=correct)
    assert np.array_equal(first.shares, second.shares)


def test_without_samples_there_is_no_curve() -> None:
    with pytest.raises(ValueError, match="no samples to fit a curve on"):
        fit_isotonic(confidences=[], correct=[])


def test_the_example_holds() -> None:
    found = doctest.testmod(isotonic)
    assert (found.attempted, found.failed) == (2, 0)
