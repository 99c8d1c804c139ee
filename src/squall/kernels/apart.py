"""Centres apart from samples: how many memory holds, their heads, and passes over the samples."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from squall.kernels.functions import Points, fill_squared_distances
from squall.kernels.plan import Plan, Subband
from squall.kernels.preconditioner import choose_preconditioner
from squall.kernels.projected import ProjectedHead, factorise, solve_projected
from squall.kernels.samples import READ_ROWS, Samples
from squall.kernels.saving import whole_file
from squall.kernels.solver import Task
from squall.kernels.together import Solution

__all__ = [
    "Apart",
    "Checkpoint",
    "Read",
    "batch_rows",
    "check_memory",
    "least_memory",
    "most_centres",
]

FLOAT_BYTES = 4
LEAST_BATCH = 256
# Of another training: how one begins has changed with it.
CHECKPOINT_FORMAT = 2
# A step solves two triangular systems of the centres, which this share of them as samples is worth.
BATCH_SHARE = 1 / 5
# An epoch is a pass over all samples, or over so many where there are more.
EPOCH_ROWS = 200_000

Read = Callable[[NDArray[np.intp]], tuple[Tensor, Tensor]]


def least_memory(centres: int, kernels: int) -> int:
    """Bytes of the factors of the kernel matrices, and of a small batch's distances and values."""
    return FLOAT_BYTES * (kernels * centres**2 + 2 * LEAST_BATCH * centres)


def most_centres(memory_bytes: int, kernels: int) -> int:
    """How many centres the bound holds."""
    half = LEAST_BATCH / kernels
    return int(math.sqrt(half**2 + memory_bytes / (FLOAT_BYTES * kernels)) - half)


def batch_rows(centres: int) -> int:
    """Samples of a step that suit so many centres."""
    return max(int(BATCH_SHARE * centres), LEAST_BATCH)


def check_memory(plan: Plan, centres: int) -> None:
    """Refuse more centres than the memory bound holds.

    Raises:
        ValueError: it does not hold them; the message says what does.
    """
    kernels = len(plan.kernels())
    if (least := least_memory(centres, kernels)) > plan.memory_bytes:
        raise ValueError(
            f"memory_gb = {plan.memory_bytes / 1e9:g} does not hold {centres} centres of "
            f"{kernels} kernel(s); use at least {math.ceil(least / 1e7) / 100:g}, or at "
            f"most {most_centres(plan.memory_bytes, kernels)} centres"
        )


