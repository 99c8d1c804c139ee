"""The loop with an ordinary module and loss: stopping, slowing down, going on after a kill."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from squall.losses import SquentropyLoss
from squall.networks.checkpoint import Checkpoint
from squall.networks.loop import BatchTraining, DivergedError, Epoch, Trained, train


class KilledError(Exception):
    """What ends a training in the middle of a test."""


def _data() -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(7)
    targets = torch.arange(120) % 3
    return torch.randn(120, 4, generator=drawn) + targets.unsqueeze(1), targets


def _training(*, lr: float = 0.02, seed: int = 0) -> BatchTraining:
    """As in the module's example, with a dropout that draws from torch's own generator."""
    torch.manual_seed(seed)
    inputs, targets = _data()
    network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
    loss = SquentropyLoss(alpha=0.5)
    return BatchTraining(
        network,
        torch.optim.Adam(network.parameters(), lr=lr),
        loss,
        DataLoader(TensorDataset(inputs[:80], targets[:80]), batch_size=32, shuffle=True),
        score=lambda network: float(loss(network(inputs[80:]), targets[80:])),
    )


def _weights(training: BatchTraining) -> list[Tensor]:
    return [p.detach().clone() for p in training.network.parameters()]


def _numbers(trained: Trained) -> list[tuple[int, float, float | None]]:
    return [(epoch.epoch, epoch.loss, epoch.score) for epoch in trained.history]


def _kill_after(epoch: int) -> Any:
    def kill(done: Epoch) -> None:
        if done.epoch == epoch:
            raise KilledError

    return kill


@pytest.mark.slow
@pytest.mark.parametrize("killed_after", [1, 4, 9])
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_a_killed_training_goes_on_to_the_same_bits(
    tmp_path: Path, killed_after: int, decay: float
) -> None:
    settings = {"epochs": 14, "patience": 6, "decay": decay}
    plain = _training()
    whole = train(plain, **settings)
    checkpoint = Checkpoint(tmp_path / "new" / "training.pt", {"seed": 0})
    with pytest.raises(KilledError):
        train(_training(), **settings, checkpoint=checkpoint, on_epoch=_kill_after(killed_after))
    again, told = _training(seed=5), []  # whatever it begins with is replaced
    resumed = train(again, **settings, checkpoint=checkpoint, on_epoch=told.append)
    assert [done.epoch for done in told] == list(range(killed_after + 1, len(whole.history) + 1))
    assert _numbers(resumed) == _numbers(whole)
    assert resumed.best is not None
    assert whole.best is not None
    assert resumed.best.epoch == whole.best.epoch
    assert all(map(torch.equal, _weights(again), _weights(plain)))
    seconds = [epoch.seconds for epoch in resumed.history]
    assert seconds == sorted(seconds)


def test_several_measures_are_kept_and_the_first_is_the_score(tmp_path: Path) -> None:
    def training() -> BatchTraining:
        made = _training()
        made.score = lambda: {"error": 1.0 / made.optimizer.state_dict()["state"][0]["step"].item(),
                              "other": -1.0}  # type: ignore[method-assign]  # fmt: skip
        return made

    checkpoint = Checkpoint(tmp_path / "training.pt", {"seed": 0})
    with pytest.raises(KilledError):
        train(training(), epochs=4, checkpoint=checkpoint, on_epoch=_kill_after(2))
    trained = train(training(), epochs=4, checkpoint=checkpoint)
    errors = [1 / 3, 1 / 6, 1 / 9, 1 / 12]
    assert [done.score for done in trained.history] == errors
    assert [done.measures for done in trained.history] == [
        {"error": error, "other": -1.0} for error in errors
    ]
    assert trained.best == trained.history[-1]


def test_it_stops_after_stale_epochs_and_keeps_the_best_weights() -> None:
    training = _training()
    scores = iter([3.0, 2.0, 2.5, 2.0, 4.0, 1.0])
    seen: list[list[Tensor]] = []

    def score(network: nn.Module) -> float:
        seen.append(_weights(training))
        return next(scores)

    training._score = score
    trained = train(training, epochs=50, patience=3)
    assert [epoch.score for epoch in trained.history] == [3.0, 2.0, 2.5, 2.0, 4.0]
    assert trained.best == trained.history[1]
    assert all(map(torch.equal, _weights(training), seen[1]))
    assert not torch.equal(seen[1][0], seen[4][0])


def test_without_a_score_the_last_weights_are_kept_and_patience_is_not_asked() -> None:
    training = _training()
    training._score = None
    trained = train(training, epochs=4, patience=1)
    assert len(trained.history) == 4
    assert trained.best is None
    assert [epoch.score for epoch in trained.history] == [None] * 4


def test_the_rate_decays_after_stale_epochs_from_the_best_weights() -> None:
    training = _training(lr=0.02)
    scores = iter([1.0, 2.0, 2.0, 2.0, 2.0, 0.5, 3.0])
    rates: list[float] = []
    training._score = lambda network: next(scores)
    train(
        training,
        epochs=7,
        decay=0.5,
        on_epoch=lambda done: rates.append(training.optimizer.param_groups[0]["lr"]),
    )
    assert rates == [0.02, 0.02, 0.01, 0.01, 0.005, 0.005, 0.005]


def test_the_loss_falls_and_is_that_of_plain_torch() -> None:
    training = _training()
    training.network[2].p = 0.0
    inputs, targets = _data()
    torch.manual_seed(3)
    trained = train(training, epochs=2)
    other = _training()
    other.network[2].p = 0.0
    torch.manual_seed(3)
    expected = []
    for _ in range(2):
        total = 0.0
        other.network.train()
        for x, y in DataLoader(TensorDataset(inputs[:80], targets[:80]), 32, shuffle=True):
            loss = other.loss(other.network(x), y)
            other.optimizer.zero_grad()
            loss.backward()
            other.optimizer.step()
            total += loss.item() * len(x)
        expected.append(total / 80)
    assert [epoch.loss for epoch in trained.history] == expected
    assert expected[1] < expected[0]


def test_true_from_the_callback_ends_the_training() -> None:
    trained = train(_training(), epochs=9, on_epoch=lambda done: done.epoch == 3)
    assert len(trained.history) == 3


def test_more_epochs_go_on_with_a_finished_training(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "training.pt", "one")
    train(_training(), epochs=3, checkpoint=checkpoint)
    longer = train(_training(), epochs=6, checkpoint=checkpoint)
    assert _numbers(longer) == _numbers(train(_training(), epochs=6))


def test_a_loss_that_is_not_finite_any_more_is_an_error() -> None:
    with pytest.raises(DivergedError, match=r"diverged in epoch 1 \(loss (nan|inf)\)"):
        train(_training(lr=1e30), epochs=3)
    broken = _training()
    broken._score = lambda network: math.nan
    with pytest.raises(DivergedError, match="diverged in epoch 1"):
        train(broken, epochs=3)


def test_a_generator_of_its_own_leaves_that_of_torch_alone(tmp_path: Path) -> None:
    inputs, targets = _data()
    network = nn.Linear(4, 3)
    order = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    batches = DataLoader(TensorDataset(inputs, targets), 40, shuffle=True, generator=order)
    training = BatchTraining(network, optimizer, SquentropyLoss(), batches, generators=[order])
    checkpoint = Checkpoint(tmp_path / "training.pt", "one")
    state = torch.get_rng_state()
    train(training, epochs=2, checkpoint=checkpoint)
    train(training, epochs=3, checkpoint=checkpoint)
    assert torch.equal(torch.get_rng_state(), state)


def test_another_stamp_begins_anew_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    train(_training(), epochs=2, checkpoint=Checkpoint(path, {"lr": 0.02, "data": "a"}))
    other = {"lr": 0.1, "data": "a"}
    with pytest.raises(
        ValueError, match=r"training\.pt is a checkpoint of a training with other lr;"
    ):
        train(_training(), epochs=2, checkpoint=Checkpoint(path, other, refuse_others=True))
    with pytest.raises(ValueError, match="of another training; remove it"):
        train(_training(), epochs=2, checkpoint=Checkpoint(path, "b", refuse_others=True))
    anew = train(_training(), epochs=2, checkpoint=Checkpoint(path, other))
    assert _numbers(anew) == _numbers(train(_training(), epochs=2))
    assert Checkpoint(path, other).read() is not None


@pytest.mark.parametrize("contents", [{"stamp": "one", "parameters": []}, [1, 2]])
def test_a_checkpoint_of_an_earlier_version_is_not_gone_on_from(
    tmp_path: Path, contents: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "training.pt"
    torch.save(contents, path)
    assert Checkpoint(path, "one").read() is None
    assert "training.pt is a checkpoint of another version" in caplog.text
    with pytest.raises(ValueError, match="another version of this program; remove it"):
        Checkpoint(path, "one", refuse_others=True).read()


def test_what_is_not_only_weights_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    torch.save({"format": 2, "stamp": "one", "state": Epoch(1, 0.0, 0.0)}, path)
    with pytest.raises(ValueError, match=r"training\.pt is damaged"):
        Checkpoint(path, "one").read()
