"""Frames of 20 ms every 10 ms: the time grid that features, cochleagrams and masks share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FRAME_S", "HOP_S", "as_signal", "frame_count", "frame_signal", "whole_hz"]

FRAME_S = 0.020
HOP_S = 0.010


def as_signal(samples: ArrayLike) -> NDArray[np.float32]:
    """Take one channel of audio as 32-bit floats, checked.

    Args:
        samples: (N,) any real numbers.

    Returns:
        (N,) the same, not copied where it is an array of 32-bit floats already.

    Raises:
        ValueError: it is not one-dimensional, is empty, or has a value that is not a finite number.
    """
    signal = np.asarray(samples, dtype=np.float32)
    if signal.ndim != 1:
        raise ValueError(f"the signal has shape {signal.shape}; give one channel, shape (N,)")
    if not len(signal):
        raise ValueError("the signal is empty")
    finite = np.isfinite(signal)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(f"sample {first} of the signal is {signal[first]}, not a finite number")
    return signal


def whole_hz(sample_rate_hz: float) -> int:
    """A sampling rate as an integer: 16000 of 16000.0, as tables and JSON have it.

    Raises:
        ValueError: it is not a whole number above 0.
    """
    if not (sample_rate_hz > 0 and float(sample_rate_hz).is_integer()):
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; give a whole number of Hz above 0")
    return int(sample_rate_hz)


def frame_count(samples: int, sample_rate_hz: int = 16000) -> int:
    """How many frames cover a signal: every sample lies in at least one, the last may be padded.

    T = 1 + ceil(max(0, N - frame) / hop), with a frame of 20 ms and a hop of 10 ms.

    Args:
        samples: the length N of the signal, at least 1.
        sample_rate_hz: its sampling rate.

    Raises:
        ValueError: there are no samples.
    """
    if samples < 1:
        raise ValueError("a signal without samples has no frames")
    frame, hop = round(FRAME_S * sample_rate_hz), round(HOP_S * sample_rate_hz)
    return 1 + -(-max(0, samples - frame) // hop)


def frame_signal(
    samples: NDArray[np.float32],
    *,
    frame_samples: int,
    hop_samples: int,
    frames: int,
    before: int = 0,
) -> NDArray[np.float32]:
    """Cut a signal into overlapping frames, as a read-only view of a zero-padded copy.

    Args:
        samples: (N,) the signal.
        frame_samples: length of a frame; longer than the hop where frames overlap.
        hop_samples: distance of their starts.
        frames: how many, T.
        before: zeros put before the first sample, e.g. to centre longer frames on the common grid.

    Returns:
        (T, frame_samples); frame t starts at sample `t * hop_samples - before`.
    """
    length = (frames - 1) * hop_samples + frame_samples
    padded = np.zeros(length, samples.dtype)
    kept = samples[: max(0, length - before)]
    padded[before : before + len(kept)] = kept
    view = np.lib.stride_tricks.sliding_window_view(padded, frame_samples)
    return view[::hop_samples][:frames]
