"""The samples of many problems, step by step, each problem in an order of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Batches", "Problem", "Step"]


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
    """A step on B samples of each of P problems, padded with zeros where a problem has fewer.

    Args:
        inputs: (P, B, D).
        targets: (P, B).
        weights: (P, B), what a sample's loss counts in its problem's loss of this step: its row
            weight over the number of samples that the problem has in the step; 0 for padding.
        counts: (P,) the number of samples that a problem has in this step.
        idle: (I,) the problems that have none; None if all have some.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    counts: Tensor
    idle: Tensor | None


class Batches:
    """The samples of P problems, padded with zeros to the largest, in a new order in each epoch.

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
        self.inputs = _padded([problem.inputs for problem in problems])  # (P, N, D)
        self.targets = _padded([problem.targets for problem in problems])  # (P, N)
        self.row_weights = _padded([_row_weights(problem) for problem in problems])  # (P, N)
        starts = torch.arange(0, self.inputs.shape[1], batch_size)
        # How many samples each problem has in each step, (steps, P).
        self.present = (self.counts - starts.unsqueeze(1)).clamp(0, batch_size)
        empty = [(row == 0).nonzero().squeeze(1) for row in self.present]
        self.idle = [problems if len(problems) else None for problems in empty]

    def steps(self) -> Iterator[Step]:
        """One epoch, in an order drawn anew."""
        size = self.inputs.shape[1]
        order = torch.arange(size).repeat(len(self.streams), 1)  # (P, N); padding stays last
        for row, count, stream in zip(order, self.counts.tolist(), self.streams, strict=True):
            row[:count] = torch.randperm(count, generator=stream)
        flat = (order + size * torch.arange(len(order)).unsqueeze(1)).flatten()

        def split(values: Tensor) -> tuple[Tensor, ...]:
            ordered = values.flatten(0, 1).index_select(0, flat).view_as(values)
            return torch.split(ordered, self.batch_size, 1)

        parts = map(split, (self.inputs, self.targets, self.row_weights))
        rows = zip(*parts, self.present, self.idle, strict=True)
        for inputs, targets, weights, counts, idle in rows:
            shares = weights / counts.clamp(min=1).unsqueeze(1)
            yield Step(inputs, targets, shares, counts, idle)


def _row_weights(problem: Problem) -> Tensor:
    if problem.row_weights is None:
        return torch.ones(len(problem.inputs), dtype=problem.inputs.dtype)
    return problem.row_weights.to(problem.inputs.dtype)


def _padded(parts: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
