"""Text for a language model from a file of any size, in the form that ESPnet reads.

The text is read line by line and written in parts of bounded length, so that neither this module
nor the training ever holds more than one part in memory.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO

from squall.files import atomic_write
from squall.text.tokens import BLANK, SENTENCE_END, SPACE, UNKNOWN, normalize_text

__all__ = [
    "LINES_PER_PART",
    "TextCounts",
    "Vocabulary",
    "count_parts",
    "part_path",
    "write_parts",
    "write_vocabulary",
]

_log = logging.getLogger(__name__)

LINES_PER_PART = 500_000
"""50 MB of OpenSLR's text, which a training holds in some hundred MB of memory."""

_PIECE_SPACE = "\u2581"  # how sentencepiece writes a space
_PROGRESS_LINES = 20_000
_SHOWN = 10


@dataclass
class TextCounts:
    """What a text has, as far as it was read.

    Args:
        lines: lines with words, which are trained on.
        empty: lines without, which are left out.
        foreign: lines with something that the token list does not have, which becomes `<unk>`.
        unknown: how often each of those characters occurs; of words, for units that are words.
    """

    lines: int = 0
    empty: int = 0
    foreign: int = 0
    unknown: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        text = f"{self.lines} lines"
        if self.empty:
            text += f", {self.empty} empty ones left out"
        if not self.foreign:
            return text
        shown = ", ".join(f"{unit!r} {count}" for unit, count in self.unknown.most_common(_SHOWN))
        more = f", {len(self.unknown) - _SHOWN} more" if len(self.unknown) > _SHOWN else ""
        return (
            f"{text}; {self.foreign} lines have what is not in the token list and becomes "
            f"{UNKNOWN}: {shown}{more}"
        )


@dataclass(frozen=True)
class Vocabulary:
    """How much of a text a list of words has.

    Args:
        words: how many are in the list.
        distinct: how many the text has.
        covered, total: running words, those in the list and all.
    """

    words: int
    distinct: int
    covered: int
    total: int

    def __str__(self) -> str:
        return (
            f"{self.words} of {self.distinct} words, {100 * self.covered / self.total:.2f} % of "
            "the text"
        )


def part_path(directory: Path, number: int) -> Path:
    """The file of a part, numbered from 0; the name is that which ESPnet expects."""
    return directory / f"split.{number}"


def count_parts(directory: Path) -> int:
    """How many parts a folder holds; 0 as long as they are not all written."""
    path = directory / "num_splits"
    return int(path.read_text(encoding="utf-8")) if path.is_file() else 0


def write_parts(
    source: Path,
    directory: Path,
    *,
    tokens: Sequence[str],
    units: str,
    normalization: str = "identity",
    lines_per_part: int = LINES_PER_PART,
    progress: Callable[[int], None] = lambda lines: None,
) -> TextCounts:
    """Write a text as lines `id words`, in parts, and count what the token list does not have.

    Args:
        source: plain text or gzip, UTF-8, one sentence in each line.
        directory: where the parts go and, last, `num_splits`.
        tokens: the recogniser's token list.
        units, normalization: as in `TokensConfig`.
        lines_per_part: length of a part.
        progress: told the lines with words so far, now and then.

    Returns:
        The counts; the log has them too.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8 or damaged, has no words, or no line of its first part is
            without what the token list does not have: most often a text in another case.

    Convention:
        White space is made single spaces, as in the transcripts, and the text has their form of
        Unicode. Nothing else is changed: case and marks stay, and what the token list does not have
        becomes `<unk>`. ESPnet's LibriSpeech recipe trains on OpenSLR's text and the transcripts
        together; here the text is all.
    """
    counts = TextCounts()
    lines = (normalize_text(line, normalization) for line in _lines(source))
    sentences = _sentences(lines, _alphabet(tokens, units), units, counts)
    parts = 0
    while first := next(sentences, None):
        with atomic_write(part_path(directory, parts)) as file:
            for words in islice(chain([first], sentences), lines_per_part):
                file.write(f"line{counts.lines:010d} {' '.join(words)}\n")
                if counts.lines % _PROGRESS_LINES == 0:
                    progress(counts.lines)
        parts += 1
        if counts.foreign == counts.lines:
            raise ValueError(
                f"{source} does not fit the recogniser's tokens, is it in another case? {counts}"
            )
    if not parts:
        raise ValueError(f"{source}: no words in it")
    with atomic_write(directory / "num_splits") as file:
        file.write(f"{parts}\n")
    _log.log(logging.WARNING if counts.foreign else logging.INFO, "%s: %s", source, counts)
    return counts


def write_vocabulary(
    parts: Iterable[Path], target: Path, *, tokens: Sequence[str], size: int
) -> Vocabulary:
    """Write the most frequent words of a text as ESPnet's token list for a language model.

    Args:
        parts: files of lines `id words`.
        target: receives one word a line: `<blank>`, `<unk>`, the words in alphabetical order (of
            their code points), `<sos/eos>`.
        tokens: the recogniser's, which are characters; a word that they cannot spell is not taken.
        size: largest number of words; among words of the same frequency it is the alphabet that
            decides.

    Raises:
        OSError: a file cannot be read.
        ValueError: the text has no word that can be taken.
    """
    counts: Counter[str] = Counter()
    for part in parts:
        with part.open(encoding="utf-8") as file:
            for line in file:
                counts.update(line.split()[1:])
    alphabet = _alphabet(tokens, "char")
    own = (BLANK, UNKNOWN, SENTENCE_END)
    spelled = [word for word in counts if alphabet.issuperset(word) and word not in own]
    words = sorted(sorted(spelled, key=lambda word: (-counts[word], word))[:size])
    if not words:
        raise ValueError(
            f"the text of the language model has {len(counts)} words, and none that the "
            "recogniser's tokens spell: give another lm.text"
        )
    with atomic_write(target) as file:
        file.writelines(f"{word}\n" for word in (BLANK, UNKNOWN, *words, SENTENCE_END))
    covered = sum(counts[word] for word in words)
    return Vocabulary(len(words), len(counts), covered, counts.total())


def _alphabet(tokens: Sequence[str], units: str) -> frozenset[str]:
    """The characters that have a token; the words, for units that are words."""
    own = (BLANK, UNKNOWN, SENTENCE_END, SPACE)
    written = [token for token in tokens if token not in own]
    return frozenset("".join(written)) - {_PIECE_SPACE} if _spelled(units) else frozenset(written)


def _spelled(units: str) -> bool:
    return units in ("char", "bpe")


def _sentences(
    lines: Iterable[str], alphabet: frozenset[str], units: str, counts: TextCounts
) -> Iterator[list[str]]:
    """The words of each line that has some, counted."""
    for line in lines:
        words = line.split()
        if not words:
            counts.empty += 1
            continue
        counts.lines += 1
        said = "".join(words) if _spelled(units) else words
        if not alphabet.issuperset(said):
            counts.foreign += 1
            counts.unknown.update(unit for unit in said if unit not in alphabet)
        yield words


def _lines(source: Path) -> Iterator[str]:
    number = 0
    try:
        with _opened(source) as file:
            for line in file:
                number += 1
                yield line
    except UnicodeDecodeError as error:
        raise ValueError(f"{source}: not UTF-8 near line {number + 1}: {error}") from error
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{source}: damaged after line {number}: {error}") from error


def _opened(source: Path) -> IO[str]:
    with source.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(source, "rt", encoding="utf-8-sig")
    return source.open(encoding="utf-8-sig")
