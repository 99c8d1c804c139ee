"""Image classifiers through all stages, killed in between; neural collapse along the training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from commands import work_done
from killed_epochs import kill_epochs
from squall.classification.recipe import read_logits
from squall.engine.experiment import RunOptions, repository_root
from squall.engine.grid import expand_grid
from squall.engine.runner import Cell, run_cell
from squall.engine.stages import StageError
from squall.engine.tasks import load_config
from squall.report.records import read_records
from squall.studies.images.places import ImagePlaces
from tiny_images import write_bright_images

Squall = Callable[..., tuple[int, str, str]]

SETTINGS: dict[str, Any] = {
    "network": {"name": "resnet18", "width": 4},
    "training.epochs": 4,
    "training.batch_size": 16,
    "training.learning_rate": [0.03, 0.1],
    "training.augment": False,
    "training.precision": "float32",
    "training.measured_epochs": [0, 1, 3],
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_bright_images(tmp_path / "bright", classes=8, train=320, test=80)


def _cell(corpus: Path, tmp_path: Path, settings: dict[str, Any], **options: Any) -> Cell:
    path = repository_root() / "conf" / "images" / "cifar10.yaml"
    chosen = RunOptions(str(tmp_path / "exp"), str(corpus))
    return Cell(load_config(path, {**settings, "results_dir": str(tmp_path)}), chosen, **options)


@pytest.mark.slow
def test_two_losses_through_all_stages(squall: Squall, corpus: Path, tmp_path: Path) -> None:
    arguments = ("images", "--corpus-dir", corpus, "--grid", "loss.name=ce,squentropy", "seed=1,2")
    code, out, err = squall(*arguments, settings=SETTINGS)
    assert code == 0, err
    assert "images of 8 x 8: train 288, dev 32, test 80, of 8 classes" in out
    records = read_records(tmp_path / "results" / "results.json")
    tested = {(r.system, r.seed): r.value for r in records
              if (r.condition, r.metric) == ("test", "accuracy")}  # fmt: skip
    assert tested.keys() == {(loss, seed) for loss in ("ce", "squentropy") for seed in (1, 2)}
    assert min(tested.values()) > 60
    metrics = {r.metric for r in records if r.condition == "test"}
    assert {"top5_accuracy", "weight_norm", "ece", "nll_refinement"} <= metrics
    collapse = {(r.condition, r.metric) for r in records if r.metric.endswith("collapse")}
    assert {("epoch 0", "train_collapse"), ("epoch 3", "weak_test_collapse")} <= collapse
    text = (tmp_path / "results" / "RESULTS.md").read_text()
    assert "neural collapse at the end" in text
    assert "other images and seeds" in text
    page = (tmp_path / "exp" / "images" / "report.html").read_text()
    for title in ("Neural collapse", "norm of the last layer", "Reliability diagrams"):
        assert title in page, title
    code, out, err = squall(*arguments, settings=SETTINGS)
    assert code == 0, err
    assert set(work_done(out)) == {"0 check"}


def test_a_killed_training_ends_with_the_same_answers(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("squall.classification.recipe._SAVE_EVERY_S", 0.0)
    cell = _cell(corpus, tmp_path, SETTINGS, last=6)
    run_cell(cell)
    places = ImagePlaces(cell.experiment)
    logits, _ = read_logits(places.logits("test"))
    collapse = json.loads(places.collapse.read_text())
    assert [one["epoch"] for one in collapse][:2] == [0, 1]
    shutil.rmtree(tmp_path / "exp")

    begun = kill_epochs(monkeypatch, (7, 12), lambda: run_cell(cell))  # in stage 4, in stage 5
    assert begun == [1, 2, 3, 4, 1, 2, 3, 3, 4, 1, 2, 3, 3, 4]
    again, _ = read_logits(places.logits("test"))
    assert (again == logits).all()
    assert json.loads(places.collapse.read_text()) == collapse


def _transfer(corpus: Path, tmp_path: Path) -> Cell:
    """Two super-classes, and then their eight classes from other images."""
    halves = {"top": ["0", "1", "2", "3"], "bottom": ["4", "5", "6", "7"]}
    tuned = {"epochs": 2, "batch_size": 16, "learning_rate": [0.01, 0.1], "keep": "last"}
    settings = {
        **SETTINGS,
        "images": {"groups": halves, "train": 80},
        "transfer": {"images": {"train": 80, "skip": 10}, "training": tuned},
        "training.epochs": 2,
        "training.keep": "last",
        "training.measured_epochs": [0, 1],
        "training.learning_rate": 0.1,
    }
    return _cell(corpus, tmp_path, settings, last=7)


@pytest.mark.slow
def test_a_network_is_fine_tuned_from_its_weights_along_the_training(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = _transfer(corpus, tmp_path)
    run_cell(cell)
    places = ImagePlaces(cell.experiment)
    whole = json.loads(places.transfer.read_text())
    assert [one["epoch"] for one in whole] == [0, 1, 2]
    rates = json.loads((places.predicted / "transfer" / "epoch-1.json").read_text())["rates"]
    assert [one["learning_rate"] for one in rates] == [0.01, 0.1]
    assert whole[1]["dev_accuracy"] == max(one["dev_accuracy"] for one in rates)
    metrics = {(r.condition, r.metric) for r in read_records(cell.experiment.result_path)}
    assert {("epoch 0", "transfer_accuracy"), ("epoch 2", "transfer_accuracy")} <= metrics

    shutil.rmtree(places.predicted)
    begun = kill_epochs(monkeypatch, (6,), lambda: run_cell(cell))
    assert len(begun) == 12 + 2  # two epochs of two rates of three networks; one killed, one anew
    assert json.loads(places.transfer.read_text()) == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"name": "resnet19"}}, "no architecture 'resnet19'"),
        ({"network": {"name": "vgg11"}}, "vgg11 takes images of 32 x 32, not of 8 x 8"),
        ({"images": {"classes": ["x", "y"]}}, "the choice has no class 'x'"),
    ],
)
def test_the_check_stops_what_cannot_be_trained(
    corpus: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, StageError), match=message):
        run_cell(_cell(corpus, tmp_path, {**SETTINGS, **change}, last=0))


def test_absent_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="absent does not exist: give the images"):
        run_cell(_cell(tmp_path / "absent", tmp_path, SETTINGS, last=0))


@pytest.mark.parametrize(
    "path",
    [path for name in ("images", "ccql", "collapse")
     for path in sorted((repository_root() / "conf" / name).glob("*.yaml"))],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)  # fmt: skip
def test_every_experiment_binds(path: Path) -> None:
    config = load_config(path)
    for grid in config.grids:
        for cell in expand_grid(grid):
            load_config(path, cell)
