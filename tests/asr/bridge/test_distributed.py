"""Training in several processes, here two on the CPU: the numbers of one, and nothing left over."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import tiny
from squall.engine.stages import Work
from training_runs import epochs, weights

pytest.importorskip("espnet2")

from squall.asr.bridge import distributed
from squall.asr.bridge.model import TrainingDivergedError
from squall.asr.bridge.trainer import read_history
from squall.asr.recipe import list_stages
from squall.asr.settings import RecognitionConfig
from squall.asr.training import train_recogniser
from squall.engine.experiment import Experiment

# What the module trains is trained by one worker.
pytestmark = pytest.mark.xdist_group("distributed")

# Nothing here depends on which utterances share a process: no dropout, no masks, no means over a
# batch. Plain gradient descent lets weights differ by no more than gradients do.
SETTINGS: dict[str, Any] = {
    "loss__name": "squentropy",
    "precision": "float32",  # two processes round otherwise than one
    "espnet__specaug": None,
    "espnet__encoder": "transformer",
    "espnet__encoder_conf": {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 16,
        "num_blocks": 1,
        "dropout_rate": 0.0,
        "positional_dropout_rate": 0.0,
        "attention_dropout_rate": 0.0,
    },
    "espnet__optim": "sgd",
    "espnet__optim_conf": {"lr": 0.02},
    "espnet__scheduler": None,
    "espnet__scheduler_conf": {},
    "espnet__accum_grad": 2,
    "espnet__batch_type": "unsorted",
    "espnet__batch_size": 4,
}
SCORES = ("loss_att", "loss_ctc")
SAMPLES = 32000

Told = list[tuple[int, int, str]]


@pytest.fixture(scope="module")
def folders(prepared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data, tokens and statistics of utterances that are all cut or filled up to two seconds.

    ESPnet's features of the last frames depend on how far an utterance is from the longest of its
    batch, so that sharing batches out changes them a little.
    """
    shared = prepared.recipe_dir / "shared"
    found = {f"{name}_dir": next(shared.glob(f"{name}-*")) for name in ("data", "tokens", "stats")}
    even = {name: tmp_path_factory.mktemp(name) for name in ("data_dir", "stats_dir")}
    shutil.copytree(found["stats_dir"], even["stats_dir"], dirs_exist_ok=True)
    noise = np.random.default_rng(0)
    for split, shapes in (("train", "train"), ("dev", "valid")):
        (even["data_dir"] / split).mkdir()
        lines = (found["data_dir"] / split / "wav.scp").read_text().splitlines()
        paths = {}
        for name, path in (line.split(maxsplit=1) for line in lines):
            samples = noise.uniform(-0.01, 0.01, SAMPLES)
            read = soundfile.read(path)[0][:SAMPLES]
            samples[: len(read)] = read
            paths[name] = even["data_dir"] / split / f"{name}.wav"
            soundfile.write(paths[name], samples, 16000)
        scp = "".join(f"{name} {path}\n" for name, path in paths.items())
        (even["data_dir"] / split / "wav.scp").write_text(scp)
        shape = "".join(f"{name} {SAMPLES}\n" for name in paths)
        (even["stats_dir"] / shapes / "speech_shape").write_text(shape)
    return found | even


def _train(
    folders: dict[str, Path],
    settings: RecognitionConfig,
    output_dir: Path,
    processes: int,
    device: str = "cpu",
) -> Told:
    """Train; what was told of the progress."""
    told: Told = []

    def on_progress(done: int, total: int, message: str) -> None:
        told.append((done, total, message))

    train_recogniser(
        settings,
        **folders,
        output_dir=output_dir,
        device=device,
        threads=1,
        fingerprint={"settings": settings.hashed()},
        on_progress=on_progress,
        processes=processes,
    )
    return told


def _train_and_go_on(
    folders: dict[str, Path], output_dir: Path, processes: int
) -> tuple[Path, list[Told]]:
    """Two epochs, stopped after the first, whose own file is lost; the folder and what was told."""
    told = [_train(folders, tiny.config(**SETTINGS, espnet__max_epoch=1), output_dir, processes)]
    (output_dir / "1epoch.pth").unlink()
    told.append(_train(folders, tiny.config(**SETTINGS), output_dir, processes))
    return output_dir, told


def _scores(output_dir: Path) -> list[float]:
    history = read_history(output_dir)
    return [e[phase][name] for e in history for phase in ("train", "valid") for name in SCORES]


@pytest.fixture(scope="module")
def by_one(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Told]]:
    """Trained by one process."""
    return _train_and_go_on(folders, tmp_path_factory.mktemp("one") / "train", 1)


