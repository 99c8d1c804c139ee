"""Gammatone features: compressed energies of an auditory filterbank."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from squall.audio.frames import as_signal
from squall.audio.gammatone import GammatoneFilterbank

__all__ = ["GAMMATONE_DIMENSIONS", "channel_energies", "gammatone_energies"]

GAMMATONE_DIMENSIONS = 64

_LOW_HZ, _HIGH_HZ = 50.0, 8000.0


def gammatone_energies(
    samples: NDArray[np.float32], sample_rate_hz: int = 16000
) -> NDArray[np.float32]:
    """Cube roots of the energies of a 64-channel gammatone filterbank in 20 ms frames.

    Args:
        samples: (N,) the signal.
        sample_rate_hz: its sampling rate.

    Returns:
        (T, 64) float32, >= 0, channel 0 the lowest, 50 Hz; the highest is 8 kHz or half the
        sampling rate.

    Raises:
        ValueError: samples are not (N,), empty, or not finite.

    Convention:
        Cube root, as Chen, Wang, Wang 2014 write; the toolbox of Wang, Narayanan, Wang 2014
        takes the 15th root.

    Source: Chen, Wang, Wang 2014 (gammatone feature, GF).
    """
    compressed: NDArray[np.float32] = np.cbrt(channel_energies(samples, sample_rate_hz))
    return compressed.astype(np.float32, copy=False)


def channel_energies(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    """The energies (T, 64) that `gammatone_energies` compresses."""
    return _filterbank(sample_rate_hz).energies(as_signal(samples))


@lru_cache
def _filterbank(sample_rate_hz: int) -> GammatoneFilterbank:
    return GammatoneFilterbank(
        channels=GAMMATONE_DIMENSIONS,
        low_hz=_LOW_HZ,
        high_hz=min(_HIGH_HZ, sample_rate_hz / 2),
        sample_rate_hz=sample_rate_hz,
    )
