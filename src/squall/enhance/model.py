"""A trained mask model: from the features of an utterance to its mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.audio.features import Normalizer, context_window
from squall.enhance.estimators.estimator import MaskEstimator
from squall.enhance.estimators.registry import estimator_class
from squall.enhance.frames import average_windows
from squall.files import read_arrays, read_json, write_arrays, write_json

__all__ = ["MaskModel", "read_normalizer"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class MaskModel:
    """A trained estimator with what stands before and behind it.

    Args:
        name: of the estimator.
        estimator: trained.
        normalizer: of the features with their context.
        context: frames on each side that stand beside a frame's features.
        mask_context: frames on each side whose masks are estimated and averaged.
    """

    name: str
    estimator: MaskEstimator
    normalizer: Normalizer
    context: int
    mask_context: int

    def estimate(self, features: Array) -> Array:
        """Estimate the mask of one utterance.

        Args:
            features: (T, D) as `squall.audio.features.extract` gives them.

        Returns:
            (T, F) in [0, 1].
        """
        window = self.normalizer.apply(context_window(features, self.context, self.context))
        return average_windows(self.estimator.predict(window), self.mask_context)

    def save(self, directory: Path) -> None:
        """Write the model to a folder; `model.json`, written last, says that it is whole."""
        self.estimator.save(directory)
        write_arrays(directory / "normalizer.npz", self.normalizer.to_arrays())
        settings: dict[str, Any] = {
            "estimator": self.name,
            "context": self.context,
            "mask_context": self.mask_context,
        }
        write_json(directory / "model.json", settings, indent=1)

    @classmethod
    def load(cls, directory: Path) -> MaskModel:
        """Read a model.

        Raises:
            FileNotFoundError: there is none in the folder.
            ValueError: it is damaged.
        """
        settings = _read_settings(directory)
        name = settings.pop("estimator")
        normalizer = _read_normalizer(directory)
        return cls(name, estimator_class(name).load(directory), normalizer, **settings)


def read_normalizer(directory: Path) -> tuple[Normalizer, int]:
    """The normalizer of a model, which is all that is read, and the frames on each side in it.

    Raises:
        FileNotFoundError: there is no model in the folder.
        ValueError: it is damaged.
    """
    context: int = _read_settings(directory)["context"]
    return _read_normalizer(directory), context


def _read_settings(directory: Path) -> dict[str, Any]:
    path = directory / "model.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run the stages up to 5 (train) first")
    settings: dict[str, Any] = read_json(path)
    return settings


def _read_normalizer(directory: Path) -> Normalizer:
    path = directory / "normalizer.npz"
    return Normalizer.from_arrays(read_arrays(path, remedy="train again with --stage 5 --force"))
