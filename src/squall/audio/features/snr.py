"""Ratios of signal to noise: the energies of an auditory filterbank over their recent floor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from squall.audio.features.cochleagram import GAMMATONE_DIMENSIONS, channel_energies

__all__ = ["SNR_DIMENSIONS", "snr"]

SNR_DIMENSIONS = GAMMATONE_DIMENSIONS

_SMOOTHED, _REMEMBERED = 9, 150  # frames: 90 ms, 1.5 s
_LEAST_DB, _LARGEST_DB = -20.0, 50.0
_LEAST_FLOOR = 1e-12  # below the energy of 16-bit rounding at the level of `extract`


def snr(samples: NDArray[np.float32], sample_rate_hz: int = 16000) -> NDArray[np.float32]:
    """Energies of a 64-channel gammatone filterbank over the noise below them, in dB.

        R[t, c] = 10 log10(E[t, c] / N[t, c])

    with E as in `gammatone_energies`, and N[t, c] the least, over the last 1.5 s, of the mean of E
    over the last 90 ms. Where noise is steady, the spectrum that it has makes no difference to R:
    a model meets noise that it has not heard as it knows others.

    Args:
        samples: (N,) the signal.
        sample_rate_hz: its sampling rate.

    Returns:
        (T, 64) float32 in [-20, 50], channels as in `gammatone_energies`.

    Raises:
        ValueError: samples are not (N,), empty, or not finite.

    Convention: what lies before the first frame is as loud as it. The source divides by an estimate
    of the noise's power density; minima are the simplest one, without correcting their bias, which
    normalisation takes away.

    Source: Rehr and Gerkmann 2021, SNR-based features and diverse training data for robust
    DNN-based speech enhancement; Martin 2001 for minima as the level of noise.
    """
    energies = channel_energies(samples, sample_rate_hz).astype(np.float64)  # (T, 64)
    # Filters that end at the frame instead of lying around it; with 9 of 9 frames, 4 later.
    recent = uniform_filter1d(
        energies, _SMOOTHED, axis=0, mode="nearest", origin=(_SMOOTHED - 1) // 2
    )
    floor = minimum_filter1d(
        recent, _REMEMBERED, axis=0, mode="nearest", origin=(_REMEMBERED - 1) // 2
    )
    floor = np.maximum(floor, _LEAST_FLOOR)
    with np.errstate(divide="ignore"):
        ratio_db = 10 * np.log10(energies / floor)
    clipped: NDArray[np.float32] = np.clip(ratio_db, _LEAST_DB, _LARGEST_DB).astype(np.float32)
    return clipped
