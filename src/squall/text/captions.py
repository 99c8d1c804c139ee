"""Words with their times as captions (SubRip, WebVTT) and as NIST's CTM."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["VTT_HEAD", "Cue", "TimedWord", "build_cues", "ctm_line", "srt_cue", "vtt_cue"]

VTT_HEAD = "WEBVTT\n\n"
"""How a WebVTT file begins."""

_LINE_CHARACTERS, _LINES = 42, 2
_LONGEST_S = 7.0
_SHORTEST_S = 1.0
# A longer pause between two words ends a cue.
_PAUSE_S = 1.0


@dataclass(frozen=True)
class TimedWord:
    """A recognised word.

    Args:
        text: the word.
        confidence: how sure the recogniser is of it, in [0, 1].
        start_s: where it begins in the recording, in seconds.
        end_s: where it ends, later than `start_s`.
    """

    text: str
    confidence: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Cue:
    """Lines of text and the time in which they are shown, in seconds."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


def build_cues(words: Sequence[TimedWord], *, until_s: float) -> list[Cue]:
    """Captions of at most two lines of 42 characters and at most 7 s.

    A pause of 1 s ends a cue. One that would be gone in under a second stays that long where there
    is room before the next. A single word of more than 84 characters has more lines.

    Args:
        words: in the order of their starts.
        until_s: where the last cue has to end, at the end of the last word or later.
    """
    if not words:
        return []
    groups: list[list[TimedWord]] = []
    for word in words:
        if not groups or not _fits(groups[-1], word):
            groups.append([])
        groups[-1].append(word)
    nexts_s = [group[0].start_s for group in groups[1:]] + [until_s]
    cues = []
    for group, next_s in zip(groups, nexts_s, strict=True):
        start_s = group[0].start_s
        end_s = max(group[-1].end_s, start_s + _SHORTEST_S)
        end_s = min(end_s, next_s, start_s + _LONGEST_S)
        cues.append(Cue(start_s, end_s, tuple(_lines(group))))
    return cues


def _fits(group: Sequence[TimedWord], word: TimedWord) -> bool:
    return (
        len(_lines([*group, word])) <= _LINES
        and word.end_s - group[0].start_s <= _LONGEST_S
        and word.start_s - group[-1].end_s < _PAUSE_S
    )


def _lines(words: Iterable[TimedWord]) -> list[str]:
    text = " ".join(word.text for word in words)
    return textwrap.wrap(text, _LINE_CHARACTERS, break_on_hyphens=False)


def srt_cue(number: int, cue: Cue) -> str:
    """A cue of a SubRip file, with the empty line behind it.

    Args:
        number: counted from 1.
        cue: the cue.

    >>> print(srt_cue(1, Cue(3599.5, 3601.25, ("GO ON",))), end="")
    1
    00:59:59,500 --> 01:00:01,250
    GO ON
    <BLANKLINE>
    """
    return f"{number}\n{_times(cue, ',')}\n" + "\n".join(cue.lines) + "\n\n"


def vtt_cue(cue: Cue) -> str:
    """A cue of a WebVTT file, with the empty line behind it; the file begins with `VTT_HEAD`.

    >>> print(vtt_cue(Cue(0.0, 1.0, ("R&B",))), end="")
    00:00:00.000 --> 00:00:01.000
    R&amp;B
    <BLANKLINE>
    """
    text = "\n".join(cue.lines)
    for character, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(character, name)
    return f"{_times(cue, '.')}\n{text}\n\n"


def _times(cue: Cue, point: str) -> str:
    start_ms = round(1000 * cue.start_s)
    end_ms = max(start_ms + 1, round(1000 * cue.end_s))
    return f"{_time(start_ms, point)} --> {_time(end_ms, point)}"


def _time(milliseconds: int, point: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{milliseconds:03d}"


def ctm_line(recording: str, word: TimedWord) -> str:
    """A line of a CTM file, as sclite reads it: recording, channel, start, duration, word,
    confidence.

    Args:
        recording: its name; white space, which ends a field, becomes `_`.
        word: the word.

    >>> ctm_line("talk 1", TimedWord("GO", 0.875, 1.0, 1.25))
    'talk_1 1 1.00 0.25 GO 0.875'
    """
    name = re.sub(r"\s", "_", recording)
    length_s = max(0.01, round(word.end_s, 2) - round(word.start_s, 2))
    return f"{name} 1 {word.start_s:.2f} {length_s:.2f} {word.text} {word.confidence:.3f}"