@dataclass
class Apart:
    """Centres with the coefficients of their kernels, that samples are passed by.

    Args:
        plan: how.
        centres: (p, D).
        heads: one per kernel.
        batch_size: rows of a step.
    """

    plan: Plan
    centres: Points
    heads: list[ProjectedHead]
    batch_size: int

    @classmethod
    def of(cls, plan: Plan, centres: Points) -> Self:
        """Factor the kernel matrices; `measure` gives the steps.

        Args:
            plan: how.
            centres: (p, D), in an order that means nothing.

        Raises:
            ValueError: the memory bound does not hold the centres.
        """
        p, kernels = len(centres), plan.kernels()
        check_memory(plan, p)
        left = plan.memory_bytes - FLOAT_BYTES * len(kernels) * p**2
        # Steps are as long as the matrix of a batch allows, no larger than the eigenproblem.
        m = min(plan.batch_size, plan.sample_size, left // (2 * FLOAT_BYTES * p))
        new, first = centres.rows.new_empty, centres[: plan.sample_size]
        sample = fill_squared_distances(first, out=new(len(first), len(first)))
        learnt = [choose_preconditioner(kernel(sample), batch_size=m) for kernel, _ in kernels]
        del sample
        heads = []
        for (kernel, bands), preconditioner in zip(kernels, learnt, strict=True):
            groups, columns = plan.groups(bands)
            heads.append(
                ProjectedHead(
                    groups,
                    columns.to(centres.rows.device),
                    new(p, len(columns)).zero_(),
                    preconditioner,
                    slice(0, len(first)),
                    preconditioner.step_size(m),
                    kernel=kernel,
                    factor=factorise(kernel, centres),
                )
            )
        return cls(plan, centres, heads, m)

    def measure(self, unseen: Points) -> None:
        """Make the steps as long as batches of such samples allow.

        Args:
            unseen: (k, D) samples that are no centres, as far as there are any; of fewer than a
                batch, a batch is taken to be that much harder.
        """
        first, k = self.centres[self.heads[0].sample], len(unseen)
        new = self.centres.rows.new_empty
        across = fill_squared_distances(unseen, first, out=new(k, len(first)))
        within = fill_squared_distances(unseen, out=new(k, k))
        for head in self.heads:
            kernel, preconditioner = head.kernel, head.preconditioner
            measured = preconditioner.largest_eigenvalue(kernel(within), kernel(across))
            head.step = preconditioner.step_size(self.batch_size, measured * self.batch_size / k)

    def train(
        self,
        samples: Samples,
        read: Read,
        task: Task,
        validation: Points,
        *,
        seed: int,
        epochs: range,
        epoch_rows: int = EPOCH_ROWS,
        on_epoch: Callable[[float, float], None],
    ) -> None:
        """Pass samples by.

        Args:
            samples: which rows there are.
            read: gives features (m, D) and components of targets (m, R) of such rows.
            task: with the components of the validation targets.
            validation: (v, D).
            seed: of the order of the samples.
            epochs: those to make, of at most `epoch_rows` rows each.
            epoch_rows: see there.
            on_epoch: told the mean squared errors of training and validation after each.
        """
        outputs = sum(group.outputs for head in self.heads for group in head.groups)
        parts = math.ceil(len(samples) / max(epoch_rows, self.batch_size))

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            turn, part = divmod(epoch, parts)
            every = samples.batches(self.batch_size, seed=seed, turn=turn)
            for rows in every[part * len(every) // parts : (part + 1) * len(every) // parts]:
                yield read(rows)

        solve_projected(
            self.heads,
            task,
            centres=self.centres,
            validation=validation,
            batch_size=self.batch_size,
            batches=batches,
            epochs=epochs,
            on_epoch=lambda: on_epoch(*(error / outputs for error in task.total_errors())),
        )

    def begin(self, alpha: Tensor, steps: int) -> None:
        """Begin with coefficients (p, F) that so many steps have led to."""
        components = self.plan.components.of(alpha)
        for head in self.heads:
            head.begin(components[:, head.columns], steps)

    def begin_with(self, start: Solution) -> None:
        """Begin with what the centres taught as samples, to be kept where nothing is better."""
        self.begin(start.alpha, math.ceil(len(self.centres) / self.batch_size))
        errors = {self.plan.columns(band).start: band.validation_mse for band in start.subbands}
        for group in (group for head in self.heads for group in head.groups):
            scaled = errors[group.columns.start] * self.plan.target_scale**2
            group.best_mse = scaled * group.outputs

    @property
    def steps(self) -> int:
        """That were made."""
        return max(head.steps for head in self.heads)

    def state(self) -> list[dict[str, Any]]:
        """What a training that was stopped goes on from."""
        return [head.state() for head in self.heads]

    def restore(self, state: Sequence[dict[str, Any]]) -> None:
        """Go on from what `state` gave."""
        for head, progress in zip(self.heads, state, strict=True):
            head.restore(progress)

    def alpha(self) -> Tensor:
        """The coefficients (p, F) of the best epochs."""
        components = self.heads[0].best.new_empty(len(self.centres), self.plan.components.count)
        for head in self.heads:
            components[:, head.columns] = head.best
        return self.plan.components.back(components)

    def subbands(self) -> tuple[Subband, ...]:
        """With epochs and errors."""
        ended = self.plan.outcome([group for head in self.heads for group in head.groups])
        return tuple(ended[band.first] for band in self.plan.subbands)


@dataclass(frozen=True)
class Checkpoint:
    """Where a training that was stopped goes on.

    Args:
        path: the file; None keeps nothing.
        fingerprint: of all that decides the training.
    """

    path: Path | None
    fingerprint: str

    @classmethod
    def of(cls, path: Path | None, settings: Mapping[str, Any], *arrays: NDArray[Any]) -> Self:
        """Of a training with these settings and these data, all of which are read.

        Raises:
            ValueError: the path is a folder.
            OSError: its folder cannot be made.
        """
        if path is None:
            return cls(path, "")
        if path.is_dir():
            raise ValueError(f"{path} is a folder; a checkpoint is a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = {**settings, "format": CHECKPOINT_FORMAT}
        digest = hashlib.sha256(json.dumps(begun, sort_keys=True, default=str).encode())
        for array in arrays:
            digest.update(f"{array.shape} {array.dtype}".encode())
            for start in range(0, len(array), READ_ROWS):
                digest.update(np.ascontiguousarray(array[start : start + READ_ROWS]).tobytes())
        return cls(path, digest.hexdigest())

    def read(self) -> dict[str, Any] | None:
        """What was written last; None where there is nothing, or of another training.

        Raises:
            ValueError: the file is no checkpoint; the message names it.
        """
        if self.path is None or not self.path.is_file():
            return None
        try:
            with zipfile.ZipFile(self.path) as archive:  # torch compares no checksums
                if bad := archive.testzip():
                    raise ValueError(f"the checksum of {bad} differs")
            state: dict[str, Any] = torch.load(self.path, weights_only=True, map_location="cpu")
            same = bool(state["fingerprint"] == self.fingerprint)
        except Exception as error:
            raise ValueError(
                f"{self.path} is no checkpoint of a kernel machine, or damaged: remove it to begin "
                f"anew ({type(error).__name__})"
            ) from error
        return state if same else None

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file when all is written."""
        if self.path is None:
            return
        with whole_file(self.path) as unfinished:
            torch.save({**state, "fingerprint": self.fingerprint}, unfinished)
