"""A signal frame by frame through a stream that comes out late, and the window of two of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from squall.enhance.peers.peer import Samples

__all__ = ["HOP_SAMPLES", "analyse", "run_frames", "synthesise"]

HOP_SAMPLES = 256
"""Half a window, 16 ms at 16 kHz."""

_FFT_SAMPLES = 2 * HOP_SAMPLES
# The square root of the periodic Hann window, whose squares at n and n + HOP_SAMPLES add up to 1.
_WINDOW = np.sin(np.pi * np.arange(_FFT_SAMPLES) / _FFT_SAMPLES).astype(np.float32)

Spectra = NDArray[np.complex64]


def run_frames(
    process: Callable[[Samples, Samples], None],
    samples: Samples,
    *,
    frame_samples: int,
    delay_samples: int,
) -> Samples:
    """Put a whole signal through a stream, and take the delay out.

    Args:
        process: reads a frame and writes another, both (frame_samples,).
        samples: (N,) the signal; zeros follow it until its end has come out.
        frame_samples: length of a frame.
        delay_samples: by how much the stream's output is late.

    Returns:
        (N,) the output, in step with the signal.
    """
    frames = -(-(len(samples) + delay_samples) // frame_samples)
    given = np.zeros((frames, frame_samples), np.float32)
    given.reshape(-1)[: len(samples)] = samples
    taken = np.zeros_like(given)
    for one, other in zip(given, taken, strict=True):
        process(one, other)
    return taken.reshape(-1)[delay_samples : delay_samples + len(samples)]


def analyse(samples: Samples) -> Spectra:
    """Short-time spectra: windows of 512 samples every 256, square root of a periodic Hann window.

    Args:
        samples: (N,) the signal; 256 zeros stand before it, and so many behind it that each sample
            lies in two windows.

    Returns:
        (T, 257) with T = 1 + ceil(N / 256).
    """
    hops = -(-len(samples) // HOP_SAMPLES)
    padded = np.zeros((hops + 2) * HOP_SAMPLES, np.float32)
    padded[HOP_SAMPLES : HOP_SAMPLES + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT_SAMPLES)[::HOP_SAMPLES]
    return np.fft.rfft(frames * _WINDOW).astype(np.complex64)


def synthesise(spectra: Spectra, length: int) -> Samples:
    """The signal of spectra, by overlap and add: what `analyse` was given, where nothing changed.

    Args:
        spectra: (T, 257).
        length: N.

    Returns:
        (N,) the signal.
    """
    frames = (np.fft.irfft(spectra, _FFT_SAMPLES) * _WINDOW).astype(np.float32)
    added = frames[1:, :HOP_SAMPLES] + frames[:-1, HOP_SAMPLES:]  # (T - 1, HOP_SAMPLES)
    return added.reshape(-1)[:length]
