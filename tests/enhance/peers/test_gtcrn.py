"""GTCRN's spectra and memory, with a session that stands in for onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from squall.enhance.peers.gtcrn import enhance_with
from squall.enhance.peers.peer import PeerError

SHAPES = {
    "mix": (1, 257, 1, 2),
    "conv_cache": (2, 1, 16, 16, 33),
    "tra_cache": (2, 3, 1, 1, 16),
    "inter_cache": (2, 1, 33, 16),
}


class _Session:
    """Gives the spectrum back, half as loud from the third frame on, and counts in its caches."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, ...]] = []

    def run(self, outputs: None, inputs: dict[str, NDArray[np.float32]]) -> list[Any]:
        assert {name: array.shape for name, array in inputs.items()} == SHAPES
        assert {array.dtype for array in inputs.values()} == {np.dtype(np.float32)}
        mix, *caches = inputs.values()
        self.frames.append(tuple(float(cache.flat[0]) for cache in caches))
        gain = 0.5 if caches[0].flat[0] >= 2 else 1.0
        return [gain * mix, *(cache + step for cache, step in zip(caches, (1, 2, 3), strict=True))]


def test_spectra_are_handed_on_with_the_memory_of_those_before() -> None:
    session, samples = _Session(), np.ones(4 * 256, np.float32)
    enhanced = enhance_with(session, samples)
    assert session.frames == [(n, 2 * n, 3 * n) for n in range(5)]
    np.testing.assert_allclose(enhanced[:256], 1, atol=1e-6)
    np.testing.assert_allclose(enhanced[512:], 0.5, atol=1e-6)


def test_a_signal_remembers_nothing_of_the_one_before() -> None:
    session, samples = _Session(), np.ones(700, np.float32)
    one, two = enhance_with(session, samples), enhance_with(session, samples)
    np.testing.assert_array_equal(one, two)
    assert session.frames[:4] == session.frames[4:]


def test_a_session_that_fails_is_told() -> None:
    class Broken:
        def run(self, outputs: None, inputs: dict[str, NDArray[np.float32]]) -> list[Any]:
            raise TypeError("no such input")

    with pytest.raises(PeerError, match="the model fails: no such input"):
        enhance_with(Broken(), np.ones(10, np.float32))
