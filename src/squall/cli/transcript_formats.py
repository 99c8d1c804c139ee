"""What a transcript becomes in each format of `squall transcribe`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from squall.files import json_text
from squall.text.captions import VTT_HEAD, build_cues, ctm_line, srt_cue, vtt_cue

if TYPE_CHECKING:
    from squall.asr.transcription import Spoken, Transcript

__all__ = ["FORMATS", "TIMED_FORMATS", "Format"]


class Format:
    """One file in one format: what to write of each segment as it comes, and at the end.

    Args:
        name: how the file is called.
        several: whether there are others, from which it has to be told.
    """

    suffix = ""
    head = ""
    """How the output begins."""

    def __init__(self, name: str, *, several: bool) -> None:
        self.name = name
        self._prefix = f"{name}\t" if several else ""

    def segment(self, spoken: Spoken) -> str:
        """What a segment adds."""
        return ""

    def end(self, transcript: Transcript) -> str:
        """What the file adds, of which something was recognised."""
        return ""

    def failure(self, transcript: Transcript) -> str:
        """What a file adds of which nothing was."""
        return ""


class _Text(Format):
    suffix = ".txt"
    _silent = True

    def segment(self, spoken: Spoken) -> str:
        if not spoken.hypothesis.text:
            return ""
        self._silent = False
        return self._line(spoken.hypothesis)

    def end(self, transcript: Transcript) -> str:
        return self._line(transcript.hypothesis) if self._silent else ""

    def _line(self, hypothesis: Any) -> str:
        return f"{self._prefix}{hypothesis.text}\t({hypothesis.confidence:.3f})\n"


class _Json(Format):
    suffix = ".json"

    def end(self, transcript: Transcript) -> str:
        hypothesis = asdict(cast("Any", transcript.hypothesis))
        # Between the tokens of two segments there is none that keeps their words apart.
        del hypothesis["tokens"], hypothesis["token_probs"]
        record: dict[str, Any] = {
            "path": self.name,
            "duration_s": round(transcript.duration_s, 3),
            **hypothesis,
            "conversions": transcript.conversions,
            "segments": [_segment(spoken) for spoken in transcript.segments],
        }
        if transcript.problem is not None:
            record["problem"] = transcript.problem
        # The score is null where the search found nothing.
        return json_text(record, nan_as_null=True, ensure_ascii=False) + "\n"

    def failure(self, transcript: Transcript) -> str:
        record = {"path": self.name, "problem": transcript.problem}
        return json_text(record, ensure_ascii=False) + "\n"


def _segment(spoken: Spoken) -> dict[str, Any]:
    words = spoken.hypothesis.words if spoken.words is None else spoken.words
    return {
        "start_s": round(spoken.start_s, 3),
        "end_s": round(spoken.end_s, 3),
        "text": spoken.hypothesis.text,
        "confidence": spoken.hypothesis.confidence,
        "tokens": spoken.hypothesis.tokens,
        "token_probs": spoken.hypothesis.token_probs,
        "words": [_word(asdict(word)) for word in words],
    }


def _word(word: dict[str, Any]) -> dict[str, Any]:
    return {key: round(v, 3) if key.endswith("_s") else v for key, v in word.items()}


class _Srt(Format):
    suffix = ".srt"
    _number = 0

    def segment(self, spoken: Spoken) -> str:
        return "".join(map(self._cue, build_cues(spoken.words or (), until_s=spoken.end_s)))

    def _cue(self, cue: Any) -> str:
        self._number += 1
        return srt_cue(self._number, cue)


class _Vtt(Format):
    suffix = ".vtt"
    head = VTT_HEAD

    def segment(self, spoken: Spoken) -> str:
        return "".join(map(vtt_cue, build_cues(spoken.words or (), until_s=spoken.end_s)))


class _Ctm(Format):
    suffix = ".ctm"

    def segment(self, spoken: Spoken) -> str:
        return "".join(f"{ctm_line(self.name, word)}\n" for word in spoken.words or ())


FORMATS: dict[str, type[Format]] = {
    "text": _Text, "json": _Json, "srt": _Srt, "vtt": _Vtt, "ctm": _Ctm,
}  # fmt: skip
"""By the names that the command line has for them."""

TIMED_FORMATS = ("srt", "vtt", "ctm")
"""Those that need the times of words, and of which a folder has one file for each input."""
