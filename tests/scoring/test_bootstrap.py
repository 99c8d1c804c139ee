from __future__ import annotations

import doctest
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import squall.scoring.bootstrap
from squall.scoring import (
    ErrorCounts,
    bootstrap_mean,
    bootstrap_rate,
    compare_means,
    compare_rates,
    score_texts,
    stack_counts,
)


def test_rates_are_ratios_of_sums():
    options = {"lengths": [2, 0, 8], "groups": ["s1", "s1", "s2"], "resamples": 10}
    found = bootstrap_rate(errors=[1, 0, 3], **options)
    assert found.value == 0.4  # (1 + 3) / 10, not the mean of 1/2 and 3/8
    assert (found.units, found.resamples, found.level) == (2, 10, 0.95)
    difference = compare_rates(errors_a=[1, 0, 3], errors_b=[[0, 0, 3], [1, 2, 2]], **options)
    assert difference.value == pytest.approx(0.4 - (0.3 + 0.5) / 2, abs=1e-15)


def test_two_utterances_by_hand():
    # One of the two is drawn: rate 1/10 or 6/20, difference -1/10 or 2/20, each half of the time.
    rate = bootstrap_rate(errors=[1, 6], lengths=[10, 20], resamples=4000)
    assert (rate.low, rate.high) == (0.1, 0.3)
    found = compare_rates(errors_a=[1, 6], errors_b=[2, 4], lengths=[10, 20], resamples=4000)
    assert found.value == pytest.approx(1 / 30)
    assert (found.low, found.high) == pytest.approx((-0.1, 0.1))
    assert found.probability_lower == pytest.approx(0.5, abs=0.03)
    assert found.p_value > 0.95


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_agree_with_scipy(level):
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(1)
    lengths = 1 + random.poisson(6.0, 250)
    hard = random.beta(1.5, 8.5, 250)
    a, b = random.binomial(lengths, hard), random.binomial(lengths, 0.8 * hard)

    def difference(a, b, lengths, axis):
        return (a.sum(axis=axis) - b.sum(axis=axis)) / lengths.sum(axis=axis)

    options = {"method": "percentile", "confidence_level": level, "n_resamples": 9999}
    other = stats.bootstrap(
        (a, b, lengths), difference, paired=True, vectorized=True, rng=2, **options
    ).confidence_interval
    found = compare_rates(errors_a=a, errors_b=b, lengths=lengths, level=level)
    width = other.high - other.low
    assert found.low == pytest.approx(other.low, abs=0.03 * width)
    assert found.high == pytest.approx(other.high, abs=0.03 * width)
    # One rate, and the mean of values, with the same resamples as the difference has.
    other = stats.bootstrap((a / lengths,), np.mean, rng=3, **options).confidence_interval
    found = bootstrap_mean(values=a / lengths, level=level)
    assert found.low == pytest.approx(other.low, abs=0.03 * (other.high - other.low))
    assert found.high == pytest.approx(other.high, abs=0.03 * (other.high - other.low))
    same = bootstrap_rate(errors=a, lengths=lengths, level=level)
    nothing = compare_rates(errors_a=a, errors_b=np.zeros_like(a), lengths=lengths, level=level)
    assert (same.value, same.low, same.high) == (nothing.value, nothing.low, nothing.high)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9)), min_size=2, max_size=20
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_utterances_does_not_change_the_rates(rows, random):
    def compare():
        a, b, lengths = np.array(rows).T
        return compare_rates(errors_a=a, errors_b=b, lengths=lengths, resamples=20)

    before = compare()
    random.shuffle(rows)
    assert compare().value == before.value
    a, b, lengths = np.array(rows).sum(axis=0)
    assert before.value == pytest.approx(a / lengths - b / lengths, abs=1e-12)


def test_a_clear_difference_is_clear():
    found = compare_rates(errors_a=[0, 1] * 50, errors_b=[3, 2] * 50, lengths=[9] * 100)
    assert found.high < 0.0
    assert found.p_value == 2 / 10_001  # the least that 10,000 resamples can say
    assert found.probability_lower == 1.0


