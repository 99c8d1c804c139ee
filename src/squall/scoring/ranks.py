"""Tests over several data sets by ranks: Wilcoxon's, Friedman's, and Nemenyi's difference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FriedmanRanks",
    "SignedRanks",
    "friedman",
    "nemenyi_critical_difference",
    "wilcoxon_signed_rank",
]

_EXACT_PAIRS = 50  # up to here every one of the 2^n signs is counted
_DIGITS = 13  # of the largest value: rounding errors of a difference are beyond

# Demsar 2006, table 5 (a): quantiles of the studentised range over sqrt(2), k = 2 to 10.
_NEMENYI_Q = {
    0.05: (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164),
    0.10: (1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920),
}


@dataclass(frozen=True)
class SignedRanks:
    """The result of Wilcoxon's signed-rank test of A - B.

    Args:
        pairs: how many pairs were ranked: all of them, or those that differ.
        zeros: how many of all pairs do not differ.
        positive: sum of the ranks where A is larger.
        negative: sum of the ranks where B is larger.
        z: (positive - negative) / (2 sd), for a normal distribution; 0 where no pair differs.
        p_value: two-sided, in [0, 1].
        exact: the p value is that of the exact distribution, else of the normal one.
    """

    pairs: int
    zeros: int
    positive: float
    negative: float
    z: float
    p_value: float
    exact: bool


@dataclass(frozen=True)
class FriedmanRanks:
    """The result of Friedman's test of k systems on N data sets.

    Args:
        data_sets: N.
        average_ranks: (k,) mean rank of each system, 1 being the best.
        statistic: Friedman's chi square with k - 1 degrees of freedom, corrected for ties.
        p_value: of it, in [0, 1].
        f_statistic: Iman and Davenport's F with k - 1 and (k - 1)(N - 1) degrees of freedom;
            infinite where all data sets have the same order.
        f_p_value: of it. Demsar prefers it: chi square is conservative.
        tie_correction: what the statistic was divided by, 1 without ties, 0 where all are tied.
    """

    data_sets: int
    average_ranks: tuple[float, ...]
    statistic: float
    p_value: float
    f_statistic: float
    f_p_value: float
    tie_correction: float


def wilcoxon_signed_rank(
    *, a: ArrayLike, b: ArrayLike, zeros: Literal["drop", "split"] = "drop"
) -> SignedRanks:
    """Test whether the differences of two systems over data sets are symmetric around 0.

    The sizes of the differences A - B are ranked, ties with their average rank; the ranks of the
    positive and of the negative ones are summed. If neither system is better, each rank is as often
    in one of the sums as in the other.

    Args:
        a, b: (N,) finite, one value of each system per data set, in the same unit.
        zeros: pairs without difference are left out before ranking (`drop`, Wilcoxon's way), or
            ranked with the others, and their ranks split evenly between the sums (`split`,
            Demsar's). p values differ little.

    Returns:
        The sums and the p value: exact, with the ranks as they are, for up to 50 pairs that differ,
        twice the smaller tail and at most 1; else from the normal distribution with the same
        variance, which takes account of ties, without continuity correction. 1 where no pair
        differs.

    Raises:
        ValueError: not (N,) finite values of the same N > 0 data sets, or `zeros` is unknown.

    Convention: differences that agree to 13 digits of the largest value are the same, and those
    below that are 0: 0.9 - 0.8 and 0.8 - 0.7 are not ranked by their rounding errors. scipy ranks
    them. With ties it has exact p values for up to 13 pairs only, and with `split` its normal
    variance has the ranks of the zeros too, which never change sides.

    Source: Wilcoxon 1945; Demsar, *Statistical comparisons of classifiers over multiple data sets*,
    JMLR 7, 2006, section 3.1.3.

    >>> wilcoxon_signed_rank(a=[3.0, 5.0, 4.0, 9.0], b=[2.0, 3.0, 1.0, 5.0]).p_value  # 2 / 2^4
    0.125
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(
            f"a has shape {first.shape}, b {second.shape}; both must be (data sets,), of the same "
            "data sets, at least one"
        )
    if zeros not in ("drop", "split"):
        raise ValueError(f"zeros is {zeros!r}; use drop or split")
    bad = ~(np.isfinite(first) & np.isfinite(second))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"data set {row} has {first[row]} and {second[row]}; both must be finite")
    differences = _round((first - second)[np.newaxis], np.stack([first, second]).reshape(1, -1))[0]
    unequal = differences != 0.0
    if zeros == "drop":
        differences = differences[unequal]
    ranks = _average_ranks(np.abs(differences))
    split = float(ranks[differences == 0.0].sum()) / 2.0
    positive = float(ranks[differences > 0.0].sum()) + split
    negative = float(ranks[differences < 0.0].sum()) + split
    moving = ranks[differences != 0.0]
    sd = math.sqrt(float(np.square(moving).sum())) / 2.0
    z = (positive - negative) / (2.0 * sd) if len(moving) else 0.0
    exact = len(moving) <= _EXACT_PAIRS
    smaller = min(positive, negative) - split
    return SignedRanks(
        pairs=len(differences),
        zeros=int((~unequal).sum()),
        positive=positive,
        negative=negative,
        z=z,
        p_value=_exact_p(moving, smaller) if exact else math.erfc(abs(z) / math.sqrt(2.0)),
        exact=exact,
    )


def friedman(*, values: ArrayLike, lower_is_better: bool) -> FriedmanRanks:
    """Test whether k systems differ over N data sets, by their ranks in each.

    With R_j the average rank of system j, and c = 1 - sum (t^3 - t) / (N k (k^2 - 1)) over all
    groups of t ties,

        chi^2 = 12 N / (k (k + 1)) (sum_j R_j^2 - k (k + 1)^2 / 4) / c,
        F = (N - 1) chi^2 / (N (k - 1) - chi^2).

    Args:
        values: (N, k) finite, one row per data set, one column per system.
        lower_is_better: as of error rates; False for accuracies. Rank 1 is the best.

    Returns:
        Average ranks and both tests. Where the systems are tied everywhere, statistics are 0 and p
        values 1.

    Raises:
        ValueError: not (N, k) finite values, N and k at least 2.

    Convention: values of a row that agree to 13 digits of its largest share the average of their
    ranks. Demsar's formula has no c (as if 1), and gives a smaller chi square with ties. Both
    distributions are approximations that can go below the smallest p value that N rankings allow,
    (k!)^(1 - N): then it is given.

    Source: Friedman 1940; Iman and Davenport 1980; Demsar 2006, section 3.2.2.

    >>> found = friedman(values=[[9, 8, 7], [5, 3, 4], [2, 1, 0]], lower_is_better=True)
    >>> [round(rank, 3) for rank in found.average_ranks], round(found.statistic, 3)
    ([3.0, 1.667, 1.333], 4.667)
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 2 or min(given.shape) < 2:
        raise ValueError(
            f"values have shape {given.shape}; they must be (data sets, systems), two of each at "
            "least"
        )
    if not np.isfinite(given).all():
        row, column = np.argwhere(~np.isfinite(given))[0]
        raise ValueError(
            f"the value of data set {row} and system {column} is {given[row, column]}, not finite"
        )
    rounded = _round(given, given)
    ranks = np.array([_average_ranks(row if lower_is_better else -row) for row in rounded])
    count, systems = ranks.shape
    averages = ranks.mean(axis=0)
    ties = sum(float((size**3 - size).sum()) for size in map(_tie_sizes, rounded))
    correction = 1.0 - ties / (count * systems * (systems**2 - 1))
    spread = float(np.square(averages - (systems + 1) / 2.0).sum())
    largest = float(count * (systems - 1))
    statistic, ratio = 0.0, 0.0
    if ties < count * systems * (systems**2 - 1):
        statistic = min(12.0 * count / (systems * (systems + 1)) * spread / correction, largest)
        rest = largest - statistic
        # With one order in all data sets nothing is left but rounding.
        ratio = (count - 1) * statistic / rest if rest > 1e-9 * largest else math.inf
    least = math.exp((1 - count) * math.lgamma(systems + 1)) if statistic else 1.0
    freedom = systems - 1
    return FriedmanRanks(
        data_sets=count,
        average_ranks=tuple(averages.tolist()),
        statistic=statistic,
        p_value=max(least, _chi_square_tail(statistic, freedom)),
        f_statistic=ratio,
        f_p_value=max(least, _f_tail(ratio, freedom, freedom * (count - 1))),
        tie_correction=correction,
    )


def nemenyi_critical_difference(*, systems: int, data_sets: int, alpha: float = 0.05) -> float:
    """Give the difference of average ranks from which two of k systems differ significantly.

    CD = q_alpha sqrt(k (k + 1) / (6 N)). All pairs may be compared with it; the probability of even
    one false discovery is alpha.

    Args:
        systems: k, from 2 to 10.
        data_sets: N, at least 1.
        alpha: 0.05 or 0.10.

    Raises:
        ValueError: one of them is something else.

    Source: Nemenyi 1963; Demsar 2006, section 3.2.2 and table 5 (a).

    >>> round(nemenyi_critical_difference(systems=4, data_sets=14), 2)
    1.25
    """
    if alpha not in _NEMENYI_Q:
        raise ValueError(f"alpha is {alpha}; it must be one of {', '.join(map(str, _NEMENYI_Q))}")
    quantiles = _NEMENYI_Q[alpha]
    if not 2 <= systems <= len(quantiles) + 1:
        raise ValueError(f"{systems} systems; their number must be 2 to {len(quantiles) + 1}")
    if data_sets < 1:
        raise ValueError(f"{data_sets} data sets; there must be at least 1")
    return quantiles[systems - 2] * math.sqrt(systems * (systems + 1) / (6.0 * data_sets))


def _round(values: NDArray[np.float64], of: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of values in units of the largest in the same row of `of`, without rounding errors."""
    largest = np.abs(of).max(axis=1, keepdims=True)
    return np.round(values / np.where(largest > 0.0, largest, 1.0), _DIGITS)


def _tie_sizes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.unique(values, return_counts=True)[1].astype(np.float64)


def _average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks (N,) from 1 for the smallest; equal values share the average of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[inverse], dtype=np.float64)


