"""What the decoder says of the true tokens (teacher forcing), kept for the calibration."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.files import atomic_path

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
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(
            file,
            logits=np.concatenate([one.logits for one in parts]),
            targets=np.concatenate([one.targets for one in parts]),
            lengths=np.concatenate([one.lengths for one in parts]),
            tokens=np.array(tokens, dtype=np.str_),
        )


def read_forced(path: Path) -> tuple[ForcedLogits, list[str]]:
    """Read what `write_forced` wrote: the logits and the token list.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            forced = ForcedLogits(found["logits"], found["targets"], found["lengths"])
            return forced, [str(token) for token in found["tokens"]]
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is damaged: {error}; decode again with --stage 6 --force"
        ) from error