def test_means_of_items():
    a, b = np.array([0.5, 0.75, 1.0]), np.array([0.25, 0.5, 0.0])
    assert bootstrap_mean(values=a, resamples=10).value == 0.75
    found = compare_means(values_a=a, values_b=[b, b + 0.25], resamples=2000)
    assert found.value == pytest.approx(0.75 - 0.375)
    # A is below never, and equal for the second model and two draws of the first two items.
    assert found.probability_lower == pytest.approx(0.5 * (1 / 2) * (4 / 9), abs=0.02)


def test_stacked_counts_of_reports():
    references = {"u2": "a b c", "u1": "a b", "u3": ""}
    reports = [
        score_texts(references=references, hypotheses=hypotheses, unit="word")
        for hypotheses in (
            {"u1": "a b", "u2": "a x", "u3": "y"},
            {"u3": "", "u2": "a b c", "u1": "b"},
        )
    ]
    stacked = stack_counts([{u.id: u.counts for u in report.utterances} for report in reports])
    assert stacked.ids == ("u1", "u2", "u3")
    assert stacked.errors.tolist() == [[0, 2, 1], [1, 0, 0]]
    assert stacked.lengths.tolist() == [2, 3, 0]
    for row, report in zip(stacked.errors, reports, strict=True):
        rate = bootstrap_rate(errors=row, lengths=stacked.lengths, groups=[1, 2, 2], resamples=9)
        assert rate.value == pytest.approx(report.total.counts.rate)


def test_models_of_different_utterances_are_named():
    one = {"u1": ErrorCounts(1, 0, 0, 4), "u2": ErrorCounts(0, 0, 0, 3)}
    with pytest.raises(ValueError, match=r"models 0 and 1 .* 1 are only in one .* u2"):
        stack_counts([one, {"u1": ErrorCounts(1, 0, 0, 4)}])
    with pytest.raises(ValueError, match=r"utterance u2 has 3 .* model 0, 5 for model 1"):
        stack_counts([one, {**one, "u2": ErrorCounts(0, 0, 0, 5)}])
    for nothing in ([], [{}]):
        with pytest.raises(ValueError, match="at least one model"):
            stack_counts(nothing)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("a", "b", "lengths", "message"),
    [
        ([1, 2, 3], [1, 2], [5, 5], r"errors_a have shape \(3,\), but there are 2 lengths"),
        ([1, 2], [[1], [2]], [5, 5], r"errors_b have shape \(2, 1\)"),
        ([1, 2], 1, [5, 5], r"errors_b have shape \(\)"),
        ([[[1, 2]]], [1, 2], [5, 5], r"\(1, 1, 2\)"),
        ([1, 2], [1, 2], [[5, 5]], r"lengths have shape \(1, 2\)"),
        ([1, -1], [1, 2], [5, 5], r"errors_a\[1\] is -1"),
        ([1, 2], [[1, 2], [3, -4]], [5, 5], r"errors_b\[1, 1\] is -4"),
        ([1, 2], [1, 0.5], [5, 5], r"errors_b\[1\] is 0.5"),
        ([1, 2], [1, 2], [5, -5], r"lengths\[1\] is -5"),
        ([1, 2], [1, 2], [5, math.inf], r"lengths\[1\] is inf"),
        ([True, False], [1, 2], [5, 5], "errors_a have type bool"),
        ([1, 2], [1, 2], [0, 0], "references of all 2 utterances are empty"),
        ([], [], [], "there is no error rate"),
        ([1, 2], [1, 2], [0, 5], r"undefined in \d+ of 100 resamples"),
        ([1], [1], [5], "only one utterance"),
    ],
)
def test_counts_that_are_none(a, b, lengths, message):
    with pytest.raises(ValueError, match=message):
        compare_rates(errors_a=a, errors_b=b, lengths=lengths, resamples=100)


