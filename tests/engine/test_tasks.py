"""Tasks: which settings, stages and report belong to a name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from squall.asr.settings import RecognitionConfig
from squall.engine.experiment import Experiment, RunOptions
from squall.engine.stages import Stage
from squall.engine.tasks import TASKS, config_from_json, load_config, open_experiment, task_of
from squall.enhance.settings import EnhancementConfig
from squall.settings import ConfigError

ENHANCEMENT = "task: enhancement\ncorpus: {name: demo}\nestimator: {name: dnn}\n"
RECOGNITION = "corpus: {name: demo}\nespnet: {max_epoch: 1}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "small.yaml"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (ENHANCEMENT, EnhancementConfig),
        (RECOGNITION, RecognitionConfig),
        ("task: recognition\n" + RECOGNITION, RecognitionConfig),
    ],
)
def test_the_key_task_decides_what_settings_there_are(path: Path, text: str, kind: type) -> None:
    path.write_text(text)
    config = load_config(path)
    assert type(config) is kind
    again = config_from_json(config.model_dump(mode="json"))
    assert again == config
    assert type(again) is kind
    assert task_of(config).config_class is kind


def test_a_task_may_come_from_the_command_line_or_a_base(path: Path) -> None:
    path.write_text(ENHANCEMENT.replace("task: enhancement\n", ""))
    assert isinstance(load_config(path, {"task": "enhancement"}), EnhancementConfig)
    over = path.with_name("over.yaml")
    path.write_text(ENHANCEMENT)
    over.write_text("base: small.yaml\nseed: 4\n")
    assert isinstance(load_config(over), EnhancementConfig)


def test_an_unknown_task_is_named_with_those_there_are(path: Path) -> None:
    path.write_text("task: enhancment\n")
    with pytest.raises(
        ConfigError, match=r"no task 'enhancment'; there are recognition, enhancement, spiral, tab"
    ):
        load_config(path)


def test_settings_of_the_other_task_are_refused(path: Path) -> None:
    path.write_text(ENHANCEMENT + "espnet: {}\n")
    with pytest.raises(ConfigError, match="espnet: there is no such setting"):
        load_config(path)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_stages_are_named_in_the_order_of_their_numbers(
    path: Path, tmp_path: Path, name: str
) -> None:
    if name == "recognition":
        pytest.importorskip("espnet2")
    study = f"task: {name}\ncorpus: {{name: any}}\n"
    path.write_text({"enhancement": ENHANCEMENT, "recognition": RECOGNITION}.get(name, study))
    config = load_config(path)
    stages = TASKS[name].list_stages(Experiment(config, RunOptions(str(tmp_path / "exp"))))
    listed = {stage.number: stage.name for stage in stages}
    assert listed | {8: "report"} == TASKS[name].stage_names
    assert list(listed) == sorted(listed)
    assert {0: "check", 5: "train", 7: "score"}.items() <= listed.items()


def test_an_experiment_is_not_opened_as_one_of_another_task(path: Path, tmp_path: Path) -> None:
    path.write_text(ENHANCEMENT)
    experiment = Experiment(load_config(path), RunOptions(str(tmp_path / "exp")))
    experiment.write_settings()
    opened = open_experiment(experiment.directory, EnhancementConfig)
    assert opened.config == experiment.config
    with pytest.raises(ConfigError, match="of another task: enhancement"):
        open_experiment(experiment.directory, RecognitionConfig)


def test_a_study_may_have_further_stages_of_those_that_recipes_have() -> None:
    usual = {0: "check", 5: "train", 7: "score", 8: "report"}
    assert TASKS["spiral"].stage_names == usual
    further = TASKS["charlm"].stage_names
    assert dict(further) == usual | {1: "prepare", 6: "predict"}
    assert list(further) == sorted(further)
    of_recipes = TASKS["recognition"].stage_names
    assert {further[n] for n in (0, 1, 5, 7, 8)} == {of_recipes[n] for n in (0, 1, 5, 7, 8)}


@pytest.mark.fault(
    "State",
    "a trained model that decayed or was copied badly, given to transcribe, enhance or classify",
    "an error that names the file",
)
def test_a_model_that_is_not_as_it_was_trained_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "exp" / "demo" / "small-1234"
    model, other = folder / "train" / "model.pth", folder / "train" / "other.json"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    (folder / "config.yaml").write_text(RECOGNITION)
    stage = Stage(5, "train", folder, lambda work: None, outputs=(model, other))
    other.write_text("{}")
    stage.write_stamp(stage.stamp())
    assert open_experiment(folder, RecognitionConfig).directory == folder
    other.unlink()  # is not asked for
    copied = shutil.copytree(folder, tmp_path / "elsewhere" / "small")
    assert open_experiment(copied, RecognitionConfig).directory == copied
    (copied / "train" / "model.pth").write_bytes(b"weighty")
    with pytest.raises(ValueError, match=r"elsewhere/.*model\.pth is not as stage train wrote"):
        open_experiment(copied, RecognitionConfig)
