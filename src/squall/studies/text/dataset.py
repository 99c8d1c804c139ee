"""Tokens of texts: rows of different lengths, kept in one array, and batches of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squall.files import read_arrays, write_arrays

__all__ = ["EncodedTexts", "Ragged", "Texts", "length_batches"]

Texts = Sequence[tuple[str, str | None]]
"""Texts, or pairs of them."""

_POOL_BATCHES = 50  # so many batches of texts are sorted by length at a time


@dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of whole numbers of different lengths.

    Args:
        values: (sum of lengths,) int32, one row behind the other.
        ends: (N,) int64, where each row ends.
    """

    values: NDArray[np.int32]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | Tensor]) -> Ragged:
        """The rows, in their order."""
        arrays = [np.asarray(row, dtype=np.int32) for row in rows]
        values = np.concatenate([np.zeros(0, np.int32), *arrays])
        return cls(values, np.cumsum([len(array) for array in arrays], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,)."""
        return np.asarray(np.diff(self.ends, prepend=0), dtype=np.int64)

    def row(self, number: int) -> NDArray[np.int32]:
        """One row."""
        start = self.ends[number - 1] if number else 0
        return self.values[start : self.ends[number]]

    def padded(self, numbers: Sequence[int] | NDArray[np.int64], fill: int) -> Tensor:
        """Some rows (B, L) int64, as long as the longest of them, with `fill` behind the others."""
        rows = [torch.from_numpy(self.row(int(number)).astype(np.int64)) for number in numbers]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)


@dataclass(frozen=True, eq=False)
class EncodedTexts:
    """The texts of a split, as a model takes them.

    Args:
        inputs: by the model's names, such as `input_ids`; rows of the same text have one number.
        targets: (N,) int64, the numbers of the labels.
        truncated: how many texts were cut.
    """

    inputs: dict[str, Ragged]
    targets: NDArray[np.int64]
    truncated: int = 0

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) of the longest row of each text."""
        lengths = np.stack([ragged.lengths for ragged in self.inputs.values()])
        return np.asarray(lengths.max(axis=0), dtype=np.int64)

    def write(self, path: Path) -> None:
        """Write an `.npz`; the file is replaced as a whole."""
        arrays: dict[str, Any] = {"targets": self.targets}
        for name, ragged in self.inputs.items():
            arrays |= {f"{name}.values": ragged.values, f"{name}.ends": ragged.ends}
        write_arrays(path, arrays | {"truncated": self.truncated}, compress=True)

    @classmethod
    def read(cls, path: Path) -> EncodedTexts:
        """Read what `write` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged.
        """
        found = read_arrays(path, remedy="make it again with --stage 2 --force")
        names = [name.removesuffix(".values") for name in found if name.endswith(".values")]
        inputs = {n: Ragged(found[f"{n}.values"], found[f"{n}.ends"]) for n in names}
        return cls(inputs, found["targets"], int(found["truncated"]))


def length_batches(
    lengths: NDArray[np.int64], batch_size: int, *, seed: Sequence[int] | None
) -> Iterator[NDArray[np.int64]]:
    """The numbers of texts in batches of about one length, so that little is padding.

    Args:
        lengths: (N,) of the texts.
        batch_size: texts of a batch; the last may have fewer.
        seed: texts are shuffled, sorted by length in pools of 50 batches, and the batches of all
            pools shuffled, by what these numbers say; None sorts them all and shuffles nothing.
    """
    if seed is None:
        order = np.argsort(lengths, kind="stable")
        yield from np.split(order, range(batch_size, len(order), batch_size))
        return
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(lengths))
    pool = batch_size * _POOL_BATCHES
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(shuffled), pool):
        part = shuffled[start : start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += np.split(part, range(batch_size, len(part), batch_size))
    for number in random.permutation(len(batches)):
        yield batches[number]
