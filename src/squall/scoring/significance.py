"""Tests of two recognisers (MAPSSWE) or classifiers (McNemar), and corrections for several."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.alignment import Alignment
from squall.scoring.bootstrap import check_counts

__all__ = [
    "SIGNIFICANT",
    "Correction",
    "ErrorSegment",
    "MatchedPairs",
    "adjust_p_values",
    "mapsswe",
    "matched_pairs",
    "mcnemar",
    "split_segments",
]

Correction = Literal["holm", "benjamini_hochberg"]

SIGNIFICANT = 0.05
"""A difference is called real below this p value, corrected for the number of comparisons."""


@dataclass(frozen=True)
class ErrorSegment:
    """A stretch of an utterance in which at least one of two systems errs.

    Args:
        errors_a, errors_b: of each system; not both 0.
    """

    errors_a: int
    errors_b: int


@dataclass(frozen=True)
class MatchedPairs:
    """The result of a matched-pair test.

    Args:
        segments: how many differences were tested.
        errors_a, errors_b: of each system, over all segments.
        mean: of the differences, errors of A - errors of B, per segment; 0 without segments.
        std: their sample standard deviation (n - 1); NaN with less than two segments.
        z: mean / (std / sqrt(segments)), negative where A has fewer errors. 0 where all differences
            are 0, infinite where all are the same but not 0, NaN for a single one that is not 0.
        p_value: two-sided, in [0, 1].
    """

    segments: int
    errors_a: int
    errors_b: int
    mean: float
    std: float
    z: float
    p_value: float


def split_segments(*, a: Alignment, b: Alignment, boundary_words: int = 2) -> list[ErrorSegment]:
    """Split an utterance into segments with errors, for `mapsswe`.

    Args:
        a, b: alignments of both systems with the same reference.
        boundary_words: how many words in a row both systems must have right to end a segment.

    Returns:
        The segments in their order. They hold every error of both systems once; none where neither
        errs.

    Raises:
        ValueError: the references differ, or `boundary_words` is less than 1.

    Convention: two errors, of whichever system, belong to one segment where fewer than
    `boundary_words` reference words lie between them. All words between neighbouring errors are
    right in both systems. An insertion lies between two reference words, neither of which it makes
    wrong, but words to its two sides are not in a row. After enough right words it begins the next
    segment, not the one before. Insertions at the ends of the utterance count as any other. The
    ends themselves close a segment without right words.

    Convention: the segments are those of NIST's sc_stats, but for insertions of its second system
    behind the last word: it does not count these.
    """
    return _split(a, b, boundary_words, where="")


def mapsswe(
    *, a: Mapping[str, Alignment], b: Mapping[str, Alignment], boundary_words: int = 2
) -> MatchedPairs:
    """Test whether two recognisers differ: matched-pair sentence-segment word error test.

    Utterances are split where both systems are right for a while, so that errors of one segment do
    not depend on those of another. With Z_i the errors of A less those of B in the segment i of n,

        z = mean(Z) / (s / sqrt(n)),  s^2 = sum_i (Z_i - mean(Z))^2 / (n - 1),

    has a standard normal distribution where both make equally many errors. p = P(|N(0, 1)| >= |z|).

    Args:
        a, b: alignments by utterance id of each system with the same references; words.
        boundary_words: as in `split_segments`.

    Returns:
        The test over all segments in which a system errs. Without any, or where the systems make
        equally many errors in each, p = 1.

    Raises:
        ValueError: there are no utterances, an utterance is missing in one system or has another
            reference there (the message names it), or `boundary_words` is less than 1.

    Convention: segments in which neither system errs are left out, as in sc_stats; they would
    change little. Where all differences are the same but not 0 there is no spread to compare them
    with: p is then 2^(1 - n), the probability of n equal signs. It is 1 for a single segment.
    sc_stats has z = 0 there.

    Convention: the normal distribution needs some fifty segments. The test speaks about the two
    trained models on other speech like this; for training with other seeds see `compare_rates`. Two
    right characters or phones say little about the next: for these use `matched_pairs`.

    Source: Gillick and Cox, *Some statistical issues in the comparison of speech recognition
    algorithms*, ICASSP 1989; segments as in Pallett, Fisher and Fiscus, *Tools for the analysis of
    benchmark speech recognition tests*, ICASSP 1990.

    >>> from squall.scoring.alignment import align
    >>> said = "it was the best of times".split()
    >>> found = mapsswe(
    ...     a={"u1": align(reference=said, hypothesis="its the best of times or".split())},
    ...     b={"u1": align(reference=said, hypothesis="it was the best times".split())},
    ... )
    >>> found.segments, found.errors_a, found.errors_b, found.mean
    (2, 3, 1, 1.0)
    """
    different = sorted(set(a) ^ set(b))
    if different or not a:
        named = f"; {different[0]} is in one of them only" if different else ""
        raise ValueError(
            f"A has {len(a)} utterances, B {len(b)}{named}. The test needs both systems on the "
            "same utterances, at least one"
        )
    segments = [
        segment
        for id in sorted(a)
        for segment in _split(a[id], b[id], boundary_words, where=f"utterance {id}: ")
    ]
    return _test(
        np.array([segment.errors_a for segment in segments], dtype=np.float64),
        np.array([segment.errors_b for segment in segments], dtype=np.float64),
    )


def matched_pairs(*, errors_a: ArrayLike, errors_b: ArrayLike) -> MatchedPairs:
    """Test whether two recognisers differ, with whole utterances as segments.

    Args:
        errors_a, errors_b: (N,) whole numbers, errors of each system in the same utterances, or in
            other stretches of speech that do not depend on each other, such as speakers.

    Returns:
        The test of `mapsswe` over all N differences, those of 0 errors too.

    Raises:
        ValueError: not (N,) counts of the same N > 0 utterances.

    Source: Gillick and Cox 1989.
    """
    first, second = check_counts(errors_a, "errors_a"), check_counts(errors_b, "errors_b")
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(
            f"errors_a have shape {first.shape}, errors_b {second.shape}; both must be "
            "(utterances,), of the same utterances, at least one"
        )
    return _test(first, second)


def mcnemar(*, correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Test whether two classifiers differ, from their answers to the same questions.

    Of the n questions that one of them alone has right, A has k; if both are equally good, k is
    binomial with probability 1/2, and

        p = min(1, 2 P(K <= min(k, n - k))).

    Args:
        correct_a, correct_b: (N,) booleans, whether each answer is right.

    Returns:
        The p value, two-sided and exact; 1 where they are never right alone.

    Raises:
        ValueError: not (N,) booleans of the same N > 0 questions.

    Source: McNemar 1947; the exact form of Edwards 1948 and others.

    >>> round(mcnemar(correct_a=[True] * 5 + [False], correct_b=[False] * 5 + [True]), 5)
    0.21875
    """
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.ndim != 1 or a.shape != b.shape or not len(a) or a.dtype != bool or b.dtype != bool:
        raise ValueError(
            f"answers have shapes {a.shape} and {b.shape}, types {a.dtype} and {b.dtype}; both "
            "must be (N,) booleans of the same questions"
        )
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    n, fewer = only_a + only_b, min(only_a, only_b)
    log_terms = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(map(math.exp, log_terms)))


