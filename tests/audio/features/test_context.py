"""Context windows: against loops, edges, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.features import naive_features as naive
from squall.audio.features.context import context_window


@given(frames=st.integers(1, 9), before=st.integers(0, 4), after=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_same_as_loops(frames, before, after):
    features = np.arange(frames * 3, dtype=np.float32).reshape(frames, 3)
    window = context_window(features, before, after)
    assert window.dtype == np.float32
    assert window.flags.c_contiguous
    np.testing.assert_array_equal(window, naive.context(features, before, after))


def test_five_frames_by_default_and_the_frame_itself_in_the_middle():
    features = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    window = context_window(features)
    assert window.shape == (6, 20)
    np.testing.assert_array_equal(window[:, 8:12], features)
    np.testing.assert_array_equal(window[3], features[1:6].ravel())
    np.testing.assert_array_equal(window[0], np.concatenate([features[[0, 0, 0, 1, 2]].ravel()]))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        context_window(np.ones(3, np.float32))
    with pytest.raises(ValueError, match="not 2 and -1"):
        context_window(np.ones((3, 2), np.float32), 2, -1)
