"""The log-spectral amplitude estimator: its gain at known points, and what it does with noise."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import tiny_enhancement
from squall.enhance.peers.logmmse import load, log_spectral_gain
from squall.scoring.speech_quality import score_si_sdr


@pytest.mark.parametrize("prior_db", [-25, -10, 0, 15])
@pytest.mark.parametrize("posterior_db", [-20, -5, 0, 5, 20])
def test_the_gain_is_that_of_equation_20(prior_db: float, posterior_db: float) -> None:
    """The exponential integral as an integral, by another program."""
    prior, posterior = 10 ** (prior_db / 10), 10 ** (posterior_db / 10)
    v = prior / (1 + prior) * posterior
    integral = mpmath.quad(lambda t: mpmath.exp(-t) / t, [v, v + 1, v + 10, mpmath.inf])
    expected = float(prior / (1 + prior) * mpmath.exp(integral / 2))
    gain = log_spectral_gain(np.array(prior), np.array(posterior))
    assert float(gain) == pytest.approx(expected, rel=1e-6)


def test_at_high_snr_the_gain_is_wieners() -> None:
    prior = np.array([10.0, 100.0, 1000.0])
    np.testing.assert_allclose(log_spectral_gain(prior, prior + 1), prior / (1 + prior), rtol=1e-4)


def test_white_noise_under_speech_is_lowered() -> None:
    speech = tiny_enhancement.speech(6, seed=1)
    noise = np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32)
    noisy = speech + noise * np.float32(np.sqrt((speech**2).mean()))  # 0 dB
    before, after = (
        score_si_sdr(reference=speech, estimate=estimate).value
        for estimate in (noisy, load()(noisy))
    )
    assert before == pytest.approx(0, abs=0.5)
    assert after > before + 5


def test_noise_alone_is_lowered_evenly() -> None:
    noise = (0.1 * np.random.default_rng(2).standard_normal(6 * 16000)).astype(np.float32)
    enhanced = load()(noise)[3 * 16000 :]
    assert 10 * np.log10((enhanced**2).mean() / 0.01) < -12


def test_the_level_of_the_input_is_that_of_the_output() -> None:
    noisy = tiny_enhancement.speech(2, seed=1) + 0.02
    np.testing.assert_allclose(load()(noisy / 64) * 64, load()(noisy), atol=1e-4)