@pytest.fixture(scope="module")
def by_two(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Told]]:
    """Trained by two processes."""
    return _train_and_go_on(folders, tmp_path_factory.mktemp("two") / "train", 2)


@pytest.mark.slow
def test_two_processes_give_the_model_of_one(
    by_one: tuple[Path, list[Told]], by_two: tuple[Path, list[Told]]
) -> None:
    assert epochs(by_two[0]) == [1, 2]
    assert _scores(by_two[0]) == pytest.approx(_scores(by_one[0]), rel=1e-4)
    one, two = weights(by_one[0] / "2epoch.pth"), weights(by_two[0] / "2epoch.pth")
    before = weights(by_one[0] / "1epoch.pth")
    assert one.keys() == two.keys()
    moved = max(float((one[key] - before[key]).abs().max()) for key in one)
    assert moved > 0.001
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-4, atol=moved / 1000)


@pytest.mark.slow
def test_progress_is_told_once_however_many_train(
    by_one: tuple[Path, list[Told]], by_two: tuple[Path, list[Told]]
) -> None:
    first, second = by_two[1]
    assert [len(told) + 1 for told in by_one[1]] == [len(told) for told in by_two[1]]
    assert [(done, total) for done, total, _ in first] == [(0, 1), (0, 1), (1, 1)]
    assert [(done, total) for done, total, _ in second] == [(0, 1), (1, 2), (2, 2)]
    assert first[0][2] == "starting 2 processes"
    assert [message.split(":")[0] for _, _, message in second[1:]] == ["epoch 2", "epoch 2"]
    assert "dev loss" in second[2][2]


@pytest.mark.slow
def test_two_processes_leave_the_files_of_one(
    by_one: tuple[Path, list[Told]], by_two: tuple[Path, list[Told]]
) -> None:
    left = {path.name for path in by_two[0].iterdir()}
    assert left == {path.name for path in by_one[0].iterdir()}
    assert "1epoch.pth" in left  # which had gone, and is written again from the checkpoint


@pytest.mark.slow
def test_a_training_that_diverges_says_so(folders: dict[str, Path], tmp_path: Path) -> None:
    settings = tiny.config(loss__name="square", loss__scale=1e38, espnet__optim_conf={"lr": 1e30})
    with pytest.raises(TrainingDivergedError, match=r"the training loss is.*Lower espnet"):
        _train(folders, settings, tmp_path / "train", 2)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_settings_are_refused_before_a_process_starts(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    settings = tiny.config(espnet__max_epoch="many")
    with pytest.raises(ValueError, match="max_epoch: invalid int value"):
        _train(folders, settings, tmp_path / "train", 2)


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_is_named(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = distributed.start_processes
    started: list[int] = []

    def start_and_kill_one(*args: Any, **kwargs: Any) -> Any:
        children = start(*args, **kwargs)
        started.extend(children.pids())
        os.kill(started[1], signal.SIGKILL)
        return children

    monkeypatch.setattr(distributed, "start_processes", start_and_kill_one)
    with pytest.raises(RuntimeError, match="process 1 was ended by signal 9, most often because"):
        _train(folders, tiny.config(), tmp_path / "train", 2)
    assert len(started) == 2
    assert not {process.pid for process in multiprocessing.active_children()} & {*started}


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "mixed precision"])
def test_two_gpus_give_the_model_of_one(
    folders: dict[str, Path], tmp_path: Path, mixed: bool
) -> None:
    settings = tiny.config(**SETTINGS, espnet__use_amp=mixed)
    for count in (1, 2):
        _train(folders, settings, tmp_path / str(count), count, device="cuda")
    tolerance = 0.05 if mixed else 1e-3
    assert _scores(tmp_path / "2") == pytest.approx(_scores(tmp_path / "1"), rel=tolerance)


@pytest.mark.parametrize(("gpus", "expected"), [(0, 1), (1, 1), (3, 3)])
@pytest.mark.parametrize(("number", "name"), [(4, "lm"), (5, "train")])
def test_stages_train_with_the_gpus_of_the_options(
    prepared: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    name: str,
    gpus: int,
    expected: int,
) -> None:
    asked: list[int] = []

    def train(*args: Any, processes: int = 1, **kwargs: Any) -> None:
        asked.append(processes)

    monkeypatch.setattr("squall.asr.training.train_recogniser", train)
    monkeypatch.setattr("squall.asr.language_model.train_language_model", train)
    options = dataclasses.replace(prepared.options, gpus=gpus)
    experiment = Experiment(tiny.config(lm__espnet={"lm": "seq_rnn"}), options)
    stage = list_stages(experiment)[number]
    assert stage.name == name
    stage.run(Work(lambda *_: None, {"inputs": {}, "fingerprint": None}))
    assert asked == [expected]
