"""Which of an experiment's models was trained on noise most like that of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.enhance.model import read_normalizer

__all__ = ["AUTO", "nearest_model"]

AUTO = "auto"
"""Stands for the name of the model that `nearest_model` chooses."""


def nearest_model(models: Mapping[str, Path], features: NDArray[np.float32]) -> str:
    """The model whose training frames the frames of a recording are most likely to be from.

        argmax_m -1/T sum_t sum_d ((x_td - mean_md)^2 / (2 scale_md^2) + ln scale_md)

    Each model keeps mean and scale of its training features: a Gaussian of each dimension. Noise
    and SNR both show in them.

    Args:
        models: names and folders of the models that there are.
        features: (T, D) of the recording, without context.

    Raises:
        ValueError: there are no models, or they were trained on other features.

    Convention: all frames count, speech too: the frames before the speech begins tell the noise as
    well, but not the SNR (`benchmarks/nearest.py`).
    """
    if not models:
        raise ValueError("there is no model to choose")
    likelihoods = {name: _log_likelihood(folder, features) for name, folder in models.items()}
    return max(likelihoods, key=lambda name: likelihoods[name])


def _log_likelihood(folder: Path, features: NDArray[np.float32]) -> float:
    normalizer, context = read_normalizer(folder)
    # The frame in the middle of a window.
    places = 2 * context + 1
    if normalizer.mean_.size != places * features.shape[1]:
        raise ValueError(
            f"{folder} was trained on windows of {normalizer.mean_.size} features: not {places} "
            f"frames of {features.shape[1]}"
        )
    mean, scale = (
        values.reshape(places, -1)[context] for values in (normalizer.mean_, normalizer.scale_)
    )
    frames = (features.astype(np.float64) - mean) / scale
    return float(-0.5 * np.square(frames).sum(axis=1).mean() - np.log(scale).sum())
