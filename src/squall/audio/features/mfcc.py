"""Mel-frequency cepstral coefficients."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from squall.audio.features.spectra import (
    power_spectra,
    spectrum_frequencies,
)
from squall.audio.frames import as_signal

__all__ = ["MFCC_DIMENSIONS", "mel_cepstrum"]

MFCC_DIMENSIONS = 31

_BANDS = 64
_PRE_EMPHASIS = 0.97
_BREAK_HZ, _HZ_PER_MEL = 1000.0, 200.0 / 3.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def mel_cepstrum(samples: NDArray[np.float32], sample_rate_hz: int = 16000) -> NDArray[np.float32]:
    """Mel-frequency cepstral coefficients (MFCC) 0 to 30 of a signal.

    Pre-emphasis x[n] - 0.97 x[n-1]; power spectra of 20 ms Hann-windowed frames; 64 triangular mel
    bands from 0 Hz to half the sampling rate; natural logarithm; orthonormal DCT-II.

    Args:
        samples: (N,) the signal.
        sample_rate_hz: its sampling rate.

    Returns:
        (T, 31) float32.

    Raises:
        ValueError: samples are not (N,), empty, or not finite.

    Convention:
        Slaney's mel scale (linear to 1 kHz) and triangles of equal area, as in rastamat, which the
        sources call with 64 bands, and as librosa's default; HTK's scale is another. Coefficient 0
        is kept. No liftering: it only scales dimensions, which normalisation undoes. The floor is
        that of `power_spectra`.

    Source: Davis and Mermelstein 1980; Wang, Narayanan, Wang 2014.
    """
    samples = as_signal(samples)
    emphasised = samples.astype(np.float64)
    emphasised[1:] -= _PRE_EMPHASIS * emphasised[:-1].copy()
    power = power_spectra(emphasised.astype(np.float32), sample_rate_hz)  # (T, F)
    log_bands = np.log(power @ _mel_bands(sample_rate_hz).T)  # (T, 64)
    cepstrum: NDArray[np.float64] = log_bands @ _cosines().T
    return cepstrum.astype(np.float32)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _HZ_PER_MEL
    return float(_BREAK_MEL + np.log(hz / _BREAK_HZ) / _LOG_STEP)


@lru_cache
def _mel_bands(sample_rate_hz: int) -> NDArray[np.float64]:
    """Weights of the mel bands, (64, F); each triangle has area 1 over Hz."""
    edges_hz = _mel_to_hz(np.linspace(0.0, _hz_to_mel(sample_rate_hz / 2), _BANDS + 2))
    low, centre, high = (edges_hz[i : i + _BANDS, None] for i in range(3))
    bins_hz = spectrum_frequencies(sample_rate_hz)
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    weights: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    weights *= 2.0 / (high - low)
    weights.flags.writeable = False
    return weights


@lru_cache
def _cosines() -> NDArray[np.float64]:
    """The first rows of the orthonormal DCT-II, (31, 64)."""
    k, n = np.arange(MFCC_DIMENSIONS)[:, None], np.arange(_BANDS)
    rows: NDArray[np.float64] = np.sqrt(2.0 / _BANDS) * np.cos(
        np.pi * k * (2 * n + 1) / (2 * _BANDS)
    )
    rows[0] /= np.sqrt(2.0)
    rows.flags.writeable = False
    return rows
