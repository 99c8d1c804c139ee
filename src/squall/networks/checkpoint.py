"""The state of a training in a file, so that one that is killed goes on from there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from numpy.typing import NDArray

from squall.files import atomic_path
from squall.networks.stack import NetworkStack

__all__ = ["Checkpoint", "TrainingState"]


@dataclass(frozen=True)
class Checkpoint:
    """Where a training keeps its state, and how often.

    Args:
        path: the file, which is there as long as nobody removes it.
        stamp: of everything that decides the training; a file with another one is not gone on from.
        every_s: seconds from one writing to the next, at the end of an epoch.
    """

    path: Path
    stamp: str
    every_s: float


@dataclass(eq=False)
class TrainingState:
    """What a training goes on from.

    Args:
        stack: the networks of L losses and P problems.
        optimizer: of the parameters of the stack.
        streams: what the orders of the samples are drawn from, one per problem.
        diverged: (L, P), see `squall.networks.training.TrainedNetworks`.
        train_loss: (L, P) of every epoch that is done.
    """

    stack: NetworkStack
    optimizer: torch.optim.SGD
    streams: Sequence[torch.Generator]
    diverged: NDArray[np.int64]
    train_loss: list[NDArray[np.float64]] = field(default_factory=list)
    _saved: float = field(default_factory=time.monotonic)

    def save_when_due(self, checkpoint: Checkpoint) -> None:
        """Write the file, if the last writing is long enough ago."""
        if time.monotonic() - self._saved < checkpoint.every_s:
            return
        state = self.optimizer.state
        contents = {
            "stamp": checkpoint.stamp,
            "parameters": self.stack.parameters(),
            "momenta": [state[p].get("momentum_buffer") for p in self.stack.parameters()],
            "streams": [stream.get_state() for stream in self.streams],
            "diverged": torch.from_numpy(self.diverged),
            "train_loss": [torch.from_numpy(losses) for losses in self.train_loss],
        }
        with atomic_path(checkpoint.path) as temporary:
            torch.save(contents, temporary)
        self._saved = time.monotonic()

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over the state of the file, if there is one with this stamp.

        Raises:
            ValueError: the file is damaged.
        """
        path = checkpoint.path
        if not path.is_file():
            return
        try:
            contents = torch.load(path, weights_only=True)
        except (RuntimeError, OSError, EOFError, UnpicklingError) as error:
            raise ValueError(
                f"{path} cannot be read as a checkpoint; remove it to begin its training anew"
            ) from error
        if contents["stamp"] != checkpoint.stamp:
            return
        for parameter, value, momentum in zip(
            self.stack.parameters(), contents["parameters"], contents["momenta"], strict=True
        ):
            parameter.copy_(value)
            self.optimizer.state[parameter]["momentum_buffer"] = momentum
        for stream, drawn in zip(self.streams, contents["streams"], strict=True):
            stream.set_state(drawn)
        self.diverged[:] = contents["diverged"].numpy()
        self.train_loss[:] = [losses.numpy() for losses in contents["train_loss"]]
