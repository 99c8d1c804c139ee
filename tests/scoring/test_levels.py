"""Everything that is scored of a classifier's answers, in one go."""

from __future__ import annotations

import numpy as np
import pytest

from squall.scoring import score_logits
from squall.scoring.levels import score_level
from squall.scoring.refinement import refine_logits
from squall.scoring.selective import score_risk_coverage
from squall.scoring.smooth_ece import score_smooth_ece


def test_a_level_has_the_numbers_of_the_pure_functions() -> None:
    random = np.random.default_rng(3)
    logits, targets = 2 * random.standard_normal((60, 3)), random.integers(3, size=60)
    found = score_level(logits=logits, targets=targets)
    samples = score_logits(logits=logits, targets=targets)
    refined = refine_logits(logits=logits, targets=targets, groups=np.arange(60))
    known = {"confidences": samples.confidences, "correct": samples.correct}
    coverage = score_risk_coverage(**known)
    assert found.metrics() == {
        **samples.calibration().metrics(),
        **refined.metrics(),
        "smooth_ece": score_smooth_ece(**known),
        "aurc": coverage.aurc,
        "e_aurc": coverage.e_aurc,
    }
    assert found.refined.nll_refinement + found.refined.nll_calibration == pytest.approx(
        found.calibration.nll
    )


def test_groups_stay_in_one_fold() -> None:
    logits = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    targets = np.array([0, 1, 1, 0])
    alone = score_level(logits=logits, targets=targets)
    paired = score_level(logits=logits, targets=targets, groups=[0, 0, 1, 1])
    assert alone.calibration.nll == paired.calibration.nll
    assert paired.refined.nll_refinement != alone.refined.nll_refinement
    one = score_level(logits=logits, targets=targets, groups=[0, 0, 0, 0])
    assert np.isnan(one.refined.nll_refinement)
