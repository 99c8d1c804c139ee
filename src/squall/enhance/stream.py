"""Enhancement of speech as it comes: chunks in, chunks out, with a stated delay."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from squall.audio.features import MARGIN_S, level_gain
from squall.audio.frames import HOP_S, as_signal
from squall.audio.level import active_rms, frame_powers
from squall.audio.reading import SAMPLE_RATE_HZ
from squall.enhance.enhancer import Enhancer, put_mask
from squall.enhance.frames import features_of

__all__ = ["EnhancementStream"]

Samples = NDArray[np.float32]

_BLOCK_S = 0.5
_LEVEL_S = 60.0
_AHEAD_FRAMES = 6  # of deltas and smoothing; see squall.audio.features.MARGIN_S


class EnhancementStream:
    """Enhances one channel at 16 kHz while it is recorded.

    A block of 0.5 s is enhanced when what the features of its last frame look ahead to has come.
    Memory does not grow: 2 s of the past are kept, which features remember, and the level of 60 s.

    Args:
        enhancer: the model.

    Attributes:
        latency_s: by how much the result is late at most, without the time of computing: a block
            and what is looked ahead to.

    Convention: level and mean, which `Enhancer` measures over the whole signal first, are those of
    what was heard until then, of the last 60 s. The first seconds therefore differ from what
    `Enhancer` gives, and all of it where the level changes.

    Example:
        >>> stream = EnhancementStream(enhancer)  # doctest: +SKIP
        >>> for chunk in microphone:  # doctest: +SKIP
        ...     play(stream.push(chunk))
        >>> play(stream.finish())  # doctest: +SKIP
    """

    def __init__(self, enhancer: Enhancer) -> None:
        self._enhancer = enhancer
        settings = enhancer.config.features
        hop = round(HOP_S * SAMPLE_RATE_HZ)
        reach = math.ceil(enhancer.front_end.margin_samples / hop)
        context = settings.context + enhancer.config.mask.context
        self._hop, self._block = hop, round(_BLOCK_S * SAMPLE_RATE_HZ) // hop * hop
        self._ahead = (reach + 2 + _AHEAD_FRAMES + context) * hop
        self._behind = math.ceil(MARGIN_S / HOP_S) * hop
        self.latency_s = (self._block + self._ahead) / SAMPLE_RATE_HZ
        self._heard = np.zeros(0, np.float32)  # from `_start` on
        self._start = 0
        self._done = 0  # samples that were given back
        self._powers = np.zeros(0)
        self._total, self._count = 0.0, 0
        self._unmeasured = np.zeros(0, np.float32)

    def push(self, samples: Samples) -> Samples:
        """Take samples (n,) of any number, 0 too, and give those (m,) that are ready, often none.

        Raises:
            ValueError: a sample is not finite.
        """
        if len(samples):
            chunk = as_signal(samples)
            self._heard = np.append(self._heard, chunk)
            self._unmeasured = np.append(self._unmeasured, chunk)
        ready = []
        while self._start + len(self._heard) >= self._done + self._block + self._ahead:
            ready.append(self._next(self._block))
        return np.concatenate(ready) if ready else np.zeros(0, np.float32)

    def finish(self) -> Samples:
        """The samples that are still to come, after which nothing may be pushed."""
        left = self._start + len(self._heard) - self._done
        parts = []
        while left > 0:
            parts.append(self._next(min(self._block, left)))
            left -= len(parts[-1])
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _next(self, count: int) -> Samples:
        """Enhance the next samples."""
        self._measure()
        config, hop = self._enhancer.config, self._hop
        heard = self._heard[: self._done + count + self._ahead - self._start]
        if config.remove_mean:
            heard = heard - np.float32(self._total / max(self._count, 1))
        features = features_of(heard, config, gain=self._gain())
        # Only what the block's resynthesis hears is estimated; features remember longer.
        first = max(0, (self._done - self._start - self._ahead) // hop)
        mask = self._enhancer.model.estimate(features[first:])
        part = put_mask(
            heard[first * hop :], mask, config=config, front_end=self._enhancer.front_end
        )
        place = self._done - self._start - first * hop
        return self._advance(part[place : place + count])

    def _advance(self, result: Samples) -> Samples:
        """Give a result back, and forget what lies too far behind it."""
        self._done += len(result)
        forget = max(0, self._done - self._behind - self._start) // self._hop * self._hop
        self._heard, self._start = self._heard[forget:].copy(), self._start + forget
        return result

    def _measure(self) -> None:
        """Level and mean of all samples that came since."""
        frame = 2 * self._hop
        whole = len(self._unmeasured) // frame * frame
        if whole or not len(self._powers):
            measured = self._unmeasured[: whole or None]
            self._total += float(measured.sum(dtype=np.float64))
            self._count += len(measured)
            mean = np.float32(self._total / self._count) if self._enhancer.config.remove_mean else 0
            powers = frame_powers(measured - np.float32(mean))
            kept = round(_LEVEL_S / HOP_S / 2)
            self._powers = np.append(self._powers, powers)[-kept:]
            self._unmeasured = self._unmeasured[len(measured) :]

    def _gain(self) -> float:
        if self._enhancer.config.features.level_over == "active":
            rms = active_rms(self._powers)
        else:
            rms = math.sqrt(float(self._powers.mean()))
        return level_gain(np.array([rms], np.float32))
