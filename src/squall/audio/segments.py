"""Long recordings cut at pauses into segments that can be worked on one by one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squall.audio.reading import SAMPLE_RATE_HZ
from squall.audio.voice_activity import FRAME_S, FRAME_SAMPLES, VoiceActivity, frame_levels_db

__all__ = ["Pauses", "Segment", "cut_at_pauses"]

# Heard at once: the threshold of `EnergyActivity` is set over so much.
_BLOCK_FRAMES = 960
# Kept before and after speech, whose soft beginnings and ends a detector misses.
_MARGIN_S = 0.2
# Where speech has no pause, the level over so much decides where it is cut.
_QUIET_S = 0.16


@dataclass(frozen=True)
class Pauses:
    """Where recordings are cut.

    Args:
        shortest_s: no segment is shorter, except at the end of a recording: a short word brings the
            pause after it, or what is said next.
        longest_s: none is longer; at least twice as much. Speech without a pause is cut at the
            quietest place of the second half.
        pause_s: length of a pause at which a segment may end.

    Raises:
        ValueError: the numbers do not fit together.
    """

    shortest_s: float = 2.0
    longest_s: float = 20.0
    pause_s: float = 0.5

    def __post_init__(self) -> None:
        if not self.shortest_s >= 0.5 or not 2 * self.shortest_s <= self.longest_s <= 3600:
            raise ValueError(
                f"segments of {self.shortest_s:g} to {self.longest_s:g} s: the shortest must have "
                "0.5 s or more, the longest at least twice as much and at most an hour"
            )
        if not 0.1 <= self.pause_s <= self.longest_s:
            raise ValueError(
                f"a pause of {self.pause_s:g} s: it must have 0.1 s or more, and no more than the "
                f"longest segment ({self.longest_s:g} s)"
            )


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording.

    Args:
        start_s: its start in the recording, in seconds.
        samples: (N,) 32-bit floats at 16 kHz.
    """

    start_s: float
    samples: NDArray[np.float32]

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ


def cut_at_pauses(
    blocks: Iterable[NDArray[np.float32]], activity: VoiceActivity, pauses: Pauses
) -> Iterator[Segment]:
    """Cut a recording into the segments in which there is speech, each as soon as it has ended.

    Memory does not grow with the recording.

    Args:
        blocks: its samples at 16 kHz, in blocks (n,) of any lengths.
        activity: tells speech from the rest; it is reset first.
        pauses: how long the segments may be.
    """
    activity.reset()
    cutter = _Cutter(pauses)
    kept, first = np.zeros(0, np.float32), 0  # the samples that may be needed, from this frame on
    for samples in _blocks_of(blocks, _BLOCK_FRAMES * FRAME_SAMPLES):
        kept = np.concatenate([kept, samples])
        padded = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
        frames = padded.reshape(-1, FRAME_SAMPLES)
        for start, end in cutter.push(activity(frames), frame_levels_db(frames)):
            yield _segment(kept, first, start, end)
        needed = cutter.needed_from
        kept, first = kept[(needed - first) * FRAME_SAMPLES :], needed
    for start, end in cutter.finish():
        yield _segment(kept, first, start, end)


def _segment(kept: NDArray[np.float32], first: int, start: int, end: int) -> Segment:
    from_, to = ((frame - first) * FRAME_SAMPLES for frame in (start, end))
    return Segment(start * FRAME_S, kept[from_:to].copy())


def _blocks_of(blocks: Iterable[NDArray[np.float32]], length: int) -> Iterator[NDArray[np.float32]]:
    """The same samples in blocks of one length; only the last may be shorter."""
    waiting = np.zeros(0, np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while len(waiting) >= length:
            yield waiting[:length]
            waiting = waiting[length:]
    if len(waiting):
        yield waiting


def _frames(seconds: float) -> int:
    return max(1, math.ceil(seconds / FRAME_S))


class _Cutter:
    """Decides, frame by frame, where segments start and end; all numbers are of frames."""

    def __init__(self, pauses: Pauses) -> None:
        self._shortest, self._pause = _frames(pauses.shortest_s), _frames(pauses.pause_s)
        self._longest = int(pauses.longest_s / FRAME_S)
        self._margin, self._width = _frames(_MARGIN_S), _frames(_QUIET_S)
        self._ended = 0  # end of the last segment
        self._start: int | None = None  # of the segment that is open
        self._last = 0  # frame of speech
        self._first = 0  # of the frames that are kept
        self._speech: list[bool] = []
        self._levels_db: list[float] = []

    @property
    def _now(self) -> int:
        return self._first + len(self._speech)

    @property
    def needed_from(self) -> int:
        """The first frame that a further segment may have."""
        return self._earliest(self._now) if self._start is None else self._start

    def _earliest(self, speech: int) -> int:
        """Where a segment starts whose first frame of speech is this one."""
        return max(self._ended, speech - self._margin)

    def push(
        self, speech: NDArray[np.bool_], levels_db: NDArray[np.float64]
    ) -> Iterator[tuple[int, int]]:
        """Go on with frames, (T,) each; start and end of every segment that ends in them."""
        for is_speech, level_db in zip(speech.tolist(), levels_db.tolist(), strict=True):
            if is_speech:
                self._last = self._now
                if self._start is None:
                    self._start = self._earliest(self._now)
            self._speech.append(is_speech)
            self._levels_db.append(level_db)
            if self._start is not None and (end := self._end(self._start)) is not None:
                yield self._start, end
                self._go_on_from(end)
        forgotten = self.needed_from - self._first
        del self._speech[:forgotten], self._levels_db[:forgotten]
        self._first += forgotten

    def finish(self) -> Iterator[tuple[int, int]]:
        """The segment that is open where the recording ends."""
        if self._start is not None:
            yield self._start, min(self._now, self._end_in_pause(self._start))

    def _end(self, start: int) -> int | None:
        """The end of the open segment, if it is time."""
        length, pause = self._now - start, self._now - 1 - self._last
        if pause >= self._pause and length >= self._shortest:
            return min(self._now, self._end_in_pause(start))
        return self._quietest(start) if length >= self._longest else None

    def _end_in_pause(self, start: int) -> int:
        return max(self._last + 1 + self._margin, start + self._shortest)

    def _quietest(self, start: int) -> int:
        """The middle of the quietest frames, which leave at least a shortest segment behind."""
        from_ = start - self._first + self._longest // 2
        to = start - self._first + self._longest - self._shortest
        window = np.convolve(self._levels_db[from_:to], np.ones(self._width), mode="valid")
        return self._first + from_ + int(np.argmin(window)) + self._width // 2

    def _go_on_from(self, end: int) -> None:
        """Close the segment; what was said behind its end begins the next one."""
        self._ended, self._start = end, None
        behind = self._speech[end - self._first :]
        if any(behind):
            self._start = self._earliest(end + behind.index(True))
