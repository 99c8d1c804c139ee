"""RNNoise by the C library that the package pyrnnoise carries.

The package's own functions turn what comes out into 16-bit integers without a limit: a sample
beyond full scale comes back with the other sign. Here the library's floats are taken.

Source: Valin 2018, A hybrid DSP/deep learning approach to real-time full-band speech enhancement.
"""

from __future__ import annotations

import ctypes

from squall.enhance.peers.frames import run_frames
from squall.enhance.peers.peer import Enhance, Samples

__all__ = ["DELAY_SAMPLES", "load"]

DELAY_SAMPLES = 960
"""At 48 kHz: one frame for the overlap of the windows, one that gains are looked ahead by."""

_FULL_SCALE = 32768.0  # the library's floats have the range of 16-bit integers
_Floats = ctypes.POINTER(ctypes.c_float)


def load() -> Enhance:
    """The library, for signals at 48 kHz; a new state for each.

    Raises:
        ImportError, OSError: the package is not there, or its library does not suit the machine.
    """
    from pyrnnoise.rnnoise import FRAME_SIZE, lib

    def enhance(samples: Samples) -> Samples:
        state = lib.rnnoise_create(None)

        def process(given: Samples, taken: Samples) -> None:
            pointers = [one.ctypes.data_as(_Floats) for one in (taken, given)]
            lib.rnnoise_process_frame(state, *pointers)

        try:
            scaled = run_frames(
                process,
                samples * _FULL_SCALE,
                frame_samples=FRAME_SIZE,
                delay_samples=DELAY_SAMPLES,
            )
        finally:
            lib.rnnoise_destroy(state)
        return scaled / _FULL_SCALE

    return enhance
