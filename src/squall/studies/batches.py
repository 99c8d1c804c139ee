"""The samples of many problems, step by step, each problem in an order of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["IGNORED", "Batches", "Problem", "Step"]

IGNORED = -100
"""Target of what pads a problem that has fewer samples than the largest."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What a network is trained on.

    Args:
        inputs: (N, D) float32 or float64; the network has the same type.
        targets: (N,) int64 classes in [0, C).
        key: names the random stream (`random_stream`) that the initial weights and then the order
            of the samples in each epoch are drawn from.
        row_weights: (N,) weight of each sample's loss; None for 1. They are best of mean 1: a step
            takes the mean of weight times loss over its samples.
    """

    inputs: Tensor
    targets: Tensor
    key: tuple[str | int, ...]
    row_weights: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """A step on B samples of each of P problems.

    Args:
        inputs: (P, B, D).
        targets: (P, B); `IGNORED` where a problem has no such sample.
        shares: (P, 1), one over the number of samples that a problem has in this step.
        row_weights: (P, B); None if no problem has any.
        idle: (I,) the problems that have no sample in this step; None if there is none.
    """

    inputs: Tensor
    targets: Tensor
    shares: Tensor
    row_weights: Tensor | None
    idle: Tensor | None


class Batches:
    """The samples of P problems, padded to the largest, in a new order in each epoch.

    A step has the next `batch_size` samples of every problem; the last has the rest. A problem
    that has fewer samples than another ends its epoch earlier.

    Args:
        problems: P of them, with inputs of one type and D.
        streams: one per problem, from which its orders are drawn.
        batch_size: samples of a step, at least 1.
    """

    def __init__(
        self, problems: Sequence[Problem], streams: Sequence[torch.Generator], batch_size: int
    ) -> None:
        self.streams = streams
        self.batch_size = batch_size
        self.counts = torch.tensor([len(problem.inputs) for problem in problems])
        self.inputs = _padded([problem.inputs for problem in problems], 0)  # (P, N, D)
        self.targets = _padded([problem.targets for problem in problems], IGNORED)  # (P, N)
        self.row_weights: Tensor | None = None
        if any(problem.row_weights is not None for problem in problems):
            self.row_weights = _padded([_row_weights(problem) for problem in problems], 0)
        starts = torch.arange(0, self.inputs.shape[1], batch_size)
        # How many samples each problem has in each step, (steps, P).
        present = (self.counts - starts.unsqueeze(1)).clamp(0, batch_size)
        self.shares = 1 / present.clamp(min=1).to(self.inputs.dtype).unsqueeze(2)  # (steps, P, 1)
        empty = [(row == 0).nonzero().squeeze(1) for row in present]
        self.idle = [problems if len(problems) else None for problems in empty]

    def steps(self) -> Iterator[Step]:
        """One epoch, in an order drawn anew."""
        size = self.inputs.shape[1]
        order = torch.arange(size).repeat(len(self.streams), 1)  # (P, N); padding stays last
        for row, count, stream in zip(order, self.counts.tolist(), self.streams, strict=True):
            row[:count] = torch.randperm(count, generator=stream)
        flat = (order + size * torch.arange(len(order)).unsqueeze(1)).flatten()
        inputs = self.inputs.flatten(0, 1).index_select(0, flat).view_as(self.inputs)
        targets = self.targets.flatten().index_select(0, flat).view_as(self.targets)
        weights = None
        if self.row_weights is not None:
            weights = self.row_weights.flatten().index_select(0, flat).view_as(self.targets)
        for number, (shares, idle) in enumerate(zip(self.shares, self.idle, strict=True)):
            rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
            yield Step(
                inputs=inputs[:, rows],
                targets=targets[:, rows],
                shares=shares,
                row_weights=None if weights is None else weights[:, rows],
                idle=idle,
            )


def _row_weights(problem: Problem) -> Tensor:
    if problem.row_weights is None:
        return torch.ones(len(problem.inputs), dtype=problem.inputs.dtype)
    return problem.row_weights.to(problem.inputs.dtype)


def _padded(parts: Sequence[Tensor], value: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=value)
