"""A level of confidence, scored in every way: tokens, words, or what a classifier answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.calibration import Calibration, TokenScores, score_logits
from squall.scoring.refinement import Refinement, refine_logits
from squall.scoring.reliability import bin_confidences
from squall.scoring.selective import RiskCoverage, score_risk_coverage
from squall.scoring.smooth_ece import score_smooth_ece

__all__ = ["LevelDetails", "ScoredLogits", "score_level", "sum_gaps", "sum_nlls"]


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


def sum_gaps(samples: TokenScores, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """What adds up to the calibration error.

    Args:
        samples: item after item.
        lengths: (U,) samples of each item.

    Returns:
        (U, B + 1) right ones minus the sum of confidences in each of B bins, and the number of
        samples.
    """
    rows = []
    for end, length in zip(np.cumsum(lengths), lengths, strict=True):
        of_item = slice(end - length, end)
        bins = bin_confidences(
            confidences=samples.confidences[of_item], correct=samples.correct[of_item]
        )
        rows.append([*(bins.correct_counts - bins.confidence_sums), bins.samples])
    return np.array(rows)


def sum_nlls(refined: Refinement, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """What adds up to the two parts of the likelihood.

    Args:
        refined: item after item.
        lengths: (U,) samples of each item, none of them 0.

    Returns:
        (U, 3) negative log-likelihood in nats, the same after the temperature of the other folds,
        and the number of samples.
    """
    starts = np.cumsum(lengths) - lengths
    sums = [np.add.reduceat(nlls, starts) for nlls in (refined.nlls, refined.refined_nlls)]
    return np.stack([*sums, lengths.astype(np.float64)], axis=1)
