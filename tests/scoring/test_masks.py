"""Mask errors, hits and false alarms: by hand, adding up, other implementations, edges."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from squall.scoring import MaskCounts, ibm_scores, mask_mse


@st.composite
def two_utterances(draw):
    """Ideal and estimated mask of two utterances with the same number of channels."""
    channels = draw(st.integers(1, 4))
    utterances = []
    for _ in range(2):
        shape = (draw(st.integers(1, 6)), channels)
        ideal = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0.0, 1.0])))
        estimate = draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
        utterances.append((ideal, estimate))
    return utterances


def test_by_hand():
    ideal = [[1, 1, 0], [1, 0, 0]]
    estimate = [[0.9, 0.2, 0.6], [0.7, 0.1, 0.5]]
    counts = ibm_scores(reference=ideal, estimate=estimate)
    assert counts == MaskCounts(hits=2, misses=1, false_alarms=1, correct_rejections=2)
    assert counts.units == 6
    assert counts.accuracy == pytest.approx(4 / 6)
    assert counts.hit == pytest.approx(2 / 3)
    assert counts.fa == pytest.approx(1 / 3)
    assert counts.hit_minus_fa == pytest.approx(1 / 3)
    error = mask_mse(reference=ideal, estimate=estimate)
    assert error.frames == 2
    assert error.per_channel == pytest.approx([0.05, 0.325, 0.305])
    assert error.total == pytest.approx(0.68 / 3)


def test_the_threshold_itself_is_not_above_it():
    assert ibm_scores(reference=[[1.0]], estimate=[[0.5]]).misses == 1
    assert ibm_scores(reference=[[1.0]], estimate=[[0.5]], threshold=0.4).hits == 1
    assert ibm_scores(reference=[[False]], estimate=[[True]]).false_alarms == 1


@pytest.mark.slow
@given(two_utterances())
def test_counts_and_errors_add_up_to_those_of_the_whole(utterances):
    ideal, estimate = (np.concatenate(parts) for parts in zip(*utterances, strict=True))
    counts = [ibm_scores(reference=r, estimate=e) for r, e in utterances]
    assert sum(counts, MaskCounts()) == ibm_scores(reference=ideal, estimate=estimate)
    one, two = (mask_mse(reference=r, estimate=e) for r, e in utterances)
    whole = mask_mse(reference=ideal, estimate=estimate)
    assert (one + two).frames == whole.frames
    assert (one + two).per_channel == pytest.approx(whole.per_channel)


@pytest.mark.slow
@given(two_utterances())
def test_against_a_loop_over_units(utterances):
    ideal, estimate = utterances[0]
    pairs = list(zip(ideal.ravel().tolist(), estimate.ravel().tolist(), strict=True))
    counts = ibm_scores(reference=ideal, estimate=estimate, threshold=0.3)
    assert counts.hits == sum(r == 1 and e > np.float64(0.3) for r, e in pairs)
    assert counts.false_alarms == sum(r == 0 and e > np.float64(0.3) for r, e in pairs)
    assert counts.units == len(pairs)
    expected = sum((r - e) ** 2 for r, e in pairs) / len(pairs)
    assert mask_mse(reference=ideal, estimate=estimate).total == pytest.approx(expected)


def test_a_rate_of_nothing_is_nan():
    only_noise = ibm_scores(reference=[[0.0, 0.0]], estimate=[[1.0, 0.0]])
    assert math.isnan(only_noise.hit)
    assert math.isnan(only_noise.hit_minus_fa)
    assert only_noise.fa == 0.5
    assert math.isnan(MaskCounts().accuracy)
    empty = mask_mse(reference=np.zeros((0, 3)), estimate=np.zeros((0, 3)))
    assert math.isnan(empty.total)


def test_a_large_mask_loses_no_digits():
    estimate = np.full((200_000, 2), 0.1, dtype=np.float32)
    error = mask_mse(reference=np.zeros_like(estimate), estimate=estimate)
    assert error.total == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-10)


@pytest.mark.parametrize("score", [mask_mse, ibm_scores])
@pytest.mark.parametrize(
    ("reference", "estimate", "message"),
    [
        (np.zeros((3, 2)), np.zeros((2, 3)), r"shape \(3, 2\), estimate \(2, 3\)"),
        (np.zeros((3, 2)), np.zeros((3, 1)), r"estimate \(3, 1\)"),
        (np.zeros(3), np.zeros(3), r"must be \(frames, channels\)"),
        (np.full((1, 1), np.nan), np.zeros((1, 1)), "reference mask has values"),
        (np.zeros((1, 1)), np.full((1, 1), np.inf), "estimate mask has values"),
    ],
)
def test_wrong_masks_are_named(score, reference, estimate, message):
    with pytest.raises(ValueError, match=message):
        score(reference=reference, estimate=estimate)


def test_the_ideal_binary_mask_must_be_binary():
    with pytest.raises(ValueError, match=r"has the value 0\.25"):
        ibm_scores(reference=[[1.0, 0.25]], estimate=[[1.0, 1.0]])


def test_errors_of_different_channels_do_not_add():
    one = mask_mse(reference=[[0.0]], estimate=[[0.0]])
    two = mask_mse(reference=[[0.0, 0.0]], estimate=[[0.0, 0.0]])
    with pytest.raises(ValueError, match="1 and 2 channels"):
        one + two
