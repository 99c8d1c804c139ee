"""What a language model predicts one after the other: bytes, or pieces of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.files import read_arrays, read_json, write_arrays, write_json
from squall.text.tokens import train_sentencepiece

__all__ = [
    "Text",
    "Tokenized",
    "read_counts",
    "read_tokenized",
    "tokenize_bytes",
    "tokenize_pieces",
    "tokenized_paths",
]

_LINE_CHARACTERS = 2000
_PIECE_CHARACTERS = 10_000_000
_TEXTS, _VOCABULARY = "texts.npz", "vocabulary.json"


@dataclass(frozen=True, eq=False)
class Text:
    """A part of a corpus as tokens.

    Args:
        tokens: (N,) class numbers.
        characters: (N,) how many characters each of them stands for.
    """

    tokens: NDArray[np.integer]
    characters: NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Tokenized:
    """A corpus as tokens.

    Args:
        texts: its parts.
        symbols: (C,) what the classes are, for people.
        unknown: characters of each part that no class stands for; in training there are none but
            tabs, where the classes are pieces: sentencepiece keeps those for itself.
    """

    texts: Mapping[str, Text]
    symbols: tuple[str, ...]
    unknown: Mapping[str, int]

    @property
    def classes(self) -> int:
        """Their number C."""
        return len(self.symbols)

    def write(self, folder: Path) -> tuple[Path, ...]:
        """Write the parts and, for people too, the vocabulary; gives the paths."""
        arrays = {f"{part}_tokens": text.tokens for part, text in self.texts.items()}
        for part, text in self.texts.items():
            if not (text.characters == 1).all():
                arrays[f"{part}_characters"] = text.characters
        write_arrays(folder / _TEXTS, arrays)
        counts = {part: int(text.characters.sum()) for part, text in self.texts.items()}
        words = {"symbols": self.symbols, "characters": counts, "unknown": dict(self.unknown)}
        write_json(folder / _VOCABULARY, words, indent=1)
        return tokenized_paths(folder)


def tokenized_paths(folder: Path) -> tuple[Path, ...]:
    """The files that `Tokenized.write` writes."""
    return folder / _TEXTS, folder / _VOCABULARY


def read_tokenized(folder: Path) -> Tokenized:
    """What `Tokenized.write` wrote."""
    words = read_json(folder / _VOCABULARY)
    texts = {}
    found = read_arrays(folder / _TEXTS, remedy="prepare again with --stage 1 --force")
    for part in words["characters"]:
        tokens = found[f"{part}_tokens"]
        ones = np.broadcast_to(np.uint8(1), tokens.shape)
        texts[part] = Text(tokens, found.get(f"{part}_characters", ones))
    return Tokenized(texts, tuple(words["symbols"]), words["unknown"])


def read_counts(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Characters of each part, unknown ones among them, and the number of classes, of `write`."""
    words = read_json(folder / _VOCABULARY)
    return {
        part: (characters, words["unknown"][part], len(words["symbols"]))
        for part, characters in words["characters"].items()
    }


def tokenize_bytes(parts: Mapping[str, bytes]) -> Tokenized:
    """Give each byte that the training part has a class, in their order.

    Where another part has further ones, one more class stands for all of these: it is never seen in
    training, and what a model makes of it counts in the scores.

    Raises:
        ValueError: the training part has one symbol alone.
    """
    raw = {part: np.frombuffer(text, dtype=np.uint8) for part, text in parts.items()}
    known = np.unique(raw["train"])
    if len(known) < 2:
        raise ValueError(
            f"the training part has no other symbol than {chr(known[0])!r}: there is nothing to "
            "predict"
        )
    symbols = [chr(byte) for byte in known]
    classes = np.full(256, len(known), dtype=np.int64)
    classes[known] = np.arange(len(known))
    tokens = {part: classes[text] for part, text in raw.items()}
    unknown = {part: int((found == len(known)).sum()) for part, found in tokens.items()}
    if any(unknown.values()):
        symbols.append("unknown")
    ones = np.uint8(1)
    texts = {
        part: Text(found.astype(np.uint8), np.broadcast_to(ones, found.shape))
        for part, found in tokens.items()
    }
    return Tokenized(texts, tuple(symbols), unknown)


def tokenize_pieces(parts: Mapping[str, bytes], *, size: int, model: Path) -> Tokenized:
    """Cut a text into pieces of a sentencepiece unigram model of its training part.

    Each byte counts as a character, those of UTF-8 too, so that every text can be cut and bits per
    character are those of `tokenize_bytes`. The model is of the first ten million characters. Bytes
    that it does not know, and tabs, are its piece `<unk>`, one for all that stand together.

    Args:
        parts: of the corpus.
        size: number of pieces C.
        model: where the model is written.

    Raises:
        ValueError: the text cannot give that many pieces, or its pieces do not spell it.
        ImportError: sentencepiece is not installed.
    """
    lines = list(_lines(parts["train"][:_PIECE_CHARACTERS]))
    try:
        train_sentencepiece(lines, model, size, verbatim=True)
    except ValueError as error:
        raise ValueError(f"text.vocabulary_size is {size}: {error.__cause__ or error}") from error
    import sentencepiece

    processor: Any = sentencepiece.SentencePieceProcessor(model_file=str(model))
    symbols = tuple(processor.id_to_piece(k) for k in range(processor.get_piece_size()))
    texts = {part: _cut(processor, text, part) for part, text in parts.items()}
    unknown = {
        part: int(text.characters[text.tokens == processor.unk_id()].sum())
        for part, text in texts.items()
    }
    return Tokenized(texts, symbols, unknown)


def _lines(text: bytes) -> Iterator[str]:
    """A text in short lines, which are cut before a space where there is one."""
    start = 0
    while start < len(text):
        space = text.find(b" ", start + _LINE_CHARACTERS, start + 2 * _LINE_CHARACTERS)
        end = space if space > 0 else start + 2 * _LINE_CHARACTERS
        yield text[start:end].decode("latin-1")
        start = end


def _cut(processor: Any, text: bytes, part: str) -> Text:
    tokens: list[NDArray[np.int32]] = []
    lengths: list[NDArray[np.uint16]] = []
    for line in _lines(text):
        pieces = processor.encode(line, out_type=str)
        if "".join(pieces).replace("\u2581", " ") != line:
            raise ValueError(
                f"sentencepiece does not spell {line[:40]!r} in the {part} part as it is: set "
                "text.units to byte"
            )
        tokens.append(np.array(processor.piece_to_id(pieces), dtype=np.int32))
        lengths.append(np.array([len(piece) for piece in pieces], dtype=np.uint16))
    return Text(np.concatenate(tokens), np.concatenate(lengths))
