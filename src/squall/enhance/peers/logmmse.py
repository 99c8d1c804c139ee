"""A classic without training: the MMSE estimate of log-spectral amplitudes.

Source: Ephraim, Malah 1985, Speech enhancement using a minimum mean-square error log-spectral
amplitude estimator; their 1984 paper for the a priori SNR.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.special import exp1

from squall.enhance.peers.frames import analyse, synthesise
from squall.enhance.peers.minimum_statistics import MinimumStatistics
from squall.enhance.peers.peer import Enhance, Samples

__all__ = ["load", "log_spectral_gain"]

Array = NDArray[np.float64]

_MEMORY = 0.98  # alpha of the a priori SNR
_LEAST_PRIOR = 10 ** (-25 / 10)  # of the a priori SNR: less leaves musical noise (Cappé 1994)
_LARGEST_POSTERIOR = 1e4  # 40 dB, beyond which the gain no longer depends on it


def load() -> Enhance:
    """The estimator, for signals at 16 kHz."""
    return _enhance


def log_spectral_gain(prior: Array, posterior: Array) -> Array:
    """Gain of an amplitude (1985, equation 20).

        G = xi / (1 + xi) exp(E1(v) / 2)   with v = xi / (1 + xi) gamma

    Args:
        prior: the a priori SNR xi, above 0, as a ratio of powers.
        posterior: the a posteriori SNR gamma, above 0: power over that of the noise.

    >>> float(log_spectral_gain(np.array(1.0), np.array(2.0)))
    0.5579590...
    """
    wiener = prior / (1 + prior)
    gain: Array = wiener * np.exp(exp1(wiener * posterior) / 2)
    return gain


def _enhance(samples: Samples) -> Samples:
    spectra = analyse(samples)
    powers = np.abs(spectra).astype(np.float64) ** 2
    # Of a silent signal: powers that can be divided by, far below those of 16-bit rounding.
    powers = np.maximum(powers, 1e-12)
    # Half of the first window is empty, and one frame says little of a single frequency.
    noise = MinimumStatistics(2 * uniform_filter1d(powers[0], 9, mode="nearest"))
    before = np.ones(powers.shape[1])  # (F,) squared amplitude over noise of the frame before
    gains = np.empty_like(powers)
    for place, power in enumerate(powers):
        posterior = np.minimum(power / noise.update(power), _LARGEST_POSTERIOR)
        # Decision-directed (1984, equation 51).
        prior = _MEMORY * before + (1 - _MEMORY) * np.maximum(posterior - 1, 0)
        gain = log_spectral_gain(np.maximum(prior, _LEAST_PRIOR), posterior)
        gains[place] = np.minimum(gain, 1)
        before = gains[place] ** 2 * posterior
    return synthesise((spectra * gains).astype(np.complex64), len(samples))
