"""Calibration of probabilities, logits and confidences: by hand, loops, others, parts, edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.scoring import (
    PROB_FLOOR,
    TokenScores,
    score_confidences,
    score_logits,
    score_nce,
    score_probs,
    softmax,
    temperature,
)

METRICS = ["accuracy", "ece", "ece_adaptive", "mce", "brier", "nll"]


def _some_logits(samples=200, classes=5, seed=0):
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, samples)
    logits = 2.0 * random.standard_normal((samples, classes))
    logits[np.arange(samples), targets] += 2.0
    return logits, targets


def _arrays(scores):
    return scores.confidences, scores.correct, scores.log_probs, scores.squared_probs


def _score_in_a_loop(logits, targets, t):
    """Brier score, likelihood and accuracy, one number at a time."""
    brier = nll = right = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        powers = [math.exp(value / t) for value in row]
        probs = [power / sum(powers) for power in powers]
        brier += sum((p - (j == target)) ** 2 for j, p in enumerate(probs))
        nll -= math.log(probs[target])
        right += max(range(len(probs)), key=probs.__getitem__) == target
    return brier / len(logits), nll / len(logits), right / len(logits)


def test_probabilities_by_hand():
    probs = [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]]
    scores = score_probs(probs=probs, targets=[0, 1, 1])
    assert scores.confidences.tolist() == [0.7, 0.6, 0.5]
    assert scores.correct.tolist() == [True, False, True]
    assert scores.log_probs == pytest.approx(np.log([0.7, 0.3, 0.5]))
    assert scores.squared_probs == pytest.approx([0.54, 0.46, 0.375])
    found = scores.calibration()
    assert found.samples == len(scores) == 3
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.ece == pytest.approx((0.3 + 0.6 + 0.5) / 3)
    assert found.mce == pytest.approx(0.6)
    assert found.brier == pytest.approx((0.14 + 0.86 + 0.375) / 3)
    assert found.nll == pytest.approx(-math.log(0.7 * 0.3 * 0.5) / 3)
    # Two bins of equal mass: 0.5 and 0.6 together, half of them right; 0.7 alone.
    halves = scores.calibration(bins=2)
    assert halves.ece_adaptive == pytest.approx((0.1 + 0.3) / 3)
    assert halves.ece == pytest.approx((0.5 + 0.3) / 3)  # 0.5 is in the lower half


def test_confidences_by_hand():
    found = score_confidences(confidences=[0.9, 0.8, 0.3], correct=[True, False, False])
    assert found.samples == 3
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.ece == pytest.approx((0.1 + 0.8 + 0.3) / 3)
    assert found.brier == pytest.approx((0.01 + 0.64 + 0.09) / 3)
    assert found.nll == pytest.approx(-math.log(0.9 * 0.2 * 0.7) / 3)
    halves = score_confidences(confidences=[0.9, 0.8, 0.3], correct=[True, False, False], bins=2)
    assert halves.ece == pytest.approx((0.3 + 0.7) / 3)
    assert halves.ece_adaptive == pytest.approx((1.1 + 0.1) / 3)


def test_names_of_the_metrics():
    logits, targets = _some_logits()
    found = score_logits(logits=logits, targets=targets).calibration()
    assert list(found.metrics()) == METRICS
    assert found.metrics() == {name: getattr(found, name) for name in METRICS}
    assert len(set(found.metrics().values())) == len(METRICS)


@pytest.mark.parametrize("t", [0.5, 1.0, 3.0])
def test_against_a_loop(t):
    logits, targets = _some_logits()
    found = score_logits(logits=logits, targets=targets, temperature=t).calibration()
    brier, nll, accuracy = _score_in_a_loop(logits, targets, t)
    assert found.brier == pytest.approx(brier, rel=1e-12)
    assert found.nll == pytest.approx(nll, rel=1e-12)
    assert found.accuracy == pytest.approx(accuracy, rel=1e-12)


@pytest.mark.parametrize("t", [0.5, 1.0, 3.0])
def test_logits_and_their_probabilities_agree(t):
    logits, targets = _some_logits()
    of_logits = score_logits(logits=logits, targets=targets, temperature=t)
    of_probs = score_probs(probs=softmax(logits=logits, temperature=t), targets=targets)
    for one, two in zip(_arrays(of_logits), _arrays(of_probs), strict=True):
        assert one == pytest.approx(two, rel=1e-12, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("bins", [10, 15])
@pytest.mark.parametrize("classes", [3, 30])
def test_against_torchmetrics(bins, classes):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    logits, targets = _some_logits(classes=classes)
    found = score_logits(logits=logits, targets=targets).calibration(bins=bins)
    # It computes the confidences in float32.
    tensors = torch.from_numpy(softmax(logits=logits)), torch.from_numpy(targets)
    for norm, value in (("l1", found.ece), ("max", found.mce)):
        expected = theirs.multiclass_calibration_error(
            *tensors, num_classes=classes, n_bins=bins, norm=norm
        )
        assert value == pytest.approx(expected.item(), abs=1e-5)
        assert value > 0.02


def test_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    logits, targets = _some_logits()
    probs = softmax(logits=logits)
    found = score_probs(probs=probs, targets=targets).calibration()
    assert found.nll == pytest.approx(metrics.log_loss(targets, probs, labels=range(5)))
    assert found.accuracy == metrics.accuracy_score(targets, probs.argmax(axis=1))
    right = probs.argmax(axis=1) == targets
    found = score_confidences(confidences=probs.max(axis=1), correct=right)
    assert found.brier == pytest.approx(metrics.brier_score_loss(right, probs.max(axis=1)))
    assert found.nll == pytest.approx(metrics.log_loss(right, probs.max(axis=1)))


def test_logits_between_0_and_1_are_logits():
    scores = score_logits(logits=[[1.0, 0.0], [0.0, 1.0]], targets=[0, 0])
    sure = 1.0 / (1.0 + math.exp(-1.0))
    assert scores.confidences == pytest.approx([sure, sure])
    assert scores.log_probs == pytest.approx([math.log(sure), math.log(1.0 - sure)])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 30), st.integers(-3, 3))
def test_scores_have_their_ranges_and_no_order(seed, classes, samples, scale):
    random = np.random.default_rng(seed)
    logits = random.standard_normal((samples, classes)) * 10.0**scale
    targets = random.integers(0, classes, samples)
    found = score_logits(logits=logits, targets=targets).calibration()
    for name in ("accuracy", "ece", "ece_adaptive", "mce"):
        assert 0.0 <= getattr(found, name) <= 1.0
    assert found.ece <= found.mce + 1e-12
    assert 0.0 <= found.brier <= 2.0
    assert found.nll >= 0.0
    order = random.permutation(samples)
    again = score_logits(logits=logits[order], targets=targets[order]).calibration()
    assert again.metrics() == found.metrics()
    other = score_probs(probs=softmax(logits=logits), targets=targets).calibration()
    assert other.brier == pytest.approx(found.brier, abs=1e-12)


def test_parts_concatenate_to_the_whole(monkeypatch):
    logits, targets = _some_logits()
    whole = score_logits(logits=logits, targets=targets)
    cuts = (slice(0, 3), slice(3, 3), slice(3, 120), slice(120, None))
    joined = TokenScores.concatenate(
        score_logits(logits=logits[cut], targets=targets[cut]) for cut in cuts
    )
    monkeypatch.setattr(temperature, "_BLOCK_ELEMENTS", 13)  # two rows and a bit
    in_blocks = score_logits(logits=logits, targets=targets)
    for one, two, three in zip(_arrays(whole), _arrays(joined), _arrays(in_blocks), strict=True):
        assert one.tolist() == two.tolist() == three.tolist()
    assert whole.calibration().metrics() == joined.calibration().metrics()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_low_precision_is_computed_in_float64(dtype):
    logits, targets = _some_logits()
    narrow = logits.astype(dtype)
    kept = narrow.copy()
    scores = score_logits(logits=narrow, targets=targets)
    wide = score_logits(logits=narrow.astype(np.float64), targets=targets)
    assert scores.log_probs.dtype == scores.confidences.dtype == np.float64
    assert scores.log_probs.tolist() == wide.log_probs.tolist()
    assert (narrow == kept).all()


def test_inputs_are_left_as_they_are():
    logits, targets = _some_logits()
    probs = softmax(logits=logits)
    copies = logits.copy(), probs.copy(), targets.copy()
    score_logits(logits=logits, targets=targets, temperature=2.0).calibration()
    score_probs(probs=probs, targets=targets).calibration()
    for one, two in zip((logits, probs, targets), copies, strict=True):
        assert (one == two).all()


def test_probabilities_rounded_to_float16_still_sum_to_one():
    # 2,000 times 1/2,000, each rounded up by four parts in ten thousand.
    probs = np.full((1, 2000), 1 / 2000).astype(np.float16)
    assert abs(probs.astype(np.float64).sum() - 1.0) > 1e-4
    scores = score_probs(probs=probs, targets=[7])
    assert scores.log_probs == pytest.approx([-math.log(2000)], abs=1e-3)
    # What is a little more than 1 is 1.
    scores = score_probs(probs=[[1.0005, 0.0]], targets=[0])
    assert scores.confidences[0] == scores.squared_probs[0] == 1.0
    assert scores.log_probs[0] == 0.0


def test_probabilities_outside_by_rounding_count_as_the_bound():
    outside = np.float32([[1 + 2**-23, -(2**-23)], [0.5, 0.5]])
    found = score_probs(probs=outside, targets=[0, 0])
    assert found.confidences.tolist() == [1.0, 0.5]
    assert found.log_probs.tolist() == [0.0, math.log(0.5)]


@pytest.mark.parametrize("classes", [2, 30, 1000])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_probabilities_in_half_precision_are_those_of_their_logits(
    dtype: str, classes: int
) -> None:
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(500, classes, generator=generator)
    targets = torch.randint(classes, (500,), generator=generator)
    probs = logits.softmax(1).to(getattr(torch, dtype))
    found = score_probs(probs=probs, targets=targets).calibration()
    expected = score_logits(logits=logits, targets=targets).calibration()
    assert found.brier == pytest.approx(expected.brier, abs=0.004)
    if dtype == "bfloat16":  # float16 has nothing below 6e-8
        assert found.nll == pytest.approx(expected.nll, rel=0.004)


def test_sums_of_other_types_are_held_to_a_thousandth() -> None:
    torch = pytest.importorskip("torch")
    probs = torch.tensor([[0.5, 0.503]])
    with pytest.raises(ValueError, match=r"row 0 sum to 1\.003, not to 1"):
        score_probs(probs=probs, targets=[0])
    score_probs(probs=probs.bfloat16(), targets=[0])
    with pytest.raises(ValueError, match=r"row 0 sum to"):
        score_probs(probs=torch.tensor([[0.5, 0.52]]).bfloat16(), targets=[0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_tensors_of_torch_are_scored_in_every_type(dtype):
    torch = pytest.importorskip("torch")
    logits, targets = _some_logits()
    tensor = torch.from_numpy(logits).to(getattr(torch, dtype)).requires_grad_()
    exact = tensor.detach().double().numpy()
    found = score_logits(logits=tensor, targets=torch.from_numpy(targets))
    for one, other in zip(
        _arrays(found), _arrays(score_logits(logits=exact, targets=targets)), strict=True
    ):
        assert one.tolist() == other.tolist()
    fits = [temperature.fit_temperature(logits=x, targets=targets) for x in (tensor, exact)]
    assert fits[0] == fits[1]
    probs = tensor.float().softmax(-1)
    found = score_probs(probs=probs, targets=torch.from_numpy(targets))
    sure = probs.max(-1).values.to(tensor.dtype)
    judged = score_confidences(confidences=sure, correct=torch.from_numpy(found.correct))
    assert judged.ece == pytest.approx(found.calibration().ece, abs=0.005)


def test_of_equal_probabilities_the_first_is_the_prediction():
    assert score_probs(probs=[[0.5, 0.5]] * 2, targets=[0, 1]).correct.tolist() == [True, False]
    assert score_logits(logits=[[3.0, 3.0]] * 2, targets=[0, 1]).correct.tolist() == [True, False]


def test_one_class_is_always_right():
    for scores in (
        score_logits(logits=[[-3.0], [900.0]], targets=[0, 0]),
        score_probs(probs=[[1.0], [1.0]], targets=[0, 0]),
    ):
        found = scores.calibration(bins=1).metrics()
        assert found == {name: float(name == "accuracy") for name in METRICS}


def test_certainty_of_what_is_wrong():
    scores = score_probs(probs=[[1.0, 0.0], [1.0, 0.0]], targets=[1, 0])
    found = scores.calibration()
    assert (found.ece, found.mce, found.ece_adaptive) == (0.5, 0.5, 0.5)
    assert found.brier == pytest.approx(1.0)
    assert found.nll == pytest.approx(-math.log(PROB_FLOOR) / 2)
    word = score_confidences(confidences=[1.0, 0.0], correct=[False, True])
    assert (word.ece, word.mce, word.brier) == (1.0, 1.0, 1.0)
    assert word.nll == pytest.approx(-math.log(PROB_FLOOR))
    # Of logits the likelihood is known, however small.
    scores = score_logits(logits=[[800.0, 0.0]], targets=[1])
    assert scores.calibration().nll == 800.0


def test_certainty_of_what_is_right():
    expected = {name: float(name == "accuracy") for name in METRICS}
    scores = score_probs(probs=np.eye(3), targets=[0, 1, 2])
    assert scores.calibration().metrics() == pytest.approx(expected)
    words = score_confidences(confidences=[1.0, 1.0], correct=[True, True])
    assert words.metrics() == pytest.approx(expected)


def test_no_samples_have_no_value():
    empty = np.zeros((0, 4))
    for found in (
        score_logits(logits=empty, targets=[]).calibration(),
        score_probs(probs=empty, targets=[]).calibration(),
        TokenScores.concatenate([]).calibration(),
        score_confidences(confidences=[], correct=[]),
    ):
        assert found.samples == 0
        assert all(math.isnan(value) for value in found.metrics().values())


@pytest.mark.parametrize(
    ("probs", "targets", "message"),
    [
        ([0.5, 0.5], [0], r"probs have shape \(2,\)"),
        (np.zeros((2, 0)), [0, 0], "at least one class"),
        ([[True, False]], [0], "type bool"),
        ([[0.5, 0.5], [0.6, 0.5]], [0, 0], r"probabilities of row 1 sum to 1\.1, not to 1"),
        ([[0.5, 0.498]], [0], r"row 0 sum to 0\.998"),
        ([[0.5, 0.5], [1.1, -0.1]], [0, 0], r"probability of row 1 and class 1 is -0\.1"),
        ([[0.5, math.nan]], [0], "probability of row 0 and class 1 is nan"),
        ([[0.0, math.inf]], [0], "row 0 sum to inf"),
        ([[0.5, 0.5]], [0, 1], r"targets have shape \(2,\); 1 samples need \(1,\)"),
        ([[0.5, 0.5]] * 3, [0, 1, 2], r"target of row 2 is 2; it must be in \[0, 2\)"),
        ([[0.5, 0.5]], [-1], "target of row 0 is -1"),
        ([[0.5, 0.5]], [1.0], "targets are float64"),
        (_some_logits()[0], _some_logits()[1], "probability of row 0"),
    ],
)
def test_wrong_probabilities_are_named(probs, targets, message):
    with pytest.raises(ValueError, match=message):
        score_probs(probs=probs, targets=targets)


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (np.zeros(3), [0], r"logits have shape \(3,\)"),
        ([[0.0, 1.0], [0.0, math.nan]], [0, 0], "logit of row 1 and class 1 is nan"),
        ([[0.0, -math.inf]], [0], "logit of row 0 and class 1 is -inf"),
        ([[0.0, 1.0]], [2], r"target of row 0 is 2; it must be in \[0, 2\)"),
        ([[0.0, 1.0]], [[0]], r"targets have shape \(1, 1\)"),
    ],
)
def test_wrong_logits_are_named(logits, targets, message):
    with pytest.raises(ValueError, match=message):
        score_logits(logits=logits, targets=targets)


def test_scores_that_do_not_belong_together():
    one = np.ones(1)
    with pytest.raises(ValueError, match=r"1 confidences, but log_probs of shape \(2,\)"):
        TokenScores(one, one > 0, np.zeros(2), one)
    with pytest.raises(ValueError, match=r"shape \(1,\), correct \(2,\)"):
        TokenScores(one, np.ones(2) > 0, one, one)
    with pytest.raises(ValueError, match="confidence of row 0 is 2"):
        TokenScores(2 * one, one > 0, one, one)
    with pytest.raises(ValueError, match="bins is 0"):
        TokenScores(one, one > 0, 0 * one, one).calibration(bins=0)


def test_normalised_cross_entropy_by_hand():
    found = score_nce(confidences=[0.8, 0.9, 0.4, 0.5], correct=[True, True, False, True])
    most = -3 * math.log2(0.75) - math.log2(0.25)
    told = math.log2(0.8) + math.log2(0.9) + math.log2(0.6) + math.log2(0.5)
    assert found == pytest.approx((most + told) / most)


def test_the_share_of_right_words_as_confidence_tells_nothing():
    assert score_nce(confidences=[0.75] * 4, correct=[True] * 3 + [False]) == pytest.approx(0.0)
    assert score_nce(confidences=[1.0, 0.0], correct=[True, False]) == 1.0
    assert score_nce(confidences=[0.0, 1.0], correct=[True, False]) == pytest.approx(1.0 - 52.0)


@pytest.mark.parametrize("correct", [[], [True] * 3, [False] * 3])
def test_where_all_words_are_alike_nothing_can_be_told(correct):
    assert math.isnan(score_nce(confidences=[0.7] * len(correct), correct=correct))
