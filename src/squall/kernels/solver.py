"""EigenPro iteration: preconditioned gradient descent in batches, with early stopping."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from squall.kernels.preconditioner import Preconditioner
from squall.kernels.rows import KernelRows

__all__ = ["Head", "OutputGroup", "solve"]

logger = logging.getLogger(__name__)

# Share of the best error by which an epoch must lower it to be worth another.
WORTHWHILE = 1e-3


@dataclass
class OutputGroup:
    """Output channels that stop together: a subband.

    Args:
        columns: which of all channels.
        patience: epochs in a row that lower the best validation error by less than a thousandth,
            after which it stops.
    """

    columns: slice
    patience: float
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
        columns: (F,) all of their channels.
        alpha: (n, F) coefficients, as the iteration leaves them.
        preconditioner: for the kernel.
        step: length of a step per sample.
    """

    groups: list[OutputGroup]
    columns: Tensor
    alpha: Tensor
    preconditioner: Preconditioner
    step: float
    epoch: int = 0
    best: Tensor = field(init=False)
    initial: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.best, self.initial = self.alpha.clone(), self.alpha.clone()

    @property
    def done(self) -> bool:
        """Whether all groups are."""
        return all(group.done for group in self.groups)


def solve(
    rows: KernelRows,
    heads: Sequence[Head],
    *,
    targets: Tensor,
    validation_targets: Tensor,
    errors: tuple[Tensor, Tensor],
    epochs: int,
    seed: int,
    on_epoch: Callable[[Tensor, Tensor], None],
) -> None:
    """Solve K alpha = Y for every head, keeping each group's coefficients of its best epoch.

    For a batch b: g = K(b, all) alpha - Y_b; alpha_b -= eta g; alpha_s += eta V D V' K(b, s)' g.
    The subsample is the first s centres and the batches are consecutive rows, so that all of
    these are views of the kernel rows; only the order of the batches changes between epochs.

    Args:
        rows: kernel rows, one kernel per head.
        heads: changed in place; `best` holds the result.
        targets: (t, F) of the training rows, F over all channels of all heads.
        validation_targets: (v, F); with v = 0 the last epoch counts as the best.
        errors: mean squared errors (F,) of training and of validation at the start; changed in
            place.
        epochs: the most passes over the training rows.
        seed: of the order of the batches.
        on_epoch: called after each epoch with the squared errors (F,) of training (the residuals
            during the epoch) and of validation, both means over rows.

    Source: Ma, Belkin 2019, algorithm 1.
    """
    train_mse, validation_mse = errors
    start_mse = train_mse.clone()
    batches = rows.batches
    for cohort in rows.cohorts():
        rows.prepare(cohort)
        for epoch in range(epochs):
            active = [index for index in cohort if not heads[index].done]
            if not active:
                break
            for index in active:
                train_mse[heads[index].columns] = 0
            for turn in np.random.default_rng((seed, epoch)).permutation(len(batches)):
                batch = rows.training_index(batches[turn])
                for index, kernel_rows in rows.read(batches[turn], active):
                    head = heads[index]
                    residual = _step(head, kernel_rows, targets[batch], rows.first, batch)
                    train_mse[head.columns] += residual.square().sum(0) / len(targets)
            _validate(rows, heads, active, validation_targets, validation_mse)
            for index in active:
                _end_epoch(heads[index], train_mse, start_mse, validation_mse)
            on_epoch(train_mse, validation_mse)


def _step(head: Head, kernel_rows: Tensor, targets: Tensor, first: int, batch: slice) -> Tensor:
    """One step on a batch; gives its residuals."""
    residual = kernel_rows @ head.alpha - targets[:, head.columns]  # (m, F)
    correction = head.preconditioner.correction(
        kernel_rows[:, : len(head.preconditioner.vectors)], residual
    )
    head.alpha[first + batch.start : first + batch.stop].sub_(residual, alpha=head.step)
    head.alpha[: len(correction)].add_(correction, alpha=head.step)
    return residual


def _validate(
    rows: KernelRows,
    heads: Sequence[Head],
    active: Sequence[int],
    targets: Tensor,
    mse: Tensor,
) -> None:
    """Write the validation error of the active heads' channels."""
    if not len(targets):
        return
    for index in active:
        mse[heads[index].columns] = 0
    for part in rows.validation_parts:
        for index, kernel_rows in rows.read(part, active):
            head = heads[index]
            error = kernel_rows @ head.alpha - targets[part][:, head.columns]
            mse[head.columns] += error.square().sum(0) / len(targets)


def _end_epoch(head: Head, train_mse: Tensor, start_mse: Tensor, validation_mse: Tensor) -> None:
    """Keep what is best so far, or start again with half the step where the error grew."""
    head.epoch += 1
    mine, start = train_mse[head.columns].mean().item(), start_mse[head.columns].mean().item()
    if not mine <= 2 * start:
        logger.warning("the training error grew to %g; again with half the step", mine)
        head.step /= 2
        head.alpha.copy_(head.initial)
        return
    offset = 0
    for group in head.groups:
        width = group.columns.stop - group.columns.start
        own = slice(offset, offset + width)
        offset += width
        if group.done:
            continue
        mse = validation_mse[group.columns].mean().item()
        worth_it = not mse > (1 - WORTHWHILE) * group.best_mse
        group.waited = 0 if worth_it else group.waited + 1
        if mse < group.best_mse or math.isnan(mse):
            group.best_mse, group.best_epoch = mse, head.epoch
            head.best[:, own] = head.alpha[:, own]
