"""Deltas: against loops and librosa, slopes by hand, edges."""

import librosa
import numpy as np
import pytest

from audio.features import naive_features as naive
from squall.audio.features.deltas import regression_deltas


@pytest.mark.parametrize("frames", [1, 2, 5, 30])
@pytest.mark.parametrize("window", [1, 2, 4])
def test_same_as_loops(frames, window):
    features = np.random.default_rng(0).standard_normal((frames, 3)).astype(np.float32)
    expected = naive.deltas(features, window)
    np.testing.assert_allclose(regression_deltas(features, window), expected, atol=1e-6)


def test_same_as_librosa():
    """librosa calls 9 points what is 4 frames on each side here."""
    features = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)
    expected = librosa.feature.delta(features.T.astype(np.float64), width=9, mode="nearest").T
    np.testing.assert_allclose(regression_deltas(features), expected, atol=1e-6)


def test_a_ramp_has_its_slope_inside_and_less_at_the_edges():
    ramp = np.float32(0.5) * np.arange(20, dtype=np.float32)[:, None]
    slopes = regression_deltas(ramp)[:, 0]
    np.testing.assert_allclose(slopes[4:-4], 0.5, rtol=1e-6)
    # The first frame stands in for its four predecessors: half of the sum remains.
    assert slopes[0] == pytest.approx(0.25)
    assert slopes[-1] == pytest.approx(0.25)


def test_nothing_on_a_side_is_refused():
    with pytest.raises(ValueError, match="not 0"):
        regression_deltas(np.ones((3, 2), np.float32), 0)
