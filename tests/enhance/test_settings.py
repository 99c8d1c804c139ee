"""Settings of enhancement: what is refused and how, and what names an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from squall.engine.experiment import Experiment, RunOptions
from squall.engine.tasks import load_config
from squall.enhance.places import EnhancementPlaces
from squall.enhance.settings import EnhancementConfig
from squall.settings import ConfigError

PLAIN = """
task: enhancement
corpus: {name: demo}
estimator: {name: kernel}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "toy" / "small.yaml"
    file.parent.mkdir()
    file.write_text(PLAIN)
    return file


def _load(path: Path, **settings: Any) -> EnhancementConfig:
    found = load_config(path, {key.replace("__", "."): value for key, value in settings.items()})
    assert isinstance(found, EnhancementConfig)
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frontend.name": "gamatone"}, "'gamatone'; did you mean 'gammatone'"),
        ({"frontend.chanels": 32}, "gammatone has no parameter 'chanels'; did you mean 'channels'"),
        ({"frontend.channels": 0}, "frontend: "),
        ({"frontend.channels": "many"}, "frontend: "),
        (
            {"frontend": {"name": "stft", "sample_rate_hz": 8000}},
            "sample_rate_hz is 8000: mixtures have 16000 Hz",
        ),
        ({"frontend": {"name": "stft", "n_fft": 100}}, "n_fft is 100"),
        ({"noise.unseen": ["city"]}, "add `all` to training.models"),
        (
            {"noise.seen": ["city"], "noise.unseen": ["city"], "training.models": ["all"]},
            "'city' is among the seen and the unseen noises",
        ),
        ({"noise.unseen": ["babble"], "noise.seen": ["ssn"]}, "'babble' is made from the training"),
        ({"noise.seen": ["ssn", "ssn"]}, "noise.seen has 'ssn' twice"),
        ({"noise.unseen": ["city", "city"]}, "noise.unseen has 'city' twice"),
        ({"noise.seen": []}, "noise.seen: "),
        ({"noise.talkers": 1}, "noise.talkers: "),
        ({"noise.dev_share": 1}, "noise.dev_share: "),
        ({"noise.made_s": 0}, "noise.made_s: "),
        ({"mixture.snrs_db": []}, "mixture.snrs_db: "),
        ({"mixture.snrs_db": [0, 5, 0]}, "mixture.snrs_db has 0.0 twice"),
        ({"mixture.snrs_db": [0, -0.0]}, "mixture.snrs_db has 0.0 twice"),
        ({"mixture.snrs_db": [float("nan")]}, "finite number of decibels"),
        ({"mixture.over": "speech"}, "mixture.over: Input should be 'whole' or 'active'"),
        ({"features.sets": ["mfccs"]}, "unknown feature set 'mfccs'"),
        ({"features.sets": []}, "no feature set is given"),
        ({"features.context": -1}, "features.context: "),
        ({"mask.name": "irn"}, "mask.name: Input should be 'irm' or 'ibm'"),
        ({"mask.beta": 0}, "mask.beta: "),
        ({"training.models": []}, "training.models: "),
        ({"training.models": ["some"]}, "training.models.0: "),
        ({"training.max_frames": 9}, "training.max_frames: "),
        ({"utterances.max_s": 0.1}, "utterances.max_s: "),
        ({"utterances.test": 0}, "utterances.test: "),
        ({"scores": ["stoi", "pesq"]}, "there is no score 'pesq'; there are stoi, estoi, pesq_nb"),
        ({"scores": []}, "no score is named"),
        ({"estimator.name": "kernels"}, "there is no such estimator; there are noisy, dnn, kernel"),
        (
            {"estimator": {"name": "rnnoise", "model": "x"}},
            "an off-the-shelf enhancer has no 'model'",
        ),
        ({"estimator": {"name": "dnn", "loss": "squentropi"}}, "unknown loss 'squentropi'"),
        (
            {"estimator": {"name": "dnn", "loss": "ce", "loss_parameters": {"M": 1}}},
            "ce has no parameter 'M'",
        ),
        (
            {"estimator": {"name": "dnn", "loss": "ce", "loss_parameters": 3}},
            "loss_parameters is 3; it must be names with values",
        ),
        (
            {"estimator": {"name": "dnn", "candidates": [{}, {"loss": "mse2"}]}},
            "unknown loss 'mse2'",
        ),
        ({"estimator.tune_epochs": 0}, "estimator.tune_epochs: "),
        ({"apply.floor": 1}, "apply.floor: "),
        ({"apply.sets": ["dev"]}, "apply.sets.0: "),
        ({"noises": {}}, "noises: there is no such setting"),
        ({"noise.noise": 1}, "noise.noise: there is no such setting"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_named_with_its_file(
    path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(path, change)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_recordings_that_are_needed_are_those_that_are_not_made(path: Path) -> None:
    config = _load(
        path, noise__seen=["babble", "rain"], noise__unseen=["city"], training__models=["all"]
    )
    assert config.noise.recorded == ("rain", "city")
    assert _load(path).noise.recorded == ()


@pytest.mark.parametrize(
    "change",
    [
        {"corpus.dir": "elsewhere"},
        {"corpus.urls": ["http://example.org/a.tar"]},
        {"corpus.checksum": "md5:0"},
        {"noise.dir": "elsewhere"},
        {"estimator.max_epochs": 99},
        {"estimator.memory_gb": 2},
        {"apply.floor": 0.1},
        {"apply.binarise": True},
        {"description": "other words"},
        {"grid": {"seed": [1, 2]}},
        {"results_dir": "somewhere"},
        {"remove_mean": False},
        {"features.level_over": "whole"},
        {"scores": ["all"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_no_model_keeps_the_directory(path: Path, change: dict[str, Any]) -> None:
    assert load_config(path, change).directory_name == load_config(path).directory_name


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"corpus.name": "manifest"},
        {"corpus.options.voices": 3},
        {"utterances.train": 5},
        {"utterances.dev": 5},
        {"utterances.test": 5},
        {"utterances.max_s": 2.0},
        {"noise.seen": ["ssn"]},
        {"noise.made_s": 50},
        {"noise.talkers": 3},
        {"noise.dev_share": 0.5},
        {"mixture.snrs_db": [0]},
        {"mixture.over": "active"},
        {"frontend.name": "stft"},
        {"frontend.channels": 32},
        {"features.sets": ["mfcc"]},
        {"features.deltas": False},
        {"features.arma_order": 0},
        {"features.context": 1},
        {"features.level_over": "active"},
        {"remove_mean": True},
        {"mask.name": "ibm"},
        {"mask.beta": 1.0},
        {"mask.criterion_db": 0.0},
        {"mask.context": 1},
        {"training.models": ["all"]},
        {"training.max_frames": 100},
        {"training.max_dev_frames": 100},
        {"estimator.name": "dnn"},
        {"estimator.gamma": 1.0},
        {"estimator.candidates": [{"gamma": 1.0}]},
        {"estimator.tune_epochs": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_model_changes_the_directory(path: Path, change: dict[str, Any]) -> None:
    assert load_config(path, change).directory_name != load_config(path).directory_name


def test_experiments_of_before_there_was_a_word_for_the_mean_keep_their_places(path: Path) -> None:
    config = _load(path)
    assert config.directory_name == "small-2887d51f"
    places = EnhancementPlaces(Experiment(config, RunOptions(exp_dir=str(path.parent))))
    assert (places.data.name, places.features.name) == ("data-80b8bd79", "features-9a1989ac")
    without = EnhancementPlaces(
        Experiment(_load(path, remove_mean=True), RunOptions(exp_dir=str(path.parent)))
    )
    assert without.data.name != places.data.name


def test_the_number_of_epochs_is_still_a_parameter_of_the_estimator(path: Path) -> None:
    config = _load(path, estimator__max_epochs=7)
    config.hashed()
    assert config.estimator.parameters == {"max_epochs": 7}


@pytest.mark.parametrize(
    ("estimator", "system"),
    [
        ({"name": "noisy"}, "noisy"),
        ({"name": "oracle", "max_epochs": 3}, "oracle"),
        ({"name": "dnn", "max_epochs": 3}, "dnn"),
        ({"name": "dnn", "hidden_units": 16, "dropout": 0.1}, "dnn-dropout0.1-hidden_units16"),
        ({"name": "kernel"}, "kernel-4"),
        ({"name": "kernel", "subbands": 1, "gamma": 0.5}, "kernel-1-gamma0.5"),
        ({"name": "kernel", "metric": "learned"}, "kernel-4-metric=learned"),
    ],
)
def test_systems_are_named_by_estimator_and_parameters(
    path: Path, estimator: dict[str, Any], system: str
) -> None:
    assert _load(path, estimator=estimator).system == system


def test_the_kernel_machine_has_as_many_subbands_as_its_name_says(path: Path) -> None:
    from squall.kernels import SubbandKernelMachine

    assert _load(path).system == f"kernel-{SubbandKernelMachine().subbands}"


def test_a_variant_names_how_the_mask_is_applied(path: Path) -> None:
    assert _load(path, apply__floor=0.1).variant == "floor=0.1"
    assert _load(path, apply__floor=0.1, apply__binarise=True).variant == "binarise=True,floor=0.1"
    assert _load(path, apply__floor=0.0).variant == ""


def test_settings_survive_json(path: Path) -> None:
    config = _load(path, estimator__gamma=0.5, frontend__channels=32, apply__floor=0.2)
    again = EnhancementConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.directory_name == config.directory_name
    assert again.frontend.parameters == {"channels": 32}


def test_experiments_keep_their_directories(path: Path) -> None:
    """The names of experiments on disk: how a loss is spelt and registered is no part of them."""
    chosen = {"name": "dnn", "loss": "squentropy", "loss_parameters": {"alpha": 0.1}, "patience": 4}
    found = [_load(path, estimator=estimator).directory_name for estimator in (
        chosen, {"name": "kernel", "subbands": 1, "memory_gb": 6}, {"name": "oracle"}
    )]  # fmt: skip
    assert [name.rpartition("-")[2] for name in found] == ["4da6d22e", "31fa1fb1", "8ccdcd38"]
