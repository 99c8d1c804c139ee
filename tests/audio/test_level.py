"""The active level: blocks give what the whole gives, and what is silent or a click counts not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.audio.level import active_rms, frame_powers


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(1, 5000), cut=st.integers(1, 12), seed=st.integers(0, 2**32))
def test_blocks_of_whole_frames_have_the_powers_of_the_signal(
    samples: int, cut: int, seed: int
) -> None:
    signal = np.random.default_rng(seed).standard_normal(samples).astype(np.float32)
    powers = frame_powers(signal)
    exact = signal.astype(np.float64)
    naive = [np.mean(exact[n : n + 320] ** 2) for n in range(0, samples, 320)]
    np.testing.assert_allclose(powers, naive, rtol=1e-12)
    blocks = [signal[n : n + cut * 320] for n in range(0, samples, cut * 320)]
    np.testing.assert_allclose(np.concatenate([frame_powers(b) for b in blocks]), powers)


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 400),
    silent=st.integers(0, 10_000),
    clicks=st.integers(0, 3),
    factor=st.floats(1e-8, 1e8),
    seed=st.integers(0, 2**32),
)
def test_silence_and_clicks_change_the_level_by_little(
    frames: int, silent: int, clicks: int, factor: float, seed: int
) -> None:
    heard = np.random.default_rng(seed).uniform(0.5, 2.0, frames)
    level = active_rms(heard)
    assert 0.5**0.5 <= level <= 2.0**0.5
    assert active_rms(np.append(heard, np.zeros(silent))) == pytest.approx(level)
    assert active_rms(factor * heard) == pytest.approx(factor**0.5 * level)
    if frames >= 20:
        assert active_rms(np.append(heard, np.full(clicks, 1e6))) == pytest.approx(level, rel=0.2)


def test_pauses_of_40_db_and_more_are_left_out() -> None:
    loud, faint = np.full(100, 1.0), np.full(300, 0.9e-4)
    assert active_rms(np.append(loud, faint)) == 1.0
    assert active_rms(np.append(loud, 2 * faint)) < 0.6


def test_silence_has_the_level_0() -> None:
    assert active_rms(np.zeros(5)) == 0.0
