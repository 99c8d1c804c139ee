"""TIMIT's layout on disk: the `.TXT`, `.WRD` and `.PHN` files beside each recording."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from squall.corpora.manifest import Interval, Utterance, file_info
from squall.files import read_text, visible_files

__all__ = [
    "SampleInterval",
    "find_recordings",
    "read_intervals",
    "read_prompt",
    "read_recording",
    "write_intervals",
]

TIMIT_SAMPLE_RATE_HZ = 16000
"""TIMIT's own sampling rate, and the unit of its times whatever the rate of a copy is."""

# Beyond this the labels are of another recording, or the recording is cut off.
_LARGEST_OVERHANG_S = 0.1
_SAMPLE = re.compile(r"\d{1,15}")


@dataclass(frozen=True)
class SampleInterval:
    """A labelled stretch in sample numbers, as `.WRD`, `.PHN` and `.TXT` files have it.

    Args:
        start: number of the first sample, from 0.
        end: number of the sample after the last one.
        label: the word or phone; in a `.TXT` file the whole prompt.
    """

    start: int
    end: int
    label: str


def find_recordings(folder: Path) -> list[Path]:
    """List the recordings under a folder, `.wav` in either case, in sorted order.

    Raises:
        FileNotFoundError: there is no such folder, or no recording in it.
    """
    found = [p for p in visible_files(Path(folder), "**/*") if p.suffix.lower() == ".wav"]
    if not found:
        raise FileNotFoundError(f"{folder}: no .WAV file in it; is it the corpus's top folder?")
    return found


def read_intervals(path: Path) -> list[SampleInterval]:
    """Read a `.WRD` or `.PHN` file: lines of start sample, end sample, label.

    Gaps and overlaps are taken as they are: TIMIT's own word files have both.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not of that form, is empty or backwards, or starts before the line
            above it; the message has the file and the line number.
    """
    intervals: list[SampleInterval] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        interval = _interval(path, number, line)
        if len(interval.label.split()) != 1:
            raise ValueError(f"{path}:{number}: one label expected, not {interval.label!r}")
        if intervals and interval.start < intervals[-1].start:
            raise ValueError(
                f"{path}:{number}: starts at sample {interval.start}, before the line above it "
                f"({intervals[-1].start})"
            )
        intervals.append(interval)
    return intervals


def read_prompt(path: Path) -> SampleInterval:
    """Read a `.TXT` file: one line of start sample, end sample and the prompt as it was printed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not one such line; the message has the file and the line number.
    """
    lines = [line for line in _lines(path) if line.strip()]
    if len(lines) != 1:
        raise ValueError(f"{path}:1: one line with the prompt expected, there are {len(lines)}")
    return _interval(path, 1, lines[0])


def write_intervals(path: Path, intervals: Iterable[SampleInterval]) -> None:
    """Write a `.WRD`, `.PHN` or `.TXT` file."""
    lines = (f"{i.start} {i.end} {i.label}\n" for i in intervals)
    Path(path).write_text("".join(lines), encoding="utf-8")


def read_recording(recording: Path, *, utterance_id: str, speaker: str) -> Utterance:
    """Read one recording with its text, words and phones.

    Args:
        recording: the `.WAV` file, or a copy named `SA1.WAV.wav`; the other three are looked for
            beside it, in either case.
        utterance_id: the id in the manifest; no white space.
        speaker: the speaker label; no white space.

    Returns:
        The utterance, with the prompt as it is printed in the `.TXT` file and times in seconds. One
        whose audio is missing or broken has a duration of 0, so that `validate` lists it.

    Raises:
        FileNotFoundError: one of the other three files is missing.
        ValueError: one of those three is not readable, or its times go beyond the recording by
            more than 0.1 s.

    Convention:
        A few of TIMIT's phone files end some samples after the recording; these are cut at its end.
        Times are in samples of 16 kHz, also where the recording is a copy at another rate. Where
        times were converted with it, they are in the recording's own samples: the two are told
        apart by the end of the prompt, which is that of the recording.
    """
    info = file_info(recording, sample_rate_hz=TIMIT_SAMPLE_RATE_HZ)
    original = recording.with_suffix("") if Path(recording.stem).suffix else recording
    paths = {kind: _beside(original, kind) for kind in (".txt", ".wrd", ".phn")}
    prompt = read_prompt(paths[".txt"])
    rate_hz = min(
        (TIMIT_SAMPLE_RATE_HZ, info.sample_rate_hz),
        key=lambda rate_hz: abs(prompt.end / rate_hz - info.duration_s),
    )
    words, phones = (
        _read_inside(paths[kind], rate_hz, info.duration_s) for kind in (".wrd", ".phn")
    )
    return Utterance(
        id=utterance_id,
        audio_path=str(recording),
        start_s=0.0,
        duration_s=info.duration_s,
        sample_rate_hz=info.sample_rate_hz,
        speaker=speaker,
        text=prompt.label,
        phones=phones,
        words=words,
    )


def _lines(path: Path) -> list[str]:
    return read_text(Path(path)).splitlines()


def _interval(path: Path, number: int, line: str) -> SampleInterval:
    fields = line.split(None, 2)
    if len(fields) != 3 or not all(map(_SAMPLE.fullmatch, fields[:2])):
        raise ValueError(f"{path}:{number}: start sample, end sample and label expected: {line!r}")
    start, end = int(fields[0]), int(fields[1])
    if end <= start:
        raise ValueError(f"{path}:{number}: ends at sample {end}, which is not after {start}")
    return SampleInterval(start, end, fields[2].strip())


def _beside(recording: Path, suffix: str) -> Path:
    for spelling in (suffix.upper(), suffix):
        path = recording.with_suffix(spelling)
        if path.is_file():
            return path
    raise FileNotFoundError(f"{recording}: there is no {suffix.upper()} file beside it")


def _read_inside(path: Path, rate_hz: int, duration_s: float) -> tuple[Interval, ...]:
    """The intervals of a file in seconds, cut at the end of the recording where that is known."""
    found = []
    for number, interval in enumerate(read_intervals(path), start=1):
        start_s, end_s = interval.start / rate_hz, interval.end / rate_hz
        if duration_s and (end_s > duration_s + _LARGEST_OVERHANG_S or start_s >= duration_s):
            raise ValueError(
                f"{path}:{number}: {interval.label!r} ends at {end_s:.3f} s, but the recording "
                f"has {duration_s:.3f} s"
            )
        found.append(Interval(interval.label, start_s, min(end_s, duration_s or end_s)))
    return tuple(found)
