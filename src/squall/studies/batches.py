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
    """A step on B samples of each of P problems, for L * P networks.

    Args:
        inputs: (L * P, B, D).
        targets: (P, B); -100 where a problem has no such sample.
        shares: (P, B) or (P, 1) what a sample's loss weighs in the loss of its network.
        row_weights: (P, B) or None.
        idle: the networks whose problem has no sample in this step; None if there is none.
    """

    inputs: Tensor
    targets: Tensor
    shares: Tensor
    row_weights: Tensor | None
    idle: Tensor | None


class Batches:
    """The samples of P problems, padded to the largest, in the order of each epoch."""

    def __init__(
        self,
        problems: Sequence[Problem],
        streams: Sequence[torch.Generator],
        batch_size: int,
        *,
        copies: int,
    ) -> None:
        self.streams = streams
        self.batch_size = batch_size
        self.copies = copies
        self.counts = torch.tensor([len(problem.inputs) for problem in problems])
        self.inputs = _padded([problem.inputs for problem in problems], 0)  # (P, N, D)
        self.targets = _padded([problem.targets for problem in problems], IGNORED)  # (P, N)
        self.row_weights: Tensor | None = None
        if any(problem.row_weights is not None for problem in problems):
            given = [
                torch.ones(len(p.inputs), dtype=p.inputs.dtype)
                if p.row_weights is None
                else p.row_weights.to(p.inputs.dtype)
                for p in problems
            ]
            self.row_weights = _padded(given, 0)
        size = self.inputs.shape[1]
        self.starts = range(0, size, batch_size)
        # How many samples of each problem each step has, (steps, P).
        begin = torch.tensor(list(self.starts)).unsqueeze(1)
        present = (self.counts - begin).clamp(0, batch_size)
        self.shares = 1 / present.clamp(min=1).to(self.inputs.dtype).unsqueeze(2)  # (steps, P, 1)
        self.idle = [
            torch.cat([empty + copy * len(problems) for copy in range(copies)])
            if len(empty)
            else None
            for empty in ((row == 0).nonzero().squeeze(1) for row in present)
        ]

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
        for number, start in enumerate(self.starts):
            rows = slice(start, start + self.batch_size)
            yield Step(
                inputs=inputs[:, rows].repeat(self.copies, 1, 1),
                targets=targets[:, rows],
                shares=self.shares[number],
                row_weights=None if weights is None else weights[:, rows],
                idle=self.idle[number],
            )


def _padded(parts: Sequence[Tensor], value: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True, padding_value=value)
