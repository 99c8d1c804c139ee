"""Amplitude modulation spectrum: how fast the envelope of the whole signal fluctuates."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from squall.audio.features.spectra import hann_window
from squall.audio.frames import FRAME_S, HOP_S, as_signal, frame_count, frame_signal

__all__ = ["AMS_DIMENSIONS", "amplitude_modulation_spectrum"]

AMS_DIMENSIONS = 15

_ENVELOPE_RATE_HZ = 4000
_SEGMENT = 128  # samples of the envelope, 32 ms
_FFT = 256
_LOW_HZ, _HIGH_HZ = 15.6, 400.0
_DECIMATION_TAPS = 31


def amplitude_modulation_spectrum(
    samples: NDArray[np.float32], sample_rate_hz: int = 16000
) -> NDArray[np.float32]:
    """Amplitude modulation spectrum (AMS) of a signal.

    The full-wave rectified signal |x| is low-pass filtered and decimated to 4 kHz; segments of
    32 ms every 10 ms are Hann-windowed and zero-padded to a 256-point FFT; its magnitudes are
    summed under 15 triangles centred uniformly from 15.6 to 400 Hz.

    Args:
        samples: (N,) the signal.
        sample_rate_hz: its sampling rate, a multiple of 4 kHz.

    Returns:
        (T, 15) float32, >= 0, linear in the signal's level. Row t is centred on frame t.

    Raises:
        ValueError: samples are not (N,), empty, or not finite, or the rate is no multiple of 4 kHz.

    Convention:
        No logarithm and no root is applied: the published toolbox of the sources takes the
        magnitudes as they are. It has 20 ms segments and hand-made weights for 31 to 375 Hz where
        the papers say 32 ms and uniform triangles; here the papers' words hold. Each triangle
        reaches to the centres of its neighbours. The bin of 0 Hz is left out, as in the toolbox,
        but the envelope's mean is not removed and leaks through the window into the lowest bands.
        The decimation filter is linear-phase (31 taps, cut off at 2 kHz) with its delay taken out;
        outside the signal the envelope is zero.

    Source: Kim, Lu, Hu, Loizou 2009; Wang, Han, Wang 2013; Wang, Narayanan, Wang 2014.
    """
    samples = as_signal(samples)
    if sample_rate_hz % _ENVELOPE_RATE_HZ:
        raise ValueError(f"AMS needs a multiple of {_ENVELOPE_RATE_HZ} Hz, not {sample_rate_hz}")
    envelope = _envelope(samples, sample_rate_hz // _ENVELOPE_RATE_HZ)
    hop = round(HOP_S * _ENVELOPE_RATE_HZ)
    segments = frame_signal(
        envelope,
        frame_samples=_SEGMENT,
        hop_samples=hop,
        frames=frame_count(len(samples), sample_rate_hz),
        before=_SEGMENT // 2 - round(FRAME_S * _ENVELOPE_RATE_HZ) // 2,
    )  # (T, 128)
    magnitudes = np.abs(np.fft.rfft(segments * hann_window(_SEGMENT), _FFT))  # (T, 129)
    bands: NDArray[np.float64] = magnitudes @ _triangles().T
    return bands.astype(np.float32)


def _envelope(samples: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    if factor == 1:
        return np.abs(samples)
    rectified = np.abs(samples.astype(np.float64))
    taps = scipy.signal.firwin(_DECIMATION_TAPS, 1.0 / factor)
    # Leading zeros make the filter's delay a multiple of the factor, so that it can be cut off.
    delay = _DECIMATION_TAPS // 2
    lead = -delay % factor
    filtered = scipy.signal.upfirdn(np.pad(taps, (lead, 0)), rectified, up=1, down=factor)
    start, length = (delay + lead) // factor, -(-len(samples) // factor)
    envelope: NDArray[np.float64] = filtered[start : start + length]
    return envelope.astype(np.float32)


@lru_cache
def _triangles() -> NDArray[np.float64]:
    """Weights of the 15 modulation bands, (15, 129)."""
    bins_hz = np.fft.rfftfreq(_FFT, 1.0 / _ENVELOPE_RATE_HZ)
    centres_hz = np.linspace(_LOW_HZ, _HIGH_HZ, AMS_DIMENSIONS)
    distance = np.abs(bins_hz - centres_hz[:, None]) / (centres_hz[1] - centres_hz[0])
    weights: NDArray[np.float64] = np.maximum(0.0, 1.0 - distance)
    weights[:, 0] = 0.0
    weights.flags.writeable = False
    return weights
