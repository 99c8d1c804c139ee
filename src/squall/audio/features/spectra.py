"""Power spectra of 20 ms frames, which MFCC and RASTA-PLP start from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from squall.audio.frames import FRAME_S, HOP_S, frame_count, frame_signal

__all__ = ["hann_window", "power_spectra", "spectrum_frequencies"]

_QUANTISATION_STEP = 2.0**-15  # of 16-bit samples on the scale [-1, 1)


def hann_window(samples: int) -> NDArray[np.float64]:
    """Periodic Hann window, (samples,): 0.5 - 0.5 cos(2 pi n / samples)."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(samples) / samples)


def _fft_samples(sample_rate_hz: int) -> int:
    frame = round(FRAME_S * sample_rate_hz)
    return int(2 ** np.ceil(np.log2(frame)))


def spectrum_frequencies(sample_rate_hz: int) -> NDArray[np.float64]:
    """Frequency in Hz of each bin of `power_spectra`, (F,), from 0 to half the sampling rate."""
    bins = _fft_samples(sample_rate_hz) // 2 + 1
    return np.linspace(0.0, sample_rate_hz / 2, bins)


def power_spectra(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float64]:
    """Power spectra |X|^2 of the signal's 20 ms frames, plus those of very faint white noise.

    Args:
        samples: (N,) the signal.
        sample_rate_hz: its sampling rate.

    Returns:
        (T, F) float64, positive: Hann window, FFT of the next power of two (512 at 16 kHz).

    Convention:
        The expected power spectrum of white noise of one 16-bit step (RMS 2^-15) under no window,
        frame length * 2^-30, is added to every bin, as rastamat (Ellis 2005) does in place of
        dither. So the logarithm of digital silence is finite and faint signals approach it
        smoothly. It is an absolute floor: `extract` brings the signal to RMS 0.05 first, 64 dB
        above it.
    """
    frame, hop = round(FRAME_S * sample_rate_hz), round(HOP_S * sample_rate_hz)
    frames = frame_signal(
        samples,
        frame_samples=frame,
        hop_samples=hop,
        frames=frame_count(len(samples), sample_rate_hz),
    )  # (T, frame)
    spectra = np.fft.rfft(frames * hann_window(frame), _fft_samples(sample_rate_hz))
    power: NDArray[np.float64] = spectra.real**2 + spectra.imag**2
    power += frame * _QUANTISATION_STEP**2
    return power
