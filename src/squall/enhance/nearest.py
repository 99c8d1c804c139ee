"""Which of an experiment's models was trained on noise most like that of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.enhance.model import read_normalizer
from squall.enhance.settings import ALL

__all__ = ["AUTO", "nearest_model"]

AUTO = "auto"
"""Stands for the name of the model that `nearest_model` chooses."""

_MARGIN_NATS = 10.0


def nearest_model(models: Mapping[str, Path], features: NDArray[np.float32]) -> str:
    """The model whose training frames the frames of a recording are most likely to be from.

        argmax_m -1/T sum_t sum_d ((x_td - mean_md)^2 / (2 scale_md^2) + ln scale_md)

    Each model keeps mean and scale of its training features: a Gaussian of each dimension. Noise
    and SNR both show in them.

    Args:
        models: names and folders of the models that there are.
        features: (T, D) of the recording, without context.

    Returns:
        A name. Where no noise is likelier than every other one by 10 nats a frame, it is `all` if
        there is a model of all conditions.

    Raises:
        ValueError: there are no models, or they were trained on other features.

    Convention: all frames count, speech too: the frames before the speech begins tell the noise as
    well, but not the SNR. A wrong model costs more than the right one gains over that of all
    conditions, hence the margin; it is the largest that costs less than 2 % of the error on
    validation mixtures, whose noise is from the stretch next to that of training. On test mixtures,
    with other stretches, the nearest model alone is worse than that of all conditions
    (`benchmarks/nearest.py`).
    """
    if not models:
        raise ValueError("there is no model to choose")
    found = {name: _log_likelihood(folder, features) for name, folder in models.items()}
    if ALL not in found or len(found) == 1:
        return max(found, key=lambda name: found[name])
    of_noise: dict[str, float] = {}
    for name in found.keys() - {ALL}:
        noise = name.partition("/")[0]
        of_noise[noise] = max(of_noise.get(noise, -np.inf), found[name])
    best = max(found.keys() - {ALL}, key=lambda name: (found[name], name))
    others = [value for noise, value in of_noise.items() if noise != best.partition("/")[0]]
    clear = found[best] - max(others, default=-np.inf) > _MARGIN_NATS
    return best if clear and found[best] > found[ALL] else ALL


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
