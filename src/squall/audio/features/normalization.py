"""Normalisation of features to zero mean and unit variance over a training set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Normalizer"]

# A spread below this part of the largest value is rounding of float32, not variation.
_CONSTANT_BELOW = 1e-6


@dataclass(frozen=True)
class Normalizer:
    """Means and standard deviations of features.

    Args:
        mean_: (D,) float64.
        scale_: (D,) float64, positive; 1 for a dimension that was constant.

    Raises:
        ValueError: the two are not finite vectors of one length, or a scale is not positive.
    """

    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.mean_.ndim != 1 or self.mean_.shape != self.scale_.shape:
            raise ValueError(
                f"mean has shape {self.mean_.shape}, scale {self.scale_.shape}; both must be (D,)"
            )
        if not (np.isfinite(self.mean_).all() and np.isfinite(self.scale_).all()):
            raise ValueError("mean and scale must be finite")
        if not (self.scale_ > 0).all():
            raise ValueError(f"the scale of dimension {np.argmin(self.scale_)} is not positive")

    @classmethod
    def fit(cls, features: Iterable[NDArray[np.float32]]) -> Normalizer:
        """Measure mean and standard deviation over all frames of several utterances.

        Args:
            features: arrays (T, D), one after the other; only one is held at a time.

        Raises:
            ValueError: there is no frame, the arrays differ in D, or a value is not finite.

        Convention:
            The variance is divided by the number of frames, as in scikit-learn.

        Source: the merging of means and sums of squares is Chan, Golub, LeVeque 1983.
        """
        count = 0
        mean = squares = largest = np.zeros(0)
        for position, part in enumerate(features):
            if count == 0:
                _check_dimensions(part, part.shape[-1], f"array {position}")
                mean, squares, largest = np.zeros((3, part.shape[1]))
            _check_dimensions(part, len(mean), f"array {position}")
            if not np.isfinite(part).all():
                raise ValueError(f"array {position} holds values that are not finite")
            if len(part) == 0:
                continue
            exact = part.astype(np.float64)
            part_mean = exact.mean(axis=0)
            shift, total = part_mean - mean, count + len(part)
            squares = squares + ((exact - part_mean) ** 2).sum(axis=0)
            squares = squares + shift**2 * (count * len(part) / total)
            mean = mean + shift * (len(part) / total)
            largest = np.maximum(largest, np.abs(exact).max(axis=0))
            count = total
        if count == 0:
            raise ValueError("there is no frame to fit a normalisation on")
        deviation = np.sqrt(squares / count)
        return cls(mean, np.where(deviation > _CONSTANT_BELOW * largest, deviation, 1.0))

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give (features - mean) / scale, (T, D) float32.

        Raises:
            ValueError: the features have another number of dimensions.
        """
        _check_dimensions(features, len(self.mean_), "the array to normalise")
        normalised = np.empty(features.shape, np.float32)
        # Float64 arithmetic in small buffers: no copy of the whole array in float64.
        np.subtract(features, self.mean_, out=normalised, dtype=np.float64, casting="same_kind")
        np.divide(normalised, self.scale_, out=normalised, dtype=np.float64, casting="same_kind")
        return normalised

    def repeat(self, places: int) -> Normalizer:
        """The same for windows of so many frames: every place of a window like the frame itself."""
        return Normalizer(np.tile(self.mean_, places), np.tile(self.scale_, places))

    def to_arrays(self) -> dict[str, NDArray[np.float64]]:
        """Give what `from_arrays` takes, e.g. for `squall.files.write_arrays`."""
        return {"mean": self.mean_, "scale": self.scale_}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> Normalizer:
        """Make a normaliser from the arrays `mean` and `scale`, e.g. of an `.npz` file.

        Raises:
            ValueError: one is missing, or they are no means and scales.
        """
        missing = [name for name in ("mean", "scale") if name not in arrays]
        if missing:
            raise ValueError(f"a normalisation needs the array {missing[0]!r}")
        return cls(np.asarray(arrays["mean"], np.float64), np.asarray(arrays["scale"], np.float64))


def _check_dimensions(features: NDArray[np.float32], dimensions: int, what: str) -> None:
    if features.ndim != 2 or features.shape[1] != dimensions:
        raise ValueError(
            f"{what} has shape {features.shape}; the normalisation has {dimensions} dimensions"
        )