def _exact_p(ranks: NDArray[np.float64], smaller: float) -> float:
    """Twice the share of the 2^n signs with which the positive ranks sum to `smaller` or less."""
    doubled = np.rint(2.0 * ranks).astype(np.int64)  # average ranks are halves
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    tail = float(ways[: round(2.0 * smaller) + 1].sum())
    return min(1.0, 2.0 * tail / 2.0 ** len(ranks))


def _chi_square_tail(value: float, freedom: int) -> float:
    """P(X >= value) of chi square with whole degrees of freedom, by its finite series."""
    half = value / 2.0
    if freedom % 2:
        total, power = math.erfc(math.sqrt(half)), 0.5
        term = math.exp(-half) * math.sqrt(half) / math.gamma(1.5)
    else:
        total, power = math.exp(-half), 1.0
        term = math.exp(-half) * half
    for _ in range((freedom - 1) // 2):
        total += term
        power += 1.0
        term *= half / power
    return min(1.0, total)


def _f_tail(value: float, above: int, below: int) -> float:
    """P(X >= value) of the F distribution."""
    if math.isinf(value):
        return 0.0
    return _incomplete_beta(below / (below + above * value), below / 2.0, above / 2.0)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (Abramowitz 26.5.8)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    if x > (a + 1.0) / (a + b + 2.0):  # the other side converges faster
        return 1.0 - _incomplete_beta(1.0 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(log_front + a * math.log(x) + b * math.log1p(-x)) / a
    # Convergents p / q by the forward recurrence, scaled so that q stays 1.
    p_before, q_before, p, q = 1.0, 0.0, 1.0, 1.0
    for step in range(1, 10_000):
        m, odd = divmod(step, 2)
        if odd:
            part = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            part = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        p_next, q_next = p + part * p_before, q + part * q_before
        p_before, q_before, p, q = p / q_next, q / q_next, p_next / q_next, 1.0
        if abs(p - p_before / q_before) <= 1e-14 * abs(p):
            break
    return front / p
