"""What the recipe of the two spirals records of networks that diverge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from squall.engine.experiment import Experiment, RunOptions
from squall.engine.stages import run_stages
from squall.networks.stack import NetworkSettings
from squall.report.records import read_records
from squall.studies.spiral.recipe import list_stages
from squall.studies.spiral.report import SPIRALS
from squall.studies.spiral.settings import SpiralConfig, SpiralSettings


def _refuse(word: str) -> None:
    pytest.fail(f"{word} is not JSON")


def test_a_diverged_network_has_a_reason_in_place_of_its_numbers(tmp_path: Path) -> None:
    study = SpiralSettings(
        losses={"ce": {}, "square": {"scale": 1e30}},
        samples=20,
        network=NetworkSettings(hidden=(4,)),
        epochs=(3,),
        grid=5,
    )
    config = SpiralConfig(recipe="spiral", experiment="toy", study=study)
    experiment = Experiment(config, RunOptions(exp_dir=str(tmp_path)))
    run_stages(list_stages(experiment), log_dir=tmp_path / "logs")
    json.loads(experiment.result_path.read_text(), parse_constant=_refuse)
    records = read_records(experiment.result_path)
    reasons = {(r.system, r.metric): (r.value is None, r.reason) for r in records}
    diverged = (True, "the network had diverged by then")
    assert reasons == {
        ("ce", "accuracy"): (False, ""),
        ("ce", "ece"): (False, ""),
        ("square", "accuracy"): diverged,
        ("square", "ece"): diverged,
    }
    accuracy, _ = SPIRALS.tables(records)
    assert [row[1] == "undefined" for row in accuracy.rows] == [False, True]
