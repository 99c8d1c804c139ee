"""RASTA-PLP: against loops, SciPy and spafe, and what the RASTA filter is for."""

import numpy as np
import pytest
import scipy.linalg
from spafe.utils.filters import rasta_filter as spafe_rasta_filter

from audio.features import naive_features as naive
from audio.features.signals import speech_like
from squall.audio.features.rasta_plp import (
    all_pole_model,
    model_cepstrum,
    rasta_filter,
    rasta_plp,
)
from squall.audio.frames import frame_count


@pytest.fixture
def lags():
    """Autocorrelations of random positive spectra, (7, 13)."""
    spectra = np.random.default_rng(0).uniform(0.01, 1.0, (7, 21)) ** 3
    return np.fft.irfft(spectra, axis=1)[:, :13]


def test_same_as_loops():
    samples = speech_like(0.113)
    expected = naive.rasta_plp(samples, frame_count(len(samples)))
    np.testing.assert_allclose(rasta_plp(samples), expected, rtol=1e-4, atol=1e-5)


def test_filter_is_the_difference_equation():
    tracks = np.random.default_rng(0).standard_normal((40, 3))
    np.testing.assert_allclose(rasta_filter(tracks), naive.rasta(tracks), atol=1e-12)


def test_filter_is_spafes_over_time():
    """spafe's `rplp` filters each frame over its bands; here each of its rows is a band over time.

    It sets the first four frames to 0, which is the same where they do not change. The rest of its
    PLP (spafe 0.3.3) cannot be compared: it applies the equal-loudness curve to band energies in
    place of frequencies, and its recursion for c_m reads c_m where the formula has c_k.
    """
    tracks = np.random.default_rng(0).standard_normal((60, 3))
    tracks[:4] = tracks[0]
    expected = np.concatenate([spafe_rasta_filter(track[None]) for track in tracks.T]).T
    np.testing.assert_allclose(rasta_filter(tracks), expected, atol=1e-12)


def test_filter_removes_a_fixed_colouration():
    tracks = np.random.default_rng(0).standard_normal((40, 3))
    coloured = rasta_filter(tracks + np.array([1.0, -20.0, 300.0]))
    np.testing.assert_allclose(coloured, rasta_filter(tracks), atol=1e-10)


def test_level_has_no_effect_above_the_floor():
    samples = 0.2 * np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    np.testing.assert_allclose(rasta_plp(3 * samples), rasta_plp(samples), atol=1e-3)


def test_all_pole_model_is_scipys(lags):
    coefficients, error = all_pole_model(lags)
    for row, r in enumerate(lags):
        expected = scipy.linalg.solve_toeplitz(r[:12], -r[1:])
        np.testing.assert_allclose(coefficients[row], [1.0, *expected], rtol=1e-5, atol=1e-6)
        assert error[row] == pytest.approx(r[0] + expected @ r[1:], rel=1e-5)


def test_all_pole_model_of_a_spectral_line_is_finite():
    """One line alone is predicted perfectly: without a correction the error becomes 0."""
    lines = np.cos(np.linspace(0.05, 3.1, 62)[:, None] * np.arange(13))
    coefficients, error = all_pole_model(lines)
    assert (error > 0.0).all()
    assert np.abs(coefficients).max() < 100.0


def test_cepstrum_is_that_of_the_models_spectrum(lags):
    coefficients, error = all_pole_model(lags)
    log_spectrum = np.log(error[:, None] / np.abs(np.fft.fft(coefficients, 4096)) ** 2)
    expected = np.fft.ifft(log_spectrum, axis=1).real[:, :13]
    np.testing.assert_allclose(model_cepstrum(coefficients, error), expected, atol=1e-9)


def test_a_steady_signal_gives_the_cepstrum_of_the_equal_loudness_curve():
    """All bands are 1 after RASTA, so nothing is left of a tone and of silence."""
    silence = rasta_plp(np.zeros(4000, np.float32))
    tone = np.sin(2 * np.pi * 500 * np.arange(4000) / 16000).astype(np.float32)  # whole periods
    np.testing.assert_allclose(rasta_plp(tone)[:-1], silence[:-1], atol=1e-4)
    np.testing.assert_array_equal(silence, np.broadcast_to(silence[0], silence.shape))
