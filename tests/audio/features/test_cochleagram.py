"""Gammatone features: cube roots of a filterbank's energies."""

import numpy as np
import pytest

from audio.features.signals import speech_like
from squall.audio.features.cochleagram import gammatone_energies
from squall.audio.gammatone import GammatoneFilterbank, centre_frequencies


def test_cubed_they_are_the_energies():
    samples = speech_like(0.4)
    expected = GammatoneFilterbank().energies(samples)
    np.testing.assert_allclose(gammatone_energies(samples) ** 3, expected, rtol=1e-5)


def test_a_tone_shows_in_its_channel():
    tone_hz = float(centre_frequencies(64, 50.0, 8000.0)[30])
    tone = 0.1 * np.sin(2 * np.pi * tone_hz * np.arange(8000) / 16000)
    assert np.argmax(gammatone_energies(tone.astype(np.float32))[25]) == 30


def test_the_highest_channel_lies_below_half_the_sampling_rate():
    tone = 0.1 * np.sin(2 * np.pi * 3900 * np.arange(4000) / 8000)
    assert np.argmax(gammatone_energies(tone.astype(np.float32), 8000)[25]) >= 62


def test_level_scales_by_its_two_thirds_power():
    samples = speech_like(0.2)
    louder = gammatone_energies(8 * samples)
    assert louder == pytest.approx(4 * gammatone_energies(samples), rel=1e-4)
