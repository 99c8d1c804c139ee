"""Texts as words, and words as numbers, for the models that read word vectors."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from squall.files import atomic_write, read_text

__all__ = [
    "PADDING_ID",
    "UNKNOWN_ID",
    "Vocabulary",
    "WordIds",
    "build_vocabulary",
    "encode_texts",
    "read_vocabulary",
    "split_words",
    "write_vocabulary",
]

PADDING_ID = 0
"""What fills a batch behind the end of a text."""

UNKNOWN_ID = 1
"""A word that is not in the vocabulary."""

# No text has these words: a `<` is always one of its own.
_MARKS = ("<pad>", "<unk>")

_APOSTROPHE = str.maketrans("\u2019", "'")
_NOT_APART = re.compile(r"n 't\b")
_WORD = re.compile(
    r"""
      n't\b | '(?:s|re|ve|ll|d|m)\b     # don't is do n't, it's is it 's
    | \w+?(?=n't\b)
    | \d+(?:[.,]\d+)+                   # 2.5, 1,000
    | (?:[^\W\d_]\.){2,}                # u.s.
    | \w+
    | \S
    """,
    re.VERBOSE,
)


def split_words(text: str) -> list[str]:
    """The words of an English text in lower case; none where it is nothing but white space.

    Splitting the words joined by spaces gives the same words again.

    Convention: as in the Penn treebank, and so in GloVe's vectors, negations and what follows an
    apostrophe are words of their own, and so is each mark of punctuation; numbers keep their points
    and commas, abbreviations of single letters their points. Unlike there, a compound with a hyphen
    is three words, since its parts have vectors more often, and marks stay as they are (no `` for
    an opening quote). Texts that come with spaces between their words are split alike, so that
    `didn 't` (MRPC in GLUE's form) is `did n't` too.

    >>> split_words("Didn't the U.S. pay $2.5 for well-known friends' cats?")
    ['did', "n't", 'the', 'u.s.', 'pay', '$', '2.5', 'for', 'well', '-', 'known', 'friends', "'", \
'cats', '?']
    """
    text = unicodedata.normalize("NFC", text.lower().translate(_APOSTROPHE))
    return _WORD.findall(_NOT_APART.sub("n't", text))


@dataclass(frozen=True)
class Vocabulary:
    """Words and their numbers; its length V counts padding and the unknown word too.

    Args:
        words: those with the numbers from 2 on, each once.
    """

    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words) + len(_MARKS)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.words, start=len(_MARKS))}


def build_vocabulary(
    texts: Iterable[str], *, min_count: int = 1, max_words: int | None = None
) -> Vocabulary:
    """The words of the training texts, the most frequent first, in the order of the alphabet where
    they are equally frequent.

    Args:
        texts: both of each pair.
        min_count: rarer words are left out.
        max_words: of more words only the first ones are kept; None keeps all.

    Raises:
        ValueError: no word is left.

    >>> build_vocabulary(["b a b", "c"], max_words=2).words
    ('b', 'a')
    """
    counts = Counter(word for text in texts for word in split_words(text))
    common = (word for word, count in counts.items() if count >= min_count)
    words = sorted(common, key=lambda word: (-counts[word], word))[:max_words]
    if not words:
        raise ValueError(
            f"no word is left of {len(counts)} that the texts have, with min_count {min_count} and "
            f"max_words {max_words}; lower the one or raise the other, or give texts"
        )
    return Vocabulary(tuple(words))


@dataclass(frozen=True, eq=False)
class WordIds:
    """Texts as numbers.

    Args:
        ids: per text (L,) int64 in [1, V), L at least 1.
        truncated: how many texts lost words at their end.
    """

    ids: list[Tensor]
    truncated: int


def encode_texts(texts: Iterable[str], vocabulary: Vocabulary, *, max_length: int) -> WordIds:
    """The numbers of the words of each text.

    Args:
        texts: the texts.
        vocabulary: words that are not in it are `UNKNOWN_ID`.
        max_length: words that are kept of a text, from its beginning.

    Raises:
        ValueError: a text has no word; the message has its number, counted from 1.
    """
    ids = []
    truncated = 0
    for number, text in enumerate(texts, start=1):
        words = split_words(text)
        if not words:
            raise ValueError(f"text {number} is {text!r}, without a word; leave it out")
        truncated += len(words) > max_length
        kept = words[:max_length]
        ids.append(torch.tensor([vocabulary.ids.get(word, UNKNOWN_ID) for word in kept]))
    return WordIds(ids, truncated)


def write_vocabulary(path: Path, vocabulary: Vocabulary) -> None:
    """Write one word per line, in the order of the numbers, after `<pad>` and `<unk>`."""
    with atomic_write(path) as file:
        file.writelines(f"{word}\n" for word in (*_MARKS, *vocabulary.words))


def read_vocabulary(path: Path) -> Vocabulary:
    """Read what `write_vocabulary` wrote.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file; the message has the line.
    """
    lines = read_text(path).removesuffix("\n").split("\n")
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if number <= len(_MARKS):
            if line != (mark := _MARKS[number - 1]):
                raise ValueError(f"{path}:{number}: {line!r} where a vocabulary has {mark}")
        elif line in seen or line.split() != [line]:
            raise ValueError(f"{path}:{number}: {line!r} is there twice or is not one word")
        seen.add(line)
    if len(lines) <= len(_MARKS):
        raise ValueError(f"{path} is a vocabulary without a word; build it again")
    return Vocabulary(tuple(lines[len(_MARKS) :]))