def adjust_p_values(p_values: ArrayLike, *, method: Correction = "holm") -> NDArray[np.float64]:
    """Correct the p values of several comparisons for their number.

    With the m values sorted, p_(1) <= ... <= p_(m), the adjusted ones are
    - `holm`: max over j <= i of (m - j + 1) p_(j). What is below 0.05 then holds with at most 5 %
      probability of even one false discovery among all comparisons.
    - `benjamini_hochberg`: min over j >= i of m p_(j) / j. Of what is below 0.05 then at most 5 %
      is expected to be false, where the comparisons are independent or positively dependent.

    Args:
        p_values: (m,) in [0, 1]; none is allowed.
        method: which.

    Returns:
        (m,) adjusted p values in [0, 1], in the order given: at least as large as the p values, and
        in the same order of size.

    Raises:
        ValueError: not (m,) values in [0, 1], or the method is unknown.

    Source: Holm 1979; Benjamini and Hochberg 1995.

    >>> adjust_p_values([0.01, 0.25, 0.02]).tolist()
    [0.03, 0.25, 0.04]
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0.0) & (values <= 1.0)).all():
        raise ValueError(f"p values must be (comparisons,) in [0, 1], not {values.tolist()}")
    count = len(values)
    order = np.argsort(values, kind="stable")
    if method == "holm":
        steps = np.maximum.accumulate(values[order] * np.arange(count, 0, -1))
    elif method == "benjamini_hochberg":
        scaled = values[order] * (count / np.arange(1, count + 1))
        steps = np.minimum.accumulate(scaled[::-1])[::-1]
    else:
        raise ValueError(f"unknown correction {method!r}; use holm or benjamini_hochberg")
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def _split(a: Alignment, b: Alignment, boundary_words: int, *, where: str) -> list[ErrorSegment]:
    if boundary_words < 1:
        raise ValueError(f"boundary_words is {boundary_words}; it must be at least 1")
    reference, errors_a = _errors_by_place(a)
    other, errors_b = _errors_by_place(b)
    if reference != other:
        raise ValueError(
            f"{where}the references differ: {' '.join(reference)!r} for A, "
            f"{' '.join(other)!r} for B. Score both against the same text"
        )
    counts: list[tuple[int, int]] = []
    before = 0
    for place in sorted(errors_a.keys() | errors_b.keys()):
        first, second = errors_a[place], errors_b[place]
        right_words = place // 2 - (before + 1) // 2  # between the error before and this one
        if counts and right_words < boundary_words:
            first, second = first + counts[-1][0], second + counts[-1][1]
            counts.pop()
        counts.append((first, second))
        before = place
    return [ErrorSegment(*pair) for pair in counts]


def _errors_by_place(alignment: Alignment) -> tuple[list[str], Counter[int]]:
    """The reference, and the errors at each place: 2i + 1 is word i, 2i is what comes before it."""
    reference: list[str] = []
    errors: Counter[int] = Counter()
    for step in alignment.steps:
        if step.reference is None:
            errors[2 * len(reference)] += 1
            continue
        if step.operation != "equal":
            errors[2 * len(reference) + 1] += 1
        reference.append(step.reference)
    return reference, errors


def _test(first: NDArray[np.float64], second: NDArray[np.float64]) -> MatchedPairs:
    differences = first - second
    count = len(differences)
    mean = float(differences.mean()) if count else 0.0
    std = float(differences.std(ddof=1)) if count > 1 else math.nan
    if not differences.any():
        z, p_value = 0.0, 1.0
    elif (differences == differences[0]).all():
        z = math.copysign(math.inf, mean) if count > 1 else math.nan
        p_value = 2.0 ** (1 - count)
    else:
        z = mean / (std / math.sqrt(count))
        p_value = math.erfc(abs(z) / math.sqrt(2.0))
    return MatchedPairs(
        segments=count,
        errors_a=int(first.sum()),
        errors_b=int(second.sum()),
        mean=mean,
        std=std,
        z=z,
        p_value=p_value,
    )
