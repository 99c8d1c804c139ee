"""Training many small networks at once, each as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squall.losses import TokenLoss
from squall.networks.batches import Batches, Problem, Step
from squall.networks.checkpoint import Checkpoint
from squall.networks.loop import Epoch, train
from squall.networks.stack import NetworkSettings, NetworkStack, random_stream
from squall.networks.workspace import Workspace

__all__ = ["OnEpoch", "Score", "TrainedNetworks", "train_networks"]

OnEpoch = Callable[[int, NetworkStack], object]
"""Called after every epoch with its number, from 1, and the networks; True ends the training."""

Score = Callable[[NetworkStack], float]
"""Says after every epoch how well the networks do, the lower the better."""


@dataclass(frozen=True, eq=False)
class TrainedNetworks:
    """The networks of L losses and P problems.

    Args:
        stack: L * P networks, those of the first loss first; of the best epoch where there is a
            score.
        losses: their names.
        train_loss: (epochs, L, P) mean loss over each epoch's samples, before each step.
        diverged: (L, P) int64, the first epoch whose loss is not finite, or the last if only the
            weights after it are not; 0 if all is well.
        scores: (epochs,); None where nobody asked.
        best_epoch: whose weights these are.
    """

    stack: NetworkStack
    losses: tuple[str, ...]
    train_loss: NDArray[np.float64]
    diverged: NDArray[np.int64]
    scores: NDArray[np.float64] | None
    best_epoch: int


def train_networks(
    problems: Sequence[Problem],
    losses: Mapping[str, TokenLoss],
    settings: NetworkSettings,
    *,
    classes: int,
    score: Score | None = None,
    patience: int | None = None,
    on_epoch: OnEpoch | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainedNetworks:
    """Train one network for every loss and problem, all at once.

    The losses of a problem begin with the same weights and see the samples in the same order. What
    a network becomes depends on its problem, loss and settings alone, up to rounding: the matrix
    products of a stack may add in another order than those of a single network, and training
    amplifies that as it amplifies any rounding. A network that diverges does not touch the others.

    Args:
        problems: P of them, of any numbers of samples, with inputs of one type and D.
        losses: L of them, by the names of the result. Their reduction does not matter: a step takes
            the mean over its samples.
        settings: network and training.
        classes: C, the number of logits.
        score: of all networks together; the weights of the best epoch are kept, and the training
            ends when no network has finite weights any more.
        patience: stop after so many epochs without a lower score; None never stops.
        on_epoch: called after every epoch; it may copy the networks, not change them.
        checkpoint: where to keep the state, and to go on from if there is one. The result has the
            same bits as without; `on_epoch` is told of the epochs from there on only.

    Raises:
        ValueError: there is no problem or no loss, the problems do not fit together, a target is
            not in [0, C), or the checkpoint is damaged.
    """
    _check(problems, losses, classes)
    training = _StackTraining(problems, losses, settings, classes, score)
    stack = training.network

    def tell(done: Epoch) -> bool:
        broken = training.finite is not None and not training.finite.any()
        return broken or bool(on_epoch is not None and on_epoch(done.epoch, stack))

    trained = train(
        training, epochs=settings.epochs, patience=patience, checkpoint=checkpoint, on_epoch=tell
    )
    train_loss = np.stack([epoch.loss.numpy() for epoch in trained.history])
    return TrainedNetworks(
        stack.copy(),
        tuple(losses),
        train_loss,
        _diverged(train_loss, stack.finite() if training.finite is None else training.finite),
        None if score is None else np.array([epoch.score for epoch in trained.history]),
        trained.best.epoch if trained.best else len(trained.history),
    )


def _check(problems: Sequence[Problem], losses: Mapping[str, TokenLoss], classes: int) -> None:
    if not problems or not losses:
        raise ValueError(f"nothing to train: {len(problems)} problems, {len(losses)} losses")
    first = problems[0].inputs
    for number, problem in enumerate(problems):
        inputs, targets = problem.inputs, problem.targets
        if inputs.ndim != 2 or not len(inputs) or targets.shape != inputs.shape[:1]:
            raise ValueError(
                f"problem {number} has inputs {tuple(inputs.shape)} and targets "
                f"{tuple(targets.shape)}; they must be (N, D) and (N,) with N at least 1"
            )
        if inputs.shape[1] != first.shape[1] or inputs.dtype != first.dtype:
            raise ValueError(
                f"problem {number} has {inputs.shape[1]} inputs in {inputs.dtype}, "
                f"problem 0 has {first.shape[1]} in {first.dtype}"
            )
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high >= classes:
            raise ValueError(
                f"problem {number} has the class {low if low < 0 else high}; with {classes} "
                f"classes it must be 0 to {classes - 1}"
            )


def _diverged(train_loss: NDArray[np.float64], finite: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(L, P), as `TrainedNetworks` has it, from (epochs, L, P) and whether the last weights are."""
    broken = ~np.isfinite(train_loss)
    first = np.where(broken.any(axis=0), broken.argmax(axis=0) + 1, 0)
    found: NDArray[np.int64] = first.astype(np.int64)
    found[~finite.reshape(found.shape) & (found == 0)] = len(train_loss)
    return found


