"""Training of the models of an experiment: what each sees, what is chosen, what is done again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_enhancement
from squall.enhance.estimators.dnn import DnnEstimator
from squall.enhance.frames import FrameSet
from squall.enhance.model import MaskModel
from squall.enhance.settings import EnhancementConfig, model_conditions
from squall.enhance.training import build_estimator, choose_parameters, read_frames, train_models

CONDITIONS = ("babble/-5dB", "babble/5dB", "rain/-5dB", "rain/5dB")
DIMENSIONS, CHANNELS = 4, 6


@pytest.fixture
def features_dir(tmp_path: Path) -> Path:
    """Frame sets of two splits whose features tell their condition in the first dimension."""
    folder = tmp_path / "features"
    random = np.random.default_rng(0)
    for split, counts in (("train", [40, 60]), ("dev", [30])):
        for number, condition in enumerate(CONDITIONS):
            features = random.standard_normal((sum(counts), DIMENSIONS)).astype(np.float32)
            features[:, 0] = number
            masks = np.clip(0.2 * np.abs(features[:, 1:2]) + np.zeros(CHANNELS), 0, 1)
            names = [f"{split}{n}" for n in range(len(counts))]
            found = FrameSet(names, counts, features, masks.astype(np.float32))
            found.write(folder / split / condition)
    return folder


def _config(folder: Path, estimator: str = "dnn", **settings: Any) -> EnhancementConfig:
    return tiny_enhancement.config(folder, estimator, **settings)


def _quiet(done: int, total: int, text: str) -> None:
    pass


def _train(
    config: EnhancementConfig,
    features_dir: Path,
    directory: Path,
    *,
    inputs: str = "same",
    chosen: dict[str, Any] | None = None,
    on_progress: Any = _quiet,
) -> None:
    epochs = config.estimator.parameters.get("max_epochs")
    train_models(
        config,
        features_dir,
        directory,
        tuning={"chosen": chosen or {}},
        fingerprint={"settings": config.hashed() | {"max_epochs": epochs}, "inputs": inputs},
        device="cpu",
        on_progress=on_progress,
    )


def _history(directory: Path, model: str = "all") -> list[dict[str, float]]:
    record = json.loads((directory / model / "training.json").read_text())
    found: list[dict[str, float]] = record["history"]
    return found


def _errors(directory: Path, model: str = "all") -> list[float]:
    return [epoch["dev_mse"] for epoch in _history(directory, model)]


ALL = {"training__models": ["all"]}


def test_there_is_a_model_for_each_condition_and_one_for_all(tmp_path: Path) -> None:
    models = model_conditions(_config(tmp_path))
    assert models == {**{name: (name,) for name in CONDITIONS}, "all": CONDITIONS}
    assert model_conditions(_config(tmp_path, **ALL)) == {"all": CONDITIONS}
    seen_only = {"training__models": ["condition"], "noise__unseen": []}
    assert "all" not in model_conditions(_config(tmp_path, **seen_only))


def test_conditions_are_named_as_the_mixtures_are(tmp_path: Path) -> None:
    from squall.audio.mixing import plan_mixtures

    snrs_db = [-0.0, -2.5, 10]
    config = _config(tmp_path, mixture__snrs_db=snrs_db)
    noises = dict.fromkeys(config.noise.seen, 10**6)
    planned = plan_mixtures([("u", 100)], noises, part="train", snrs_db=snrs_db, seed=0)
    assert {m.condition for m in planned} == set(model_conditions(config)["all"])


def test_a_model_sees_the_frames_of_its_conditions(features_dir: Path) -> None:
    config = _config(features_dir.parent)
    for name, conditions in model_conditions(config).items():
        frames = read_frames(config, features_dir, conditions)
        width = 3 * DIMENSIONS  # a frame on each side
        raw = frames.features * frames.normalizer.scale_ + frames.normalizer.mean_
        seen = {CONDITIONS[round(number)] for number in raw[:, 0]}
        assert seen == set(conditions), name
        assert frames.features.shape == (100 if name != "all" else 300, width)
        assert frames.masks.shape == (len(frames.features), CHANNELS)
        assert frames.dev_features.shape == (30 if name != "all" else 100, width)


def test_features_are_normalised_by_the_training_frames_alone(features_dir: Path) -> None:
    path = features_dir / "dev" / "rain" / "5dB"
    dev = FrameSet.read(path)
    FrameSet(dev.mixtures, dev.counts, 5 + 2 * dev.features, np.asarray(dev.masks)).write(path)
    frames = read_frames(_config(features_dir.parent), features_dir, ["rain/5dB"])
    middle = slice(DIMENSIONS + 1, DIMENSIONS + 4)  # of three frames
    own = frames.features[:, middle]
    np.testing.assert_allclose(own.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(own.std(axis=0), 1, atol=1e-5)
    assert (np.abs(frames.dev_features[:, middle].mean(axis=0)) > 2).all()


def test_a_frame_is_normalised_alike_in_all_places_of_a_window(features_dir: Path) -> None:
    """So that a kernel machine finds the windows' common frames."""
    frames = read_frames(_config(features_dir.parent), features_dir, ["rain/5dB"])
    before, middle, after = np.split(frames.features, 3, axis=1)
    assert np.array_equal(after[10:20], middle[11:21])
    assert np.array_equal(before[11:21], middle[10:20])


