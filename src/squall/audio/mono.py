"""A file as one channel at one rate, block by block, whatever its length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from squall.audio.doubts import Doubts
from squall.audio.reading import (
    SAMPLE_RATE_HZ,
    AudioError,
    AudioStream,
    conversions_of,
    mixed_down,
    open_audio,
)

__all__ = ["MonoStream", "open_mono"]

# The block in which a file is damaged is lost as a whole.
_BLOCK_S = 1


class MonoStream:
    """An open file, mixed down and resampled as `read_audio` does it.

    Args:
        stream: the file.
        sample_rate_hz: the rate wanted.

    Attributes:
        problem: what ended the reading before the end of the file, or None.
    """

    def __init__(self, stream: AudioStream, sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
        self._stream, self._rate_hz = stream, sample_rate_hz
        self._doubts = Doubts(is_lossy=stream.is_lossy)
        self.problem: AudioError | None = None

    @property
    def duration_s(self) -> float:
        """The length of the file, as far as its header or its size tell."""
        return self._stream.info.duration_s

    @property
    def conversions(self) -> tuple[str, ...]:
        """What is done to the samples, in words."""
        info = self._stream.info
        made = conversions_of(info.channels, info.sample_rate_hz, self._rate_hz)
        return (*self._stream.conversions, *made)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is wrong with the samples that were read so far, in words."""
        return self._doubts.words()

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Read to the end, or to where the file is damaged: `problem` then has the error.

        Yields:
            (n,) 32-bit floats of about a second.
        """
        from_hz = self._stream.info.sample_rate_hz
        resampler = None
        if from_hz != self._rate_hz:
            resampler = soxr.ResampleStream(from_hz, self._rate_hz, 1, dtype="float32")
        try:
            for block in self._stream.blocks(_BLOCK_S * from_hz):
                self._doubts.add(block)
                mono = mixed_down(block)
                yield resampler.resample_chunk(mono) if resampler else mono
        except AudioError as error:
            self.problem = error
        if resampler:
            yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


@contextmanager
def open_mono(path: str | Path, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Iterator[MonoStream]:
    """Open a file, a truncated one too, whose readable part is then given.

    Args:
        path: the file, of any kind that `read_audio` takes.
        sample_rate_hz: the rate wanted.

    Raises:
        AudioError: nothing of it can be read.
    """
    with open_audio(path, cut_off=True) as stream:
        yield MonoStream(stream, sample_rate_hz)
