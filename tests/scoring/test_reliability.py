"""Reliability bins: by hand, a slow loop, torchmetrics, adding up, ties, edges."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.scoring import bin_confidences, bin_equal_mass

# Edges of ten bins, values next to them, and any others.
CONFIDENCES = st.one_of(
    st.integers(0, 10).map(lambda k: k / 10),
    st.integers(1, 9).map(lambda k: math.nextafter(k / 10, 1.0)),
    st.floats(0.0, 1.0),
)
SAMPLES = st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=40)
BIN_BOTH_WAYS = pytest.mark.parametrize("bin_samples", [bin_confidences, bin_equal_mass])


def _bin(bin_samples, samples, bins=10):
    confidences = np.array([confidence for confidence, _ in samples], dtype=np.float64)
    correct = np.array([right for _, right in samples], dtype=bool)
    return bin_samples(confidences=confidences, correct=correct, bins=bins)


def _errors_of_groups(groups):
    """Exact ECE and MCE of samples in groups, as rational numbers."""
    groups = [group for group in groups if group]
    total = sum(len(group) for group in groups)
    gaps = [
        abs(sum(Fraction(c) for c, _ in group) - sum(right for _, right in group))
        for group in groups
    ]
    largest = max(gap / len(group) for gap, group in zip(gaps, groups, strict=True))
    return float(sum(gaps) / total), float(largest)


def _groups_of_equal_width(samples, bins):
    groups = [[] for _ in range(bins)]
    for confidence, right in samples:
        for b in range(bins):
            low, high = b / bins, (b + 1) / bins
            if low < confidence <= high or (b == 0 and confidence == 0.0):
                groups[b].append((confidence, right))
    return groups


def _groups_of_equal_mass(samples, bins):
    """Deal the sorted samples out one by one; equals follow the first of them, many stay apart."""
    ordered = sorted(samples)
    starts = [math.ceil(Fraction(b * len(ordered), bins)) for b in range(bins + 1)]
    groups = {}
    for confidence, right in ordered:
        equals = [rank for rank, (other, _) in enumerate(ordered) if other == confidence]
        first = next(b for b in range(bins) if starts[b] <= equals[0] < starts[b + 1])
        key = (confidence,) if len(equals) > Fraction(len(ordered), bins) else first
        groups.setdefault(key, []).append((confidence, right))
    return list(groups.values())


def test_by_hand():
    found = bin_confidences(
        confidences=[0.0, 0.2, 0.3, 0.9, 0.95, 1.0],
        correct=[False, False, True, True, False, True],
        bins=5,
    )
    assert found.edges.tolist() == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert found.counts.tolist() == [2, 1, 0, 0, 3]
    assert found.correct_counts.tolist() == [0, 1, 0, 0, 2]
    assert found.mean_confidence == pytest.approx([0.1, 0.3, math.nan, math.nan, 0.95], nan_ok=True)
    assert found.accuracy == pytest.approx([0, 1, math.nan, math.nan, 2 / 3], nan_ok=True)
    assert found.shares == pytest.approx([1 / 3, 1 / 6, 0, 0, 1 / 2])
    assert (found.samples, found.overall_accuracy) == (6, 0.5)
    assert found.overall_confidence == pytest.approx(3.35 / 6)
    assert found.ece == pytest.approx((0.2 + 0.7 + 0.85) / 6)
    assert found.mce == pytest.approx(0.7)


@pytest.mark.parametrize("bins", [1, 2, 3, 5, 7, 10, 15, 20])
def test_a_bin_has_its_upper_edge_and_the_first_its_lower_one_too(bins):
    edges = np.arange(bins + 1) / bins
    right = np.zeros(bins + 1, dtype=bool)
    found = bin_confidences(confidences=edges, correct=right, bins=bins)
    assert found.counts.tolist() == [2] + [1] * (bins - 1)
    above = np.nextafter(edges[:-1], 2.0)
    found = bin_confidences(confidences=above, correct=right[1:], bins=bins)
    assert found.counts.tolist() == [1] * bins


def test_full_confidence_shares_the_last_bin():
    # In a bin of its own it would be right in all cases, and 0.92 wrong in all.
    found = bin_confidences(confidences=[1.0, 0.92], correct=[True, False])
    assert found.counts[-1] == 2
    assert found.ece == pytest.approx(0.46)


def test_float32_confidences_are_compared_as_what_they_are():
    found = bin_confidences(confidences=np.float32([0.3, 0.7]), correct=[True, True])
    assert float(np.float32(0.3)) > 0.3
    assert float(np.float32(0.7)) < 0.7
    assert np.flatnonzero(found.counts).tolist() == [3, 6]


@settings(deadline=None)
@given(SAMPLES, st.sampled_from([1, 2, 3, 10, 15]))
def test_equal_widths_against_a_loop(samples, bins):
    found = _bin(bin_confidences, samples, bins)
    groups = _groups_of_equal_width(samples, bins)
    assert found.counts.tolist() == [len(group) for group in groups]
    assert found.correct_counts.tolist() == [sum(right for _, right in g) for g in groups]
    ece, mce = _errors_of_groups(groups)
    assert found.ece == pytest.approx(ece, abs=1e-12)
    assert found.mce == pytest.approx(mce, abs=1e-12)


@settings(deadline=None)
@given(SAMPLES, st.sampled_from([1, 2, 3, 10, 15]))
def test_equal_masses_against_a_loop(samples, bins):
    found = _bin(bin_equal_mass, samples, bins)
    groups = _groups_of_equal_mass(samples, bins)
    assert len(groups) <= 2 * bins - 1
    assert found.counts.tolist() == [len(group) for group in groups]
    ece, mce = _errors_of_groups(groups)
    assert found.ece == pytest.approx(ece, abs=1e-12)
    assert found.mce == pytest.approx(mce, abs=1e-12)


@pytest.mark.parametrize("bins", [3, 10, 15])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_against_torchmetrics(bins, sharpness):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    random = np.random.default_rng(bins)
    # No value on an edge, where the conventions differ.
    confidences = random.beta(sharpness, 1.0, 500) * 0.999 + 0.0005
    correct = random.random(500) < confidences**2
    found = bin_confidences(confidences=confidences, correct=correct, bins=bins)
    tensors = torch.from_numpy(confidences), torch.from_numpy(correct.astype(np.int64))
    for norm, value in (("l1", found.ece), ("max", found.mce)):
        expected = theirs.binary_calibration_error(*tensors, n_bins=bins, norm=norm)
        assert value == pytest.approx(expected.item(), abs=1e-12)
        assert value > 0.01


@BIN_BOTH_WAYS
@settings(deadline=None)
@given(samples=SAMPLES, order=st.randoms(use_true_random=False))
def test_the_order_of_the_samples_changes_no_bit(bin_samples, samples, order):
    shuffled = list(samples)
    order.shuffle(shuffled)
    one, two = _bin(bin_samples, samples), _bin(bin_samples, shuffled)
    assert one.edges.tolist() == two.edges.tolist()
    assert one.counts.tolist() == two.counts.tolist()
    assert one.confidence_sums.tolist() == two.confidence_sums.tolist()
    assert one.correct_counts.tolist() == two.correct_counts.tolist()
    assert (one.ece, one.mce) == (two.ece, two.mce)


@BIN_BOTH_WAYS
@settings(deadline=None)
@given(samples=SAMPLES, bins=st.integers(1, 12))
def test_errors_have_their_ranges(bin_samples, samples, bins):
    found = _bin(bin_samples, samples, bins)
    assert 0.0 <= found.ece <= 1.0
    assert found.ece <= found.mce + 1e-12
    assert found.mce <= 1.0
    assert found.samples == len(samples)
    gap = abs(found.overall_accuracy - found.overall_confidence)
    assert gap <= found.ece + 1e-12
    if bins == 1:
        assert found.ece == pytest.approx(gap, abs=1e-12)
        assert found.mce == pytest.approx(gap, abs=1e-12)


@settings(deadline=None)
@given(SAMPLES, st.integers(0, 40))
def test_bins_of_parts_add_up_to_those_of_the_whole(samples, cut):
    both = _bin(bin_confidences, samples[:cut]) + _bin(bin_confidences, samples[cut:])
    whole = _bin(bin_confidences, samples)
    assert both.counts.tolist() == whole.counts.tolist()
    assert both.correct_counts.tolist() == whole.correct_counts.tolist()
    assert both.confidence_sums == pytest.approx(whole.confidence_sums)
    assert both.ece == pytest.approx(whole.ece, abs=1e-12)


def test_bins_of_other_edges_do_not_add():
    right = np.ones(4, dtype=bool)
    ten = bin_confidences(confidences=[0.1, 0.2, 0.6, 0.9], correct=right)
    five = bin_confidences(confidences=[0.1, 0.2, 0.6, 0.9], correct=right, bins=5)
    with pytest.raises(ValueError, match=r"10 bins with edges .* and 5"):
        ten + five
    mass = bin_equal_mass(confidences=[0.1, 0.2, 0.6, 0.9], correct=right, bins=2)
    with pytest.raises(ValueError, match="made from all samples together"):
        mass + mass


@settings(deadline=None)
@given(st.sets(st.floats(0.0, 1.0), min_size=1, max_size=40), st.integers(1, 12))
def test_different_confidences_fill_bins_equally(confidences, bins):
    values = sorted(confidences)
    found = bin_equal_mass(confidences=values, correct=np.zeros(len(values), dtype=bool), bins=bins)
    assert len(found.counts) == min(bins, len(values))
    assert found.counts.max() - found.counts.min() <= 1


@pytest.mark.parametrize(
    ("confidences", "bins", "edges", "counts"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5], 2, [0.0, 0.3, 1.0], [3, 2]),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, [0.0, 1.0], [5]),
        ([0.4, 0.2], 10, [0.0, 0.2, 1.0], [1, 1]),
        ([0.1, 0.2, 0.2, 0.3], 2, [0.0, 0.2, 1.0], [3, 1]),
        ([0.1, 0.2, 0.2, 0.2], 2, [0.0, 0.1, 1.0], [1, 3]),
        ([0.1, 0.2, 0.2, 0.2, 0.3, 0.4], 3, [0.0, 0.1, 0.2, 1.0], [1, 3, 2]),
        ([0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3], 3, [0.0, 0.1, 0.2, 1.0], [1, 3, 3]),
        ([0.1, 0.2, 0.2, 0.2], 4, [0.0, 0.1, 1.0], [1, 3]),
        ([0.2, 0.2, 0.2, 0.9], 2, [0.0, 0.2, 1.0], [3, 1]),
        ([1.0, 1.0, 1.0, 1.0], 3, [0.0, 1.0], [4]),
        ([0.0, 0.0, 0.0, 0.7], 2, [0.0, 0.0, 1.0], [3, 1]),
        ([], 3, [0.0, 1.0], [0]),
    ],
)
def test_equal_masses_by_hand(confidences, bins, edges, counts):
    found = bin_equal_mass(
        confidences=confidences, correct=np.zeros(len(confidences), dtype=bool), bins=bins
    )
    assert found.edges.tolist() == edges
    assert found.counts.tolist() == counts


def test_a_cut_through_ties_does_not_sort_right_from_wrong():
    # Nine tenths are right at confidence 0.9: no error, whatever the bins.
    found = bin_equal_mass(confidences=np.full(1000, 0.9), correct=np.arange(1000) % 10 > 0)
    assert found.ece == pytest.approx(0.0, abs=1e-9)


def test_the_rest_is_not_hidden_in_a_long_run_of_ties():
    # Five at 0.1 that are right and 95 at 1.0 of which ten are wrong err in opposite directions.
    confidences, correct = np.repeat([0.1, 1.0], [5, 95]), np.arange(100) < 90
    found = bin_equal_mass(confidences=confidences, correct=correct)
    assert found.counts.tolist() == [5, 95]
    assert found.ece == pytest.approx((5 * 0.9 + 10) / 100)


@BIN_BOTH_WAYS
def test_simulated_confidences(bin_samples):
    random = np.random.default_rng(0)
    confidences = random.random(100_000)
    honest = random.random(100_000) < confidences
    assert bin_samples(confidences=confidences, correct=honest).ece < 0.006
    # Right with probability c^2: the mean gap is the integral of c - c^2.
    too_sure = random.random(100_000) < confidences**2
    found = bin_samples(confidences=confidences, correct=too_sure)
    assert found.ece == pytest.approx(1 / 6, abs=0.006)
    assert found.mce == pytest.approx(0.25, abs=0.02)


@BIN_BOTH_WAYS
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_certainty(bin_samples, confidence, right):
    found = bin_samples(confidences=[confidence] * 3, correct=[right] * 3)
    assert found.ece == found.mce == float(bool(confidence) != right)


@BIN_BOTH_WAYS
def test_no_samples_have_no_error(bin_samples):
    found = bin_samples(confidences=[], correct=[])
    assert found.samples == 0
    values = (found.ece, found.mce, found.overall_accuracy, found.overall_confidence)
    assert all(math.isnan(value) for value in values)
    assert np.isnan(found.shares).all()
    assert np.isnan(found.accuracy).all()


@BIN_BOTH_WAYS
@pytest.mark.parametrize(
    ("confidences", "correct", "message"),
    [
        ([0.5, 1.01], [True, True], r"confidence of row 1 is 1\.01; it must be in \[0, 1\]"),
        ([-0.25, 1.0], [True, True], r"confidence of row 0 is -0\.25"),
        ([1.0, 1.0001], [True, True], r"confidence of row 1 is 1\.0001;"),
        ([0.5, 0.5, math.nan], [True] * 3, "confidence of row 2 is nan"),
        ([0.5], [True, False], r"shape \(1,\), correct \(2,\)"),
        ([[0.5]], [[True]], r"both must be \(samples,\)"),
        (0.5, True, r"both must be \(samples,\)"),
        ([0.5, 0.5], [1, 0], "correct is int64"),
        ([True, False], [0.5, 0.5], "confidences are bool, correct is float64"),
        ([True, False], [True, False], "confidences are bool"),
    ],
)
def test_wrong_confidences_are_named(bin_samples, confidences, correct, message):
    with pytest.raises(ValueError, match=message):
        bin_samples(confidences=np.array(confidences), correct=np.array(correct))


@BIN_BOTH_WAYS
@pytest.mark.parametrize(
    "outside", [np.float32([1 + 2**-23, -(2**-23)]), [1.0000001, -1e-7], np.float16([1.001, 0.0])]
)
def test_a_confidence_outside_by_rounding_counts_as_the_bound(bin_samples, outside):
    found = bin_samples(confidences=outside, correct=[True, False])
    assert (found.ece, found.overall_confidence) == (0.0, 0.5)


@BIN_BOTH_WAYS
@pytest.mark.parametrize("bins", [0, -1, 2.5])
def test_there_must_be_a_bin(bin_samples, bins):
    with pytest.raises(ValueError, match=f"bins is {bins}; it must be a whole number"):
        bin_samples(confidences=[0.5], correct=[True], bins=bins)
