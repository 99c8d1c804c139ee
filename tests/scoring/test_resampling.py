from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.scoring import (
    bin_confidences,
    bootstrap_mean,
    bootstrap_statistic,
    compare_means,
    compare_rates,
    compare_statistics,
    resampling,
)


def draws(values: np.ndarray, **options) -> np.ndarray:
    """The means of all resamples of one model's values."""
    seen = []

    def mean(sums):
        means = sums[..., 0] / sums[..., 1]
        seen.append(means[:, 0])
        return means

    items = np.stack([values, np.ones_like(values)], axis=-1)
    bootstrap_statistic(sums=items, statistic=mean, **options)
    *resamples, observed = seen
    assert len(observed) == 1
    return np.concatenate(resamples)


def test_one_less_than_there_are_is_drawn_with_replacement():
    # Powers of 4 tell how often each of the four was drawn: three digits of base 4 in all.
    found = np.rint(draws(np.array([1.0, 4.0, 16.0, 64.0]), resamples=40_000) * 3).astype(int)
    counts = np.array([found // 4**digit % 4 for digit in range(4)])
    assert (counts.sum(axis=0) == 3).all()
    # Each of the 4^3 draws is as probable: AAA 1/64, AAB 3/64, ABC 6/64.
    _, shares = np.unique(found, return_counts=True)
    assert len(shares) == 20
    expected = sorted([1 / 64] * 4 + [3 / 64] * 12 + [6 / 64] * 4)
    assert sorted(shares / 40_000) == pytest.approx(expected, abs=0.004)


@pytest.mark.parametrize("count", [4, 10, 100])
def test_the_variance_of_the_mean_is_unbiased(count):
    values = np.random.default_rng(count).gamma(2.0, size=count)
    found = draws(values, resamples=40_000)
    # s^2 / n; with n draws it would be (n - 1) / n of that, 25 % less for four.
    assert found.var() == pytest.approx(values.var(ddof=1) / count, rel=0.03)
    assert found.mean() == pytest.approx(values.mean(), rel=0.01)


def test_seeds_are_drawn_on_their_own_for_each_system():
    # Items that are all alike: only the seeds vary.
    a, b = np.array([0.0, 1.0, 10.0]), np.array([0.0, 3.0])
    found = compare_means(
        values_a=np.repeat(a[:, None], 5, axis=1),
        values_b=np.repeat(b[:, None], 5, axis=1),
        resamples=20_000,
        level=0.8,
    )
    assert found.value == pytest.approx(11 / 3 - 1.5)
    # Two of A's three and one of B's two, 18 ways.
    ways = [
        np.mean(of_a) - of_b for of_a, of_b in itertools.product(itertools.product(a, repeat=2), b)
    ]
    below = sum(way < 0.0 for way in ways) + 0.5 * sum(way == 0.0 for way in ways)
    assert found.probability_lower == pytest.approx(below / 18, abs=0.01)
    assert (found.low, found.high) == pytest.approx((-2.5, 7.0))
    # One way of 18 is below, -3, and one above, 10; the next are at 2 and 3 of 18.
    assert [sum(way < -2.5 for way in ways), sum(way > 7.0 for way in ways)] == [1, 1]
    # -3 once, -2.5 twice, -2 once, 0 once.
    assert found.p_value == pytest.approx(2 * sum(way <= 0.0 for way in ways) / 18, abs=0.02)


def test_draws_of_items_and_of_both_systems_do_not_depend_on_each_other():
    # One of two seeds of each system: they differ by -1, 0 and 1.
    seeds = np.array([[0.0, 0.0], [1.0, 1.0]])
    found = compare_means(values_a=seeds, values_b=seeds, resamples=4000, level=0.8)
    assert (found.value, found.low, found.high) == (0.0, -1.0, 1.0)
    assert found.probability_lower == pytest.approx(0.5, abs=0.03)
    # One of two items and one of two seeds: as often the 1 as the 0.
    found = bootstrap_mean(values=np.eye(2), resamples=4000, level=0.8)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_groups_are_drawn_as_a_whole():
    random = np.random.default_rng(3)
    groups = random.choice(["s1", "s2", "s3", "s10"], size=40)
    sums = random.integers(1, 9, size=(2, 3, 40, 2)).astype(float)
    totals = np.stack([sums[:, :, groups == name].sum(axis=2) for name in np.unique(groups)], 2)

    def ratio(sums):
        return sums[..., 0] / sums[..., 1]

    of_items = compare_statistics(
        sums_a=sums[0], sums_b=sums[1], statistic=ratio, groups=groups, resamples=500
    )
    of_groups = compare_statistics(
        sums_a=totals[0], sums_b=totals[1], statistic=ratio, resamples=500
    )
    assert of_items == of_groups
    assert of_items.units == 4
    # Labels may be numbers, and their order is of no account.
    numbers = np.unique(groups, return_inverse=True)[1]
    numbered = compare_statistics(
        sums_a=sums[0], sums_b=sums[1], statistic=ratio, groups=numbers.tolist(), resamples=500
    )
    assert numbered == of_items


def test_the_size_of_the_blocks_changes_nothing(monkeypatch):
    random = np.random.default_rng(4)
    a, b = random.integers(0, 5, size=(4, 31)), random.integers(0, 5, size=(3, 31))
    options = {"errors_a": a, "errors_b": b, "lengths": np.full(31, 7), "resamples": 203}
    whole = compare_rates(**options)
    for elements in (1, 31 * 7, 31 * 64):
        monkeypatch.setattr(resampling, "_BLOCK_ELEMENTS", elements)
        assert compare_rates(**options) == whole


def test_memory_is_that_of_a_block():
    values = np.random.default_rng(5).random(4000)
    tracemalloc.start()
    try:
        bootstrap_mean(values=values, resamples=3000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * 2**20  # all weights at once would be 92 MiB


def test_one_seed_as_a_row_is_the_same_as_without():
    values = np.random.default_rng(6).random(30)
    assert bootstrap_mean(values=values, resamples=200) == bootstrap_mean(
        values=values[None], resamples=200
    )


def test_the_same_seed_gives_the_same_resamples():
    values = np.random.default_rng(7).random(30)
    one, same, other = (bootstrap_mean(values=values, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert (one.low, one.high) != (other.low, other.high)
    assert one.low == pytest.approx(other.low, abs=0.01)


def test_a_statistic_of_many_sums():
    # The calibration error over all words, from the bins of each utterance.
    random = np.random.default_rng(8)
    confidences = random.beta(5, 2, size=(60, 9))
    correct = random.random((60, 9)) < confidences**2
    utterances = [
        bin_confidences(confidences=c, correct=r) for c, r in zip(confidences, correct, strict=True)
    ]
    sums = np.array(
        [np.stack([u.correct_counts - u.confidence_sums, u.counts]) for u in utterances]
    )

    def ece(sums):
        gaps, counts = np.split(sums, 2, axis=-1)
        return np.abs(gaps).sum(axis=-1) / counts.sum(axis=-1)

    found = bootstrap_statistic(sums=sums.reshape(60, -1), statistic=ece, resamples=2000)
    whole = bin_confidences(confidences=confidences.ravel(), correct=correct.ravel())
    assert found.value == pytest.approx(whole.ece, rel=1e-12)
    assert found.low < whole.ece < found.high
    # Of two models it is the mean of their errors, not the error of their mean.
    mirrored = sums * np.array([-1.0, 1.0])[:, None]
    both = np.stack([sums, mirrored]).reshape(2, 60, -1)
    found = bootstrap_statistic(sums=both, statistic=ece, resamples=200)
    assert found.value == pytest.approx(whole.ece, rel=1e-12)


SAMPLES = st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=2, max_size=12)


@given(SAMPLES, st.integers(0, 9))
def test_swapped_systems_negate(pairs, seed):
    a, b = np.array(pairs).T
    one = compare_means(values_a=a, values_b=b, resamples=50, seed=seed)
    other = compare_means(values_a=b, values_b=a, resamples=50, seed=seed)
    assert other.value == -one.value
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), rel=1e-9, abs=1e-12)
    assert other.p_value == one.p_value
    assert other.probability_lower == pytest.approx(1.0 - one.probability_lower)


@given(SAMPLES, st.integers(0, 9), st.sampled_from([0.5, 0.8, 0.95]))
def test_a_small_p_value_leaves_zero_out(pairs, seed, level):
    a, b = np.array(pairs).T
    found = compare_means(values_a=a, values_b=b, resamples=999, seed=seed, level=level)
    assert found.low <= found.high
    if found.p_value < 1.0 - level - 1e-9:
        assert found.low > 0.0 or found.high < 0.0
    if found.low > 0.0 or found.high < 0.0:
        assert found.p_value <= 1.0 - level + 2 / 1000 + 1e-9
    assert 2 / 1000 <= found.p_value <= 1.0


@pytest.mark.parametrize("tokens", [3, 7, 10, 13])
def test_systems_equal_but_for_the_order_of_sums(tokens):
    # All models of both have the same rate, but mean(1/7, 1/7, 1/7) may be another number.
    a, b = np.ones((8, 20)), np.ones((4, 20))
    found = compare_rates(errors_a=a, errors_b=b, lengths=np.full(20, tokens), resamples=500)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.p_value, found.probability_lower) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        (np.ones(3), r"shape \(3,\)"),
        (np.ones((1, 1, 3, 2)), r"\(1, 1, 3, 2\)"),
        (np.ones((0, 2)), r"shape \(0, 2\)"),
        (np.ones((0, 3, 2)), r"shape \(0, 3, 2\)"),
        (np.array([["a"]]), "type <U1"),
        (np.array([[1.0], [np.nan]]), "item 1 is nan"),
        (np.ones((1, 2)), "only one utterance"),
    ],
    ids=["vector", "four axes", "no utterance", "no seed", "text", "nan", "one utterance"],
)
def test_sums_that_are_none(sums, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_statistic(sums=sums, statistic=lambda sums: sums[..., 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ["a"] * 4}, r"groups have shape \(4,\), but there are 5"),
        ({"groups": [["a"]] * 5}, r"\(5, 1\)"),
        ({"groups": ["a"] * 5}, "only one group"),
        ({"level": 1.0}, "level is 1.0"),
        ({"level": 95}, "level is 95"),
        ({"resamples": 0}, "resamples is 0"),
    ],
    ids=["few labels", "columns of labels", "one group", "level 1", "percent", "no resamples"],
)
def test_options_out_of_range(options, message):
    values = np.arange(5.0)
    with pytest.raises(ValueError, match=message):
        bootstrap_mean(values=values, **options)
    with pytest.raises(ValueError, match=message):
        compare_means(values_a=values, values_b=values, **options)


def test_a_statistic_that_is_not_finite():
    with pytest.raises(ValueError, match="of the data is not finite"):
        bootstrap_statistic(
            sums=np.ones((3, 1)), statistic=lambda sums: np.full(sums.shape[:-1], np.inf)
        )
