"""The delay of an estimate: found wherever there is one, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from squall.scoring import align_signals, find_lag, score_si_sdr

Signal = NDArray[np.float64]


def _speech(samples: int, seed: int) -> Signal:
    """Low noise in bursts: neighbouring samples are alike, as those of speech are."""
    white = np.random.default_rng(seed).standard_normal(samples + 8)
    smooth = np.convolve(white, np.hanning(9), "valid")
    return smooth * (np.arange(samples) % 3000 < 2000)


def _noisy(speech: Signal, snr_db: float, seed: int) -> Signal:
    noise = np.random.default_rng(seed).standard_normal(len(speech))
    return speech + noise * speech.std() * 10 ** (-snr_db / 20)


def _naive_ratio_db(reference: Signal, estimate: Signal, lag: int) -> float:
    clean, enhanced = align_signals(reference=reference, estimate=estimate, lag_samples=lag)
    return score_si_sdr(reference=clean, estimate=enhanced).value


@settings(max_examples=40, deadline=None)
@given(
    lag=st.integers(-320, 320),
    snr_db=st.floats(0, 40),
    gain=st.sampled_from([1.0, -1.0, 1e-6, 300.0]),
    offset=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 2**32),
    same_length=st.booleans(),
)
def test_any_lag_is_found_at_any_length_level_sign_and_offset(
    lag: int, snr_db: float, gain: float, offset: float, seed: int, same_length: bool
) -> None:
    speech = _speech(16000, seed)
    late = np.concatenate([np.zeros(max(0, lag)), _noisy(speech, snr_db, seed + 1)])[max(0, -lag) :]
    if same_length:
        late = np.pad(late, (0, 320))[: len(speech)]
    estimate = gain * (late + offset)
    found = find_lag(reference=speech, estimate=estimate, max_lag_samples=320)
    # One sample of a noisy estimate may be worth less than a decibel.
    assert found == lag or (abs(lag) <= 2 and found == 0)
    clean, enhanced = align_signals(reference=speech, estimate=estimate, lag_samples=found)
    assert len(clean) == len(enhanced) >= len(speech) - 320
    if found:
        assert _naive_ratio_db(speech, estimate, found) >= snr_db - 1.5


@settings(max_examples=40, deadline=None)
@given(snr_db=st.floats(-15, 40), seed=st.integers(0, 2**32))
def test_signals_in_step_stay_so(snr_db: float, seed: int) -> None:
    speech = _speech(16000, seed)
    noisy = _noisy(speech, snr_db, seed + 1)
    assert find_lag(reference=speech, estimate=noisy, max_lag_samples=320) == 0


def test_the_lag_is_that_of_the_highest_si_sdr() -> None:
    speech = _speech(4000, 0)
    estimate = _noisy(np.roll(speech, 13) + 0.4 * np.roll(speech, 40), 10, 1)
    ratios = {lag: _naive_ratio_db(speech, estimate, lag) for lag in range(-60, 61)}
    best = max(ratios, key=lambda lag: ratios[lag])
    assert find_lag(reference=speech, estimate=estimate, max_lag_samples=60) == best == 13


@pytest.mark.parametrize(
    "estimate",
    [
        np.zeros(4000),
        np.full(4000, 0.3),
        np.full(4000, np.nan),
        _speech(16000, 99),
        np.ones(3),
        np.zeros(0),
    ],
    ids=["silent", "constant", "nan", "of other speech", "three samples", "none"],
)
def test_where_nothing_is_to_be_found_the_lag_is_0(estimate: Any) -> None:
    speech = _speech(16000, 0)
    assert find_lag(reference=speech, estimate=estimate, max_lag_samples=320) == 0
    assert find_lag(reference=estimate, estimate=speech, max_lag_samples=320) == 0


def test_a_steady_tone_has_no_lag() -> None:
    tone = np.sin(2 * np.pi * np.arange(8000) / 80)
    assert find_lag(reference=tone, estimate=0.5 * tone, max_lag_samples=320) == 0


def test_what_is_no_signal_is_named() -> None:
    with pytest.raises(ValueError, match=r"the estimate has shape \(2, 2\)"):
        find_lag(reference=np.ones(2), estimate=np.ones((2, 2)), max_lag_samples=1)
