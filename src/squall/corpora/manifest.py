"""The manifest: one JSON line per utterance, the form in which every corpus enters squall."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from squall.audio.frames import whole_hz
from squall.audio.reading import Audio, AudioError, AudioInfo, RawFormat, audio_info, read_audio
from squall.files import atomic_write, json_text

__all__ = [
    "Interval",
    "Utterance",
    "file_info",
    "raw_format",
    "read_manifest",
    "read_utterance",
    "write_manifest",
]


@dataclass(frozen=True)
class Interval:
    """A labelled stretch of an utterance: a phone or a word.

    Args:
        label: the phone or word.
        start_s: start in seconds, from the start of the utterance (not of the file).
        end_s: end in seconds, from the start of the utterance.
    """

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Utterance:
    """One utterance of a corpus.

    Args:
        id: unique over all splits of a corpus; no white space. ESPnet and the scoring sort by it.
        audio_path: the audio file. A relative path is relative to the manifest's folder.
        start_s: where the utterance starts in the file, in seconds.
        duration_s: its length in seconds.
        sample_rate_hz: the sampling rate of the file as it lies on disk.
        speaker: speaker label; no white space.
        text: the words, separated by single spaces, in the corpus's convention of case.
        phones: time-aligned phones, or empty where the corpus has none.
        words: time-aligned words, or empty where the corpus has none.
    """

    id: str
    audio_path: str
    start_s: float
    duration_s: float
    sample_rate_hz: int
    speaker: str
    text: str
    phones: tuple[Interval, ...] = ()
    words: tuple[Interval, ...] = ()


def read_utterance(utterance: Utterance, *, sample_rate_hz: int | None) -> Audio:
    """The samples of an utterance, at the rate asked for, or as on disk for None.

    Raises:
        AudioError: the file is missing, corrupt or shorter than the utterance.
    """
    return read_audio(
        utterance.audio_path,
        start_s=utterance.start_s,
        duration_s=utterance.duration_s,
        sample_rate_hz=sample_rate_hz,
        raw=raw_format(utterance),
    )


def file_info(path: Path, *, sample_rate_hz: int, raw: RawFormat | None = None) -> AudioInfo:
    """Length and rate of a file; a length of 0 where it cannot be read.

    A preparer that meets a broken file goes on with this, so that `validate` lists it with all
    others. Args: `sample_rate_hz` is the corpus's own rate, given where the file tells none; `raw`
    the format of a file without a header.
    """
    try:
        return audio_info(path, raw=raw)
    except (AudioError, UnicodeEncodeError):  # a name that is not UTF-8 cannot be opened
        return AudioInfo(duration_s=0.0, sample_rate_hz=sample_rate_hz, channels=1, frames=0)


def raw_format(utterance: Utterance) -> RawFormat | None:
    """How to read a file without a header: a `.raw` file holds 16-bit samples at the utterance's
    rate; None for every other ending.
    """
    headerless = Path(utterance.audio_path).suffix.lower() == ".raw"
    return RawFormat(utterance.sample_rate_hz) if headerless else None


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Write utterances as JSON lines, sorted by id; the file is replaced as a whole."""
    with atomic_write(path) as file:
        for utterance in sorted(utterances, key=lambda u: u.id):
            record = {k: v for k, v in asdict(utterance).items() if v != ()}
            file.write(json_text(record, ensure_ascii=False) + "\n")


def read_manifest(path: Path) -> list[Utterance]:
    """Read a manifest; audio paths come back absolute.

    The file is UTF-8, with or without a byte order mark. Ids and speakers may be whole numbers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a complete record; the message has the file and the line number.
    """
    return list(_records(Path(path)))


def _records(path: Path) -> Iterator[Utterance]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield _utterance(json.loads(line), path.parent)
            except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
                raise ValueError(
                    f"{path}:{number}: not a manifest record ({type(error).__name__}: {error}). "
                    "A record needs id, audio_path, duration_s, sample_rate_hz, speaker and text; "
                    "start_s (default 0), phones and words are optional."
                ) from error


def _utterance(record: dict[str, Any], folder: Path) -> Utterance:
    known = {"start_s": 0.0, "phones": [], "words": [], **record}
    utterance = Utterance(
        id=str(_typed(known, "id", str, int)),
        speaker=str(_typed(known, "speaker", str, int)),
        text=_typed(known, "text", str),
        audio_path=str((folder / _typed(known, "audio_path", str)).absolute()),
        start_s=float(_typed(known, "start_s", int, float)),
        duration_s=float(_typed(known, "duration_s", int, float)),
        sample_rate_hz=whole_hz(_typed(known, "sample_rate_hz", int, float)),
        phones=tuple(map(_interval, _typed(known, "phones", list))),
        words=tuple(map(_interval, _typed(known, "words", list))),
    )
    if known:
        raise ValueError(f"unknown field {sorted(known)[0]!r}")
    return utterance


def _interval(item: dict[str, Any]) -> Interval:
    known = dict(item)
    interval = Interval(
        label=_typed(known, "label", str),
        start_s=_typed(known, "start_s", int, float),
        end_s=_typed(known, "end_s", int, float),
    )
    if known:
        raise ValueError(f"unknown field {sorted(known)[0]!r}")
    return interval


def _typed(record: dict[str, Any], key: str, *types: type) -> Any:
    value = record.pop(key)
    good = isinstance(value, types) and not isinstance(value, bool)
    if not good or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{key} is {value!r}")
    if isinstance(value, str):
        value.encode()  # JSON can spell half a character, which no file can hold
    return value
