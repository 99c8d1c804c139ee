"""The model whose training noise is most like a recording's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from squall.audio.features import Normalizer, context_window
from squall.enhance.model import MaskModel
from squall.enhance.nearest import nearest_model
from tiny_enhancer import train_model

RANDOM = np.random.default_rng(0)
CONTEXT = 2


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """Models of two noises at two levels, and of all together."""
    kinds = {
        "hum/0dB": (0.0, 1.0),
        "hum/5dB": (0.0, 2.0),
        "hiss/0dB": (9.0, 1.0),
        "hiss/5dB": (9.0, 2.0),
        "all": (4.5, 5.0),
    }
    folders = {}
    for name, (mean, spread) in kinds.items():
        frames = (mean + spread * RANDOM.standard_normal((500, 3))).astype(np.float32)
        normalizer = Normalizer.fit([context_window(frames, CONTEXT, CONTEXT)])
        model = train_model(0)
        folders[name] = tmp_path / name
        MaskModel(model.name, model.estimator, normalizer, CONTEXT, 0).save(folders[name])
    return folders


@pytest.mark.parametrize(
    ("mean", "spread", "expected"),
    [
        (0.2, 1.0, "hum/0dB"),
        (0.2, 2.2, "hum/5dB"),
        (8.8, 1.1, "hiss/0dB"),
        (4.5, 4.0, "all"),
        (4.4, 0.5, "all"),  # as near to one noise as to the other
        (-60.0, 1.0, "all"),
    ],
)
def test_the_likeliest_model_is_taken_where_its_noise_is_clear(
    models: dict[str, Path], mean: float, spread: float, expected: str
) -> None:
    frames = (mean + spread * RANDOM.standard_normal((50, 3))).astype(np.float32)
    assert nearest_model(models, frames) == expected
    assert nearest_model(dict(reversed(models.items())), frames) == expected


def test_without_a_model_of_all_conditions_the_likeliest_is_taken(models: dict[str, Path]) -> None:
    del models["all"]
    frames = (4.8 + RANDOM.standard_normal((50, 3))).astype(np.float32)
    assert nearest_model(models, frames) == "hiss/5dB"
    assert nearest_model({"hum/0dB": models["hum/0dB"]}, frames) == "hum/0dB"


def test_other_features_are_named(models: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="windows of 15 features: not 5 frames of 4"):
        nearest_model(models, np.zeros((10, 4), np.float32))
    with pytest.raises(ValueError, match="there is no model"):
        nearest_model({}, np.zeros((10, 4), np.float32))
