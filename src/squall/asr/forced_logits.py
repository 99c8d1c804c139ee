"""What the decoder says of the true tokens (teacher forcing), kept for the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.files import read_arrays, write_arrays

__all__ = ["ForcedLogits", "read_forced", "write_forced"]


@dataclass(frozen=True, eq=False)
class ForcedLogits:
    """Logits of the true tokens of some utterances, each given the true ones before it.

    Args:
        logits: (L, C) float32, the decoder's output before any softmax, utterance after utterance;
            those whose softmax is the model's (`TokenLoss.softmax_logits`).
        targets: (L,) ids of the true tokens; each utterance ends with the end mark.
        lengths: how many of the L rows each utterance has.
    """

    logits: NDArray[np.float32]
    targets: NDArray[np.int64]
    lengths: NDArray[np.int64]


def write_forced(path: Path, parts: Sequence[ForcedLogits], *, tokens: Sequence[str]) -> None:
    """Write the logits of a split as a NumPy archive.

    The names in it are those of `ForcedLogits`, and `tokens`, the C tokens in the order of their
    ids. It takes 4 C bytes for each token of the references: 300 MB for 70,000 pieces of 1,000.

    Args:
        path: the `.npz` file.
        parts: the utterances in order; one at least.
        tokens: the token list.
    """
    fields = ("logits", "targets", "lengths")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}
    write_arrays(path, arrays | {"tokens": np.array(tokens, dtype=np.str_)})


def read_forced(path: Path) -> tuple[ForcedLogits, list[str]]:
    """Read what `write_forced` wrote: the logits and the token list.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    names = ("logits", "targets", "lengths", "tokens")
    found = read_arrays(path, names, remedy="decode again with --stage 6 --force")
    return ForcedLogits(*(found[name] for name in names[:3])), found["tokens"].tolist()
