"""Proper scores in two parts: what the best recalibration leaves, and what it takes away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.arrays import as_array
from squall.scoring.calibration import (
    TokenScores,
    mean_of,
    nlls_of_outcomes,
    score_logits,
)
from squall.scoring.isotonic import fit_isotonic
from squall.scoring.reliability import check_confidences
from squall.scoring.temperature import (
    check_logits,
    check_targets,
    fit_confidence_temperature,
    fit_other_temperatures,
    scale_confidences,
)

__all__ = [
    "Recalibration",
    "Refinement",
    "number_folds",
    "refine_confidences",
    "refine_logits",
]

Recalibration = Literal["temperature", "isotonic"]
"""How confidences are recalibrated: by one number, or by any curve that never falls."""


@dataclass(frozen=True, eq=False)
class Refinement:
    """Negative log-likelihood and Brier score of N samples, before and after a recalibration.

    score = refinement + calibration error: the refinement is the mean score after the
    recalibration, the calibration error is what the recalibration takes away.

    Args:
        nlls, briers: (N,) float64, at least 0: the scores of each sample as it was given.
        refined_nlls, refined_briers: (N,) the same after the recalibration; NaN where there was
            nothing to fit it on.

    Convention: the calibration error is not cut off at 0. It is below 0 where the recalibration,
    which was fitted on other samples, does harm: of confidences that are as good as they can be, by
    chance, and of few samples. Fitted on what it is scored on, it could not be, and would be too
    large instead.

    Source: Berta, Holzmüller, Jordan and Bach, *Rethinking early stopping: refine, then calibrate*,
    2025; Bröcker 2009 (the parts of any proper score).
    """

    nlls: NDArray[np.float64]
    briers: NDArray[np.float64]
    refined_nlls: NDArray[np.float64]
    refined_briers: NDArray[np.float64]

    @classmethod
    def between(cls, before: TokenScores, after: TokenScores) -> Refinement:
        """The parts for a recalibration from elsewhere, such as a temperature of held-out data.

        Args:
            before, after: the scores of the same samples in the same order.

        Raises:
            ValueError: they are not as many.

        >>> logits, targets = [[4.0, 0.0], [4.0, 0.0]], [0, 1]
        >>> before = score_logits(logits=logits, targets=targets)
        >>> after = score_logits(logits=logits, targets=targets, temperature=1000.0)
        >>> parts = Refinement.between(before, after)
        >>> round(parts.nll_refinement, 4), round(parts.nll_calibration, 4)
        (0.6931, 1.325)
        """
        if len(before) != len(after):
            raise ValueError(f"{len(before)} samples before, but {len(after)} after")
        return cls(-before.log_probs, before.briers, -after.log_probs, after.briers)

    @property
    def nll_refinement(self) -> float:
        """Mean negative log-likelihood after the recalibration, in nats; NaN without samples."""
        return mean_of(self.refined_nlls)

    @property
    def nll_calibration(self) -> float:
        """Mean negative log-likelihood less its refinement, in nats; NaN without samples."""
        return mean_of(self.nlls) - self.nll_refinement

    @property
    def brier_refinement(self) -> float:
        """Mean Brier score after the recalibration; NaN without samples."""
        return mean_of(self.refined_briers)

    @property
    def brier_calibration(self) -> float:
        """Mean Brier score less its refinement; NaN without samples."""
        return mean_of(self.briers) - self.brier_refinement

    def metrics(self) -> dict[str, float]:
        """The two parts of both scores, by name."""
        return {
            "nll_refinement": self.nll_refinement,
            "nll_calibration": self.nll_calibration,
            "brier_refinement": self.brier_refinement,
            "brier_calibration": self.brier_calibration,
        }


def refine_logits(
    *, logits: ArrayLike, targets: ArrayLike, groups: ArrayLike, folds: int = 5
) -> Refinement:
    """Split the scores of logits, with the temperature as the recalibration.

    The temperature of each fold is fitted on the others (`fit_other_temperatures`), and then
    p = (n softmax(f / T) + 1/C) / (n + 1), where n is the number of samples it was fitted on.

    Args:
        logits: (N, C) finite, in any floating type.
        targets: (N,) integers in [0, C). Padding has to be left out before.
        groups: (N,) labels of what belongs together, such as utterances or speakers: no group is
            in two folds.
        folds: as in `number_folds`.

    Returns:
        The scores; their refined half is NaN where all samples are of one group.

    Raises:
        ValueError: as in `number_folds` and `score_logits`.

    Convention: the temperature is that of the likelihood, for the Brier score too. The share 1/C of
    one sample more (as in `probmetrics`, by the source's authors) bounds what a token can cost at
    log(C (n + 1)): where all that T was fitted on is right, T falls without end. Brier scores are
    summed over the classes, as in `TokenScores.calibration`.
    """
    given = check_logits(logits)
    classes = given.shape[1]
    labels = check_targets(targets, samples=len(given), classes=classes)
    before = score_logits(logits=given, targets=labels)
    nlls, briers = np.full((2, len(given)), np.nan)
    splits = list(_splits(groups, len(given), folds))
    parts = [(given[inside], labels[inside]) for inside, _ in splits]
    temperatures = fit_other_temperatures(parts)
    for (inside, others), part, temperature in zip(splits, parts, temperatures, strict=True):
        after = score_logits(logits=part[0], targets=part[1], temperature=temperature)
        n = np.count_nonzero(others)
        probs = (n * np.exp(after.log_probs) + 1.0 / classes) / (n + 1)
        # sum_j (n p_j + 1/C)^2 with sum_j p_j = 1
        squares = (n * n * after.squared_probs + (2 * n + 1) / classes) / (n + 1) ** 2
        nlls[inside] = -np.log(probs)
        briers[inside] = np.maximum(squares - 2.0 * probs + 1.0, 0.0)
    return Refinement(-before.log_probs, before.briers, nlls, briers)


def refine_confidences(
    *,
    confidences: ArrayLike,
    correct: ArrayLike,
    groups: ArrayLike,
    by: Recalibration = "temperature",
    folds: int = 5,
) -> Refinement:
    """Split the scores of confidences of which only the one number is known, as of words.

    The recalibration g of each fold is fitted on the others, and then
    c = (n g(confidence) + 1/2) / (n + 1), where n is the number of samples it was fitted on.

    Args:
        confidences: (N,) in [0, 1], the probability that the word is right.
        correct: (N,) booleans, whether it is.
        groups: (N,) labels of what belongs together, such as utterances or speakers.
        by: `temperature` is `fit_confidence_temperature`, which leaves 0.5 where it is; `isotonic`
            is `fit_isotonic`, any curve that never falls.
        folds: as in `number_folds`.

    Returns:
        The scores; their refined half is NaN where all samples are of one group. The isotonic
        refinement is lower where the confidences are bent or moved rather than too sharp, and
        higher by chance where there are few samples.

    Raises:
        ValueError: as in `number_folds` and `bin_confidences`, or there is no such recalibration.

    Convention: Brier score and floor of the likelihood as in `score_confidences`; the half of one
    sample more as in `refine_logits`, without which an isotonic 0 or 1 costs 36 nats in the wrong
    place.
    """
    if by not in ("temperature", "isotonic"):
        raise ValueError(f"by is {by!r}; it must be 'temperature' or 'isotonic'")
    values, right = check_confidences(confidences, correct)
    refined = np.full(len(values), np.nan)
    for inside, others in _splits(groups, len(values), folds):
        known = {"confidences": values[others], "correct": right[others]}
        if by == "isotonic":
            after = fit_isotonic(**known).recalibrate(values[inside])
        else:
            fit = fit_confidence_temperature(**known)
            after = scale_confidences(confidences=values[inside], temperature=fit.temperature)
        n = np.count_nonzero(others)
        refined[inside] = (n * after + 0.5) / (n + 1)
    return Refinement(*_of_outcomes(values, right), *_of_outcomes(refined, right))


def number_folds(groups: ArrayLike, *, folds: int = 5) -> NDArray[np.int64]:
    """Give each sample the number of its fold, the same for all of a group.

    Args:
        groups: (N,) labels. The k-th of the distinct ones in sorted order goes into fold k modulo
            `folds`, so that neighbours, such as utterances of a speaker, are spread.
        folds: at least 2; fewer are used where there are fewer groups.

    Returns:
        (N,) int64 from 0; all 0 where there is only one group.

    Raises:
        ValueError: the shape is another, or there are fewer than 2 folds.

    >>> number_folds(["u1", "u1", "u2", "u3"], folds=2)
    array([0, 0, 1, 0])
    """
    labels = np.asarray(groups)
    if labels.ndim != 1:
        raise ValueError(f"groups have shape {labels.shape}; they must be (samples,)")
    if folds < 2 or folds != int(folds):
        raise ValueError(f"folds is {folds}; it must be a whole number, at least 2")
    _, numbers = np.unique(labels, return_inverse=True)
    return np.asarray(numbers.ravel() % folds, dtype=np.int64)


def _splits(
    groups: ArrayLike, samples: int, folds: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """The samples of each fold and all others; nothing where there is only one fold."""
    numbers = number_folds(as_array(groups), folds=folds)
    if len(numbers) != samples:
        raise ValueError(f"{len(numbers)} groups, but {samples} samples; each needs one label")
    found = np.unique(numbers)
    for fold in found if len(found) > 1 else ():
        inside = numbers == fold
        yield inside, ~inside


def _of_outcomes(values: NDArray[Any], right: NDArray[np.bool_]) -> tuple[NDArray[Any], ...]:
    """Negative log-likelihood and Brier score of each confidence."""
    return nlls_of_outcomes(values, right), np.square(values - right)
