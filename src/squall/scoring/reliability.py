"""Reliability: how often what is said with a confidence is right, in bins of the confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.arrays import as_array

__all__ = ["ROUNDING", "ReliabilityBins", "bin_confidences", "bin_equal_mass", "check_confidences"]

ROUNDING = 1e-5
"""By how much sums and products of probabilities in float32 may leave [0, 1]."""


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Sums over B bins of confidence, for a reliability diagram and a confidence histogram.

    The sums of equal-width bins add up over parts of the data with `+`.

    Args:
        edges: (B + 1,) from 0 to 1, never falling. Bin b holds confidences in (edges[b],
            edges[b + 1]], the first one also those at its lower edge.
        counts: (B,) int64, samples in each bin.
        confidence_sums: (B,) sum of their confidences.
        correct_counts: (B,) int64, how many of them are right.

    >>> one = bin_confidences(confidences=[0.9, 0.3], correct=[True, False], bins=2)
    >>> two = bin_confidences(confidences=[0.7], correct=[False], bins=2)
    >>> both = one + two
    >>> both.counts, both.accuracy, both.mean_confidence
    (array([1, 2]), array([0. , 0.5]), array([0.3, 0.8]))
    >>> round(both.ece, 6), round(both.mce, 6)
    (0.3, 0.3)
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence_sums: NDArray[np.float64]
    correct_counts: NDArray[np.int64]

    @property
    def samples(self) -> int:
        """How many samples there are in all bins."""
        return int(self.counts.sum())

    @property
    def shares(self) -> NDArray[np.float64]:
        """(B,) share of the samples in each bin, the confidence histogram; NaN without samples."""
        return _ratio(self.counts, np.full(len(self.counts), self.samples))

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """(B,) share of each bin's samples that are right; NaN where there are none."""
        return _ratio(self.correct_counts, self.counts)

    @property
    def mean_confidence(self) -> NDArray[np.float64]:
        """(B,) mean confidence of each bin; NaN where there are no samples."""
        return _ratio(self.confidence_sums, self.counts)

    @property
    def overall_accuracy(self) -> float:
        """Share of all samples that are right, in [0, 1]; NaN where there are none."""
        return float(_ratio(self.correct_counts.sum(), self.counts.sum()))

    @property
    def overall_confidence(self) -> float:
        """Mean confidence of all samples, in [0, 1]; NaN where there are none."""
        return float(_ratio(self.confidence_sums.sum(), self.counts.sum()))

    @property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]; NaN where there are no samples.

        ECE = sum_b n_b / N |accuracy_b - mean confidence_b| (Guo et al. 2017, equation 3).
        """
        gaps = np.abs(self.correct_counts - self.confidence_sums)  # n_b times the gap
        return float(_ratio(gaps.sum(), self.counts.sum()))

    @property
    def mce(self) -> float:
        """Largest gap between accuracy and confidence, in [0, 1]; NaN where there are no samples.

        MCE = max_b |accuracy_b - mean confidence_b| over the bins that have samples (Guo et al.
        2017, equation 5). It is at least ECE, and a bin with one sample weighs as much as any.
        """
        gaps = np.abs(self.accuracy - self.mean_confidence)[self.counts > 0]
        return float(gaps.max()) if len(gaps) else math.nan

    def __add__(self, other: ReliabilityBins) -> ReliabilityBins:
        """The bins of both parts together; ValueError unless both have the same equal widths."""
        widths = _equal_edges(len(self.counts))
        if not (np.array_equal(self.edges, other.edges) and np.array_equal(self.edges, widths)):
            raise ValueError(
                f"{len(self.counts)} bins with edges {self.edges.tolist()} and {len(other.counts)} "
                f"with edges {other.edges.tolist()} cannot be added: only bins of the same equal "
                "width can. Equal-mass bins have to be made from all samples together"
            )
        return ReliabilityBins(
            self.edges,
            self.counts + other.counts,
            self.confidence_sums + other.confidence_sums,
            self.correct_counts + other.correct_counts,
        )


def bin_confidences(
    *, confidences: ArrayLike, correct: ArrayLike, bins: int = 10
) -> ReliabilityBins:
    """Sort samples into bins of confidence with equal width.

    Args:
        confidences: (N,) in [0, 1]: the largest probability of a token, or a word's confidence.
            What lies outside by rounding, 1.0000001 in float32, counts as the bound: up to 1e-5, or
            the precision of their type where that is coarser.
        correct: (N,) booleans, whether what was said with it is right.
        bins: their number B, at least 1.

    Returns:
        The bins, with `ece` and `mce` as fractions of 1. They do not depend on the order of the
        samples, to the last bit.

    Raises:
        ValueError: the shapes differ or are not (N,), a confidence is not in [0, 1], confidences
            are booleans or `correct` is not, or `bins` is less than 1.

    Convention: edges are b / B; a bin is (lo, hi], as in Guo et al. 2017, with 0 in the first and
    1.0 in the last. Confidences are compared with the edges in float64: the float32 next to 0.3 is
    above 0.3. torchmetrics has [lo, hi), and 1.0 in a bin of its own beyond the last.
    """
    values, right = check_confidences(confidences, correct)
    return _bin(values, right, _equal_edges(_check_bins(bins)))


def bin_equal_mass(
    *, confidences: ArrayLike, correct: ArrayLike, bins: int = 10
) -> ReliabilityBins:
    """Sort samples into bins that hold equally many, whose ECE is the adaptive one.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.
        bins: how many to make, B, at least 1.

    Returns:
        Without ties min(B, N) bins: bin b holds the samples from ceil(bN / B) up to, not including,
        ceil((b + 1)N / B) in the order of confidence, numbers that differ by one at most. With ties
        there may be fewer, and no more than 2B - 1. The outer edges are 0 and 1; the inner ones are
        the confidences at the upper ends of their bins.

    Raises:
        ValueError: as in `bin_confidences`.

    Convention: equal confidences are never in different bins, as their order would be arbitrary.
    More than N / B of them are a bin of their own, so that a model that is certain of most samples
    does not hide what it does with the rest; fewer go into the bin of the first of them. Bins that
    this leaves empty are left out. Others cut through ties, so that the error depends on the order
    of the samples.

    Source: Nguyen and O'Connor 2015; Nixon et al. 2019.
    """
    values, right = check_confidences(confidences, correct)
    bins = _check_bins(bins)
    if not len(values):
        return _bin(values, right, np.array([0.0, 1.0]))
    ranks = -(-np.arange(1, bins + 1) * len(values) // bins)  # ceil(bN / B)
    distinct, counts = np.unique(values, return_counts=True)
    # A run of more than N / B has one of the ranks in it; what lies below it ends before it.
    runs = np.flatnonzero(counts * bins > len(values))
    below = distinct[runs[runs > 0] - 1]
    uppers = np.union1d(np.sort(values)[ranks - 1], below)
    return _bin(values, right, np.concatenate([[0.0], uppers[:-1], [1.0]]))


def check_confidences(
    confidences: ArrayLike, correct: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give confidences as float64 and their correctness as booleans, both (N,).

    Raises:
        ValueError: as in `bin_confidences`; the message has the first row that is wrong.
    """
    given, right = as_array(confidences), as_array(correct)
    if given.ndim != 1 or given.shape != right.shape:
        raise ValueError(
            f"confidences have shape {given.shape}, correct {right.shape}; both must be (samples,)"
        )
    if not given.size:
        return np.zeros(0), np.zeros(0, dtype=np.bool_)
    if given.dtype.kind not in "fiu" or right.dtype != np.bool_:
        raise ValueError(
            f"confidences are {given.dtype}, correct is {right.dtype}; they must be numbers in "
            "[0, 1] and booleans, in this order"
        )
    precision = np.finfo(given.dtype).eps if given.dtype.kind == "f" else 0.0
    values = given.astype(np.float64)
    kept = np.clip(values, 0.0, 1.0)
    bad = ~(np.abs(values - kept) <= max(precision, ROUNDING))  # also where it is NaN
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"the confidence of row {row} is {values[row]}; it must be in [0, 1]")
    return kept, right


def _check_bins(bins: int) -> int:
    if bins < 1 or bins != int(bins):
        raise ValueError(f"bins is {bins}; it must be a whole number, at least 1")
    return int(bins)


def _equal_edges(bins: int) -> NDArray[np.float64]:
    # Not linspace, nor steps of 0.1: their third edge of ten is above 0.3.
    return np.arange(bins + 1) / bins


def _bin(
    values: NDArray[np.float64], right: NDArray[np.bool_], edges: NDArray[np.float64]
) -> ReliabilityBins:
    # Sums of sorted numbers do not depend on the order in which these came.
    order = np.argsort(values)
    values, right = values[order], right[order]
    found = np.searchsorted(edges[1:-1], values, side="left")
    count = len(edges) - 1
    return ReliabilityBins(
        edges=edges,
        counts=np.bincount(found, minlength=count).astype(np.int64),
        confidence_sums=np.bincount(found, weights=values, minlength=count).astype(np.float64),
        correct_counts=np.bincount(found[right], minlength=count).astype(np.int64),
    )


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    ratio: NDArray[np.float64] = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
