r"""WSJ's detailed transcripts (`.dot` files): from the transcribers' marks to upper-case words.

The marks are those of the corpus's specification (Garofolo, Paul, Phillips, *CSR WSJ0 detailed
orthographic transcription (.dot) specification*, 1993, in LDC93S6A as `dot_spec.doc`): `\` before a
sign that belongs to a word, `[...]` around a noise, `.` for a pause, `~` where the recording is cut
off, `<...>` around words that the speaker took back, `*...*` around a word pronounced wrongly, `!`
before a stressed word and `:` after a lengthened sound.
"""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["NOISE_WORD", "normalize_transcript"]

NOISE_WORD = "<NOISE>"
"""What stands for a noise where noises are kept."""

_CHOICES = {"noise": ("drop", "keep"), "marks": ("remove", "keep")}

_NOISE = re.compile(r"\[[^\[\]\s]+\]")
_DELETED_WORD = re.compile(r"<([\w']+)>")
_SIGN = re.compile(r"\\?.")

# As the lexicons of the field spell them.
_RESPELLED = {"%PERCENT": "PERCENT", ".POINT": "POINT", "--DASH": "-DASH"}

# Spoken punctuation whose sign is a mark elsewhere; not every transcript escapes it.
_SPOKEN_SIGNS = frozenset({":COLON", "!EXCLAMATION-POINT"})

_MARKS = {
    "!": "stress (!) removed",
    ":": "lengthening (:) removed",
    "*": "mispronunciation (*) removed",
    "~": "truncation (~) removed",
    "<": "brackets of a verbal deletion (< >) removed",
    ">": "brackets of a verbal deletion (< >) removed",
}


def normalize_transcript(
    transcript: str, *, noise: str = "drop", marks: str = "remove"
) -> tuple[str, Counter[str]]:
    r"""Turn the words of one `.dot` line, without its utterance id, into upper-case words.

    Args:
        transcript: the words with their marks.
        noise: `drop` leaves noises (`[loud_breath]`) out, `keep` writes each as `<NOISE>`. Noises
            over a word (`[<door_slam]`, `[door_slam>]`) and over a stretch (`[phone_ring/]`,
            `[/phone_ring]`) are left out in both cases.
        marks: what becomes of stress, lengthening, mispronunciation, verbal deletion and a `~` at a
            word: `remove` takes the marks off the words, which stay; `keep` leaves them there, but
            for `<...>` around one plain word.

    Returns:
        The words with single spaces between, and how often each kind of mark was dropped or
        changed.

    Raises:
        ValueError: `noise` or `marks` is none of its choices.

    Convention:
        Spoken punctuation stays a word with its sign (`,COMMA`, `"DOUBLE-QUOTE`), and so does the
        fragment of a word (`W(ED)-`), as in Kaldi, ESPnet and wav2letter. `%PERCENT`, `.POINT` and
        `--DASH` become `PERCENT`, `POINT` and `-DASH`.

        Kaldi and ESPnet, and so the sources' numbers, are `noise="keep", marks="keep"`: ESPnet has
        `<NOISE>` as one unit beside the characters and takes it out before scoring, and its 52
        characters include the marks. wav2letter drops both, as is done here unless asked
        otherwise: with characters as units `<NOISE>` would be learnt and scored letter by letter.
        The number of words scored is the same: marks are no words.

        One difference to Kaldi is meant: a noise written without a space beside a word does not
        take the word away.

    >>> normalize_transcript(r"I\. B\. M\. re:sisted . [door_slam] \,COMMA <the> !two")[0]
    'I. B. M. RESISTED ,COMMA THE TWO'
    """
    for name, value in (("noise", noise), ("marks", marks)):
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} is {value!r}: use {' or '.join(_CHOICES[name])}")
    counts: Counter[str] = Counter()
    words = []
    for token in _NOISE.sub(r" \g<0> ", transcript).split():
        if _NOISE.fullmatch(token):
            words.append(_noise_word(token, noise, counts))
        else:
            words.append(_word(token, marks, counts))
    return " ".join(filter(None, words)), +counts


def _noise_word(token: str, noise: str, counts: Counter[str]) -> str:
    inside = token[1:-1]
    if inside.startswith(("<", "/")) or inside.endswith((">", "/")):
        counts["noises over words dropped"] += 1
        return ""
    counts["noises dropped" if noise == "drop" else f"noises written {NOISE_WORD}"] += 1
    return "" if noise == "drop" else NOISE_WORD


def _word(token: str, marks: str, counts: Counter[str]) -> str:
    counts["escapes (\\) removed"] += token.count("\\")
    plain = token.replace("\\", "").upper()
    if plain == ".":
        counts["pauses (.) dropped"] += 1
        return ""
    if plain == "~":
        counts[_MARKS["~"]] += 1
        return ""
    if plain in _RESPELLED:
        counts[f"{plain} written {_RESPELLED[plain]}"] += 1
        return _RESPELLED[plain]
    if marks == "remove":
        return plain if plain in _SPOKEN_SIGNS else _without_marks(token, counts)
    if deleted := _DELETED_WORD.fullmatch(plain):
        counts[_MARKS["<"]] += 2
        return deleted[1]
    return plain


def _without_marks(token: str, counts: Counter[str]) -> str:
    kept = []
    for sign in _SIGN.findall(token):
        if sign in _MARKS:
            counts[_MARKS[sign]] += 1
        else:
            kept.append(sign.replace("\\", ""))
    return "".join(kept).upper()
