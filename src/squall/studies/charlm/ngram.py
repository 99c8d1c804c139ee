"""An n-gram model with interpolated modified Kneser-Ney smoothing: the row to beat.

Source: Kneser and Ney 1995; Chen and Goodman, *An empirical study of smoothing techniques for
language modeling*, 1999, equations 26 and 27 (three discounts for each order).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["KneserNey"]

_BLOCK_ELEMENTS = 2**22  # 32 MiB of float64 in a block of distributions
_USUAL_DISCOUNTS = (0.5, 1.0, 1.5)

Codes = NDArray[np.int64]


class _Order(NamedTuple):
    """The n-grams of one n, sorted, those with the same context beside each other.

    Args:
        contexts: (K,) the codes of their first n - 1 tokens, rising.
        starts: (K + 1,) where the n-grams of each context begin.
        lasts: (G,) the last token of each n-gram.
        shares: (G,) its discounted count over the count of its context.
        left: (K,) what the discounts leave of each context's probability for the shorter one.
    """

    contexts: Codes
    starts: Codes
    lasts: Codes
    shares: NDArray[np.float64]
    left: NDArray[np.float64]


class KneserNey:
    """The model p(w | h) = (c(h w) - D(c(h w))) / c(h) + left(h) p(w | h').

    h' is h without its first token. c is how often the longest n-grams occur, and of shorter ones
    after how many different tokens they do; left(h) is the sum of the discounts over c(h); where h
    was never seen p(w | h) = p(w | h'); below single tokens stands 1 / C. An order with n_r n-grams
    of count r has D(r) = r - (r + 1) Y n_(r + 1) / n_r for r = 1, 2 and 3, which is that of all
    higher counts too, with Y = n_1 / (n_1 + 2 n_2).

    Args:
        tokens: (N,) class numbers of the training text.
        classes: their number C.
        order: length n of the longest n-grams, at least 2.

    Raises:
        ValueError: the text is shorter than an n-gram, or C^n does not fit 63 bits.

    Convention: where an order has too few n-grams of a count for its discounts, they are 0.5, 1 and
    1.5. What lies before the beginning of a text that is scored counts as the class 0.
    """

    def __init__(self, tokens: NDArray[Any], *, classes: int, order: int) -> None:
        if order < 2 or len(tokens) < order:
            raise ValueError(f"order is {order}, of a text of {len(tokens)}; it must be 2 at least")
        if order * np.log2(classes) >= 63:
            raise ValueError(f"{order}-grams of {classes} classes are too many: lower the order")
        self.classes, self.order = classes, order
        longest, counts = np.unique(_codes(tokens, classes, order), return_counts=True)
        self._orders = [_order_of(longest, counts, classes)]
        for n in range(order - 1, 0, -1):
            longest, counts = np.unique(longest % classes**n, return_counts=True)
            self._orders.insert(0, _order_of(longest, counts, classes))

    def log_probs(self, tokens: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
        """log p of all C classes at each place of a text but the first, in blocks (n, C)."""
        before = np.zeros(self.order - 2, dtype=np.int64)
        contexts = _codes(np.concatenate([before, tokens[:-1]]), self.classes, self.order - 1)
        rows = max(1, _BLOCK_ELEMENTS // self.classes)
        for start in range(0, len(contexts), rows):
            distinct, places = np.unique(contexts[start : start + rows], return_inverse=True)
            yield np.log(self._probs(distinct, self.order))[places]

    def _probs(self, contexts: Codes, n: int) -> NDArray[np.float64]:
        """(K, C) of distinct contexts (K,) of n - 1 tokens."""
        if n == 0:
            return np.full((len(contexts), self.classes), 1.0 / self.classes)
        shorter, places = np.unique(contexts % self.classes ** max(0, n - 2), return_inverse=True)
        probs = self._probs(shorter, n - 1)[places]
        found = self._orders[n - 1]
        at = np.minimum(np.searchsorted(found.contexts, contexts), len(found.contexts) - 1)
        known = np.flatnonzero(found.contexts[at] == contexts)
        at = at[known]
        probs[known] *= found.left[at, None]
        lengths = found.starts[at + 1] - found.starts[at]
        ends = np.cumsum(lengths)
        grams = np.arange(lengths.sum()) + np.repeat(found.starts[at] - (ends - lengths), lengths)
        probs[np.repeat(known, lengths), found.lasts[grams]] += found.shares[grams]
        return probs


def _codes(tokens: NDArray[Any], classes: int, n: int) -> Codes:
    """The n-gram that ends at each place from the n-th on, as a number in base C."""
    count = len(tokens) - n + 1
    codes = np.zeros(count, dtype=np.int64)
    for place in range(n):
        codes *= classes
        codes += tokens[place : place + count]
    return codes


def _order_of(grams: Codes, counts: NDArray[np.int64], classes: int) -> _Order:
    contexts, starts = np.unique(grams // classes, return_index=True)
    discounts = np.array([0.0, *_discounts(counts)])[np.minimum(counts, 3)]
    totals = np.add.reduceat(counts, starts)
    lengths = np.diff(np.append(starts, len(grams)))
    return _Order(
        contexts,
        np.append(starts, len(grams)),
        grams % classes,
        (counts - discounts) / np.repeat(totals, lengths),
        np.add.reduceat(discounts, starts) / totals,
    )


def _discounts(counts: NDArray[np.int64]) -> tuple[float, ...]:
    n = np.bincount(np.minimum(counts, 5), minlength=6)
    if not n[1:5].all():
        return _USUAL_DISCOUNTS
    y = n[1] / (n[1] + 2 * n[2])
    found = tuple(float(r - (r + 1) * y * n[r + 1] / n[r]) for r in (1, 2, 3))
    return found if all(0 < d < r for r, d in enumerate(found, 1)) else _USUAL_DISCOUNTS