def test_values_that_are_none():
    with pytest.raises(ValueError, match=r"values_b have shape \(1, 1, 2\)"):
        compare_means(values_a=[1.0, 2.0], values_b=[[[1.0, 2.0]]])
    with pytest.raises(ValueError, match="A has 2 utterances or items, B 3"):
        compare_means(values_a=[1.0, 2.0], values_b=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="item 1 is nan, not finite"):
        bootstrap_mean(values=[1.0, math.nan])
    with pytest.raises(ValueError, match="type <U1"):
        bootstrap_mean(values=["a", "b"])


# Simulated experiments: utterances of 1 + Poisson(6) words, hard for A and B alike; A errs in 15 %
# of the words, B in 12 %. The coverages of 3,000 experiments have a standard error of 0.4 %.
TRUE_DIFFERENCE = 0.15 - 0.12

Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]


def utterances(random: np.random.Generator, count: int = 150) -> tuple[np.ndarray, np.ndarray]:
    return 1 + random.poisson(6.0, count), random.beta(1.5, 8.5, count)


def coverage(draw: Draw, trials: int) -> float:
    random = np.random.default_rng(1)
    covered = 0
    for trial in range(trials):
        a, b, lengths, groups = draw(random)
        found = compare_rates(
            errors_a=a, errors_b=b, lengths=lengths, groups=groups, resamples=999, seed=trial
        )
        covered += found.low <= TRUE_DIFFERENCE <= found.high
    return covered / trials


@pytest.mark.slow
def test_intervals_over_utterances_cover_the_true_difference():
    def draw(random):
        lengths, hard = utterances(random)
        a, b = random.binomial(lengths, hard), random.binomial(lengths, 0.8 * hard)
        return a, b, lengths, None

    assert 0.93 <= coverage(draw, trials=3000) <= 0.97


@pytest.mark.slow
def test_only_intervals_over_speakers_cover_other_speakers():
    def draw(random, by_speaker=True):
        speakers = np.repeat(np.arange(40), 12)
        lengths, hard = utterances(random, len(speakers))
        helped = random.uniform(0.2, 1.4, 40)[speakers]  # what B makes of a speaker's errors
        rates = np.stack([hard, np.minimum(helped * hard, 1.0)])
        a, b = random.binomial(lengths, rates)
        return a, b, lengths, speakers if by_speaker else None

    assert 0.93 <= coverage(draw, trials=3000) <= 0.97
    assert coverage(lambda random: draw(random, by_speaker=False), trials=1000) < 0.88


def trained(random: np.random.Generator, spread: float) -> tuple[np.ndarray, ...]:
    """Errors (5, N) of five models of each system, whose rates vary by `spread` of their mean."""
    lengths, hard = utterances(random)
    of_model = 1.0 + spread * random.standard_normal((2, 5, 1))
    rates = np.clip(of_model * np.stack([hard, 0.8 * hard])[:, None], 0.0, 1.0)
    return (*random.binomial(lengths, rates), lengths)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spread", "low", "high"),
    [(0.2, 0.93, 0.97), pytest.param(0.1, 0.95, 0.99, marks=pytest.mark.nightly)],
)
def test_intervals_over_seeds_cover_the_difference_of_trainings(spread, low, high):
    """Nightly for trainings that differ less, too."""

    def resampled(random):
        a, b, lengths = trained(random, spread)
        return a, b, lengths, None

    def these_models(random):
        a, b, lengths = trained(random, spread)
        return a.sum(axis=0), b.sum(axis=0), 5 * lengths, None

    assert low <= coverage(resampled, trials=1000) <= high
    assert coverage(these_models, trials=500) < 0.88


@pytest.mark.slow
def test_one_in_twenty_equal_systems_differs_at_five_percent():
    random = np.random.default_rng(2)
    rejected = 0
    for trial in range(3000):
        lengths, hard = utterances(random)
        a, b = random.binomial(lengths, np.stack([hard, hard]))
        found = compare_rates(errors_a=a, errors_b=b, lengths=lengths, resamples=999, seed=trial)
        rejected += found.p_value < 0.05
    assert 0.035 < rejected / 3000 < 0.065


def test_examples_in_docstrings():
    result = doctest.testmod(squall.scoring.bootstrap)
    assert result.attempted > 0
    assert result.failed == 0
