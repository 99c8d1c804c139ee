from __future__ import annotations

import doctest
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import squall.scoring.ranks
from squall.scoring import friedman, nemenyi_critical_difference, wilcoxon_signed_rank

stats = pytest.importorskip("scipy.stats")

# Demsar 2006, table 2: AUC of C4.5 and of C4.5 with m tuned, on 14 data sets.
PLAIN = [
    *(0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661),
    *(0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957),
]
TUNED = [
    *(0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668),
    *(0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978),
]

# Demsar 2006, table 6: ranks of four classifiers on the same data sets.
RANKS = [
    (4, 3, 2, 1),
    (1, 2, 3, 4),
    (4, 1, 2, 3),
    (4, 1, 3, 2),
    (4, 2, 3, 1),
    (1, 2.5, 4, 2.5),
    (3, 2, 4, 1),
    (2.5, 2.5, 4, 1),
    (4, 3, 2, 1),
    (2.5, 2.5, 2.5, 2.5),
    (4, 2.5, 1, 2.5),
    (3, 2, 4, 1),
    (4, 1, 2, 3),
    (3, 1, 4, 2),
]

WHOLE = st.integers(-6, 6).map(float)


def enumerate_signs(a: np.ndarray, b: np.ndarray, zeros: str) -> float:
    """The two-sided p value by trying every sign of every difference."""
    differences = a - b
    if zeros == "drop":
        differences = differences[differences != 0.0]
    ranks = stats.rankdata(np.abs(differences))
    sums = [
        sum(rank * sign for rank, sign in zip(ranks, signs, strict=True))
        for signs in itertools.product(
            *((0.0, 1.0) if difference else (0.5,) for difference in differences)
        )
    ]
    observed = sum(
        rank * (1.0 if difference > 0 else 0.5 if difference == 0 else 0.0)
        for rank, difference in zip(ranks, differences, strict=True)
    )
    below = sum(total <= observed for total in sums) / len(sums)
    above = sum(total >= observed for total in sums) / len(sums)
    return min(1.0, 2.0 * min(below, above))


def test_the_published_signed_ranks():
    found = wilcoxon_signed_rank(a=TUNED, b=PLAIN, zeros="split")
    assert (found.positive, found.negative) == (93.0, 12.0)
    assert (found.pairs, found.zeros, found.exact) == (14, 2, True)
    assert found.p_value < 0.05  # the published critical value for 14 data sets is 21


def test_signed_ranks_by_hand():
    # Differences 1 -2 3 4 0: ranks 1 2 3 4. Sums 8 and 2; sums of 2 or less: {}, {1}, {2}: 3 of 16.
    found = wilcoxon_signed_rank(a=[1, 0, 3, 4, 7], b=[0, 2, 0, 0, 7])
    assert (found.positive, found.negative, found.pairs, found.zeros) == (8.0, 2.0, 4, 1)
    assert found.p_value == 6 / 16
    # z = (8 - 5) / sqrt((1 + 4 + 9 + 16) / 4)
    assert found.z == pytest.approx(3 / math.sqrt(7.5), rel=1e-12)
    # With the zero ranked first: 2 3 4 5, and half of 1 on each side.
    split = wilcoxon_signed_rank(a=[1, 0, 3, 4, 7], b=[0, 2, 0, 0, 7], zeros="split")
    assert (split.positive, split.negative, split.pairs, split.zeros) == (11.5, 3.5, 5, 1)
    assert split.p_value == 6 / 16  # of 3 or less: {}, {2}, {3}


@given(
    st.lists(st.tuples(WHOLE, WHOLE), min_size=1, max_size=9), st.sampled_from(["drop", "split"])
)
def test_p_values_with_ties_are_those_of_all_signs(pairs, zeros):
    a, b = np.array(pairs).T
    found = wilcoxon_signed_rank(a=a, b=b, zeros=zeros)
    assert found.p_value == pytest.approx(enumerate_signs(a, b, zeros), rel=1e-12)
    assert found.positive + found.negative == found.pairs * (found.pairs + 1) / 2


@pytest.mark.parametrize("count", [1, 2, 5, 10, 25, 49, 50])
def test_exact_p_values_without_ties_are_scipys(count):
    random = np.random.default_rng(count)
    for shift in (0.0, 0.3, 1.0):
        a, b = random.standard_normal((2, count)) + np.array([[shift], [0.0]])
        found = wilcoxon_signed_rank(a=a, b=b)
        other = stats.wilcoxon(a, b, method="exact")
        assert found.exact
        assert min(found.positive, found.negative) == other.statistic
        assert found.p_value == pytest.approx(other.pvalue, rel=1e-9)


