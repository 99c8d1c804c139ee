"""Perceptual linear prediction with RASTA filtering of the critical bands."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from squall.audio.features.spectra import (
    power_spectra,
    spectrum_frequencies,
)
from squall.audio.frames import as_signal

__all__ = [
    "RASTA_PLP_DIMENSIONS",
    "all_pole_model",
    "model_cepstrum",
    "rasta_filter",
    "rasta_plp",
]

_ORDER = 12
RASTA_PLP_DIMENSIONS = _ORDER + 1

_RASTA_NUMERATOR = np.array([0.2, 0.1, 0.0, -0.1, -0.2])
_RASTA_POLE = 0.94
# Keeps the autocorrelation matrix positive definite in floating point; 90 dB below the signal.
_WHITE_NOISE_CORRECTION = 1e-9


def rasta_plp(samples: NDArray[np.float32], sample_rate_hz: int = 16000) -> NDArray[np.float32]:
    """RASTA-PLP cepstra 0 to 12 of a signal.

    Power spectra of 20 ms frames; critical bands about 1 Bark apart; logarithm, RASTA filter over
    time, exponential; equal-loudness weights; cube root; its inverse DFT is an autocorrelation,
    which gives an all-pole model of order 12, whose cepstrum is the feature.

    Args:
        samples: (N,) the signal.
        sample_rate_hz: its sampling rate.

    Returns:
        (T, 13) float32; column 0 is the logarithm of the model's squared gain.

    Raises:
        ValueError: samples are not (N,), empty, or not finite.

    Convention:
        Bark = 6 asinh(f / 600 Hz) and the masking curve are Hermansky's (1990; the curve is cut at
        -1.3 and 2.5 Bark, rastamat leaves it uncut). So is the equal-loudness curve; like
        rastamat, which the sources use, it lacks the extra pole at 5 kHz that he gives for wide
        bands. The first and last band copy their neighbours. RASTA's pole is
        0.94 (0.98 in Hermansky and Morgan 1994). No liftering: it only scales dimensions, which
        normalisation undoes. The floor is that of `power_spectra`.

    Source: Hermansky 1990; Hermansky and Morgan 1994; Wang, Narayanan, Wang 2014.
    """
    power = power_spectra(as_signal(samples), sample_rate_hz)  # (T, F)
    centres_hz, weights = _critical_bands(sample_rate_hz)
    bands = np.exp(rasta_filter(np.log(power @ weights.T)))  # (T, bands)
    loudness = np.cbrt(bands * _equal_loudness(centres_hz))
    loudness[:, 0], loudness[:, -1] = loudness[:, 1], loudness[:, -2]
    # irfft takes the bands as one half of a symmetric spectrum, from 0 to pi.
    autocorrelation = np.fft.irfft(loudness, axis=1)[:, : _ORDER + 1]
    return model_cepstrum(*all_pole_model(autocorrelation)).astype(np.float32)


def rasta_filter(log_bands: NDArray[np.float64]) -> NDArray[np.float64]:
    """Filter each band over time with RASTA's band pass.

    H(z) = 0.1 (2 + z^-1 - z^-3 - 2 z^-4) / (1 - 0.94 z^-1)

    Args:
        log_bands: (T, F) logarithms of the bands.

    Returns:
        (T, F); a constant added to a band has no effect.

    Convention:
        Causal, so two frames late; the paper's factor z^4 is left out, as in rastamat. The filter
        starts as if the first frame had lasted for ever; rastamat sets the first four frames to 0,
        a difference that fades by 0.94 per frame.
    """
    steady = scipy.signal.lfilter_zi(_RASTA_NUMERATOR, [1.0, -_RASTA_POLE])
    state = steady[:, None] * log_bands[:1]  # (4, F)
    filtered: NDArray[np.float64]
    filtered, _ = scipy.signal.lfilter(
        _RASTA_NUMERATOR, [1.0, -_RASTA_POLE], log_bands, axis=0, zi=state
    )
    return filtered


def all_pole_model(
    autocorrelation: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit 1 / A(z) to each row's autocorrelation by Levinson and Durbin's recursion.

    Args:
        autocorrelation: (T, P + 1), lags 0 to P, of a positive definite sequence.

    Returns:
        The coefficients (T, P + 1) of A(z) = 1 + a_1 z^-1 + ..., and the prediction error (T,),
        which is the squared gain of the model.
    """
    r = autocorrelation
    order = r.shape[1] - 1
    coefficients = np.zeros_like(r)
    coefficients[:, 0] = 1.0
    error = r[:, 0] * (1.0 + _WHITE_NOISE_CORRECTION)
    for m in range(1, order + 1):
        reflection = -(coefficients[:, :m] * r[:, m:0:-1]).sum(axis=1) / error
        coefficients[:, 1 : m + 1] += reflection[:, None] * coefficients[:, m - 1 :: -1][:, :m]
        error = error * (1.0 - reflection**2)
    return coefficients, error


def model_cepstrum(
    coefficients: NDArray[np.float64], error: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cepstrum of all-pole models error / |A|^2.

    c_0 = ln(error);  c_n = -a_n - sum_{m=1}^{n-1} (m / n) c_m a_{n-m}

    Args:
        coefficients: (T, P + 1) of A(z), the first column 1.
        error: (T,) squared gains, positive.

    Returns:
        (T, P + 1).
    """
    cepstrum = np.empty_like(coefficients)
    cepstrum[:, 0] = np.log(error)
    for n in range(1, coefficients.shape[1]):
        ratios = np.arange(1, n) / n
        earlier = (ratios * cepstrum[:, 1:n] * coefficients[:, n - 1 : 0 : -1]).sum(axis=1)
        cepstrum[:, n] = -coefficients[:, n] - earlier
    return cepstrum


@lru_cache
def _critical_bands(sample_rate_hz: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres in Hz (bands,) and weights (bands, F); 21 bands at 16 kHz."""
    bins_bark = 6.0 * np.arcsinh(spectrum_frequencies(sample_rate_hz) / 600.0)
    count = int(np.ceil(bins_bark[-1])) + 1
    centres_bark = np.linspace(0.0, bins_bark[-1], count)
    z = bins_bark - centres_bark[:, None]
    exponent = np.minimum(0.0, np.minimum(z + 0.5, -2.5 * (z - 0.5)))
    weights = np.where((z >= -1.3) & (z <= 2.5), 10.0**exponent, 0.0)
    weights.flags.writeable = False
    return 600.0 * np.sinh(centres_bark / 6.0), weights


def _equal_loudness(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hermansky 1990, without the pole at 5 kHz."""
    w2 = (2.0 * np.pi * frequency_hz) ** 2
    weights: NDArray[np.float64] = (w2 + 56.8e6) * w2**2 / ((w2 + 6.3e6) ** 2 * (w2 + 0.38e9))
    return weights
