"""Calibration of probabilities, logits and confidences: how far they can be taken at their word."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.arrays import as_array
from squall.scoring.reliability import (
    ROUNDING,
    ReliabilityBins,
    bin_confidences,
    bin_equal_mass,
    check_confidences,
)
from squall.scoring.temperature import (
    PROB_FLOOR,
    check_logits,
    check_targets,
    check_temperature,
    logit_blocks,
)

__all__ = [
    "Calibration",
    "TokenScores",
    "mean_of",
    "nlls_of_outcomes",
    "score_confidences",
    "score_logits",
    "score_nce",
    "score_probs",
]

_SUM_TOLERANCE = 1e-3  # a thousand float16 probabilities are rounded by less, all together
_BFLOAT16_TOLERANCE = 2.0**-8  # each is rounded by half of that at most, and so is their sum


@dataclass(frozen=True, eq=False)
class Calibration:
    """How well a set of confidences is calibrated. All values are fractions, not percent.

    Args:
        bins: in equal widths, with the data of the reliability diagram.
        adaptive_bins: with equally many samples, long runs of equal confidences apart.
        brier: mean Brier score; NaN where there are no samples.
        nll: mean negative log-likelihood in nats; NaN where there are no samples.
    """

    bins: ReliabilityBins
    adaptive_bins: ReliabilityBins
    brier: float
    nll: float

    @property
    def samples(self) -> int:
        """How many samples were scored."""
        return self.bins.samples

    @property
    def accuracy(self) -> float:
        """Share of the samples that are right, in [0, 1]; NaN where there are none."""
        return self.bins.overall_accuracy

    @property
    def ece(self) -> float:
        """Expected calibration error over equal-width bins, in [0, 1]; NaN without samples."""
        return self.bins.ece

    @property
    def ece_adaptive(self) -> float:
        """Expected calibration error over equal-mass bins, in [0, 1]; NaN without samples."""
        return self.adaptive_bins.ece

    @property
    def mce(self) -> float:
        """Maximum calibration error over equal-width bins, in [0, 1]; NaN without samples."""
        return self.bins.mce

    def metrics(self) -> dict[str, float]:
        """Accuracy, `ece`, `ece_adaptive`, `mce`, `brier` as fractions of 1, and `nll` in nats."""
        return {
            "accuracy": self.accuracy,
            "ece": self.ece,
            "ece_adaptive": self.ece_adaptive,
            "mce": self.mce,
            "brier": self.brier,
            "nll": self.nll,
        }


@dataclass(frozen=True, eq=False)
class TokenScores:
    """What calibration needs of N distributions over C classes, in 25 bytes each.

    Made from a batch by `score_probs` or `score_logits`; the batches of a corpus are joined with
    `concatenate`, so that N x C values are never held.

    Args:
        confidences: (N,) float64, the largest probability.
        correct: (N,) booleans, whether the class with that probability is the target.
        log_probs: (N,) float64 at most 0, log of the target's probability.
        squared_probs: (N,) float64 in (0, 1], sum over the classes of p_j^2.

    Raises:
        ValueError: the four are not of one length, or a confidence is not in [0, 1].
    """

    confidences: NDArray[np.float64]
    correct: NDArray[np.bool_]
    log_probs: NDArray[np.float64]
    squared_probs: NDArray[np.float64]

    def __post_init__(self) -> None:
        values, _ = check_confidences(self.confidences, self.correct)
        if not values.shape == self.log_probs.shape == self.squared_probs.shape:
            raise ValueError(
                f"{len(values)} confidences, but log_probs of shape {self.log_probs.shape} and "
                f"squared_probs of shape {self.squared_probs.shape}"
            )

    def __len__(self) -> int:
        return len(self.confidences)

    @classmethod
    def concatenate(cls, parts: Iterable[TokenScores]) -> TokenScores:
        """The scores of all parts, in their order; of no samples where there are no parts."""
        given = list(parts)
        return cls(
            np.concatenate([np.zeros(0), *(part.confidences for part in given)]),
            np.concatenate([np.zeros(0, dtype=np.bool_), *(part.correct for part in given)]),
            np.concatenate([np.zeros(0), *(part.log_probs for part in given)]),
            np.concatenate([np.zeros(0), *(part.squared_probs for part in given)]),
        )

    @property
    def briers(self) -> NDArray[np.float64]:
        """(N,) Brier score of each sample, sum_j (p_j - 1[j = y])^2, in [0, 2]."""
        return np.maximum(self.squared_probs - 2.0 * np.exp(self.log_probs) + 1.0, 0.0)

    def calibration(self, *, bins: int = 10) -> Calibration:
        """Score the calibration of the most probable class.

        Brier = (1/N) sum_n sum_j (p_nj - 1[j = y_n])^2, in [0, 2]; NLL = -(1/N) sum_n log p_n,y_n.

        Args:
            bins: their number, for both kinds.

        Returns:
            The errors and bins; they do not depend on the order of the samples, to the last bit.

        Raises:
            ValueError: `bins` is less than 1.

        Convention: the Brier score is summed over classes, as Brier (1950) has it; others take the
        mean over them.
        """
        return Calibration(
            bin_confidences(confidences=self.confidences, correct=self.correct, bins=bins),
            bin_equal_mass(confidences=self.confidences, correct=self.correct, bins=bins),
            brier=mean_of(self.briers),
            nll=mean_of(-self.log_probs),
        )


def score_probs(*, probs: ArrayLike, targets: ArrayLike) -> TokenScores:
    """Score distributions given as probabilities.

    Args:
        probs: (N, C) in [0, 1] but for rounding, rows that sum to 1 within 0.001, a tensor in
            bfloat16 within 0.004; they are taken as they are.
        targets: (N,) integers in [0, C). Padding has to be left out before.

    Returns:
        The scores of each sample.

    Raises:
        ValueError: a shape or type is another, a probability is NaN or negative, a row does not sum
            to 1, or a target is out of range; the message names the row.

    Convention: of equal largest probabilities the first class is the prediction. A target with
    probability 0 (below `PROB_FLOOR`) counts in the likelihood as one with `PROB_FLOOR`, 36.04
    nats, so that one such token does not hide all others behind an infinite mean.

    >>> scores = score_probs(probs=[[0.75, 0.25], [0.5, 0.5]], targets=[0, 1])
    >>> scores.confidences, scores.correct
    (array([0.75, 0.5 ]), array([ True, False]))
    >>> scores.calibration().brier  # (0.0625 + 0.0625 + 0.25 + 0.25) / 2
    0.3125
    """
    given = as_array(probs)
    if given.ndim != 2 or not given.shape[1] or given.dtype.kind not in "fiu":
        raise ValueError(
            f"probs have shape {given.shape} and type {given.dtype}; they must be numbers "
            "(samples, classes), with at least one class"
        )
    values = given.astype(np.float64, copy=False)
    labels = check_targets(targets, samples=len(values), classes=values.shape[1])
    rounded = str(getattr(probs, "dtype", "")) == "torch.bfloat16"
    _check_distributions(values, _BFLOAT16_TOLERANCE if rounded else _SUM_TOLERANCE)
    of_target = values[np.arange(len(values)), labels]
    return TokenScores(
        confidences=np.minimum(values.max(axis=1), 1.0),
        correct=values.argmax(axis=1) == labels,
        log_probs=np.log(np.clip(of_target, PROB_FLOOR, 1.0)),
        squared_probs=np.minimum(np.square(values).sum(axis=1), 1.0),
    )


def score_logits(*, logits: ArrayLike, targets: ArrayLike, temperature: float = 1.0) -> TokenScores:
    """Score distributions given as logits, whose softmax at a temperature is meant.

    Args:
        logits: (N, C) finite, in any floating type, an array or a tensor of torch; computed in
            float64, a few rows at a time. A tensor in bfloat16 is copied to float32 as a whole.
        targets: (N,) integers in [0, C). Padding has to be left out before.
        temperature: T > 0, from `fit_temperature`.

    Returns:
        The scores of each sample.

    Raises:
        ValueError: a shape or type is another, a logit is not finite or larger than 1e100 in size,
            a target is out of range (the message names the row), or the temperature is not positive
            and finite.

    Convention: softmax for every loss, the square losses too, as in the sources. Of equal largest
    logits the first class is the prediction. The likelihood is exact, without a floor. Logits in
    [0, 1], as the square loss gives, are logits here; torchmetrics takes them for probabilities.

    >>> scores = score_logits(logits=[[1.0, 0.0]], targets=[0])
    >>> round(float(scores.confidences[0]), 6)  # 1 / (1 + exp(-1))
    0.731059
    """
    check_temperature(temperature)
    given = check_logits(logits)
    labels = check_targets(targets, samples=len(given), classes=given.shape[1])
    parts = []
    for start, shifted in logit_blocks(given):
        of_block = labels[start : start + len(shifted)]
        best = shifted.argmax(axis=1)
        shifted /= temperature
        log_odds = shifted[np.arange(len(shifted)), of_block]  # to the largest; log p + log total
        powers = np.exp(shifted)
        total = powers.sum(axis=1)
        scores = TokenScores(
            confidences=1.0 / total,
            correct=best == of_block,
            log_probs=log_odds - np.log(total),
            squared_probs=np.square(powers).sum(axis=1) / np.square(total),
        )
        parts.append(scores)
    return TokenScores.concatenate(parts)


def score_confidences(*, confidences: ArrayLike, correct: ArrayLike, bins: int = 10) -> Calibration:
    """Score the calibration of confidences of which only the one number is known, as of words.

    Brier = (1/N) sum_n (c_n - correct_n)^2, in [0, 1];
    NLL = -(1/N) sum_n log(c_n if correct_n else 1 - c_n).

    Args:
        confidences: (N,) in [0, 1], the probability that the word is right.
        correct: (N,) booleans, whether it is.
        bins: their number, for both kinds.

    Returns:
        The errors and bins; they do not depend on the order of the samples, to the last bit.

    Raises:
        ValueError: as in `bin_confidences`.

    Convention: the Brier score is that of the one event, half of the sum over the two classes right
    and wrong. Full confidence in what is wrong counts in the likelihood as a probability of
    `PROB_FLOOR`, 36.04 nats.
    """
    values, right = check_confidences(confidences, correct)
    return Calibration(
        bin_confidences(confidences=values, correct=right, bins=bins),
        bin_equal_mass(confidences=values, correct=right, bins=bins),
        brier=mean_of(np.square(values - right)),
        nll=mean_of(nlls_of_outcomes(values, right)),
    )


def score_nce(*, confidences: ArrayLike, correct: ArrayLike) -> float:
    """Normalised cross-entropy of the confidences of words: what they tell about which are right.

    NCE = (H_max + sum_right log2 c_n + sum_wrong log2(1 - c_n)) / H_max,
    H_max = -R log2(R / N) - (N - R) log2(1 - R / N), with R of the N words right:
    1 - NLL / NLL of the share of right words as the confidence of all.

    Args:
        confidences: (N,) in [0, 1], the probability that the word is right.
        correct: (N,) booleans, whether it is.

    Returns:
        At most 1, which is certainty of all that is right and of none that is wrong; 0 where the
        confidences tell no more than the share of right words does; below 0, without an end, where
        they tell less. NaN where all words are right or none is: nothing can be told then.

    Raises:
        ValueError: as in `bin_confidences`.

    Convention: full confidence in what is wrong counts as in `score_confidences`, 52 bits, so that
    one such word does not make all others -infinity. N is the number of recognised words: what
    was left out has no confidence.

    Source: NIST, *Rich Transcription evaluation plans*; Siu, Gish and Richardson 1997.

    >>> score_nce(confidences=[0.5, 0.5], correct=[True, False])
    0.0
    """
    values, right = check_confidences(confidences, correct)
    share = float(np.mean(right)) if len(right) else math.nan
    if not 0.0 < share < 1.0:
        return math.nan
    nll = mean_of(nlls_of_outcomes(values, right))
    return 1.0 - nll / -(share * math.log(share) + (1.0 - share) * math.log(1.0 - share))


def nlls_of_outcomes(values: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) -log(c_n if correct_n else 1 - c_n), at most that of `PROB_FLOOR`."""
    nlls: NDArray[np.float64] = -np.log(
        np.maximum(np.where(right, values, 1.0 - values), PROB_FLOOR)
    )
    return nlls


def _check_distributions(values: NDArray[np.float64], tolerance: float) -> None:
    bad = ~(values >= -ROUNDING)  # also where it is NaN
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"the probability of row {row} and class {column} is {values[row, column]:g}; "
            "it must be in [0, 1]"
        )
    sums = values.sum(axis=1)
    bad = ~(np.abs(sums - 1.0) <= tolerance)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"the probabilities of row {row} sum to {sums[row]:g}, not to 1; logits go to "
            "score_logits"
        )


def mean_of(values: NDArray[np.float64]) -> float:
    """The mean of (N,) numbers, NaN where there are none."""
    # The exact sum does not depend on the order.
    return math.fsum(values) / len(values) if len(values) else math.nan