def test_targets_have_the_context_of_the_masks(features_dir: Path) -> None:
    config = _config(features_dir.parent, mask__context=2)
    frames = read_frames(config, features_dir, ["rain/5dB"])
    assert frames.masks.shape == (100, 5 * CHANNELS)


@pytest.mark.parametrize(
    ("estimator", "setting", "message"),
    [
        ("dnn", {"estimator__hiden_units": 3}, r"estimator: .*'hiden_units'"),
        ("dnn", {"estimator__dropout": 1.0}, r"dropout is 1\.0"),
        ("dnn", {"estimator__optimizer": "sgd"}, "unknown optimizer 'sgd'"),
        ("kernel", {"estimator__hidden_units": 3}, "the kernel machine has no 'hidden_units'"),
    ],
)
def test_a_wrong_parameter_of_the_estimator_is_named(
    tmp_path: Path, estimator: str, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_estimator(_config(tmp_path, estimator, **setting), {}, "cpu")


def test_parameters_that_were_chosen_lie_over_the_settings(tmp_path: Path) -> None:
    built = build_estimator(_config(tmp_path, seed=5), {"hidden_units": 3}, "cpu")
    assert isinstance(built, DnnEstimator)
    assert (built.hidden_units, built.hidden_layers, built.seed) == (3, 1, 5)


def test_without_candidates_nothing_is_chosen(features_dir: Path) -> None:
    config = _config(features_dir.parent)
    found = choose_parameters(config, features_dir, device="cpu", on_progress=_quiet)
    assert found == {"candidates": [], "chosen": {}}


@pytest.mark.parametrize("models", [["all"], ["condition", "all"]])
def test_the_candidate_with_the_least_validation_error_is_chosen(
    features_dir: Path, models: list[str]
) -> None:
    candidates = [{"learning_rate": 1e-9}, {"learning_rate": 0.03}, {"learning_rate": 1e-8}]
    config = _config(
        features_dir.parent,
        estimator__candidates=candidates,
        estimator__tune_epochs=4,
        estimator__max_epochs=1,
        training__models=models,
    )
    found = choose_parameters(config, features_dir, device="cpu", on_progress=_quiet)
    assert found["chosen"] == {"learning_rate": 0.03}
    assert [one["parameters"] for one in found["candidates"]] == candidates
    errors = [one["dev_mse"] for one in found["candidates"]]
    assert min(errors) == errors[1]
    assert all(one["epochs"] <= 4 for one in found["candidates"])
    assert found["candidates"][1]["epochs"] == 4


def test_the_first_of_equal_candidates_is_chosen(features_dir: Path) -> None:
    config = _config(
        features_dir.parent, estimator__candidates=[{"patience": 8}, {"patience": 9}], **ALL
    )
    found = choose_parameters(config, features_dir, device="cpu", on_progress=_quiet)
    assert found["chosen"] == {"patience": 8}


@pytest.mark.parametrize("estimator", ["dnn", "kernel"])
def test_every_model_is_trained_and_can_be_used(features_dir: Path, estimator: str) -> None:
    config = _config(features_dir.parent, estimator)
    directory = features_dir.parent / "train"
    _train(config, features_dir, directory)
    for name in (*CONDITIONS, "all"):
        record = json.loads((directory / name / "training.json").read_text())
        assert record["frames"] == (300 if name == "all" else 100)
        assert record["dev_frames"] == (100 if name == "all" else 30)
        assert record["seconds"] == record["history"][-1]["seconds"] > 0
        mask = MaskModel.load(directory / name).estimate(np.zeros((5, DIMENSIONS), np.float32))
        assert mask.shape == (5, CHANNELS)
        assert mask.min() >= 0
        assert mask.max() <= 1


def test_the_chosen_parameters_are_trained_with(features_dir: Path) -> None:
    directory = features_dir.parent / "train"
    _train(_config(features_dir.parent, **ALL), features_dir, directory, chosen={"hidden_units": 3})
    saved = json.loads((directory / "all" / "estimator.json").read_text())
    assert saved["parameters"]["hidden_units"] == 3
    assert json.loads((directory / "all" / "training.json").read_text())["parameters"] == {
        "hidden_units": 3
    }


def test_a_trained_model_is_not_trained_again(features_dir: Path) -> None:
    config, directory = _config(features_dir.parent), features_dir.parent / "train"
    _train(config, features_dir, directory)
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}
    (directory / "rain" / "5dB" / "training.json").unlink()
    _train(config, features_dir, directory)
    changed = {
        str(path.parent.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and before.get(path) != path.stat().st_mtime_ns
    }
    assert changed == {"rain/5dB"}


def _stop_after(epochs: int) -> Any:
    def stop(done: int, total: int, text: str) -> None:
        stop.told += 1  # type: ignore[attr-defined]
        if stop.told == epochs:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    stop.told = 0  # type: ignore[attr-defined]
    return stop


def test_a_network_that_was_stopped_goes_on_and_ends_with_the_same_bits(
    features_dir: Path,
) -> None:
    config = _config(features_dir.parent, estimator__max_epochs=6, **ALL)
    whole, stopped = (features_dir.parent / name for name in ("whole", "stopped"))
    _train(config, features_dir, whole)
    with pytest.raises(KeyboardInterrupt):
        _train(config, features_dir, stopped, on_progress=_stop_after(3))
    assert not (stopped / "all" / "training.json").exists()
    told: list[str] = []
    _train(config, features_dir, stopped, on_progress=lambda d, n, text: told.append(text))
    assert len(told) == 3  # three of six were done
    assert _errors(stopped) == _errors(whole)
    features = np.random.default_rng(3).standard_normal((9, DIMENSIONS)).astype(np.float32)
    np.testing.assert_array_equal(
        MaskModel.load(stopped / "all").estimate(features),
        MaskModel.load(whole / "all").estimate(features),
    )


def test_more_epochs_go_on_with_the_same_run(features_dir: Path) -> None:
    directory = features_dir.parent / "train"
    _train(_config(features_dir.parent, estimator__max_epochs=2, **ALL), features_dir, directory)
    short = _errors(directory)
    told: list[str] = []
    _train(
        _config(features_dir.parent, estimator__max_epochs=5, **ALL),
        features_dir,
        directory,
        on_progress=lambda d, n, text: told.append(text),
    )
    assert len(told) == 3
    assert _errors(directory)[:2] == short
    assert len(_errors(directory)) == 5


@pytest.mark.parametrize("finished", [True, False])
def test_other_frames_begin_anew(features_dir: Path, finished: bool) -> None:
    """What was trained, or half trained, on other frames is no part of the new model."""
    config = _config(features_dir.parent, estimator__max_epochs=4, **ALL)
    directory, fresh = features_dir.parent / "train", features_dir.parent / "fresh"
    if finished:
        _train(config, features_dir, directory)
    else:
        with pytest.raises(KeyboardInterrupt):
            _train(config, features_dir, directory, on_progress=_stop_after(2))
    for condition in CONDITIONS:
        path = features_dir / "train" / condition
        old = FrameSet.read(path)
        FrameSet(old.mixtures, old.counts, -np.asarray(old.features), np.asarray(old.masks)).write(
            path
        )
    _train(config, features_dir, directory, inputs="others")
    _train(config, features_dir, fresh, inputs="others")
    assert _errors(directory) == _errors(fresh)
    assert len(list((directory / "all").glob("checkpoint*"))) == 1
