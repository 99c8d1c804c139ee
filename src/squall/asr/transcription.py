"""Transcription of files that are in no corpus, of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from squall.asr.alignment import time_words
from squall.asr.decoding import BATCH_S, batches_of
from squall.asr.memory import check_memory, free_memory_bytes, memory_was_full, out_of_memory
from squall.asr.recogniser import Hypothesis, Recogniser
from squall.audio.mono import MonoStream, open_mono
from squall.audio.reading import SAMPLE_RATE_HZ, audio_below, read_audio
from squall.audio.segments import Pauses, Segment, cut_at_pauses
from squall.audio.voice_activity import VoiceActivity
from squall.text.captions import TimedWord

__all__ = ["OnPart", "Spoken", "Transcript", "find_audio", "transcribe"]

# Recognised together, in batches of about equal lengths.
_WINDOW_S = 240.0
# What is left of speech at the end of a recording may be shorter than a model can take.
_LEAST_SAMPLES = SAMPLE_RATE_HZ // 2


@dataclass(frozen=True)
class Spoken:
    """What was recognised in a stretch of a recording.

    Args:
        start_s: where it starts, in seconds.
        end_s: where it ends.
        hypothesis: the result.
        words: its words with their times in the recording; None of a model without CTC.
    """

    start_s: float
    end_s: float
    hypothesis: Hypothesis
    words: tuple[TimedWord, ...] | None


@dataclass(frozen=True)
class Transcript:
    """What came of one file.

    Args:
        path: the file.
        duration_s: its length.
        conversions: what was done to its samples before recognition, in words.
        segments: what was recognised, in order; none of a long recording without speech. One that
            is not cut has one segment.
        problem: why the file, or what is behind its last segment, could not be read or recognised,
            or None.
    """

    path: str
    duration_s: float = 0.0
    conversions: tuple[str, ...] = ()
    segments: tuple[Spoken, ...] = ()
    problem: str | None = None

    @property
    def hypothesis(self) -> Hypothesis | None:
        """The result for the whole file, or None where nothing came of it but a problem."""
        if self.problem is not None and not self.segments:
            return None
        return Hypothesis.joined([segment.hypothesis for segment in self.segments])


OnPart = Callable[[float, Sequence[Spoken]], None]
"""Told what share of a file is done, in [0, 1], and what further segments came of it."""


def find_audio(paths: Sequence[Path]) -> list[Path]:
    """The audio files among the paths, and below those that are folders, in sorted order.

    A file that is given twice, as by itself and by its folder, is one.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no audio.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += audio_below(path)
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    return list({path.resolve(): path for path in found}.values())


def transcribe(
    recogniser: Recogniser,
    path: Path,
    *,
    activity: VoiceActivity | None = None,
    pauses: Pauses | None = None,
    on_part: OnPart | None = None,
) -> Transcript:
    """Recognise a file; one that cannot be gives a `problem`, not an exception.

    Any sampling rate and number of channels is accepted: files are resampled to 16 kHz and mixed
    down, and the transcript says so. A file that is longer than the longest segment is cut at
    pauses, read in blocks and recognised in batches, in memory that does not grow with its length;
    of one that is damaged somewhere, the part before that is recognised. What is too long for the
    memory that is free is not recognised.

    Args:
        recogniser: a trained one.
        path: the file.
        activity: finds the pauses; None leaves the file whole, whatever its length.
        pauses: how long segments may be; None takes the defaults.
        on_part: told of parts as they come.
    """
    file = _File(recogniser, path, on_part or (lambda share, segments: None))
    return file.transcript(activity, pauses or Pauses())


