"""Refinement and calibration error: a peer, loops, what recalibration cannot change, edges."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest

from squall.scoring import (
    Refinement,
    fit_confidence_temperature,
    fit_isotonic,
    fit_temperature,
    number_folds,
    refine_confidences,
    refine_logits,
    refinement,
    scale_confidences,
    score_confidences,
    score_logits,
    softmax,
)

# Of probmetrics 1.3.0, calibrator ts-mix, on the same folds: refinement and calib-err of logloss
# and brier.
PROBMETRICS = {
    (60, 4, 1.0): (1.012690111, 0.401817812, 0.527981729, 0.056295310),
    (500, 8, 0.5): (1.566650708, 0.030955734, 0.660356659, -0.008430635),
    (500, 8, 3.0): (1.566650708, 3.397822402, 0.660356659, 0.201363702),
}


def _logits(samples: int, classes: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits of which most point to their targets; without a random generator."""
    k = np.arange(samples)[:, None] * classes + np.arange(classes)
    logits = 4 * np.sin(k * k * 0.7) * sharpness
    targets = (np.arange(samples) * 0.6180339887498949 % 1.0 * classes).astype(int)
    right = np.flatnonzero(np.arange(samples) * 0.4142135623730951 % 1 < 0.7)
    logits[right, targets[right]] += 5 * sharpness
    return logits, targets


