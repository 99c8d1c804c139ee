"""Amplitude modulation spectrum: against loops, modulation frequencies, edges."""

import numpy as np
import pytest
import scipy.signal

from audio.features import naive_features as naive
from audio.features.signals import speech_like
from squall.audio.features.ams import amplitude_modulation_spectrum
from squall.audio.frames import frame_count


def test_same_as_loops():
    samples = speech_like(0.153)
    expected = naive.ams(samples, frame_count(len(samples)), scipy.signal.firwin(31, 0.25))
    np.testing.assert_allclose(
        amplitude_modulation_spectrum(samples), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("band", [3, 7, 12])
def test_a_modulation_shows_in_its_band(band):
    time_s = np.arange(16000) / 16000
    modulation_hz = 15.6 + band * (400 - 15.6) / 14
    carrier = np.random.default_rng(0).choice([-0.1, 0.1], 16000)
    samples = carrier * (1 + 0.9 * np.sin(2 * np.pi * modulation_hz * time_s))
    plain = amplitude_modulation_spectrum(carrier.astype(np.float32))[50]
    assert np.argmax(amplitude_modulation_spectrum(samples.astype(np.float32))[50] - plain) == band


def test_segments_are_centred_on_the_common_frames():
    samples = np.zeros(16000, np.float32)
    samples[50 * 160 + 160] = 1.0  # the middle of frame 50
    level = amplitude_modulation_spectrum(samples).sum(axis=1)
    assert np.argmax(level) == 50
    assert level[49] == pytest.approx(level[51], rel=1e-3)


def test_linear_in_the_level():
    samples = speech_like(0.3)
    doubled = amplitude_modulation_spectrum(2 * samples)
    np.testing.assert_allclose(doubled, 2 * amplitude_modulation_spectrum(samples), rtol=1e-6)


@pytest.mark.parametrize("rate_hz", [4000, 8000, 48000])
def test_other_sampling_rates(rate_hz):
    """The same constant tone of modulation gives about the same spectrum at any rate."""
    time_s = np.arange(rate_hz) / rate_hz
    samples = 0.1 * (1 + 0.5 * np.sin(2 * np.pi * 100 * time_s))
    at_16 = 0.1 * (1 + 0.5 * np.sin(2 * np.pi * 100 * np.arange(16000) / 16000))
    spectrum = amplitude_modulation_spectrum(samples.astype(np.float32), rate_hz)
    reference = amplitude_modulation_spectrum(at_16.astype(np.float32))
    assert spectrum.shape == reference.shape
    tolerance = 0.02 * reference[50].max()  # the filter's pass band is not perfectly flat
    np.testing.assert_allclose(spectrum[50], reference[50], atol=tolerance)


def test_a_rate_that_is_no_multiple_of_the_envelopes_is_refused():
    with pytest.raises(ValueError, match="11025"):
        amplitude_modulation_spectrum(np.ones(1000, np.float32), 11025)
