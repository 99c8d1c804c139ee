"""The time grid: how many frames there are, and which samples they hold."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.audio import frames
from squall.audio.frames import as_signal, frame_count, frame_signal, whole_hz


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(1, 1), (319, 1), (320, 1), (321, 2), (480, 2), (481, 3), (16000, 99), (48000, 299)],
)
def test_counts_by_hand(samples: int, expected: int) -> None:
    assert frame_count(samples) == expected


def test_other_rates_have_the_same_frames_per_second() -> None:
    assert frame_count(8000, 8000) == frame_count(16000) == frame_count(48000, 48000)


@given(st.integers(1, 100_000), st.sampled_from([8000, 16000, 44100]))
def test_frames_cover_every_sample_and_none_is_all_padding(samples: int, rate_hz: int) -> None:
    frame, hop = rate_hz // 50, rate_hz // 100
    count = frame_count(samples, rate_hz)
    assert (count - 1) * hop + frame >= samples
    assert count == 1 or (count - 2) * hop + frame < samples


def test_no_samples_have_no_frames() -> None:
    with pytest.raises(ValueError, match="without samples"):
        frame_count(0)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.data())
def test_frames_are_the_samples_they_should_be(
    samples: int, frame: int, hop: int, count: int, data: st.DataObject
) -> None:
    before = data.draw(st.integers(0, 12))
    signal = np.arange(1, samples + 1, dtype=np.float32)
    cut = frame_signal(signal, frame_samples=frame, hop_samples=hop, frames=count, before=before)
    assert cut.shape == (count, frame)
    for t in range(count):
        for n in range(frame):
            at = t * hop + n - before
            assert cut[t, n] == (signal[at] if 0 <= at < samples else 0)


def test_a_signal_of_floats_is_not_copied() -> None:
    signal = np.ones(3, np.float32)
    assert as_signal(signal) is signal
    assert as_signal([1, 2]).dtype == np.float32


def test_a_whole_float_is_a_sampling_rate() -> None:
    assert (whole_hz(16000.0), whole_hz(8000)) == (16000, 8000)
    for wrong in (0, -16000, 44100.5, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"sample_rate_hz is {wrong}; give a whole number"):
            whole_hz(wrong)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "empty"),
        ([[0.0, 1.0]], r"shape \(1, 2\)"),
        ([0.0, np.nan], "sample 1 of the signal is nan"),
        ([np.inf, 0.0], "sample 0 of the signal is inf"),
    ],
)
def test_what_is_no_signal_is_refused(samples: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_signal(samples)


def test_examples() -> None:
    assert doctest.testmod(frames).failed == 0
