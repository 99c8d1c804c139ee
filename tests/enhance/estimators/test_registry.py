"""An estimator that is registered is all that settings, training, tables and comparison need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import tiny_enhancement
from squall.enhance.estimators.estimator import read_estimator_file, write_estimator_file
from squall.enhance.estimators.registry import (
    ESTIMATORS,
    EstimatorEntry,
    entry_of_system,
    estimator_class,
    order_of_systems,
)
from squall.enhance.frames import FrameSet
from squall.enhance.model import MaskModel
from squall.enhance.report.tables import enhancement_tables
from squall.enhance.training import build_estimator, train_models
from squall.report.records import Record

Array = NDArray[np.float32]


class MeanEstimator:
    """Estimates the mean mask of its training, whatever the features."""

    def __init__(self, *, seed: int = 0, device: str = "cpu", share: float = 1.0) -> None:
        self.share = share
        self.history_: list[dict[str, float]] = []

    def fit(
        self,
        features: Array,
        masks: Array,
        *,
        dev_features: Array,
        dev_masks: Array,
        **_: Any,
    ) -> MeanEstimator:
        self.mean_ = self.share * masks.mean(axis=0)
        error = float(np.square(dev_masks - self.mean_).mean())
        self.history_ = [{"epoch": 1, "seconds": 0.5, "dev_mse": error}]
        return self

    def predict(self, features: Array) -> Array:
        return np.tile(self.mean_, (len(features), 1)).astype(np.float32)

    def save(self, directory: Path) -> None:
        content = {"mean": self.mean_.tolist(), "history": self.history_}
        write_estimator_file(directory, "mean", content)

    @classmethod
    def load(cls, directory: Path) -> MeanEstimator:
        found = cls()
        found.mean_ = np.array(read_estimator_file(directory, "mean")["mean"], np.float32)
        return found


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EstimatorEntry(
        f"{__name__}:MeanEstimator", plural="mean masks", short_names={"share": "s"}
    )
    monkeypatch.setitem(ESTIMATORS, "mean", entry)


def test_it_has_settings_and_a_name(tmp_path: Path) -> None:
    config = tiny_enhancement.config(tmp_path, "mean", estimator__share=0.5)
    assert config.estimator.trained
    assert config.system == "mean-s0.5"
    assert "max_epochs" not in config.hashed()["estimator"]
    assert entry_of_system(config.system).plural == "mean masks"


def test_it_is_trained_kept_and_used(tmp_path: Path) -> None:
    assert estimator_class("mean") is MeanEstimator
    config = tiny_enhancement.config(tmp_path, "mean", training__models=["all"])
    # Without the epochs, which `tiny_enhancement` gives to every estimator.
    estimator = config.estimator.model_validate({"name": "mean", "share": 0.5})
    config = config.model_copy(update={"estimator": estimator})
    random = np.random.default_rng(0)
    for split in ("train", "dev"):
        for condition in ("babble/-5dB", "babble/5dB", "rain/-5dB", "rain/5dB"):
            masks = random.uniform(size=(30, 6)).astype(np.float32)
            features = random.standard_normal((30, 4)).astype(np.float32)
            FrameSet(["a"], [30], features, masks).write(tmp_path / "f" / split / condition)
    train_models(
        config,
        tmp_path / "f",
        tmp_path / "train",
        tuning={"chosen": {}},
        fingerprint={"settings": config.hashed()},
        device="cpu",
        on_progress=lambda *_: None,
    )
    record = json.loads((tmp_path / "train" / "all" / "training.json").read_text())
    assert record["seconds"] == 0.5
    mask = MaskModel.load(tmp_path / "train" / "all").estimate(np.zeros((5, 4), np.float32))
    np.testing.assert_allclose(mask, 0.25, atol=0.05)
    with pytest.raises(ValueError, match=r"estimator: .*'shares'"):
        build_estimator(config, {"shares": 1}, "cpu")


def _record(system: str, seconds: float) -> Record:
    return Record(
        recipe="toy", experiment="tiny", dataset="d", system=system, condition="all", seed=1,
        metric="train_seconds", value=seconds, unit="s", n=1, commit="", command="", hardware="",
        seconds=seconds,
    )  # fmt: skip


def test_it_has_its_place_in_tables_and_is_compared_with_the_baseline() -> None:
    assert order_of_systems(["mean-s0.5", "oracle", "dnn", "noisy", "kernel-4"]) == [
        "noisy", "dnn", "kernel-4", "oracle", "mean-s0.5",
    ]  # fmt: skip
    records = [_record("mean-s0.5", 1.0), _record("dnn", 4.0), _record("kernel-4", 2.0)]
    tables = {table.title: table for table in enhancement_tables(records)}
    assert list(tables)[:2] == [
        "Kernel machines against networks: in how many conditions",
        "Mean masks against networks: in how many conditions",
    ]
    mine = tables["Mean masks against networks: in how many conditions"]
    assert mine.rows == [["mean-s0.5 against dnn", "", "", "", "", "0.25 (0.25 to 0.25)"]]


def test_names_have_no_hyphen_since_parameters_stand_behind_one() -> None:
    assert not any("-" in name for name in ESTIMATORS)
    assert [name for name, entry in ESTIMATORS.items() if entry.baseline] == ["dnn"]
