"""The kernel machine behind the interface of mask estimators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from squall.enhance.estimators.dnn import DnnEstimator
from squall.enhance.estimators.estimator import MaskEstimator
from squall.enhance.estimators.kernel import KernelEstimator

Array = NDArray[np.float32]
SMALL: dict[str, Any] = {"subbands": 2, "gamma": 1.0, "bandwidth": 1.0, "subsample_size": 100}


def _data(frames: int, *, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    features = random.standard_normal((frames, 6)).astype(np.float32)
    weights = np.random.default_rng(17).standard_normal((6, 8))
    masks = 1 / (1 + np.exp(-2 * features @ weights))
    return {"features": features, "masks": masks.astype(np.float32)}


TRAIN, DEV = _data(300, seed=1), _data(100, seed=2)


def _fit(estimator: KernelEstimator, **changes: Any) -> KernelEstimator:
    dev = {f"dev_{key}": value for key, value in DEV.items()}
    return estimator.fit(**{**TRAIN, **dev, **changes})


def test_it_is_an_estimator() -> None:
    assert isinstance(KernelEstimator(), MaskEstimator)


def test_it_learns() -> None:
    estimator = _fit(KernelEstimator(max_epochs=5, **SMALL))
    error = np.mean(np.square(estimator.predict(DEV["features"]) - DEV["masks"]))
    assert error < 0.3 * DEV["masks"].var()


def test_its_size_is_the_number_of_centres() -> None:
    assert _fit(KernelEstimator(max_epochs=1, **SMALL)).size() == {"centres": 300}
    apart = KernelEstimator(max_epochs=1, centres=50, **SMALL)
    assert _fit(apart).size() == {"centres": 50}
    with pytest.raises(ValueError, match="not fitted yet"):
        KernelEstimator().size()


def test_estimates_are_masks() -> None:
    masks = (TRAIN["masks"] > 0.5).astype(np.float32)
    estimator = _fit(KernelEstimator(max_epochs=5, **SMALL), masks=masks)
    raw = estimator.machine.predict(TRAIN["features"])
    estimate = estimator.predict(TRAIN["features"])
    assert raw.min() < 0 < 1 < raw.max()
    np.testing.assert_array_equal(estimate, np.clip(raw, 0, 1))
    assert estimate.dtype == np.float32


def test_history_has_an_entry_for_each_pass() -> None:
    told: list[tuple[int, int, str]] = []
    estimator = KernelEstimator(max_epochs=3, patience=None, **SMALL)
    _fit(estimator, on_progress=lambda *words: told.append(words))
    assert [entry["epoch"] for entry in estimator.history_] == [1, 2, 3]
    assert all({"seconds", "dev_mse", "train_mse"} <= e.keys() for e in estimator.history_)
    assert all("validation_mse" not in entry for entry in estimator.history_)
    seconds = [entry["seconds"] for entry in estimator.history_]
    assert seconds == sorted(seconds)
    assert [(done, total) for done, total, _ in told] == [(1, 3), (2, 3), (3, 3)]


def test_details_tell_each_subband_and_what_the_search_tried() -> None:
    given = _fit(KernelEstimator(max_epochs=1, **SMALL)).details_
    assert [(band["first"], band["last"]) for band in given["subbands"]] == [(0, 4), (4, 8)]
    assert "tried" not in given
    searched = _fit(KernelEstimator(max_epochs=1, **{**SMALL, "bandwidth": "auto"})).details_
    assert len(searched["tried"]) > 1
    json.dumps(searched, allow_nan=False)


def test_the_seed_decides_the_bits() -> None:
    def predictions(seed: int) -> Array:
        estimator = _fit(KernelEstimator(seed=seed, max_epochs=2, **SMALL))
        return estimator.predict(DEV["features"])

    np.testing.assert_array_equal(predictions(1), predictions(1))
    assert (predictions(1) != predictions(2)).any()


def test_a_saved_machine_predicts_the_same_bits(tmp_path: Path) -> None:
    estimator = _fit(KernelEstimator(max_epochs=2, **SMALL))
    estimator.save(tmp_path / "model")
    loaded = KernelEstimator.load(tmp_path / "model")
    np.testing.assert_array_equal(
        loaded.predict(DEV["features"]), estimator.predict(DEV["features"])
    )
    assert loaded.history_ == estimator.history_
    assert loaded.details_ == json.loads(json.dumps(estimator.details_))


def test_a_folder_of_another_estimator_is_refused(tmp_path: Path) -> None:
    dev = {f"dev_{key}": value for key, value in DEV.items()}
    network = DnnEstimator(hidden_layers=0, max_epochs=1).fit(**TRAIN, **dev)
    network.save(tmp_path)
    with pytest.raises(ValueError, match="of kind 'dnn', not 'kernel'"):
        KernelEstimator.load(tmp_path)
    with pytest.raises(ValueError, match="no estimator was saved here"):
        KernelEstimator.load(tmp_path / "empty")


def test_an_unknown_parameter_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"has no 'hidden_units'; it has .*'bandwidth'"):
        KernelEstimator(hidden_units=3)


@pytest.mark.parametrize("name", ["epochs", "random_state", "device_"])
def test_parameters_that_have_another_name_here_are_not_taken_twice(name: str) -> None:
    with pytest.raises(ValueError, match=f"has no '{name}'"):
        KernelEstimator(**{name: 1})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gamma": 0.0}, "gamma is 0"),
        ({"gamma": 2.5}, "gamma is 2.5"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"bandwidth": 0.0}, "(bandwidth|sigma) is 0"),
        ({"bandwidth": -1.0}, "(bandwidth|sigma) is -"),
        ({"gamma": [1.0, 1.0, 1.0]}, "3 values of gamma for 2 subbands"),
        ({"subbands": 0}, "subbands is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"memory_gb": 0}, "memory_gb is 0"),
        ({"metric": "cosine"}, "metric is 'cosine'"),
        ({"max_epochs": 0}, "epochs is 0"),
    ],
)
def test_a_parameter_out_of_range_is_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _fit(KernelEstimator(**{"max_epochs": 1, **SMALL, **parameters}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": TRAIN["masks"][:-1]}, "masks have 299 frames, their features 300"),
        ({"masks": TRAIN["masks"] * 2}, "masks lie in"),
        ({"masks": np.full_like(TRAIN["masks"], np.nan)}, "masks have nan in row 0"),
        ({"features": TRAIN["features"][:, 0]}, "features have shape"),
        ({"features": np.full_like(TRAIN["features"], np.inf)}, "not finite in row 0"),
        ({"dev_features": DEV["features"][:, :5]}, "dev_features have 5 dimensions instead of 6"),
        ({"dev_masks": DEV["masks"][:, :7]}, "dev_masks have 7 channels instead of 8"),
    ],
)
def test_data_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _fit(KernelEstimator(max_epochs=1, **SMALL), **changes)


def test_features_of_another_kind_are_refused_in_use() -> None:
    estimator = _fit(KernelEstimator(max_epochs=1, **SMALL))
    with pytest.raises(ValueError, match="5 features"):
        estimator.predict(DEV["features"][:, :5])
    with pytest.raises(ValueError, match=r"NaN|not finite"):
        estimator.predict(np.full((2, 6), np.nan, np.float32))
