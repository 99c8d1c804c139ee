"""Models of pairs of texts over word vectors: ESIM and PWIM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from squall.files import atomic_path, read_array
from squall.networks.tensors import load_weights, write_tensors
from squall.studies.text.dataset import Ragged, Texts
from squall.studies.text.embeddings import random_vectors, read_vectors
from squall.studies.text.esim import Esim
from squall.studies.text.pwim import Pwim
from squall.studies.text.settings import PairSettings
from squall.studies.text.words import (
    PADDING_ID,
    Vocabulary,
    build_vocabulary,
    encode_texts,
    read_vocabulary,
    write_vocabulary,
)

__all__ = ["PairFamily"]

_VECTORS_SEED = 0  # all experiments on a corpus share one table of vectors
_WORDS, _VECTORS, _WEIGHTS = "words.txt", "vectors.npy", "weights.pt"


class PairFamily:
    """See `Family`: words, their vectors, and networks of pairs.

    Args:
        settings: the model.
        max_length: words of a text; further ones are cut.
        data: the folder that `settings.vectors` is relative to.
    """

    def __init__(self, settings: PairSettings, max_length: int, data: Path) -> None:
        self.settings = settings
        self.max_length = max_length
        self._path = data / settings.vectors if settings.vectors else None
        if self._path is not None and not self._path.is_file():
            raise ValueError(
                f"model.vectors: {self._path} is missing; give word vectors, or leave "
                "model.vectors out, which draws them at random"
            )
        self._vocabulary: Vocabulary | None = None
        self._matrix: Tensor | None = None

    @classmethod
    def saved(cls, settings: PairSettings, max_length: int, folder: Path) -> PairFamily:
        """The family with the words and vectors that `save` wrote."""
        found = cls(settings.model_copy(update={"vectors": None}), max_length, folder)
        found._vocabulary = read_vocabulary(folder / _WORDS)
        vectors = read_array(folder / _VECTORS, remedy="train again with --stage 5 --force")
        found._matrix = torch.from_numpy(vectors)
        return found

    @property
    def vocabulary(self) -> Vocabulary:
        """The words; RuntimeError before `fit`."""
        if self._vocabulary is None:
            raise RuntimeError("fit the family to the training texts first")
        return self._vocabulary

    @property
    def vectors(self) -> Tensor:
        """Those of the vocabulary (V, D); RuntimeError before `fit`."""
        if self._matrix is None:
            raise RuntimeError("fit the family to the training texts first")
        return self._matrix

    def fit(self, texts: Texts) -> str:
        """See `Family`."""
        parts = (part for pair in texts for part in pair if part is not None)
        settings = self.settings
        self._vocabulary = build_vocabulary(
            parts, min_count=settings.min_count, max_words=settings.max_words
        )
        words = f"{len(self._vocabulary.words)} words"
        if self._path is None:
            vectors = random_vectors(self._vocabulary, settings.dimensions, seed=_VECTORS_SEED)
            self._matrix = vectors.matrix
            return f"{words} with random vectors"
        vectors = read_vectors(self._path, self._vocabulary, seed=_VECTORS_SEED)
        self._matrix = vectors.matrix
        return f"{words}, {vectors.found} with a vector in {self._path.name}"

    def encode(self, texts: Texts) -> tuple[dict[str, Ragged], int]:
        """See `Family`."""
        sides = {
            "a": encode_texts((a for a, _ in texts), self.vocabulary, max_length=self.max_length),
            "b": encode_texts(
                (b or "" for _, b in texts), self.vocabulary, max_length=self.max_length
            ),
        }
        rows = {name: Ragged.of(side.ids) for name, side in sides.items()}
        return rows, sum(side.truncated for side in sides.values())

    def batch(
        self, inputs: dict[str, Ragged], rows: Sequence[int] | NDArray[np.int64]
    ) -> dict[str, Tensor]:
        """See `Family`."""
        return {name: ragged.padded(rows, PADDING_ID) for name, ragged in inputs.items()}

    def network(self, *, classes: int) -> nn.Module:
        """See `Family`."""
        settings = self.settings
        given = {
            "hidden": settings.hidden,
            "dropout": settings.dropout,
            "train_embeddings": settings.train_vectors,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        if settings.kind == "esim":
            return Esim(self.vectors, classes, **chosen)  # type: ignore[arg-type]
        return Pwim(self.vectors, classes, size=settings.size, **chosen)  # type: ignore[arg-type]

    def save(self, folder: Path, network: nn.Module | None) -> None:
        """See `Family`."""
        folder.mkdir(parents=True, exist_ok=True)
        write_vocabulary(folder / _WORDS, self.vocabulary)
        with atomic_path(folder / _VECTORS) as path, path.open("wb") as file:
            np.save(file, self.vectors.numpy())
        if network is not None:
            write_tensors(folder / _WEIGHTS, network.state_dict())

    def load_network(self, folder: Path, *, classes: int) -> nn.Module:
        """See `Family`."""
        network = self.network(classes=classes)
        load_weights(network, folder / _WEIGHTS)
        return network
