"""ARMA smoothing: against loops, edges, constants, short inputs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.features import naive_features as naive
from squall.audio.features.smoothing import arma


@given(frames=st.integers(1, 25), order=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_same_as_loops(frames, order):
    features = np.random.default_rng(frames).standard_normal((frames, 3)).astype(np.float32)
    smoothed = arma(features, order)
    assert smoothed.dtype == np.float32
    np.testing.assert_allclose(smoothed, naive.arma(features, order), atol=1e-6)


def test_by_hand():
    features = np.array([[0.0], [5.0], [10.0], [0.0], [5.0], [20.0], [1.0]], np.float32)
    # (0 + 5 + 10 + 0 + 5) / 5 = 4;  (5 + 4 + 0 + 5 + 20) / 5 = 6.8;  (4 + 6.8 + 5 + 20 + 1) / 5
    expected = [0.0, 5.0, 4.0, 6.8, 7.36, 20.0, 1.0]
    np.testing.assert_allclose(arma(features)[:, 0], expected, rtol=1e-6)


def test_constants_pass_and_the_input_stays():
    features = np.full((30, 2), 3.25, np.float32)
    before = features.copy()
    np.testing.assert_allclose(arma(features), before, rtol=1e-6)
    np.testing.assert_array_equal(features, before)


def test_order_zero_copies():
    features = np.ones((5, 2), np.float32)
    arma(features, 0)[:] = 7.0
    assert (features == 1.0).all()


def test_a_negative_order_is_refused():
    with pytest.raises(ValueError, match="-1"):
        arma(np.ones((5, 2), np.float32), -1)