@pytest.mark.parametrize("grid", [0.0, 0.5], ids=["continuous", "ties and zeros"])
def test_normal_p_values_are_scipys(grid):
    random = np.random.default_rng(5)
    for shift in (0.0, 0.2, 0.5):
        a, b = random.standard_normal((2, 118)) + np.array([[shift], [0.0]])
        if grid:
            a, b = np.round(a / grid) * grid, np.round(b / grid) * grid
        found = wilcoxon_signed_rank(a=a, b=b)
        other = stats.wilcoxon(a, b, correction=False, method="asymptotic")
        assert not found.exact
        assert found.pairs == 118 - found.zeros
        assert (found.zeros > 0) == bool(grid)
        assert min(found.positive, found.negative) == other.statistic
        assert abs(found.z) == pytest.approx(abs(other.zstatistic), rel=1e-12)
        assert found.p_value == pytest.approx(other.pvalue, rel=1e-9)
        split = wilcoxon_signed_rank(a=a, b=b, zeros="split")
        other = stats.wilcoxon(a, b, zero_method="zsplit", correction=False, method="asymptotic")
        assert min(split.positive, split.negative) == other.statistic
        # scipy's variance has the ranks of the zeros as well.
        zeros = stats.rankdata(np.abs(a - b))[a == b]
        scale = math.sqrt(1.0 - np.square(zeros).sum() / (4.0 * _scipy_variance(a - b)))
        assert abs(split.z) * scale == pytest.approx(abs(other.zstatistic), rel=1e-12)


def _scipy_variance(differences: np.ndarray) -> float:
    return float(np.square(stats.rankdata(np.abs(differences))).sum() / 4.0)


@given(st.lists(st.tuples(WHOLE, WHOLE), min_size=1, max_size=60), st.randoms())
def test_swapped_or_shuffled_signed_ranks(pairs, random):
    a, b = np.array(pairs).T
    found, swapped = wilcoxon_signed_rank(a=a, b=b), wilcoxon_signed_rank(a=b, b=a)
    assert (swapped.positive, swapped.negative) == (found.negative, found.positive)
    assert (swapped.z, swapped.p_value) == (-found.z, found.p_value)
    order = list(range(len(pairs)))
    random.shuffle(order)
    assert wilcoxon_signed_rank(a=a[order], b=b[order]) == found


def test_no_pair_differs():
    for zeros in ("drop", "split"):
        found = wilcoxon_signed_rank(a=[1.0, 2.0], b=[1.0, 2.0], zeros=zeros)
        assert (found.z, found.p_value, found.zeros) == (0.0, 1.0, 2)
    assert wilcoxon_signed_rank(a=[0.0], b=[0.0]).p_value == 1.0


def test_the_unit_of_the_values_does_not_matter():
    a, b = np.random.default_rng(2).standard_normal((2, 12))
    found = wilcoxon_signed_rank(a=a, b=b)
    for scale in (1e-300, 1e-9, 1e200):
        assert wilcoxon_signed_rank(a=scale * a, b=scale * b) == found
        assert friedman(values=scale * np.stack([a, b], axis=1), lower_is_better=True) == friedman(
            values=np.stack([a, b], axis=1), lower_is_better=True
        )


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0], [1.0, 2.0], r"\(1,\), b \(2,\)"),
        ([], [], "at least one"),
        ([[1.0]], [[2.0]], r"\(1, 1\)"),
        ([1.0, math.nan], [1.0, 2.0], "data set 1 has nan"),
    ],
)
def test_pairs_that_are_none(a, b, message):
    with pytest.raises(ValueError, match=message):
        wilcoxon_signed_rank(a=a, b=b)


def test_an_unknown_way_with_zeros():
    with pytest.raises(ValueError, match="zeros is 'pratt'"):
        wilcoxon_signed_rank(a=[1.0], b=[2.0], zeros="pratt")


def test_the_published_friedman_test():
    found = friedman(values=RANKS, lower_is_better=True)
    assert found.average_ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    # Published without correction for ties: chi square 9.28, F = 13 * 9.28 / (42 - 9.28) = 3.69.
    # Ties 2 2 4 2: c = 1 - (6 + 6 + 60 + 6) / (14 * 4 * 15).
    assert found.tie_correction == pytest.approx(1 - 78 / 840, rel=1e-12)
    plain = found.statistic * found.tie_correction
    assert plain == pytest.approx(9.28, abs=0.005)
    assert 13 * plain / (42 - plain) == pytest.approx(3.69, abs=0.005)
    assert found.f_statistic == pytest.approx(
        13 * found.statistic / (42 - found.statistic), rel=1e-12
    )
    turned = friedman(values=-np.array(RANKS), lower_is_better=False)
    assert turned == found


