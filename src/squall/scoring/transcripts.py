"""Reading transcripts: a text for each utterance, the utterance named before or behind it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

__all__ = ["read_transcripts"]

_TRN_ID = re.compile(r"(?:^|\s)\((\S+)\)$")
_SECONDS = r"\d*\.\d+"
# File, channel, start, length, word; file, channel, speaker, start, end, words.
_CTM = re.compile(rf"\S+\s+\S+\s+{_SECONDS}\s+{_SECONDS}\s+\S+(?:\s+\S+)?$")
_STM = re.compile(rf"\S+\s+\S+\s+\S+\s+{_SECONDS}\s+{_SECONDS}(?:\s|$)")


def read_transcripts(path: Path) -> tuple[dict[str, str], bool]:
    """Read a text file with one utterance per line.

    Args:
        path: lines `id words`, as Kaldi and ESPnet write them, or `words (id)`, the trn form of
            sclite, which ESPnet writes for it. It is trn where the last token of every line is in
            parentheses and most of these are different. Empty lines and sclite's comments (`;;`)
            are left out.

    Returns:
        Text by utterance, and whether the file is trn.

    Raises:
        ValueError: the file is not UTF-8, an utterance occurs twice, only some of the lines have
            the form of trn, a trn has alternatives (`{ a / b }`), or it is ctm or stm, whose
            lines are words or stretches of a recording with their times. The message has the file
            and the line.

    Convention: words in parentheses inside a text are words like others; sclite lets a recogniser
    leave them out.
    """
    try:
        content = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from error
    lines = {
        number: line.strip()
        for number, line in enumerate(content.split("\n"), start=1)
        if line.strip() and not line.lstrip().startswith(";;")
    }
    _refuse_times(path, list(lines.values()))
    trn = _is_trn(path, lines)
    split = _split_trn if trn else _split_plain
    return _collect(path, lines, split), trn


def _refuse_times(path: Path, lines: list[str]) -> None:
    for name, form in (("ctm", _CTM), ("stm", _STM)):
        if Path(path).suffix.lower() == f".{name}" or (lines and all(map(form.match, lines))):
            raise ValueError(
                f"{path}: this is {name}, whose lines have times; give one line per utterance, "
                "`id words` or `words (id)` (sclite scores stm and ctm)"
            )


def _is_trn(path: Path, lines: dict[int, str]) -> bool:
    found = {number: _TRN_ID.search(line) for number, line in lines.items()}
    ids = [match[1] for match in found.values() if match]
    # `(noise)` at the end of a text is no id: it comes again and again.
    likely = len(set(ids)) > len(ids) / 2 and len(ids) > len(lines) / 2
    likely = likely or Path(path).suffix.lower() == ".trn"
    without = [number for number, match in found.items() if not match]
    if likely and without:
        raise ValueError(
            f"{path}:{without[0]}: this line does not end in `(id)`, as in trn (`words (id)`), and "
            f"{len(ids)} of {len(lines)} lines do: give all lines one form"
        )
    return likely


def _split_plain(line: str) -> tuple[str, str]:
    identifier, *text = line.split(maxsplit=1)
    return identifier, "".join(text)


def _split_trn(line: str) -> tuple[str, str]:
    match = _TRN_ID.search(line)
    assert match is not None
    text = line[: match.start()].strip()
    if "{" in text.split():
        raise ValueError("alternatives `{ a / b }` are not read: write the words that were said")
    return match[1], text


def _collect(
    path: Path, lines: dict[int, str], split: Callable[[str], tuple[str, str]]
) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, line in lines.items():
        try:
            identifier, text = split(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
        if identifier in texts:
            raise ValueError(f"{path}:{number}: utterance {identifier} occurs twice")
        texts[identifier] = text
    return texts
