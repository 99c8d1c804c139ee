"""A level of confidence, scored in every way: tokens, words, or what a classifier answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.calibration import Calibration, TokenScores, score_logits
from squall.scoring.refinement import Refinement, refine_logits
from squall.scoring.selective import RiskCoverage, score_risk_coverage
from squall.scoring.smooth_ece import score_smooth_ece

__all__ = ["LevelDetails", "ScoredLogits", "score_level"]


@dataclass(frozen=True, eq=False)
class LevelDetails:
    """What is measured of a level beside its `Calibration`.

    Args:
        smooth_ece: a fraction of 1; NaN without samples.
        coverage: the curve of risk and coverage.
        proper: the parts of the proper scores, and `nce` where confidences are of what was
            recognised, by the names of metrics; empty where a level has none.
    """

    smooth_ece: float
    coverage: RiskCoverage
    proper: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        confidences: NDArray[np.float64],
        correct: NDArray[np.bool_],
        proper: Mapping[str, float],
    ) -> LevelDetails:
        """The details of confidences (N,) and whether each was right (N,)."""
        return cls(
            score_smooth_ece(confidences=confidences, correct=correct),
            score_risk_coverage(confidences=confidences, correct=correct),
            proper,
        )

    def metrics(self) -> dict[str, float]:
        """All by name: shares as fractions of 1, likelihoods in nats."""
        return {
            **self.proper,
            "smooth_ece": self.smooth_ece,
            "aurc": self.coverage.aurc,
            "e_aurc": self.coverage.e_aurc,
        }


@dataclass(frozen=True, eq=False)
class ScoredLogits:
    """The answers of a classifier, and how far their confidence can be trusted.

    Args:
        samples: of each of the N answers, what calibration needs.
        refined: of each of them the proper scores, before and after the temperature of the others.
        calibration, details: of them all.
    """

    samples: TokenScores
    refined: Refinement
    calibration: Calibration
    details: LevelDetails

    def metrics(self) -> dict[str, float]:
        """All metrics by name: shares as fractions of 1, likelihoods in nats."""
        return self.calibration.metrics() | self.details.metrics()


def score_level(
    *, logits: ArrayLike, targets: ArrayLike, groups: ArrayLike | None = None
) -> ScoredLogits:
    """Score what a classifier says, as softmax(f).

    Args:
        logits: (N, C).
        targets: (N,) integers in [0, C).
        groups: (N,) labels of samples that belong together, which are in one fold of the
            refinement; by default each sample is a group.

    Raises:
        ValueError: as `score_logits` and `refine_logits` raise them.
    """
    samples = score_logits(logits=logits, targets=targets)
    alone = np.arange(len(samples)) if groups is None else groups
    refined = refine_logits(logits=logits, targets=targets, groups=alone)
    details = LevelDetails.of(samples.confidences, samples.correct, refined.metrics())
    return ScoredLogits(samples, refined, samples.calibration(), details)