class _StackTraining:
    """The networks of L losses and P problems, as the loop trains them."""

    def __init__(
        self,
        problems: Sequence[Problem],
        losses: Mapping[str, TokenLoss],
        settings: NetworkSettings,
        classes: int,
        score: Score | None,
    ) -> None:
        self.generators = [random_stream(*problem.key) for problem in problems]
        self.batches = Batches(problems, self.generators, settings.batch_size)
        inputs = self.batches.inputs
        sizes = settings.sizes(inputs.shape[2], classes)
        stack = NetworkStack.draw(sizes, self.generators, inputs.dtype)
        self.network = stack.repeated(len(losses))
        self.optimizer = torch.optim.SGD(  # acts on each number alone, so also on each network
            self.network.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.passes = _Passes(self.network, list(losses.values()))
        self.finite: NDArray[np.bool_] | None = None  # (L * P,) the weights that were scored last
        self._score = score

    def train_epoch(self, epoch: int) -> Tensor:
        """The mean losses (L, P)."""
        return _epoch(self.passes, self.batches, self.optimizer)

    def score(self) -> float | None:
        """What the caller's score says."""
        if self._score is None:
            return None
        self.finite = self.network.finite()
        return self._score(self.network)


class _Passes:
    """Losses and gradients of a stack of L * P networks."""

    def __init__(self, stack: NetworkStack, losses: Sequence[TokenLoss]) -> None:
        self.stack = stack
        self.losses = losses
        self.workspaces: dict[int, Workspace] = {}  # of each number of samples: two at most

    def __call__(self, step: Step) -> Tensor:
        """Fill `grad` of the parameters; gives the losses (L, P) of the step."""
        samples = step.targets.shape[1]
        if samples not in self.workspaces:
            self.workspaces[samples] = Workspace(self.stack, len(self.losses), samples)
        workspace = self.workspaces[samples]
        workspace.forward(step.inputs)
        index, weights = step.targets.unsqueeze(-1), step.weights.unsqueeze(-1)
        values = [
            loss.values_with_gradient(logits, index, gradient)
            for loss, logits, gradient in zip(
                self.losses, workspace.logits, workspace.gradient, strict=True
            )
        ]
        workspace.gradient.mul_(weights)
        workspace.backward()
        return (torch.stack(values) * weights).sum((2, 3))


def _epoch(passes: _Passes, batches: Batches, optimizer: torch.optim.SGD) -> Tensor:
    """One step per batch; gives the mean loss (L, P) of the epoch, in float64."""
    sums = torch.zeros(len(passes.losses), len(batches.counts), dtype=batches.inputs.dtype)
    for step in batches.steps():
        sums.addcmul_(passes(step), step.counts)
        if step.idle is None:
            optimizer.step()
        else:
            first = torch.arange(len(sums)).unsqueeze(1) * sums.shape[1]
            _step_without((first + step.idle).flatten(), optimizer)
    return sums.double() / batches.counts


def _step_without(idle: Tensor, optimizer: torch.optim.SGD) -> None:
    """A step that leaves the idle networks and their momentum as they are.

    Their gradient is 0, but momentum and weight decay would still move them.
    """
    parameters = optimizer.param_groups[0]["params"]
    kept = [p[idle] for p in parameters]
    momenta = [optimizer.state[p].get("momentum_buffer") for p in parameters]
    kept_momenta = [None if m is None else m[idle] for m in momenta]
    optimizer.step()
    for p, before in zip(parameters, kept, strict=True):
        p[idle] = before
    for momentum, before in zip(momenta, kept_momenta, strict=True):
        if momentum is not None:
            momentum[idle] = before
