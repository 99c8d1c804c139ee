"""Streams frame by frame, and windows that give back what they were given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from squall.enhance.peers.frames import analyse, run_frames, synthesise


def _noise(length: int) -> NDArray[np.float32]:
    return np.random.default_rng(length).standard_normal(length).astype(np.float32)


@given(length=st.integers(1, 2000))
def test_spectra_give_the_signal_back(length: int) -> None:
    samples = _noise(length)
    spectra = analyse(samples)
    assert spectra.shape == (1 + -(-length // 256), 257)
    np.testing.assert_allclose(synthesise(spectra, length), samples, atol=2e-6)


def test_the_window_is_the_periodic_one() -> None:
    """With the symmetric one, two windows add up to no constant."""
    samples = np.ones(2048, np.float32)
    restored = synthesise(analyse(samples), len(samples))
    assert np.ptp(restored) < 1e-6
    symmetric = np.hanning(512)
    assert np.ptp(symmetric[:256] + symmetric[256:]) > 1e-3


@given(length=st.integers(1, 300), frame=st.integers(1, 50), delay=st.integers(0, 120))
def test_the_delay_of_a_stream_is_taken_out(length: int, frame: int, delay: int) -> None:
    samples, line = _noise(length), [0.0] * delay

    def process(given: NDArray[np.float32], taken: NDArray[np.float32]) -> None:
        line.extend(given.tolist())
        taken[:] = line[:frame]
        del line[:frame]

    found = run_frames(process, samples, frame_samples=frame, delay_samples=delay)
    np.testing.assert_array_equal(found, samples)


@pytest.mark.parametrize("length", [1, 255, 256, 257])
def test_all_of_a_short_signal_is_in_two_windows(length: int) -> None:
    weights = synthesise(analyse(np.ones(length, np.float32)), length)
    np.testing.assert_allclose(weights, 1, atol=1e-6)
