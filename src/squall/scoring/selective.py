"""Selective prediction: the errors that remain when only what is most certain is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.calibration import mean_of
from squall.scoring.reliability import check_confidences

__all__ = ["RiskCoverage", "score_risk_coverage"]


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Risk, the share of errors, among the n most confident of N samples.

    Args:
        risks: (N,) float64 in [0, 1], at n = 1, ..., N.
        errors: how many of the N are wrong.
    """

    risks: NDArray[np.float64]
    errors: int

    @property
    def aurc(self) -> float:
        """Area under the curve, the mean of the risks, in [0, 1]; NaN where there are none.

        AURC = (1/N) sum_n risk(n). It falls with the errors as well as with their confidence.
        """
        return mean_of(self.risks)

    @property
    def e_aurc(self) -> float:
        """Excess AURC, in [0, 1]: AURC less that of the best order; NaN without samples.

        The best order has all errors last, AURC* = (1/N) sum_n max(0, n - (N - errors)) / n. What
        is left is due to the order of the confidences alone: 0 where every error has less
        confidence than what is right.
        """
        ranks = np.arange(1, len(self.risks) + 1)
        return self.aurc - mean_of(np.maximum(ranks - (len(ranks) - self.errors), 0) / ranks)

    def thinned(self, points: int = 100) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coverages k / points and the risks there, both (points,), for a figure.

        The risk at coverage k / points is that of the ceil(k N / points) most confident samples.
        Without samples both are empty.

        Raises:
            ValueError: `points` is less than 1.
        """
        if points < 1:
            raise ValueError(f"points is {points}; it must be at least 1")
        if not len(self.risks):
            return np.zeros(0), np.zeros(0)
        steps = np.arange(1, points + 1)
        return steps / points, self.risks[-(-steps * len(self.risks) // points) - 1]


def score_risk_coverage(*, confidences: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """Give the risk-coverage curve of confidences.

    Args:
        confidences: (N,) in [0, 1].
        correct: (N,) booleans.

    Returns:
        The curve with `aurc` and `e_aurc` as fractions of 1. Only the order of the confidences
        matters to it, and that of the samples does not.

    Raises:
        ValueError: as in `bin_confidences`.

    Convention: among equal confidences the errors are spread evenly, which is the mean over all
    orders of them: with one confidence for all, risk is the error rate at every coverage. Others
    sort, so that AURC depends on the order of the samples. The area is the mean over the N steps,
    as in the source; others draw lines between them. E-AURC takes the exact sum of the best order;
    Geifman, Uziel and El-Yaniv approximate it by r + (1 - r) log(1 - r) with the error rate r.

    Source: Geifman and El-Yaniv 2017; Geifman, Uziel and El-Yaniv 2019 (E-AURC).

    >>> curve = score_risk_coverage(confidences=[0.9, 0.8, 0.6], correct=[True, False, True])
    >>> curve.risks.round(4), round(curve.aurc, 4), round(curve.e_aurc, 4)
    (array([0.    , 0.5   , 0.3333]), 0.2778, 0.1667)
    """
    values, right = check_confidences(confidences, correct)
    _, places, counts = np.unique(-values, return_inverse=True, return_counts=True)
    wrong = np.bincount(places.ravel(), weights=~right, minlength=len(counts))
    ranks = np.arange(1, len(values) + 1)
    kept = np.concatenate([[0], np.cumsum(counts)])
    errors = np.interp(ranks, kept, np.concatenate([[0.0], np.cumsum(wrong)]))
    return RiskCoverage(errors / ranks, int((~right).sum()))
