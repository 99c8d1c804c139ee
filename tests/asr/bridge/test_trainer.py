"""Training that can be killed at any moment: whole files, exact resume, nothing unpickled."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tiny
from training_runs import epochs, same_bits, train, weights

pytest.importorskip("espnet2")

from espnet2.train.trainer import Trainer

from squall.asr.bridge.running import espnet_task, language_model_task, parse_espnet_settings
from squall.asr.bridge.trainer import SquallTrainer, load_weights, read_history
from squall.asr.training import model_settings, token_settings
from squall.engine.experiment import Experiment
from squall.losses import BASELINE_LOSSES, LOSSES

# What the module trains is trained by one worker.
pytestmark = pytest.mark.xdist_group("trainer")


class Killed(BaseException):
    """Stands for the moment of a kill."""


class Code:
    """What a harmful checkpoint holds: reading it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="module")
def three_epochs(prepared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of three epochs in one go."""
    output_dir = tmp_path_factory.mktemp("three") / "train"
    train(prepared, tiny.config(espnet__max_epoch=3), output_dir)
    return output_dir


def _assert_same_training(one: Path, other: Path) -> None:
    for name in ("model.pth", "3epoch.pth"):
        assert same_bits(one / name, other / name), name
    timed = ("time", "iter_time", "forward_time", "backward_time", "optim_step_time", "train_time")
    for a, b in zip(read_history(one), read_history(other), strict=True):
        for phase in ("train", "valid"):
            scores = {k: v for k, v in a[phase].items() if k not in timed}
            assert scores == {k: b[phase][k] for k in scores}


@pytest.mark.slow
def test_more_epochs_continue_as_if_never_stopped(
    prepared: Experiment, three_epochs: Path, tmp_path: Path
) -> None:
    for number in (2, 3):
        told = train(prepared, tiny.config(espnet__max_epoch=number), tmp_path / "train")
    assert not [line for line in told if line.startswith(("epoch 1", "epoch 2"))]
    assert epochs(tmp_path / "train") == [1, 2, 3]
    _assert_same_training(tmp_path / "train", three_epochs)


def test_another_seed_gives_another_model(
    prepared: Experiment, three_epochs: Path, tmp_path: Path
) -> None:
    train(prepared, tiny.config(espnet__max_epoch=3, seed=2), tmp_path / "train")
    assert not same_bits(tmp_path / "train" / "model.pth", three_epochs / "model.pth")


def _kill_while_saving(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """End the run in the middle of writing the file of that name."""
    plain_save = torch.save

    def half_save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        if name in str(f):
            Path(f).write_bytes(b"half a file")
            raise Killed
        plain_save(obj, f, *args, **kwargs)

    monkeypatch.setattr(torch, "save", half_save)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["checkpoint.pth", "2epoch.pth", "ave_2best.pth"])
def test_a_kill_while_a_file_is_written_changes_nothing(
    prepared: Experiment,
    three_epochs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    output_dir = tmp_path / "train"
    train(prepared, tiny.config(espnet__max_epoch=1), output_dir)
    before = (output_dir / "checkpoint.pth").read_bytes()
    with monkeypatch.context() as patched:
        _kill_while_saving(patched, name)
        with pytest.raises(Killed):
            train(prepared, tiny.config(espnet__max_epoch=3), output_dir)
    if name == "checkpoint.pth":
        assert (output_dir / "checkpoint.pth").read_bytes() == before
    else:
        assert not list(output_dir.glob(f"*{name}"))
    train(prepared, tiny.config(espnet__max_epoch=3), output_dir)
    _assert_same_training(output_dir, three_epochs)


@pytest.mark.slow
def test_what_a_kill_left_half_written_is_removed(prepared: Experiment, tmp_path: Path) -> None:
    output_dir = tmp_path / "train"
    train(prepared, tiny.config(espnet__max_epoch=1), output_dir)
    (output_dir / ".checkpoint.pth.1234.part").write_bytes(b"half a file")
    train(prepared, tiny.config(espnet__max_epoch=1), output_dir)
    assert not list(output_dir.glob(".*.part"))


def test_an_epochs_own_file_is_restored_from_the_checkpoint(
    prepared: Experiment, tmp_path: Path
) -> None:
    output_dir = tmp_path / "train"
    train(prepared, tiny.config(), output_dir)
    expected = weights(output_dir / "2epoch.pth")
    (output_dir / "2epoch.pth").unlink()
    train(prepared, tiny.config(), output_dir)
    restored = weights(output_dir / "2epoch.pth")
    assert all(torch.equal(restored[key], expected[key]) for key in expected)


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_the_first_restores_that_file(
    layer: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(Trainer, "resume", staticmethod(lambda **kwargs: None))
    reporter = SimpleNamespace(get_epoch=lambda: 1)
    SquallTrainer.resume(tmp_path / "checkpoint.pth", layer, reporter)
    assert (tmp_path / "1epoch.pth").exists() == (rank == 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["checkpoint.pth", "1epoch.pth"])
def test_code_in_a_checkpoint_is_refused_and_not_run(
    prepared: Experiment, tmp_path: Path, name: str
) -> None:
    output_dir = tmp_path / "train"
    train(prepared, tiny.config(), output_dir)
    torch.save({"model": Code(tmp_path / "harm")}, output_dir / name)
    with pytest.raises(ValueError, match=f"{name} is damaged, or was not written by squall"):
        train(prepared, tiny.config(), output_dir)
    assert not (tmp_path / "harm").exists()


def test_fewer_epochs_than_trained_are_refused(three_epochs: Path, prepared: Experiment) -> None:
    with pytest.raises(ValueError, match=r"trained for 3 epochs.*max_epoch is 2"):
        train(prepared, tiny.config(espnet__max_epoch=2), three_epochs)


@pytest.mark.slow
def test_early_stopping_is_found_again(prepared: Experiment, tmp_path: Path) -> None:
    # The learning rate makes the first epoch the best one.
    settings = {"espnet__patience": 1, "espnet__optim_conf": {"lr": 1.0}}
    settings["espnet__early_stopping_criterion"] = ["valid", "loss", "min"]
    output_dir = tmp_path / "train"
    train(prepared, tiny.config(espnet__max_epoch=8, **settings), output_dir)
    stopped = epochs(output_dir)
    assert 2 < len(stopped) < 8
    model = (output_dir / "model.pth").read_bytes()
    for number in (8, 20):
        told = train(prepared, tiny.config(espnet__max_epoch=number, **settings), output_dir)
        assert told == []
        assert epochs(output_dir) == stopped
        assert same_bits(output_dir / "model.pth", output_dir / "valid.acc.ave.pth")
    assert (output_dir / "model.pth").read_bytes() == model


@pytest.mark.slow
@pytest.mark.parametrize("change", ["settings", "data"])
def test_another_training_is_put_aside(prepared: Experiment, tmp_path: Path, change: str) -> None:
    output_dir = tmp_path / "train"
    train(prepared, tiny.config(), output_dir)
    first = (output_dir / "model.pth").read_bytes()
    if change == "settings":
        train(prepared, tiny.config(loss__name="square"), output_dir)
    else:
        train(prepared, tiny.config(), output_dir, data="other")
    assert (tmp_path / "train.before-1" / "model.pth").read_bytes() == first
    assert epochs(output_dir) == [1, 2]
    train(prepared, tiny.config(seed=9), output_dir)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "train", "train.before-1", "train.before-2"
    ]  # fmt: skip


def test_an_epoch_without_a_usable_step_is_an_error(
    prepared: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "train_one_epoch", classmethod(lambda cls, **kwargs: True))
    with pytest.raises(RuntimeError, match="no step of epoch 1 had a finite gradient"):
        train(prepared, tiny.config(), tmp_path / "train")


@pytest.mark.slow
def test_progress_names_epochs_and_development_scores(prepared: Experiment, tmp_path: Path) -> None:
    told = train(prepared, tiny.config(espnet__max_epoch=1), tmp_path / "train")
    assert told[0] == "epoch 1"
    assert told[1].startswith("epoch 1: dev loss ")
    assert " acc " in told[1]


@pytest.mark.parametrize("mixed", [False, True])
def test_mixed_precision_reaches_the_trainer(
    prepared: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: bool
) -> None:
    asked: list[bool] = []

    def stop(cls: Any, *args: Any, **kwargs: Any) -> None:
        asked.append(kwargs["trainer_options"].use_amp)
        raise Killed

    monkeypatch.setattr(Trainer, "run", classmethod(stop))
    with pytest.raises(Killed):
        train(prepared, tiny.config(espnet__use_amp=mixed), tmp_path / "train")
    assert asked == [mixed]


@pytest.mark.parametrize("name", [*LOSSES, *BASELINE_LOSSES])
def test_losses_are_float32_in_mixed_precision(
    prepared: Experiment, tmp_path: Path, name: str
) -> None:
    task = espnet_task()
    model = task.build_model(_settings_of(prepared, tiny.config(loss__name=name), tmp_path)).eval()
    logits: list[torch.Tensor] = []
    model.decoder.register_forward_hook(lambda _, __, output: logits.append(output[0]))
    batch = {
        "speech": torch.randn(2, 16000) / 10,
        "speech_lengths": torch.tensor([16000, 12000]),
        "text": torch.tensor([[3, 4, 5], [6, 3, -1]]),
        "text_lengths": torch.tensor([3, 2]),
    }
    plain = model(**batch)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, stats, _ = model(**batch)
    loss.backward()
    assert [output.dtype for output in logits] == [torch.float32, torch.bfloat16]
    assert loss.dtype == stats["loss_att"].dtype == torch.float32
    # bfloat16 itself has three digits: what is summed in it would have two.
    of_rounded = model.criterion_att(logits[1].float(), _targets(model, batch["text"]))
    assert float(stats["loss_att"]) == pytest.approx(float(of_rounded), rel=1e-6)
    assert float(stats["loss_att"]) == pytest.approx(float(plain["loss_att"]), rel=0.05)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def _settings_of(prepared: Experiment, config: Any, folder: Path) -> Any:
    tokens = next((prepared.recipe_dir / "shared").glob("tokens-*"))
    settings = {
        **config.espnet,
        **token_settings(config, tokens),
        **model_settings(config),
        "output_dir": str(folder),
    }
    return parse_espnet_settings(espnet_task(), settings, folder / "settings.yaml")


def _targets(model: Any, text: torch.Tensor) -> torch.Tensor:
    """The text with its end, as the decoder has to write it."""
    ended = torch.nn.functional.pad(text, (0, 1), value=-1)  # (B, L + 1)
    lengths = (text != -1).sum(dim=1)
    ended[torch.arange(len(text)), lengths] = model.eos
    return ended


def test_torch_is_left_as_it_was(prepared: Experiment, tmp_path: Path) -> None:
    before = torch.save, torch.load
    train(prepared, tiny.config(espnet__max_epoch=1), tmp_path / "train")
    assert (torch.save, torch.load) == before


@pytest.fixture
def layer() -> torch.nn.Module:
    return torch.nn.Linear(2, 2)


def test_weights_come_back(layer: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(layer.state_dict(), tmp_path / "weights.pth")
    other = torch.nn.Linear(2, 2)
    load_weights(other, tmp_path / "weights.pth")
    assert torch.equal(other.weight, layer.weight)


@pytest.mark.parametrize(
    "states",
    [
        {"weight": torch.zeros(2, 2)},
        {"weight": torch.zeros(2, 2), "bias": torch.zeros(2), "more": torch.zeros(1)},
        {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)},
        [1, 2],
        None,
    ],
    ids=["a key too few", "a key too many", "another shape", "a list", "nothing"],
)
def test_weights_of_another_model_are_refused(
    layer: torch.nn.Module, tmp_path: Path, states: Any
) -> None:
    torch.save(states, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth does not hold this model's weights"):
        load_weights(layer, tmp_path / "weights.pth")


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("no weights here")


@pytest.mark.parametrize("damage", [_truncated, _emptied, _text])
def test_a_damaged_file_is_refused(layer: torch.nn.Module, tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "weights.pth"
    torch.save(layer.state_dict(), path)
    damage(path)
    with pytest.raises(ValueError, match=r"weights\.pth is damaged"):
        load_weights(layer, path)


@pytest.mark.fault(
    "Hostile input", "weights of a recogniser that call a function", "refused; nothing is run"
)
@pytest.mark.parametrize("write", ["torch", "pickle"])
def test_weights_that_would_run_code_are_refused(
    layer: torch.nn.Module, tmp_path: Path, write: str
) -> None:
    path = tmp_path / "weights.pth"
    states = {"weight": Code(tmp_path / "harm")}
    if write == "torch":
        torch.save(states, path)
    else:
        path.write_bytes(pickle.dumps(states))
    with pytest.raises(ValueError, match="is damaged, or was not written by squall"):
        load_weights(layer, path)
    assert not (tmp_path / "harm").exists()


def test_a_missing_file_is_told_as_such(layer: torch.nn.Module, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_weights(layer, tmp_path / "weights.pth")


def test_both_tasks_train_with_it() -> None:
    assert espnet_task().trainer is SquallTrainer
    assert language_model_task().trainer is SquallTrainer
