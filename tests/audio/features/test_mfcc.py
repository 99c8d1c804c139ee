"""MFCC: against librosa, configured equally."""

import librosa
import numpy as np
import pytest

from audio.features.signals import speech_like
from squall.audio.features.mfcc import mel_cepstrum
from squall.audio.frames import frame_count


def librosa_mfcc(samples, *, rate_hz, fft):
    window, hop = rate_hz // 50, rate_hz // 100
    frames = frame_count(len(samples), rate_hz)
    emphasised = librosa.effects.preemphasis(samples.astype(np.float64), coef=0.97, zi=[0.0])
    # librosa centres the window in the FFT: its frame t starts (fft - window) / 2 samples early.
    early = (fft - window) // 2
    padded = np.zeros((frames - 1) * hop + fft)
    padded[early : early + len(emphasised)] = emphasised
    spectra = librosa.stft(
        padded, n_fft=fft, win_length=window, hop_length=hop, window="hann", center=False
    )
    power = np.abs(spectra) ** 2 + window * 2.0**-30
    bands = librosa.filters.mel(sr=rate_hz, n_fft=fft, n_mels=64, dtype=np.float64) @ power
    return librosa.feature.mfcc(S=np.log(bands), n_mfcc=31).T


@pytest.mark.slow
@pytest.mark.xdist_group("librosa")  # which compiles functions in each process that uses them
@pytest.mark.parametrize(("rate_hz", "fft"), [(16000, 512), (8000, 256)])
@pytest.mark.parametrize("level", [1e-5, 1.0])
def test_same_as_librosa(rate_hz, fft, level):
    samples = np.float32(level) * speech_like(0.7)
    expected = librosa_mfcc(samples, rate_hz=rate_hz, fft=fft)
    np.testing.assert_allclose(mel_cepstrum(samples, rate_hz), expected, rtol=1e-5, atol=1e-4)


def test_silence_is_a_flat_spectrum():
    cepstrum = mel_cepstrum(np.zeros(1000, np.float32))
    assert (np.abs(cepstrum[:, 0]) > 10 * np.abs(cepstrum[:, 1:]).max(axis=1)).all()


def test_the_caller_keeps_the_samples():
    samples = speech_like(0.1)
    before = samples.copy()
    mel_cepstrum(samples)
    np.testing.assert_array_equal(samples, before)
