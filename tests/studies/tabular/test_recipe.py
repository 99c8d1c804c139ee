"""What the recipe of the tabular study keeps and records of networks that diverge."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from squall.engine.experiment import repository_root
from squall.engine.tasks import load_config
from squall.networks.stack import NetworkSettings
from squall.report.records import Record
from squall.studies.tabular.collection import Split, UciSet
from squall.studies.tabular.recipe import _read_scores, _set_records, _train_set, _Training
from squall.studies.tabular.settings import TabularSettings

CONFIG = repository_root() / "conf" / "tabular" / "collection.yaml"
TEMPLATE = Record("tabular", "toy", "uci121", "", "", 0, "", 0.0, "", 0, "c", "run", "h", 0.0)


def _refuse(word: str) -> None:
    pytest.fail(f"{word} is not JSON")


@pytest.fixture
def training(tmp_path: Path) -> _Training:
    """Of a set with two folds, on which the square loss diverges."""
    random = np.random.default_rng(5)
    rows = random.permutation(30)
    folds = (Split(rows[10:], rows[:10]), Split(rows[:20], rows[20:]))
    inputs = random.standard_normal((30, 3))
    data = UciSet("toy", inputs, np.arange(30) % 2, folds, folds[0], None)
    settings = TabularSettings(
        losses={"ce": {}, "square": {"scale": 1e30}},
        initialisations=1,
        network=NetworkSettings(hidden=(4,), epochs=3),
    )
    (tmp_path / "progress").mkdir()
    return _Training(data, settings, seed=0, threads=1, directory=tmp_path)


def test_the_scores_of_diverged_networks_are_null_in_the_file_and_nan_again(
    training: _Training,
) -> None:
    _train_set(training)
    content = json.loads(training.result.read_text(), parse_constant=_refuse)
    assert [n["accuracy"] is None for n in content["networks"]] == [False, True] * 2
    for network in _read_scores(training.result).networks:
        assert math.isnan(network.accuracy) == math.isnan(network.nll) == (network.loss != "ce")
        assert network.untrained or network.loss == "ce"


def test_a_file_of_earlier_versions_is_read(training: _Training) -> None:
    _train_set(training)
    content = json.loads(training.result.read_text())
    del content["sha256"]
    training.result.write_text(json.dumps(content).replace("null", "NaN"))
    assert "NaN" in training.result.read_text()
    assert [math.isnan(n.ece) for n in _read_scores(training.result).networks] == [0, 1, 0, 1]


def test_a_record_without_a_value_says_how_many_networks_diverged(training: _Training) -> None:
    _train_set(training)
    records = list(_set_records(TEMPLATE, _read_scores(training.result)))
    found = {(r.system, r.metric): (r.value, r.unit, r.reason) for r in records}
    assert found["square", "accuracy"] == (None, "%", "2 of 2 networks diverged")
    assert found["square", "ece"] == (None, "%", "2 of 2 networks diverged")
    assert found["square", "untrained"] == (2.0, "networks", "")
    assert found["ce", "accuracy"][2] == ""


def test_experiments_from_before_the_epoch_could_be_chosen_keep_their_folders() -> None:
    plain = load_config(CONFIG)
    assert "epoch" not in plain.hashed()["study"]
    assert load_config(CONFIG, {"study.epoch": "last"}).directory_name == plain.directory_name
    best = load_config(CONFIG, {"study.epoch": "best_test"})
    assert best.hashed()["study"]["epoch"] == "best_test"
    assert best.directory_name != plain.directory_name
