"""Synthetic speech with time-aligned words and phones, by the eSpeak NG engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.corpora.manifest import Interval

__all__ = ["SILENCE", "EspeakError", "Speaker", "Speech", "speak"]

SILENCE = "_"
"""The phone label of a pause."""

# The engine knows British English by its file only.
_ALIASES = {"en-gb": "gmw/en"}
# Primary and secondary stress, the engine's unstressed marks, and its word separator.
_STRESS_MARKS = "',%=|"
_RANGES = {"rate_wpm": (80, 450), "pitch": (0, 99), "pitch_range": (0, 99)}


class EspeakError(RuntimeError):
    """The engine is not there, or cannot say what it was asked to."""


@dataclass(frozen=True)
class Speaker:
    """A voice and how it speaks.

    Args:
        voice: an eSpeak NG voice such as en-us, en-gb, en-gb-scotland, en-gb-x-rp or en-029, and
            after a plus sign, if wanted, a variant: m1 to m8, f1 to f5, or a name such as linda.
        rate_wpm: speed in words per minute, 80 to 450.
        pitch: 0 to 99; 50 is the voice's own.
        pitch_range: 0 (monotone) to 99; 50 is the voice's own.

    Raises:
        ValueError: a number is out of its range.
    """

    voice: str = "en-us"
    rate_wpm: int = 160
    pitch: int = 50
    pitch_range: int = 50

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be {low} to {high}")


@dataclass(frozen=True)
class Speech:
    """What the engine said.

    Args:
        samples: (N,) 32-bit float in [-1, 1).
        sample_rate_hz: the engine's rate, 22050.
        words: one interval per spoken word of the text, spelled as there, from the start of its
            first phone to the end of its last one.
        phones: intervals without gaps from 0 to the end: eSpeak mnemonics, or `SILENCE`.
        engine_version: the version of eSpeak NG.
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int
    words: tuple[Interval, ...]
    phones: tuple[Interval, ...]
    engine_version: str


def speak(text: str, speaker: Speaker | None = None) -> Speech:
    """Say a text.

    The engine keeps state that its own reset leaves in place (the phase of its flutter and of its
    noise), so that a sentence depends on what was said before it. Each call is therefore a process
    of its own, about 40 ms long: the same text and speaker give the same bits, in any order.

    Args:
        text: plain text; numbers and abbreviations are spoken as the engine reads them.
        speaker: who says it; None is `Speaker()`.

    Returns:
        The samples, the words and the phones.

    Raises:
        EspeakError: espeakng-loader is missing, the voice does not exist, or the engine fails.
        ValueError: the text is empty.

    Convention:
        Phones are eSpeak's ASCII mnemonics (`@`, `I`, `tS`), without stress marks. The engine also
        gives IPA, but cuts each name at 8 bytes. The closure of a stop after a pause counts as
        pause: the phone starts at its burst.
    """
    if not text.strip() or "\0" in text:
        raise ValueError(f"there is nothing to say in {text!r}")
    request = {"text": _unmerged(text), **asdict(speaker or Speaker()), **_engine_paths()}
    request["voice"] = _voice(str(request["voice"]), Path(request["data"]))
    answer, samples = _run_engine(request)
    rate_hz = int(answer["sample_rate_hz"])
    phones = _phones(answer["events"], len(samples), rate_hz)
    words = _words(answer["events"], text, phones)
    intervals = tuple(interval for _, interval in phones)
    return Speech(samples, rate_hz, words, intervals, str(answer["version"]))


def _unmerged(text: str) -> str:
    # The English dictionary joins "in the", "of the" and others into one word with one event; a
    # no-break space keeps the two apart.
    return re.sub(r"(?<=\w) (?=\w)", "\u00a0", text)


def _engine_paths() -> dict[str, Any]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise EspeakError(
            "synthetic speech needs eSpeak NG: pip install espeakng-loader"
        ) from error
    return {
        "library": str(espeakng_loader.get_library_path()),
        "data": str(espeakng_loader.get_data_path()),
    }


def _voice(voice: str, data: Path) -> str:
    language, plus, variant = voice.partition("+")
    variants = sorted(file.name for file in (data / "voices" / "!v").iterdir())
    # The engine says nothing about a variant that it does not have.
    if plus and variant not in variants:
        raise EspeakError(f"no variant {variant!r} of a voice; there are {', '.join(variants)}")
    return _ALIASES.get(language.lower(), language) + plus + variant


def _run_engine(request: dict[str, Any]) -> tuple[dict[str, Any], NDArray[np.float32]]:
    program = Path(__file__).with_name("espeak_engine.py")
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program)],
        input=json.dumps(request).encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise EspeakError(reason or f"eSpeak NG ended with status {done.returncode}")
    head, _, data = done.stdout.partition(b"\n")
    samples = np.frombuffer(data, dtype=np.int16).astype(np.float32) / np.float32(32768)
    return json.loads(head), samples


def _phones(events: Iterable[list[Any]], length: int, rate_hz: int) -> list[tuple[int, Interval]]:
    marks = [(0, SILENCE, 0)]
    for kind, sample, position, label in events:
        if kind == "phone":
            name = label.strip(_STRESS_MARKS)
            is_pause = not name or name.startswith("_")
            marks.append((min(sample, length), SILENCE if is_pause else name, position))
    ends = [start for start, _, _ in marks[1:]] + [length]
    phones: list[tuple[int, Interval]] = []
    for (start, label, position), end in zip(marks, ends, strict=True):
        if label == SILENCE and phones and phones[-1][1].label == SILENCE:
            before = phones.pop()
            phones.append((before[0], Interval(SILENCE, before[1].start_s, end / rate_hz)))
        elif end > start:
            phones.append((position, Interval(label, start / rate_hz, end / rate_hz)))
    return phones


def _words(
    events: Iterable[list[Any]], text: str, phones: list[tuple[int, Interval]]
) -> tuple[Interval, ...]:
    spans: list[tuple[int, int]] = []
    for kind, _, position, length in events:
        # A number gives further events inside its own characters.
        if kind == "word" and (not spans or position >= spans[-1][1]):
            spans.append((position, position + length))
    words = []
    for start, end in spans:
        own = [p for position, p in phones if start <= position < end and p.label != SILENCE]
        if own:
            words.append(Interval(text[start - 1 : end - 1], own[0].start_s, own[-1].end_s))
    return tuple(words)
