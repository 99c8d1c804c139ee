"""Slow twins: each routine written as its definition reads, to compare the fast one with.

They share no code with the package. Those of the losses compute in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike


def cross_entropy(logits: ArrayLike, label: int, *, label_smoothing: float = 0.0) -> float:
    """-log softmax(f)_y of one token, with torch's label smoothing."""
    f = np.asarray(logits, dtype=np.float64)
    log_probs = f - f.max() - math.log(np.exp(f - f.max()).sum())
    return float(-(1 - label_smoothing) * log_probs[label] - label_smoothing * log_probs.mean())


def square_loss(logits: ArrayLike, label: int) -> float:
    """(1/C) sum_j (f_j - 1[j = y])^2 of one token."""
    f = np.asarray(logits, dtype=np.float64)
    return sum((x - (j == label)) ** 2 for j, x in enumerate(f)) / len(f)


def rescaled_square_loss(logits: ArrayLike, label: int, *, k: float = 1.0, M: float = 1.0) -> float:
    """(1/C) (k (f_y - M)^2 + sum_{j != y} f_j^2) of one token."""
    f = np.asarray(logits, dtype=np.float64)
    return sum(k * (x - M) ** 2 if j == label else x**2 for j, x in enumerate(f)) / len(f)


def ccql_loss(logits: ArrayLike, label: int, *, w: float | None = None) -> float:
    """1/2 sum_j (f_j - 1[j = y])^2 + (w/2) (1 - f_y)^2 of one token."""
    f = np.asarray(logits, dtype=np.float64)
    w = math.sqrt(len(f) - 1) - 1 if w is None else w
    squares = sum((x - (j == label)) ** 2 for j, x in enumerate(f))
    return 0.5 * squares + w / 2 * (1 - f[label]) ** 2


def squentropy_loss(
    logits: ArrayLike, label: int, *, alpha: float = 1.0, label_smoothing: float = 0.0
) -> float:
    """-log softmax(f)_y + alpha/(C-1) sum_{j != y} f_j^2 of one token."""
    f = np.asarray(logits, dtype=np.float64)
    squares = sum(x**2 for j, x in enumerate(f) if j != label)
    entropy = cross_entropy(f, label, label_smoothing=label_smoothing)
    return entropy + alpha / (len(f) - 1) * squares


def loss_per_token(
    loss: Callable[..., float],
    logits: ArrayLike,
    target: ArrayLike,
    *,
    ignore_index: int = -100,
    **params: float,
) -> np.ndarray:
    """One of the losses above for logits (..., C) and a target (...); 0 where ignored."""
    f, labels = np.asarray(logits, dtype=np.float64), np.asarray(target)
    values = np.zeros(labels.shape)
    for position in np.ndindex(labels.shape):
        if labels[position] != ignore_index:
            values[position] = loss(f[position], int(labels[position]), **params)
    return values


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein distance of two token sequences, from the full table of prefixes."""
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    table = [[i + j if 0 in (i, j) else 0 for j in range(columns)] for i in range(rows)]
    for i in range(1, rows):
        for j in range(1, columns):
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]),
            )
    return table[-1][-1]