def _words(samples: int = 300, seed: int = 0) -> dict[str, Any]:
    """Overconfident words of utterances of five."""
    random = np.random.default_rng(seed)
    confidences = random.random(samples)
    correct = random.random(samples) < 0.3 + 0.4 * confidences
    return {"confidences": confidences, "correct": correct, "groups": np.arange(samples) // 5}


@pytest.mark.parametrize("case", PROBMETRICS)
def test_logits_against_the_package_of_the_authors(case: tuple[int, int, float]) -> None:
    logits, targets = _logits(*case)
    found = refine_logits(logits=logits, targets=targets, groups=np.arange(len(targets)) // 7)
    values = (found.nll_refinement, found.nll_calibration, found.brier_refinement,
              found.brier_calibration)  # fmt: skip
    assert values == pytest.approx(PROBMETRICS[case], abs=2e-9)


def test_logits_against_a_loop() -> None:
    logits, targets = _logits(90, 5, 2.0)
    groups = np.repeat(np.arange(9), 10)
    found = refine_logits(logits=logits, targets=targets, groups=groups, folds=3)
    for n, group in enumerate(groups):
        others = groups % 3 != group % 3
        fit = fit_temperature(logits=logits[others], targets=targets[others])
        probs = (60 * softmax(logits=logits[[n]], temperature=fit.temperature)[0] + 0.2) / 61
        brier = sum((p - (j == targets[n])) ** 2 for j, p in enumerate(probs))
        assert found.refined_nlls[n] == pytest.approx(-math.log(probs[targets[n]]), rel=1e-6)
        assert found.refined_briers[n] == pytest.approx(brier, rel=1e-6)


@pytest.mark.parametrize("by", ["temperature", "isotonic"])
def test_confidences_against_a_loop(by: Any) -> None:
    words = _words(60)
    found = refine_confidences(**words, by=by, folds=4)
    for n, (confidence, right) in enumerate(
        zip(words["confidences"], words["correct"], strict=True)
    ):
        others = words["groups"] % 4 != words["groups"][n] % 4
        known = {name: words[name][others] for name in ("confidences", "correct")}
        if by == "isotonic":
            (after,) = fit_isotonic(**known).recalibrate([confidence])
        else:
            temperature = fit_confidence_temperature(**known).temperature
            (after,) = scale_confidences(confidences=[confidence], temperature=temperature)
        after = (others.sum() * after + 0.5) / (others.sum() + 1)
        nll = -math.log(after if right else 1 - after)
        assert found.refined_nlls[n] == pytest.approx(nll, rel=1e-9)
        assert found.refined_briers[n] == pytest.approx((after - right) ** 2, rel=1e-9)


def test_the_parts_add_up_to_the_scores() -> None:
    logits, targets = _logits(200, 6, 1.0)
    whole = score_logits(logits=logits, targets=targets).calibration()
    found = refine_logits(logits=logits, targets=targets, groups=np.arange(200))
    assert found.nll_refinement + found.nll_calibration == pytest.approx(whole.nll)
    assert found.brier_refinement + found.brier_calibration == pytest.approx(whole.brier)
    words = _words()
    whole = score_confidences(confidences=words["confidences"], correct=words["correct"])
    for by in ("temperature", "isotonic"):
        found = refine_confidences(**words, by=by)  # type: ignore[arg-type]
        assert found.nll_refinement + found.nll_calibration == pytest.approx(whole.nll)
        assert found.brier_refinement + found.brier_calibration == pytest.approx(whole.brier)


def test_two_classes_are_confidences() -> None:
    words = _words()
    log_odds = np.log(words["confidences"] / (1 - words["confidences"]))
    logits = np.stack([np.zeros(len(log_odds)), log_odds], axis=1)
    of_logits = refine_logits(
        logits=logits, targets=words["correct"].astype(int), groups=words["groups"]
    )
    of_confidences = refine_confidences(**words)
    assert of_logits.refined_nlls == pytest.approx(of_confidences.refined_nlls)
    assert of_logits.refined_briers == pytest.approx(2 * of_confidences.refined_briers)


def test_sharpness_is_calibration_alone() -> None:
    """Another temperature of the same logits has the same refinement."""
    one, two = (
        refine_logits(logits=logits, targets=targets, groups=np.arange(400))
        for logits, targets in (_logits(400, 5, 1.0), _logits(400, 5, 4.0))
    )
    assert one.nll_refinement == pytest.approx(two.nll_refinement, rel=1e-6)
    assert one.brier_refinement == pytest.approx(two.brier_refinement, rel=1e-6)
    assert two.nll_calibration > one.nll_calibration + 1.0


def test_a_rising_curve_is_calibration_alone_for_isotonic_regression() -> None:
    words = _words(2000)
    bent = words | {"confidences": words["confidences"] ** 5}
    for score in ("nll_refinement", "brier_refinement"):
        straight, curved = (
            getattr(refine_confidences(**given, by="isotonic"), score) for given in (words, bent)
        )
        assert straight == pytest.approx(curved, rel=1e-3)
        temperature = getattr(refine_confidences(**bent), score)
        assert temperature > curved + 0.005


def test_good_confidences_have_little_calibration_error_of_either_sign() -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(20):
        confidences = random.random(400)
        correct = random.random(400) < confidences
        parts = refine_confidences(confidences=confidences, correct=correct, groups=np.arange(400))
        found.append(parts.nll_calibration)
    assert max(map(abs, found)) < 0.01
    assert min(found) < 0 < max(found)


def test_what_is_always_right_has_no_refinement_left() -> None:
    """The temperature falls to its bound; one sample more is what remains."""
    logits = np.tile([1.0, 0.0, 0.0], (40, 1))
    found = refine_logits(logits=logits, targets=[0] * 40, groups=np.arange(40))
    assert found.nll_refinement == pytest.approx(-math.log((32 + 1 / 3) / 33))
    assert found.nll_calibration == pytest.approx(math.log(1 + 2 / math.e) - found.nll_refinement)


@pytest.mark.parametrize("by", ["temperature", "isotonic"])
def test_one_surprise_does_not_hide_everything(by: Any) -> None:
    """Where all that the recalibration saw was right, what is wrong still costs log 2 (n + 1)."""
    correct = [True] * 9 + [False]
    found = refine_confidences(
        confidences=[0.9] * 10, correct=correct, groups=np.arange(10), by=by, folds=10
    )
    assert found.refined_nlls[-1] == pytest.approx(math.log(2 * 10))


def test_a_temperature_of_held_out_data() -> None:
    logits, targets = _logits(100, 4, 3.0)
    before = score_logits(logits=logits, targets=targets)
    after = score_logits(logits=logits, targets=targets, temperature=4.0)
    found = Refinement.between(before, after)
    assert found.metrics() == pytest.approx(
        {
            "nll_refinement": after.calibration().nll,
            "nll_calibration": before.calibration().nll - after.calibration().nll,
            "brier_refinement": after.calibration().brier,
            "brier_calibration": before.calibration().brier - after.calibration().brier,
        }
    )
    with pytest.raises(ValueError, match="100 samples before, but 0 after"):
        Refinement.between(before, score_logits(logits=np.zeros((0, 4)), targets=[]))


def test_groups_are_not_divided_and_folds_are_even() -> None:
    groups = [f"u{k // 3:02d}" for k in range(60)]
    numbers = number_folds(groups, folds=5)
    assert np.bincount(numbers).tolist() == [12] * 5
    assert all(len(set(numbers[3 * k : 3 * k + 3])) == 1 for k in range(20))
    order = np.random.default_rng(0).permutation(60)
    assert np.array_equal(number_folds(np.array(groups)[order]), numbers[order])


def test_one_group_has_nothing_to_fit_on() -> None:
    logits, targets = _logits(10, 3, 1.0)
    found = refine_logits(logits=logits, targets=targets, groups=["u"] * 10)
    assert found.nlls == pytest.approx(-score_logits(logits=logits, targets=targets).log_probs)
    assert all(math.isnan(value) for value in found.metrics().values())


def test_no_samples_have_no_parts() -> None:
    found = refine_confidences(confidences=[], correct=[], groups=[])
    assert all(math.isnan(value) for value in found.metrics().values())


def test_wrong_values_are_named() -> None:
    words = _words(10)
    with pytest.raises(ValueError, match="by is 'beta'; it must be 'temperature' or 'isotonic'"):
        refine_confidences(**words, by="beta")  # type: ignore[arg-type]
    for folds in (1, 2.5):
        with pytest.raises(ValueError, match=f"folds is {folds}; it must be a whole number"):
            refine_confidences(**words, folds=folds)
    with pytest.raises(ValueError, match="9 groups, but 10 samples; each needs one label"):
        refine_confidences(**words | {"groups": range(9)})
    with pytest.raises(ValueError, match=r"groups have shape \(5, 2\)"):
        refine_confidences(**words | {"groups": np.zeros((5, 2))})


def test_the_examples_hold() -> None:
    found = doctest.testmod(refinement)
    assert (found.attempted, found.failed) == (6, 0)
