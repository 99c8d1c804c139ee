"""The training loop of every small network here: epochs, early stopping, checkpoints.

`train` takes anything with the few methods of `Trainable`; `BatchTraining` has them for an ordinary
module, a loss and batches.

>>> import tempfile
>>> from pathlib import Path
>>> from squall.losses import SquentropyLoss
>>> _ = torch.manual_seed(0)
>>> inputs, targets = torch.randn(200, 5), torch.arange(200) % 3
>>> inputs[torch.arange(200), targets] += 3
>>> network = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
>>> def errors(network: torch.nn.Module) -> float:
...     return float((network(inputs[150:]).argmax(1) != targets[150:]).float().mean())
>>> training = BatchTraining(
...     network,
...     torch.optim.Adam(network.parameters(), lr=0.01),
...     SquentropyLoss(),
...     torch.utils.data.DataLoader(list(zip(inputs[:150], targets[:150])), 32, shuffle=True),
...     score=errors,
... )
>>> with tempfile.TemporaryDirectory() as folder:
...     kept = Checkpoint(Path(folder) / "training.pt", stamp={"seed": 0}, every_s=60)
...     trained = train(training, epochs=50, patience=10, checkpoint=kept)
>>> trained.best.score < 0.2, len(trained.history) == trained.best.epoch + 10
(True, True)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from squall.networks.checkpoint import Checkpoint

__all__ = [
    "BatchTraining",
    "DivergedError",
    "Epoch",
    "Trainable",
    "Trained",
    "Weights",
    "generators_of_torch",
    "train",
]

_STALE_EPOCHS = 2  # after so many the learning rate decays


class Weights(Protocol):
    """A network as the loop sees it; every `torch.nn.Module` is one."""

    def state_dict(self) -> Mapping[str, Any]:
        """The weights, and whatever else the network's answers depend on."""

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> object:
        """Take over what `state_dict` gave."""


class Trainable(Protocol):
    """What `train` trains.

    Attributes:
        network: whose weights are kept of the best epoch.
        optimizer: of those weights.
        generators: all that an epoch draws from, as the order of the samples and the dropout; what
            is missing here makes a training that is gone on with differ from one in a piece.
    """

    @property
    def network(self) -> Weights: ...
    @property
    def optimizer(self) -> torch.optim.Optimizer: ...
    @property
    def generators(self) -> Sequence[torch.Generator]: ...

    def train_epoch(self, epoch: int) -> float | Tensor:
        """Train the epoch with this number, from 1.

        Returns:
            The mean loss. A number must stay finite. A tensor has those of several networks, which
            may diverge one by one: nobody looks at them here.
        """

    def score(self) -> float | Mapping[str, float | None] | None:
        """How the network does on held-out data, the lower the better; None if it is not asked.

        Several numbers by their names are kept with the epoch, and the first is the score, or None
        where no epoch is better than another.
        """


@dataclass(frozen=True)
class Epoch:
    """An epoch that is done.

    Args:
        epoch: its number, from 1.
        seconds: since the training began, those before an interruption included.
        loss: what `Trainable.train_epoch` gave.
        score: what `Trainable.score` gave, or the first of it.
        measures: all of it by name, where it gave several numbers.
    """

    epoch: int
    seconds: float
    loss: Any
    score: float | None = None
    measures: Mapping[str, float | None] = field(default_factory=dict)


@dataclass
class Trained:
    """A training so far.

    Args:
        history: its epochs.
        best: the one with the lowest score; None as long as there is no score.
        best_weights: of the network after it.
    """

    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    best_weights: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stale(self) -> int:
        """Epochs since the best one; 0 without a score."""
        return len(self.history) - self.best.epoch if self.best else 0


class DivergedError(RuntimeError):
    """The loss or the score of a training is not finite any more."""


def train(
    training: Trainable,
    *,
    epochs: int,
    patience: int | None = None,
    decay: float = 1.0,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
) -> Trained:
    """Train until the last epoch, or until the score gets no better.

    Args:
        training: what to train; at the end its network has the weights of the best epoch, or of the
            last where there is no score.
        epochs: at most so many, those before an interruption included.
        patience: stop after so many epochs in a row without a lower score; None never stops.
        decay: factor of the learning rate after every 2 epochs in a row without a lower score;
            training then goes on from the best weights. 1 keeps rate and weights.
        checkpoint: where to keep the state, and to go on from if there is one. The result has the
            same bits as without an interruption; `epochs` and `patience` may have changed.
        on_epoch: called after each epoch that is trained; True ends the training.

    Raises:
        DivergedError: the loss, or the score beside it, is not finite.
        ValueError: the checkpoint is damaged or of another training, see `Checkpoint`.
    """
    state = checkpoint.read() if checkpoint is not None else None
    trained = _restored(state, training) if state is not None else Trained()
    began_s = time.perf_counter() - (trained.history[-1].seconds if trained.history else 0.0)
    saved_s = time.monotonic()
    while len(trained.history) < epochs and (patience is None or trained.stale < patience):
        done = _train_one(training, len(trained.history) + 1, began_s)
        trained.history.append(done)
        _look_at(training, trained, decay)
        if checkpoint is not None and time.monotonic() - saved_s >= checkpoint.every_s:
            checkpoint.write(_state(training, trained))
            saved_s = time.monotonic()
        if on_epoch is not None and on_epoch(done):
            break
    if trained.best is not None:
        training.network.load_state_dict(trained.best_weights)
    return trained


