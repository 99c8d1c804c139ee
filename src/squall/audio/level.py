"""The level of a recording where there is something to hear, in spite of silence and clicks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from squall.audio.frames import FRAME_S, as_signal

__all__ = ["active_rms", "frame_powers"]

_ACTIVE_RANGE_DB = 40.0
_LOUDEST_FRAMES = 10
_LOUDEST_SHARE = 0.01


def frame_powers(samples: NDArray[np.float32], sample_rate_hz: int = 16000) -> NDArray[np.float64]:
    """Mean square of each 20 ms of a signal, side by side without overlap.

    Blocks of a signal, each a multiple of 20 ms long, give what the signal gives.

    Args:
        samples: (N,) the signal.
        sample_rate_hz: its sampling rate.

    Returns:
        (ceil(N / frame),) float64, at least 0. The last is over what there is of its frame.

    Raises:
        ValueError: samples are not (N,), empty, or not finite.
    """
    exact = as_signal(samples).astype(np.float64)
    starts = np.arange(0, len(exact), round(FRAME_S * sample_rate_hz))
    counts = np.diff(np.append(starts, len(exact)))
    powers: NDArray[np.float64] = np.add.reduceat(exact**2, starts) / counts
    return powers


def active_rms(powers: NDArray[np.float64]) -> float:
    """RMS over the frames in which there is something to hear, with the loudest held down.

    With p the power that the loudest 1 % of the frames that are not silent reach, at least the
    loudest ten (or half of fewer than twenty), it is

        sqrt(mean of min(power, p) over the frames whose power is above p / 10^4)

    Args:
        powers: (T,) of `frame_powers`, at least one.

    Returns:
        At least 0; 0 where all frames are silent.

    Convention: ours. Digital silence and pauses more than 40 dB below the loud part, the range of
    STOI, count for nothing, and a click is one of the frames that are held down. The active speech
    level of ITU-T P.56 leaves out pauses as well, but its level of quiet speech with one click at
    full scale is that of the click.

    >>> active_rms(np.array([0.0, 0.0, 0.04, 0.04]))
    0.2
    """
    heard = np.sort(powers[powers > 0.0])
    if not len(heard):
        return 0.0
    loudest = max(min(_LOUDEST_FRAMES, len(heard) // 2), math.ceil(_LOUDEST_SHARE * len(heard)))
    top = heard[-loudest]
    held = np.minimum(heard[heard > top * 10 ** (-_ACTIVE_RANGE_DB / 10)], top)
    return float(np.sqrt(held.mean()))
