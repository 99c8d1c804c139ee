"""A mask model: what stands before and behind its estimator, and how it is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from squall.audio.features import Normalizer
from squall.enhance.estimators.dnn import DnnEstimator
from squall.enhance.estimators.registry import estimator_class
from squall.enhance.frames import mask_windows
from squall.enhance.model import MaskModel

Array = NDArray[np.float32]


class _Echo:
    """Estimates what it is given, and keeps it."""

    def __init__(self, answer: Array) -> None:
        self.history_: list[dict[str, float]] = []
        self.answer = answer
        self.given: list[Array] = []

    def predict(self, features: Array) -> Array:
        self.given.append(features)
        return self.answer


def _model(estimator: object, *, context: int = 0, mask_context: int = 0, d: int = 2) -> MaskModel:
    width = d * (2 * context + 1)
    normalizer = Normalizer(np.full(width, 1.0), np.full(width, 2.0))
    return MaskModel("echo", estimator, normalizer, context, mask_context)  # type: ignore[arg-type]


def test_an_estimator_sees_normalised_features_with_their_context() -> None:
    echo = _Echo(np.zeros((3, 1), np.float32))
    features = np.array([[1, 10], [3, 30], [5, 50]], np.float32)
    _model(echo, context=1).estimate(features)
    expected = np.array([[1, 10, 1, 10, 3, 30], [1, 10, 3, 30, 5, 50], [3, 30, 5, 50, 5, 50]]) - 1
    np.testing.assert_allclose(echo.given[0], expected / 2)


def test_estimates_of_neighbours_are_averaged() -> None:
    masks = np.random.default_rng(0).random((6, 4)).astype(np.float32)
    model = _model(_Echo(mask_windows(masks, 2)), mask_context=2)
    np.testing.assert_allclose(model.estimate(np.zeros((6, 2), np.float32)), masks, atol=1e-6)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[MaskModel, Path]:
    random = np.random.default_rng(0)
    features = random.standard_normal((40, 6)).astype(np.float32)
    masks = random.random((40, 9)).astype(np.float32)
    network = DnnEstimator(hidden_layers=1, hidden_units=4, max_epochs=1)
    network.fit(features, masks, dev_features=features, dev_masks=masks)
    model = MaskModel("dnn", network, Normalizer.fit([features * 3]), context=1, mask_context=1)
    model.save(tmp_path / "babble" / "-5dB")
    return model, tmp_path / "babble" / "-5dB"


def test_a_saved_model_estimates_the_same_bits(saved: tuple[MaskModel, Path]) -> None:
    model, folder = saved
    loaded = MaskModel.load(folder)
    features = np.random.default_rng(1).standard_normal((11, 2)).astype(np.float32)
    np.testing.assert_array_equal(loaded.estimate(features), model.estimate(features))
    assert (loaded.name, loaded.context, loaded.mask_context) == ("dnn", 1, 1)
    assert loaded.estimate(features).shape == (11, 3)


def test_a_missing_model_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.json is missing: run the stages up to 5"):
        MaskModel.load(tmp_path)


@pytest.mark.parametrize("name", ["weights.pt", "estimator.json"])
def test_a_damaged_part_is_named(saved: tuple[MaskModel, Path], name: str) -> None:
    _, folder = saved
    (folder / name).write_bytes(b"{")
    with pytest.raises(ValueError, match=name):
        MaskModel.load(folder)


def test_only_estimators_that_are_trained_have_a_class() -> None:
    from squall.enhance.estimators.kernel import KernelEstimator

    assert estimator_class("dnn") is DnnEstimator
    assert estimator_class("kernel") is KernelEstimator
    with pytest.raises(ValueError, match=r"'oracle' is not trained; there are \['dnn', 'kernel'\]"):
        estimator_class("oracle")
