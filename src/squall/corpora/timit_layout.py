"""TIMIT's layout on disk: the `.TXT`, `.WRD` and `.PHN` files beside each recording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from squall.audio.reading import AudioInfo
from squall.corpora.manifest import Interval, Utterance, file_info

__all__ = [
    "SampleInterval",
    "find_recordings",
    "read_intervals",
    "read_prompt",
    "read_recording",
    "write_intervals",
]

# Beyond this the labels are of another recording, or the recording is cut off.
TIMIT_SAMPLE_RATE_HZ = 16000
_LARGEST_OVERHANG_S = 0.1


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
    found = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() == ".wav")
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
        recording: the `.WAV` file; the other three are looked for beside it, in either case.
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
    """
    info = file_info(recording, sample_rate_hz=TIMIT_SAMPLE_RATE_HZ)
    companions = {kind: _beside(recording, kind) for kind in (".txt", ".wrd", ".phn")}
    words, phones = (_read_inside(companions[kind], info) for kind in (".wrd", ".phn"))
    return Utterance(
        id=utterance_id,
        audio_path=str(recording),
        start_s=0.0,
        duration_s=info.duration_s,
        sample_rate_hz=info.sample_rate_hz,
        speaker=speaker,
        text=read_prompt(companions[".txt"]).label,
        phones=_seconds(phones, info.sample_rate_hz),
        words=_seconds(words, info.sample_rate_hz),
    )


def _lines(path: Path) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def _interval(path: Path, number: int, line: str) -> SampleInterval:
    fields = line.split(None, 2)
    if len(fields) != 3 or not (fields[0].isdecimal() and fields[1].isdecimal()):
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


def _read_inside(path: Path, info: AudioInfo) -> list[SampleInterval]:
    intervals = read_intervals(path)
    grace = round(_LARGEST_OVERHANG_S * info.sample_rate_hz)
    for number, interval in enumerate(intervals, start=1):
        if info.frames and (interval.end > info.frames + grace or interval.start >= info.frames):
            raise ValueError(
                f"{path}:{number}: {interval.label!r} ends at sample {interval.end}, but the "
                f"recording has {info.frames} samples"
            )
    return [replace(i, end=min(i.end, info.frames or i.end)) for i in intervals]


def _seconds(intervals: Iterable[SampleInterval], rate_hz: int) -> tuple[Interval, ...]:
    return tuple(Interval(i.label, i.start / rate_hz, i.end / rate_hz) for i in intervals)
