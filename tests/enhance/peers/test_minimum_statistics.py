"""The power of noise by minimum statistics: white noise, steps of its level, speech on top."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import tiny_enhancement
from squall.enhance.peers.frames import analyse
from squall.enhance.peers.minimum_statistics import MinimumStatistics

FRAMES_PER_S = 62.5
WINDOW_POWER = 256.0  # the sum of the squares of the window
WINDOW_S, PART_S = 96 / FRAMES_PER_S, 12 / FRAMES_PER_S


def _white(seconds: float, rms: float) -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    return (rms * random.standard_normal(round(seconds * 16000))).astype(np.float32)


def _track(samples: NDArray[np.float32], rms: float) -> NDArray[np.float64]:
    """The estimate over the power of white noise of an RMS, mean over frequencies: (T,)."""
    powers = np.abs(analyse(samples)).astype(np.float64) ** 2
    noise = MinimumStatistics(powers[1])
    found = np.array([noise.update(power) for power in powers])
    ratios: NDArray[np.float64] = found[:, 5:-5].mean(axis=1) / (rms**2 * WINDOW_POWER)
    return ratios


def _at(ratios: NDArray[np.float64], second: float) -> float:
    return float(ratios[round(second * FRAMES_PER_S)])


def test_the_power_of_white_noise_is_found_within_a_few_percent() -> None:
    ratios = _track(_white(8, 0.1), 0.1)
    assert ratios[round(2 * FRAMES_PER_S) :].mean() == pytest.approx(1, abs=0.05)


def test_noise_that_grows_is_followed_within_a_window_and_its_part() -> None:
    samples = _white(9, 0.01)
    samples[4 * 16000 :] *= np.sqrt(10)
    ratios = _track(samples, 0.01)
    assert _at(ratios, 3.9) == pytest.approx(1, abs=0.1)
    assert _at(ratios, 4 + WINDOW_S / 2) == pytest.approx(1, abs=0.15), "taken for speech"
    assert _at(ratios, 4 + WINDOW_S + 2 * PART_S) == pytest.approx(10, rel=0.2)
    assert _at(ratios, 8.5) == pytest.approx(10, rel=0.1)


def test_noise_that_falls_is_followed_at_once() -> None:
    samples = _white(6, 0.1)
    samples[4 * 16000 :] /= np.sqrt(10)
    ratios = _track(samples, 0.1)
    assert _at(ratios, 4.5) == pytest.approx(0.1, rel=0.15)


def test_the_estimate_does_not_depend_on_the_level() -> None:
    samples = _white(3, 0.1)
    np.testing.assert_allclose(_track(samples / 1024, 0.1 / 1024), _track(samples, 0.1), rtol=1e-6)


def test_speech_on_top_is_not_taken_for_noise() -> None:
    """Syllables with 16 dB more than the noise raise the estimate by less than 2 dB."""
    noise = _white(8, 0.005)
    speech = tiny_enhancement.speech(8, seed=3)
    ratios = _track(noise + speech, 0.005)
    powers = np.abs(analyse(speech)) ** 2
    assert powers.mean() / (0.005**2 * WINDOW_POWER) > 40
    later = ratios[round(2 * FRAMES_PER_S) :]
    assert 0.9 < later.min() < later.max() < 1.5