class _File:
    """One file: what has come of it so far."""

    def __init__(self, recogniser: Recogniser, path: Path, on_part: OnPart) -> None:
        self._recogniser, self._path, self._on_part = recogniser, path, on_part
        self._duration_s = 0.0
        self._notes: tuple[str, ...] = ()
        self._segments: list[Spoken] = []
        self._share = 0.0

    def transcript(self, activity: VoiceActivity | None, pauses: Pauses) -> Transcript:
        problem = None
        try:
            with open_mono(self._path) as stream:
                self._duration_s = stream.duration_s
                cut = activity is not None and self._duration_s > pauses.longest_s
                if activity is not None and cut:
                    problem = self._in_segments(stream, activity, pauses)
            if not cut:
                self._whole()
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            problem = memory_was_full(self._duration_s) if out_of_memory(error) else str(error)
        return Transcript(
            str(self._path),
            self._duration_s,
            self._notes,
            tuple(self._segments),
            None if problem is None else problem.removeprefix(f"{self._path}: "),
        )

    def _whole(self) -> None:
        check_memory(self._recogniser.memory_need, self._duration_s, self._recogniser.device)
        audio = read_audio(self._path, sample_rate_hz=SAMPLE_RATE_HZ)
        self._duration_s = audio.duration_s
        self._notes = audio.conversions + audio.doubts
        self._recognise([Segment(0.0, audio.samples)], BATCH_S, self._duration_s)

    def _in_segments(
        self, stream: MonoStream, activity: VoiceActivity, pauses: Pauses
    ) -> str | None:
        """Recognise segment after segment; why the reading ended too early, if it did."""
        need, device = self._recogniser.memory_need, self._recogniser.device
        check_memory(need, pauses.longest_s, device)
        free = free_memory_bytes(device)
        batch_s = BATCH_S if free is None else min(BATCH_S, free / need.bytes_per_s)
        window: list[Segment] = []
        number = 0
        for segment in cut_at_pauses(self._told(stream.blocks()), activity, pauses):
            window.append(segment)
            number += 1
            if sum(one.duration_s for one in window) >= _WINDOW_S:
                self._recognise(window, batch_s, segment.start_s + segment.duration_s)
                window = []
        self._recognise(window, batch_s, self._duration_s)
        how = f"cut at pauses into {number} segments, by {activity.name}"
        self._notes = (*stream.conversions, *stream.doubts, how)
        return None if stream.problem is None else str(stream.problem)

    def _told(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        samples = 0
        for block in blocks:
            yield block
            samples += len(block)
            self._tell(samples / SAMPLE_RATE_HZ, ())

    def _recognise(self, segments: Sequence[Segment], batch_s: float, until_s: float) -> None:
        found: list[Spoken] = []
        for batch in batches_of(segments, batch_s=batch_s):
            heard = list(map(_long_enough, batch))
            encoded = list(map(self._recogniser.encode, heard))
            hypotheses = self._recogniser.search_all(encoded)
            found += map(self._spoken, batch, heard, encoded, hypotheses)
        found.sort(key=lambda one: one.start_s)
        self._segments += found
        self._tell(until_s, found)

    def _tell(self, until_s: float, found: Sequence[Spoken]) -> None:
        # What is recognised lies behind what is read.
        self._share = max(self._share, min(1.0, until_s / self._duration_s))
        self._on_part(self._share, found)

    def _spoken(
        self,
        segment: Segment,
        heard: NDArray[np.float32],
        encoded: torch.Tensor,
        hypothesis: Hypothesis,
    ) -> Spoken:
        start_s, duration_s = segment.start_s, segment.duration_s
        words = time_words(
            self._recogniser, encoded, hypothesis, start_s=start_s, duration_s=duration_s,
            encoded_s=len(heard) / SAMPLE_RATE_HZ,
        )  # fmt: skip
        return Spoken(start_s, start_s + duration_s, hypothesis, words)


def _long_enough(segment: Segment) -> NDArray[np.float32]:
    """A segment's samples; what a cut has left of one, with silence behind it."""
    lacking = 0 if segment.start_s == 0.0 else _LEAST_SAMPLES - len(segment.samples)
    return np.pad(segment.samples, (0, max(0, lacking)))
