"""Temperatures: known ones recovered, another optimiser, bounds, files, wrong values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.scoring import (
    PROB_FLOOR,
    TEMPERATURE_BOUNDS,
    fit_confidence_temperature,
    fit_temperature,
    scale_confidences,
    score_logits,
    softmax,
    temperature,
)
from squall.scoring.temperature import fit_other_temperatures


def _draw(probs, random):
    """Classes drawn from rows of probabilities."""
    drawn = (probs.cumsum(axis=1) < random.random((len(probs), 1))).sum(axis=1)
    return np.minimum(drawn, probs.shape[1] - 1)


def _mean_nll(logits, targets, t):
    """Mean negative log-likelihood, without any care for overflow."""
    powers = np.exp(np.asarray(logits, dtype=np.float64) / t)
    of_targets = powers[np.arange(len(targets)), targets]
    return float(np.mean(np.log(powers.sum(axis=1)) - np.log(of_targets)))


@pytest.fixture
def noisy_logits():
    """(300, 6) logits of which two thirds point to their targets."""
    random = np.random.default_rng(0)
    targets = random.integers(0, 6, 300)
    logits = random.standard_normal((300, 6))
    logits[np.arange(300), targets] += 2.0
    return 3.0 * logits, targets


def test_softmax_by_hand():
    probs = softmax(logits=[[0.0, math.log(3.0)], [5.0, 5.0]])
    assert probs == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))
    probs = softmax(logits=[[0.0, math.log(9.0)]], temperature=2.0)
    assert probs == pytest.approx(np.array([[0.25, 0.75]]))


def test_softmax_is_that_of_scipy():
    special = pytest.importorskip("scipy.special")
    logits = np.random.default_rng(0).standard_normal((50, 20)) * 30
    for t in (0.1, 1.0, 7.0):
        expected = special.softmax(logits / t, axis=1)
        assert softmax(logits=logits, temperature=t) == pytest.approx(expected, rel=1e-12)


def test_softmax_of_large_logits_is_finite():
    probs = softmax(logits=[[1e99, 0.0, -1e99], [-1e99, -1e99, -1e99]], temperature=0.5)
    assert probs == pytest.approx(np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]))


@pytest.mark.parametrize("true", [0.05, 0.4, 1.0, 2.5, 20.0])
def test_the_temperature_that_targets_were_drawn_with_is_found(true):
    random = np.random.default_rng(1)
    logits = 3.0 * true * random.standard_normal((20_000, 8))
    targets = _draw(softmax(logits=logits, temperature=true), random)
    fit = fit_temperature(logits=logits, targets=targets)
    assert fit.temperature == pytest.approx(true, rel=0.03)
    assert not fit.at_bound
    before = score_logits(logits=logits, targets=targets).calibration()
    after = score_logits(logits=logits, targets=targets, temperature=fit.temperature).calibration()
    assert fit.nll_before == pytest.approx(before.nll, rel=1e-12)
    assert fit.nll == pytest.approx(after.nll, rel=1e-12)
    assert after.ece < 0.015
    assert after.accuracy == before.accuracy
    if true != 1.0:
        too_sure = before.bins.overall_confidence - before.accuracy
        assert (too_sure > 0.05) == (true > 1.0)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 30.0])
def test_the_temperature_is_that_of_another_optimiser(noisy_logits, scale):
    optimize = pytest.importorskip("scipy.optimize")
    logits, targets = noisy_logits
    fit = fit_temperature(logits=scale * logits, targets=targets)
    found = optimize.minimize_scalar(
        lambda log_t: _mean_nll(scale * logits, targets, math.exp(log_t)),
        bounds=(math.log(scale) - 2.0, math.log(scale) + 3.0),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert fit.temperature == pytest.approx(math.exp(found.x), rel=1e-6)
    assert fit.nll == pytest.approx(found.fun, rel=1e-12)
    assert fit.nll_before == pytest.approx(_mean_nll(scale * logits, targets, 1.0), rel=1e-12)


def test_by_hand():
    # Three of four right by the same margin m: sigmoid(m / T) = 3/4, so that T = m / log 3.
    logits = np.tile([5.0, 0.0], (4, 1))
    fit = fit_temperature(logits=logits, targets=[0, 0, 0, 1])
    assert fit.temperature == pytest.approx(5.0 / math.log(3.0), rel=1e-8)
    assert fit.nll == pytest.approx(math.log(4.0) - 0.75 * math.log(3.0))
    assert fit.nll_before == pytest.approx(math.log1p(math.exp(-5.0)) + 5.0 / 4)


@pytest.mark.parametrize("scale", [0.02, 1.0, 50.0])
def test_the_search_reads_the_logits_about_ten_times(noisy_logits, scale, monkeypatch):
    logits, targets = noisy_logits
    passes = []
    blocks = temperature.logit_blocks
    monkeypatch.setattr(
        temperature, "logit_blocks", lambda given: passes.append(1) or blocks(given)
    )
    assert not fit_temperature(logits=scale * logits, targets=targets).at_bound
    assert 3 <= len(passes) <= 15


def test_the_size_of_the_blocks_changes_nothing(noisy_logits, monkeypatch):
    logits, targets = noisy_logits
    whole = fit_temperature(logits=logits, targets=targets)
    probs = softmax(logits=logits, temperature=2.0)
    for elements in (1, 6, 100):
        monkeypatch.setattr(temperature, "_BLOCK_ELEMENTS", elements)
        fit = fit_temperature(logits=logits, targets=targets)
        assert fit.temperature == pytest.approx(whole.temperature, rel=1e-9)
        assert (softmax(logits=logits, temperature=2.0) == probs).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_logits_in_a_file_are_fitted_as_those_in_memory(noisy_logits, dtype, tmp_path):
    logits, targets = noisy_logits
    np.save(tmp_path / "logits.npy", logits.astype(dtype))
    on_disk = np.load(tmp_path / "logits.npy", mmap_mode="r")
    fit = fit_temperature(logits=on_disk, targets=targets)
    assert fit == fit_temperature(logits=logits.astype(dtype).astype(np.float64), targets=targets)
    # Three digits of each logit are enough for three of the temperature.
    whole = fit_temperature(logits=logits, targets=targets)
    assert fit.temperature == pytest.approx(whole.temperature, rel=1e-3)


def test_order_of_samples_and_of_classes_changes_nothing(noisy_logits):
    logits, targets = noisy_logits
    random = np.random.default_rng(3)
    rows, classes = random.permutation(300), random.permutation(6)
    fit = fit_temperature(logits=logits, targets=targets)
    by_rows = fit_temperature(logits=logits[rows], targets=targets[rows])
    by_classes = fit_temperature(logits=logits[:, classes], targets=np.argsort(classes)[targets])
    assert by_rows.temperature == pytest.approx(fit.temperature, rel=1e-9)
    assert by_classes.temperature == pytest.approx(fit.temperature, rel=1e-9)


def test_nothing_to_choose_gives_one():
    for logits in (np.zeros((3, 1)) + 7.0, np.full((3, 4), -2.5)):
        fit = fit_temperature(logits=logits, targets=[0, 0, 0])
        assert (fit.temperature, fit.at_bound) == (1.0, False)
        assert fit.nll == fit.nll_before == pytest.approx(math.log(logits.shape[1]))


def test_right_in_all_cases_gives_the_lower_bound():
    logits = 5.0 * np.eye(4)
    fit = fit_temperature(logits=logits, targets=[0, 1, 2, 3])
    assert (fit.temperature, fit.at_bound) == (TEMPERATURE_BOUNDS[0], True)
    assert fit.nll == 0.0 < fit.nll_before


def test_wrong_in_all_cases_gives_the_upper_bound():
    logits = 5.0 * np.eye(4)
    fit = fit_temperature(logits=logits, targets=[1, 2, 3, 0])
    assert (fit.temperature, fit.at_bound) == (TEMPERATURE_BOUNDS[1], True)
    assert fit.nll == pytest.approx(math.log(4.0), abs=0.01)
    assert fit.nll < fit.nll_before


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(1, 12),
    st.integers(-6, 8),
    st.integers(-6, 8),
)
def test_no_temperature_nearby_is_better(seed, classes, samples, scale, other_scale):
    # Two kinds of rows, of different scale: the slope changes within a wide range of T.
    random = np.random.default_rng(seed)
    logits = random.standard_normal((samples, classes)) * 10.0**scale
    logits[::2] *= 10.0 ** (other_scale - scale)
    targets = random.integers(0, classes, samples)
    fit = fit_temperature(logits=logits, targets=targets)
    low, high = TEMPERATURE_BOUNDS
    assert low <= fit.temperature <= high
    for t in (1.0, fit.temperature * 0.99, fit.temperature * 1.01):
        near = score_logits(logits=logits, targets=targets, temperature=min(max(t, low), high))
        assert fit.nll <= near.calibration().nll * (1 + 1e-12) + 1e-15


def test_scaled_confidences_by_hand():
    scaled = scale_confidences(confidences=[0.0, 0.1, 0.5, 0.9, 1.0], temperature=2.0)
    # Odds of 9 become 3; the odds of certainty are those of the floor.
    edge = 1.0 / (1.0 + math.sqrt(1.0 / PROB_FLOOR - 1.0))
    assert scaled == pytest.approx([edge, 0.25, 0.5, 0.75, 1.0 - edge], rel=1e-9)


def test_small_confidences_keep_their_digits():
    small = [1e-12, 2e-9, 0.3, 0.999999]
    scaled = scale_confidences(confidences=small, temperature=1.0)
    assert scaled == pytest.approx(small, rel=1e-9, abs=0.0)


@settings(deadline=None)
@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20),
    st.floats(1e-3, 1e3),
)
def test_scaled_confidences_keep_their_order(confidences, t):
    scaled = scale_confidences(confidences=np.sort(confidences), temperature=t)
    assert ((scaled >= 0.0) & (scaled <= 1.0)).all()
    assert (np.diff(scaled) >= 0.0).all()


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_of_confidences_is_found(true):
    random = np.random.default_rng(2)
    honest = random.beta(3.0, 1.0, 50_000)
    right = random.random(50_000) < honest
    confidences = 1.0 / (1.0 + ((1.0 - honest) / honest) ** true)
    fit = fit_confidence_temperature(confidences=confidences, correct=right)
    assert fit.temperature == pytest.approx(true, rel=0.03)
    scaled = scale_confidences(confidences=confidences, temperature=fit.temperature)
    nll = -np.log(np.where(right, scaled, 1.0 - scaled)).mean()
    assert fit.nll == pytest.approx(nll, rel=1e-9)
    assert scaled == pytest.approx(honest, abs=0.01)


def test_confidences_that_no_temperature_can_mend():
    correct = [True, False, False]
    fit = fit_confidence_temperature(confidences=[0.9, 0.8, 0.9], correct=correct)
    assert (fit.temperature, fit.at_bound) == (TEMPERATURE_BOUNDS[1], True)
    fit = fit_confidence_temperature(confidences=[1.0, 0.0], correct=[True, False])
    assert (fit.temperature, fit.at_bound) == (TEMPERATURE_BOUNDS[0], True)


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (np.zeros((0, 3)), [], "no samples to fit"),
        (np.zeros(3), [0], r"logits have shape \(3,\)"),
        (np.zeros((2, 0)), [0, 0], "at least one class"),
        (np.zeros((2, 3), dtype=bool), [0, 0], "type bool"),
        ([[0.0, 1.0], [math.nan, 0.0]], [0, 0], "logit of row 1 and class 0 is nan"),
        ([[0.0, math.inf]], [0], "logit of row 0 and class 1 is inf"),
        ([[0.0, -1e101]], [0], r"row 0 and class 1 is -1e\+101"),
        (np.zeros((2, 3)), [0], r"targets have shape \(1,\); 2 samples need \(2,\)"),
        (np.zeros((2, 3)), [0, 3], r"target of row 1 is 3; it must be in \[0, 3\)"),
        (np.zeros((2, 3)), [-1, 0], "target of row 0 is -1"),
        (np.zeros((2, 3)), [0.0, 1.0], "targets are float64"),
        (np.zeros((2, 3)), [True, False], "targets are bool"),
    ],
)
def test_wrong_values_are_named(logits, targets, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits=logits, targets=targets)


def test_a_wrong_logit_is_named_by_its_row_in_the_whole(monkeypatch):
    monkeypatch.setattr(temperature, "_BLOCK_ELEMENTS", 4)
    logits = np.zeros((9, 2))
    logits[7, 1] = math.nan
    with pytest.raises(ValueError, match="row 7 and class 1 is nan"):
        softmax(logits=logits)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_positive_and_finite(wrong):
    message = "it must be positive and finite"
    with pytest.raises(ValueError, match=message):
        softmax(logits=[[0.0]], temperature=wrong)
    with pytest.raises(ValueError, match=message):
        score_logits(logits=[[0.0]], targets=[0], temperature=wrong)
    with pytest.raises(ValueError, match=message):
        scale_confidences(confidences=[0.5], temperature=wrong)


def test_wrong_confidences_are_named():
    with pytest.raises(ValueError, match=r"confidence of row 1 is 1\.5"):
        scale_confidences(confidences=[0.5, 1.5], temperature=1.0)
    with pytest.raises(ValueError, match=r"both must be \(samples,\)"):
        scale_confidences(confidences=[[0.5]], temperature=1.0)
    with pytest.raises(ValueError, match="no samples to fit"):
        fit_confidence_temperature(confidences=[], correct=[])
    with pytest.raises(ValueError, match="confidences are bool"):
        fit_confidence_temperature(confidences=[True], correct=[0.5])


def _in_parts(logits, targets, count):
    return [(logits[k::count], targets[k::count]) for k in range(count)]


@pytest.mark.parametrize("scale", [0.05, 1.0, 300.0])
def test_temperatures_of_the_others_are_those_of_a_fit_on_them(noisy_logits, scale):
    parts = _in_parts(scale * noisy_logits[0], noisy_logits[1], 5)
    found = fit_other_temperatures(parts)
    for k, own in enumerate(found):
        logits, targets = (
            np.concatenate([part[i] for j, part in enumerate(parts) if j != k]) for i in (0, 1)
        )
        fit = fit_temperature(logits=logits, targets=targets)
        assert own == pytest.approx(fit.temperature, rel=1e-7)
        assert _mean_nll(logits, targets, own) == pytest.approx(fit.nll, rel=1e-9)


def test_parts_far_from_each_other_have_the_temperatures_of_the_others():
    """One part is right, one wrong, one makes no difference: bounds, and none."""
    sure = np.tile([2.0, 0.0], (4, 1))
    parts = [(sure, [0] * 4), (sure, [1] * 4), (np.zeros((4, 2)), [0] * 4)]
    # Of the last two, wrong and no matter; of the first and last, right; of right and wrong, half.
    assert fit_other_temperatures(parts) == [1e3, 1e-3, 1e3]
    mixed = [(sure, [0, 0, 0, 1]), (sure, [0] * 4), (sure, [0] * 4)]
    found = fit_other_temperatures(mixed)
    assert found[0] == 1e-3
    assert found[1:] == pytest.approx([2.0 / math.log(7.0)] * 2, rel=1e-7)
    assert fit_other_temperatures([(np.zeros((2, 3)), [0, 1])] * 3) == [1.0] * 3


def test_what_was_read_for_one_part_serves_the_others(noisy_logits, monkeypatch):
    read = []
    slopes = temperature._slopes
    monkeypatch.setattr(
        temperature,
        "_slopes",
        lambda logits, targets, beta: read.append(len(logits)) or slopes(logits, targets, beta),
    )
    logits, targets = (np.concatenate([part] * 10) for part in noisy_logits)
    fit_temperature(logits=logits, targets=targets)
    alone = sum(read)
    read.clear()
    fit_other_temperatures(_in_parts(logits, targets, 5))
    assert sum(read) <= 2 * alone
