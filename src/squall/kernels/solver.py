"""EigenPro iteration: preconditioned gradient descent in batches, with early stopping."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor
from typing_extensions import Self

from squall.kernels.components import Components
from squall.kernels.preconditioner import Preconditioner
from squall.kernels.rows import KernelRows

__all__ = ["Head", "OutputGroup", "Task", "end_epoch", "solve"]

logger = logging.getLogger(__name__)

# Share of the best error by which an epoch must lower it to be worth another.
WORTHWHILE = 1e-3


@dataclass
class Task:
    """What is solved for, and how far it is from being found.

    Args:
        groups: components of each subband, R in all.
        targets: (t, R) components of the training targets.
        validation_targets: (v, R) those of the validation targets.
        rest: for each group the squares of training and of validation targets, means over rows,
            that the components leave out.
        train_mse: (R,) mean squared error of each component; at first that of zero.
        validation_mse: (R,).
    """

    groups: Sequence[slice]
    targets: Tensor
    validation_targets: Tensor
    rest: tuple[Sequence[float], Sequence[float]]
    train_mse: Tensor
    validation_mse: Tensor

    @classmethod
    def of(cls, components: Components, targets: Tensor, validation_targets: Tensor) -> Self:
        """Of targets (t, F) and (v, F)."""
        mine, held = components.of(targets), components.of(validation_targets)
        rest = components.rest(targets), components.rest(validation_targets)
        errors = mine.square().mean(0), held.square().mean(0)
        return cls(components.columns, mine, held, rest, *errors)

    def total_errors(self) -> tuple[float, float]:
        """Squared errors of training and validation, summed over all channels."""
        train = self.train_mse.sum().item() + sum(self.rest[0])
        return train, self.validation_mse.sum().item() + sum(self.rest[1])

    def validation_error(self, group: slice) -> float:
        """Squared validation error of a group, summed over its channels."""
        return self.validation_mse[group].sum().item() + self.rest[1][self.groups.index(group)]


@dataclass
class OutputGroup:
    """Components that stop together: those of a subband.

    Args:
        columns: which of all components.
        patience: epochs in a row that lower the best validation error by less than a thousandth,
            after which it stops.
        outputs: how many channels they are components of.
    """

    columns: slice
    patience: float
    outputs: int
    best_mse: float = math.inf
    best_epoch: int = 0
    waited: int = 0

    @property
    def done(self) -> bool:
        """Whether the validation error has stopped falling."""
        return self.waited >= self.patience


@dataclass
class Head:
    """The coefficients that belong to one kernel, of one or more output groups.

    Args:
        groups: the groups that share the kernel.
        columns: (R,) all of their components.
        alpha: (n, R) coefficients, as the last step left them.
        preconditioner: for the kernel.
        sample: the centres that it was learnt on.
        step: length of a step per sample.
        average: (n, R) mean of the coefficients over the steps of an epoch, which is judged and
            kept: it is without the noise of the last steps.
        best: (n, R) that of each group's best epoch.
    """

    groups: list[OutputGroup]
    columns: Tensor
    alpha: Tensor
    preconditioner: Preconditioner
    sample: slice
    step: float
    epoch: int = 0
    average: Tensor = field(init=False)
    best: Tensor = field(init=False)
    initial: Tensor = field(init=False)
    projected: dict[int, Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.average, self.best, self.initial = (self.alpha.clone() for _ in range(3))

    def project(self, batch: slice, kernel_rows: Tensor, *, keep: bool) -> Tensor:
        """K(b, s) V, which is the same in every epoch and may be kept."""
        if (found := self.projected.get(batch.start)) is None:
            found = kernel_rows[:, self.sample] @ self.preconditioner.vectors
            if keep:
                self.projected[batch.start] = found
        return found

    @property
    def done(self) -> bool:
        """Whether all groups are."""
        return all(group.done for group in self.groups)

    def restart(self) -> None:
        """Begin anew with half the step."""
        self.step /= 2
        self.alpha.copy_(self.initial)


def solve(
    rows: KernelRows,
    heads: Sequence[Head],
    task: Task,
    *,
    epochs: int,
    seed: int,
    on_epoch: Callable[[], None],
) -> None:
    """Solve K alpha = Y for every head, keeping each group's coefficients of its best epoch.

    For a batch b: g = K(b, all) alpha - Y_b; alpha_b -= eta g; alpha_s += eta V D V' K(b, s)' g.
    The subsample s and the batches are slices of the centres, so that all of these are views of
    the kernel rows; only the order of the batches changes between epochs. What an epoch gives is
    the mean of alpha over its steps: alpha itself has the noise of the last ones, which on mask
    features costs 0.3 to 1.1 % of the error and two epochs.

    Args:
        rows: kernel rows, one kernel per head.
        heads: changed in place; `best` holds the result.
        task: targets of all heads; its errors are changed in place. Those of training are the
            residuals during the epoch. Without validation rows the last epoch counts as the best.
        epochs: the most passes over the training rows.
        seed: of the order of the batches.
        on_epoch: called after each epoch.

    Source: Ma, Belkin 2019, algorithm 1; the mean after Polyak, Juditsky 1992.
    """
    start_mse = task.train_mse.clone()
    batches = rows.batches
    for cohort in rows.cohorts():
        rows.prepare(cohort)
        for epoch in range(epochs):
            active = [index for index in cohort if not heads[index].done]
            if not active:
                break
            for index in active:
                task.train_mse[heads[index].columns] = 0
                heads[index].average.copy_(heads[index].alpha)
            order = np.random.default_rng((seed, epoch)).permutation(len(batches))
            for made, turn in enumerate(order):
                weight = 1 - made / len(order)
                batch = rows.training_index(batches[turn])
                own = slice(rows.first + batch.start, rows.first + batch.stop, batch.step)
                for index, kernel_rows in rows.read(batches[turn], active):
                    head = heads[index]
                    projected = head.project(batch, kernel_rows, keep=rows.stored)
                    residual = kernel_rows @ head.alpha - task.targets[batch][:, head.columns]
                    _step(head, own, residual, projected, weight)
                    task.train_mse[head.columns] += residual.square().sum(0) / len(task.targets)
            _validate(rows, heads, active, task)
            for index in active:
                mine = heads[index].columns
                grown = not task.train_mse[mine].mean() <= 2 * start_mse[mine].mean()
                end_epoch(heads[index], task, grown=grown)
            on_epoch()


def _step(head: Head, own: slice, residual: Tensor, projected: Tensor, weight: float) -> None:
    """One step along the residual of a batch.

    Args:
        head: whose coefficients.
        own: the batch's places among the centres.
        residual: (m, R) predictions minus targets.
        projected: (m, q), what `project` gave for the batch.
        weight: share of the epoch's steps that are left, this one among them: in the coefficients
            of so many the change remains, and counts in their average.
    """
    correction = head.preconditioner.correction(projected, residual)
    for coefficients, share in ((head.alpha, 1.0), (head.average, weight)):
        coefficients[own].sub_(residual, alpha=share * head.step)
        coefficients[head.sample].add_(correction, alpha=share * head.step)


def _validate(rows: KernelRows, heads: Sequence[Head], active: Sequence[int], task: Task) -> None:
    """Write the validation error of the active heads' components."""
    targets, mse = task.validation_targets, task.validation_mse
    if not len(targets):
        return
    for index in active:
        mse[heads[index].columns] = 0
    for part in rows.validation_parts:
        for index, kernel_rows in rows.read(part, active):
            head = heads[index]
            error = kernel_rows @ head.average - targets[part][:, head.columns]
            mse[head.columns] += error.square().sum(0) / len(targets)


def end_epoch(head: Head, task: Task, *, grown: bool) -> None:
    """Keep what is best so far, or start again with half the step where the error has grown."""
    head.epoch += 1
    if grown:
        mine = task.train_mse[head.columns].mean().item()
        logger.warning("the training error grew to %g; again with half the step", mine)
        head.restart()
        return
    offset = 0
    for group in head.groups:
        width = group.columns.stop - group.columns.start
        own = slice(offset, offset + width)
        offset += width
        if group.done:
            continue
        error = task.validation_error(group.columns)
        worth_it = error < (1 - WORTHWHILE) * group.best_mse or math.isnan(error)
        group.waited = 0 if worth_it else group.waited + 1
        if error < group.best_mse or math.isnan(error):
            group.best_mse, group.best_epoch = error, head.epoch
            head.best[:, own] = head.average[:, own]
