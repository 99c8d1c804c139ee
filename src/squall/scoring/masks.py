"""Estimated time-frequency masks against the ideal ones: square error, hits and false alarms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MaskCounts", "MaskError", "ibm_scores", "mask_mse"]


@dataclass(frozen=True, eq=False)
class MaskError:
    """Square error of masks, as sums that add up over utterances.

    Args:
        square_errors: (F,) float64, sum over the frames of (estimate - reference)^2.
        frames: how many frames were summed.

    >>> one = mask_mse(reference=[[0.0, 1.0]], estimate=[[0.0, 0.5]])
    >>> two = mask_mse(reference=[[0.0, 1.0]], estimate=[[1.0, 1.0]])
    >>> (one + two).total, (one + two).per_channel
    (0.3125, array([0.5  , 0.125]))
    """

    square_errors: NDArray[np.float64]
    frames: int

    @property
    def per_channel(self) -> NDArray[np.float64]:
        """(F,) mean square error of each channel; NaN where there are no frames."""
        if not self.frames:
            return np.full_like(self.square_errors, np.nan)
        return self.square_errors / self.frames

    @property
    def total(self) -> float:
        """Mean square error over all units; NaN where there are none."""
        return float(self.per_channel.mean()) if self.square_errors.size else math.nan

    def __add__(self, other: MaskError) -> MaskError:
        """The error of both sets of frames together; ValueError for unequal numbers of channels."""
        if self.square_errors.shape != other.square_errors.shape:
            raise ValueError(
                f"errors of {len(self.square_errors)} and {len(other.square_errors)} channels "
                "cannot be added"
            )
        return MaskError(self.square_errors + other.square_errors, self.frames + other.frames)


@dataclass(frozen=True)
class MaskCounts:
    """Units of binary masks by what they are and what they were taken for; adds up over utterances.

    Args:
        hits: speech units that the estimate keeps.
        misses: speech units that it removes.
        false_alarms: noise units that it keeps.
        correct_rejections: noise units that it removes.

    >>> counts = sum([MaskCounts(3, 1, 1, 5), MaskCounts(5, 1, 1, 3)], MaskCounts())
    >>> counts.hit, counts.fa, counts.accuracy
    (0.8, 0.2, 0.8)
    """

    hits: int = 0
    misses: int = 0
    false_alarms: int = 0
    correct_rejections: int = 0

    @property
    def units(self) -> int:
        """How many units were counted."""
        return self.hits + self.misses + self.false_alarms + self.correct_rejections

    @property
    def accuracy(self) -> float:
        """Share of the units that are right, in [0, 1]; NaN where there are none."""
        return _share(self.hits + self.correct_rejections, self.units)

    @property
    def hit(self) -> float:
        """Share of the speech units that are kept, in [0, 1]; NaN where there are none."""
        return _share(self.hits, self.hits + self.misses)

    @property
    def fa(self) -> float:
        """Share of the noise units that are kept, in [0, 1]; NaN where there are none."""
        return _share(self.false_alarms, self.false_alarms + self.correct_rejections)

    @property
    def hit_minus_fa(self) -> float:
        """HIT - FA, in [-1, 1], which follows intelligibility; NaN where either is."""
        return self.hit - self.fa

    def __add__(self, other: MaskCounts) -> MaskCounts:
        """The counts of both sets of units together."""
        return MaskCounts(
            self.hits + other.hits,
            self.misses + other.misses,
            self.false_alarms + other.false_alarms,
            self.correct_rejections + other.correct_rejections,
        )


def mask_mse(*, reference: ArrayLike, estimate: ArrayLike) -> MaskError:
    """Mean square error of an estimated mask.

    Args:
        reference: (T, F) the ideal mask.
        estimate: (T, F) the estimated one.

    Returns:
        The sums, with `total` and `per_channel` as means; summed in float64.

    Raises:
        ValueError: the shapes differ or are not (T, F), or a value is not finite.

    Convention: plain means; the sources' tables show them times 100.
    """
    ideal, estimated = _masks(reference, estimate)
    square_errors = np.square(estimated - ideal).sum(axis=0)  # (F,)
    return MaskError(square_errors, len(ideal))


def ibm_scores(*, reference: ArrayLike, estimate: ArrayLike, threshold: float = 0.5) -> MaskCounts:
    """Count the right and wrong units of a mask against the ideal binary mask.

    Args:
        reference: (T, F) the ideal binary mask, of 0 and 1 (or False and True).
        estimate: (T, F) the estimated mask, binary or with values in between.
        threshold: a unit of the estimate counts as kept where its value is above this.

    Returns:
        The counts, with accuracy, `hit`, `fa` and `hit_minus_fa` as fractions of 1.

    Raises:
        ValueError: the reference is not binary, the shapes differ or are not (T, F), or a value is
            not finite.

    Convention: rates are taken over all units together, not averaged over utterances. Others report
    percent.

    Source: Kim, Lu, Hu, Loizou 2009 for HIT - FA.
    """
    ideal, estimated = _masks(reference, estimate)
    speech = ideal == 1.0
    if not (speech | (ideal == 0.0)).all():
        other = ideal[~speech & (ideal != 0.0)][0]
        raise ValueError(
            f"the reference mask has the value {other:g}; hits and false alarms need an ideal "
            "binary mask of 0 and 1"
        )
    kept = estimated > threshold
    hits, false_alarms = np.count_nonzero(speech & kept), np.count_nonzero(~speech & kept)
    speech_units = np.count_nonzero(speech)
    return MaskCounts(
        hits=int(hits),
        misses=int(speech_units - hits),
        false_alarms=int(false_alarms),
        correct_rejections=int(speech.size - speech_units - false_alarms),
    )


def _masks(reference: ArrayLike, estimate: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    ideal = np.asarray(reference, dtype=np.float64)
    estimated = np.asarray(estimate, dtype=np.float64)
    if ideal.ndim != 2 or ideal.shape != estimated.shape:
        raise ValueError(
            f"reference mask has shape {ideal.shape}, estimate {estimated.shape}; "
            "both must be (frames, channels)"
        )
    for name, mask in (("reference", ideal), ("estimate", estimated)):
        if not np.isfinite(mask).all():
            raise ValueError(f"the {name} mask has values that are not finite")
    return ideal, estimated


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
