"""Word vectors for a vocabulary: out of a file, or random."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from squall.studies.text.words import PADDING_ID, Vocabulary

__all__ = ["WordVectors", "embedding_layer", "random_vectors", "read_vectors"]

# That of GloVe 6B is 0.67, over 39,000 common words in 50 dimensions.
_RANDOM_STD = 0.7
_MISSING_STD = 0.05


@dataclass(frozen=True, eq=False)
class WordVectors:
    """A vector for each word of a vocabulary.

    Args:
        matrix: (V, D) float32; that of padding is 0.
        found: how many words have a vector of the file.
    """

    matrix: Tensor
    found: int


def random_vectors(vocabulary: Vocabulary, dimensions: int, *, seed: int) -> WordVectors:
    """Vectors from a normal distribution of mean 0 and standard deviation 0.7, as widely spread as
    GloVe's."""
    return WordVectors(_normal(vocabulary, dimensions, _RANDOM_STD, seed), 0)


def read_vectors(path: Path, vocabulary: Vocabulary, *, seed: int) -> WordVectors:
    """Vectors out of a file; of a word that is there twice the first.

    Args:
        path: an `.npz` with the arrays `vectors` (N, D) and `words` (one string, N words separated
            by line ends, or N strings); or else a text in GloVe's form, a word and its D numbers
            per line, separated by spaces.
        vocabulary: its words are looked for as they are, in lower case.
        seed: of the vectors of words that are not in the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a number is missing, none or not finite; or no word of the vocabulary is in the
            file. The message has the file and the line or the word. In a text, numbers are looked
            at in the lines of the vocabulary's words, and counted in all.

    Convention: a word that is not in the file, and the unknown word, have a vector from a normal
    distribution of standard deviation 0.05. Chen and others (2017) draw theirs from a normal
    distribution too, He and Lin's program from [-0.05, 0.05], Lan and Xu's toolkit (2018) for ESIM
    from a normal distribution of standard deviation 1.
    """
    rows = (_rows_of_arrays if path.suffix == ".npz" else _rows_of_text)(path, vocabulary.ids)
    if not rows:
        first = ", ".join(vocabulary.words[:3])
        raise ValueError(
            f"{path} has a vector of none of the {len(vocabulary.words)} words ({first}, ...); "
            "give vectors of the language of the texts, with words in lower case"
        )
    dimensions = len(next(iter(rows.values())))
    matrix = _normal(vocabulary, dimensions, _MISSING_STD, seed)
    matrix[list(rows)] = torch.from_numpy(np.stack(list(rows.values())))
    return WordVectors(matrix, len(rows))


def embedding_layer(matrix: Tensor, *, trainable: bool) -> nn.Embedding:
    """A layer with a copy of the vectors, in which that of padding is never trained.

    Args:
        matrix: (V, D) of floats.
        trainable: whether the others are.

    Raises:
        ValueError: it has another shape.
    """
    if matrix.ndim != 2 or len(matrix) < 2:
        raise ValueError(
            f"the word vectors have the shape {tuple(matrix.shape)}; it must be (V, D), with those "
            "of padding and of the unknown word first"
        )
    layer: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
        matrix.clone(), freeze=not trainable, padding_idx=PADDING_ID
    )
    return layer


def _normal(vocabulary: Vocabulary, dimensions: int, std: float, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    matrix = std * torch.randn(len(vocabulary), dimensions, generator=random)
    matrix[PADDING_ID] = 0.0
    return matrix


def _rows_of_arrays(path: Path, ids: Mapping[str, int]) -> dict[int, NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            vectors, words = arrays["vectors"], arrays["words"].tolist()
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is no .npz file with the arrays `vectors`, of numbers, and `words`, of "
            "strings; give one, or a text in GloVe's form under another ending"
        ) from error
    words = words.split("\n") if isinstance(words, str) else words
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or len(vectors) != len(words):
        raise ValueError(
            f"{path} has vectors of {vectors.dtype}, {vectors.shape}, for {len(words)} words; they "
            "must be (N, D) floating-point numbers for N words"
        )
    rows: dict[int, NDArray[np.float32]] = {}
    for word, vector in zip(words, vectors, strict=True):
        if (number := ids.get(word)) is not None and number not in rows:
            if not np.isfinite(vector).all():
                raise ValueError(f"{path}: the vector of {word!r} has numbers that are not finite")
            rows[number] = vector.astype(np.float32)
    return rows


def _rows_of_text(path: Path, ids: Mapping[str, int]) -> dict[int, NDArray[np.float32]]:
    rows: dict[int, NDArray[np.float32]] = {}
    dimensions = 0
    with path.open("rb") as file:
        for place, line in enumerate(map(bytes.rstrip, file), start=1):
            word, _, values = line.partition(b" ")
            count = values.count(b" ") + 1 if values else 0
            dimensions = dimensions or count
            if not 0 < count == dimensions:
                _check_spaces(values, count, dimensions, f"{path}:{place}")
                continue
            number = ids.get(word.decode(errors="replace"))
            if number is not None and number not in rows:
                rows[number] = _numbers(values, f"{path}:{place}")
    return rows


def _check_spaces(values: bytes, count: int, dimensions: int, place: str) -> None:
    """Whether the count is another one only because the word has spaces, as a few of GloVe 840B's.

    `. . .` is one of them: what is no number at the beginning belongs to the word.
    """
    extra = values.split(b" ")[: max(count - dimensions, 0)]
    if not extra or all(map(_is_number, extra)):
        raise ValueError(
            f"{place}: {count} values behind the word where the first line has {dimensions}; a "
            "line must have a word and its numbers, separated by spaces, and there is no header"
        )


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _numbers(values: bytes, place: str) -> NDArray[np.float32]:
    try:
        numbers = np.array([float(field) for field in values.split(b" ")], np.float32)
    except ValueError as error:
        raise ValueError(f"{place}: {error}; it must be a number") from error
    if not np.isfinite(numbers).all():
        raise ValueError(f"{place}: a number is not finite; remove the line")
    return numbers