@pytest.mark.parametrize("systems", range(3, 11))
@pytest.mark.parametrize("step", [0.0, 0.5], ids=["continuous", "ties"])
def test_friedman_agrees_with_scipy(systems, step):
    random = np.random.default_rng(systems)
    for effect in (0.0, 0.4):
        values = random.standard_normal((30, systems)) + effect * np.arange(systems)
        if step:
            values = np.round(values / step) * step
        found = friedman(values=values, lower_is_better=True)
        other = stats.friedmanchisquare(*values.T)
        assert found.statistic == pytest.approx(other.statistic, rel=1e-9)
        assert found.p_value == pytest.approx(other.pvalue, rel=1e-9)
        f_tail = stats.f.sf(found.f_statistic, systems - 1, (systems - 1) * 29)
        assert found.f_p_value == pytest.approx(f_tail, rel=1e-9)
        assert (found.tie_correction == 1.0) == (step == 0.0)


@given(
    st.floats(1e-6, 300.0),
    st.integers(1, 12),
    st.integers(1, 400),
)
def test_tails_are_scipys(value, freedom, below):
    ranks = squall.scoring.ranks
    assert ranks._chi_square_tail(value, freedom) == pytest.approx(
        stats.chi2.sf(value, freedom), rel=1e-10
    )
    assert ranks._f_tail(value, freedom, below) == pytest.approx(
        stats.f.sf(value, freedom, below), rel=1e-8, abs=1e-300
    )


def test_friedman_where_all_are_tied_or_all_agree():
    tied = friedman(values=np.ones((5, 3)), lower_is_better=True)
    assert (tied.statistic, tied.p_value, tied.f_statistic, tied.f_p_value) == (0, 1, 0, 1)
    assert tied.average_ranks == (2.0, 2.0, 2.0)
    assert tied.tie_correction == 0.0
    # One order in three data sets of three systems: the largest chi square, 6, and as extreme as
    # (3!)^2 = 36 rankings allow, where F alone would say 0.
    agreed = friedman(values=[[1, 2, 3], [4, 5, 9], [0, 7, 8]], lower_is_better=False)
    assert agreed.average_ranks == (3.0, 2.0, 1.0)
    assert agreed.statistic == pytest.approx(6.0, rel=1e-12)
    assert math.isinf(agreed.f_statistic)
    assert agreed.p_value == pytest.approx(math.exp(-3.0), rel=1e-12)
    assert agreed.f_p_value == pytest.approx(1 / 36, rel=1e-12)


def test_values_equal_but_for_rounding_are_tied():
    # 0.09999999999999998 and -0.10000000000000009
    pairs = wilcoxon_signed_rank(a=[0.9, 0.7], b=[0.8, 0.8])
    assert (pairs.positive, pairs.negative) == (1.5, 1.5)
    assert wilcoxon_signed_rank(a=[0.1 + 0.2], b=[0.3]).zeros == 1
    row = [0.1 + 0.2, 0.3, 0.4]
    found = friedman(values=[row, row], lower_is_better=True)
    assert found.average_ranks == (1.5, 1.5, 3.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], r"shape \(2,\)"),
        ([[1.0, 2.0]], r"shape \(1, 2\)"),
        ([[1.0], [2.0]], r"shape \(2, 1\)"),
        ([[1.0, 2.0], [1.0, math.inf]], "data set 1 and system 1 is inf"),
    ],
)
def test_tables_that_are_none(values, message):
    with pytest.raises(ValueError, match=message):
        friedman(values=values, lower_is_better=True)


@pytest.mark.parametrize("alpha", [0.05, 0.10])
@pytest.mark.parametrize("systems", range(2, 11))
def test_critical_differences_are_of_the_studentised_range(systems, alpha):
    # Infinite degrees of freedom; the table has three decimals, 2.728 of 2.7277 for example.
    quantile = stats.studentized_range.ppf(1 - alpha, systems, np.inf) / math.sqrt(2)
    found = nemenyi_critical_difference(systems=systems, data_sets=25, alpha=alpha)
    scale = math.sqrt(systems * (systems + 1) / (6 * 25))
    assert found / scale == pytest.approx(quantile, abs=1e-3)


def test_the_published_critical_differences():
    assert nemenyi_critical_difference(systems=4, data_sets=14) == pytest.approx(1.25, abs=0.005)
    assert nemenyi_critical_difference(systems=4, data_sets=14, alpha=0.10) == pytest.approx(
        1.12, abs=0.005
    )


@pytest.mark.parametrize(
    ("systems", "data_sets", "alpha", "message"),
    [
        (1, 5, 0.05, "1 systems"),
        (11, 5, 0.05, "2 to 10"),
        (4, 0, 0.05, "0 data sets"),
        (4, 5, 0.01, "alpha is 0.01"),
    ],
)
def test_critical_differences_that_are_not_known(systems, data_sets, alpha, message):
    with pytest.raises(ValueError, match=message):
        nemenyi_critical_difference(systems=systems, data_sets=data_sets, alpha=alpha)


def test_examples_in_docstrings():
    result = doctest.testmod(squall.scoring.ranks)
    assert result.attempted > 0
    assert result.failed == 0