def _train_one(training: Trainable, epoch: int, began_s: float) -> Epoch:
    loss = training.train_epoch(epoch)
    alone = isinstance(loss, float)
    found = training.score() if not alone or math.isfinite(loss) else None
    measures = found if isinstance(found, Mapping) else {}
    score = next(iter(measures.values())) if isinstance(found, Mapping) else found
    if alone and not math.isfinite(loss if score is None else score):
        raise DivergedError(
            f"the network diverged in epoch {epoch} (loss {loss}): lower learning_rate"
        )
    return Epoch(epoch, time.perf_counter() - began_s, loss, score, measures)


def _look_at(training: Trainable, trained: Trained, decay: float) -> None:
    """Keep the weights if they are the best so far; or else slow down, if it is time to."""
    last, best = trained.history[-1], trained.best
    if last.score is None:
        return
    if best is None or best.score is None or last.score < best.score:
        trained.best = last
        weights = training.network.state_dict()
        trained.best_weights = {name: value.clone() for name, value in weights.items()}
    elif decay < 1.0 and trained.stale % _STALE_EPOCHS == 0:
        training.network.load_state_dict(trained.best_weights)
        for group in training.optimizer.param_groups:
            group["lr"] *= decay


def _state(training: Trainable, trained: Trained) -> dict[str, Any]:
    return {
        "network": training.network.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "generators": [generator.get_state() for generator in training.generators],
        "history": [vars(epoch) for epoch in trained.history],
        "best_epoch": trained.best.epoch if trained.best else 0,
        "best_weights": dict(trained.best_weights),
    }


def _restored(state: Mapping[str, Any], training: Trainable) -> Trained:
    training.network.load_state_dict(state["network"])
    training.optimizer.load_state_dict(state["optimizer"])
    for generator, drawn in zip(training.generators, state["generators"], strict=True):
        generator.set_state(drawn)
    history = [Epoch(**epoch) for epoch in state["history"]]
    best = history[state["best_epoch"] - 1] if state["best_epoch"] else None
    return Trained(history, best, state["best_weights"])


class BatchTraining:
    """An ordinary network: an optimizer step on the loss of every batch.

    Args:
        network: called with the inputs of a batch.
        optimizer: of its parameters.
        loss: called with what the network gives and the targets; a mean over the batch, as the
            losses of `squall.losses` are.
        batches: (inputs, targets), gone through anew in each epoch; a `DataLoader`, say. An epoch
            may be as many batches as one wants between two scores and checkpoints.
        score: called with the network, in evaluation mode and without gradients, after each epoch.
        generators: see `Trainable`; None for those of torch itself, which dropout and a
            `DataLoader` draw from.
        device: where inputs and targets go; the network is there already.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[[Tensor, Tensor], Tensor],
        batches: Iterable[tuple[Tensor, Tensor]],
        *,
        score: Callable[[Any], float] | None = None,
        generators: Sequence[torch.Generator] | None = None,
        device: str = "cpu",
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.loss = loss
        self.batches = batches
        self.generators = generators_of_torch(device) if generators is None else generators
        self.device = device
        self._score = score

    def train_epoch(self, epoch: int) -> float:
        """The mean loss over the samples, before the step on each."""
        self.network.train()
        total, samples = 0.0, 0
        for inputs, targets in self.batches:
            loss = self.loss(self.network(inputs.to(self.device)), targets.to(self.device))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += loss.item() * len(inputs)
            samples += len(inputs)
        return total / samples

    def score(self) -> float | None:
        """What `score` says of the network as it is."""
        if self._score is None:
            return None
        self.network.eval()
        with torch.inference_mode():
            return float(self._score(self.network))


def generators_of_torch(device: str) -> list[torch.Generator]:
    """Those that torch itself draws from on a device, as dropout does, see `Trainable`."""
    if not device.startswith("cuda"):
        return [torch.default_generator]
    number = torch.device(device).index
    index = torch.cuda.current_device() if number is None else number
    return [torch.default_generator, torch.cuda.default_generators[index]]
