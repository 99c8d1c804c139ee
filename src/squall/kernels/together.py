"""Solving where all samples are centres: directly where few rows span all, else by iteration."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from squall.kernels.functions import Points, fill_squared_distances
from squall.kernels.low_rank import LowRank, count_distinct, has_low_rank
from squall.kernels.plan import Plan, Subband
from squall.kernels.preconditioner import choose_preconditioner
from squall.kernels.rows import KernelRows, sample_of
from squall.kernels.solver import Head, Task, solve

__all__ = ["Solution", "solve_together"]


@dataclass(frozen=True)
class Solution:
    """What a solver found.

    Args:
        alpha: (n, F) coefficients.
        subbands: with epochs and errors.
        epochs: that were made.
    """

    alpha: Tensor
    subbands: tuple[Subband, ...]
    epochs: int


def solve_together(
    plan: Plan,
    centres: Points,
    targets: Tensor,
    validation: tuple[Points, Tensor],
    *,
    alpha: Tensor,
    seed: int,
    epochs: int,
    on_epoch: Callable[..., None],
    directly: bool = True,
) -> Solution:
    """Train on the last centres, of which `alpha` has the coefficients of the first ones.

    Args:
        plan: how.
        centres: (n, D).
        targets: (t, F) of the last t centres.
        validation: (v, D) and (v, F).
        alpha: (n - t, F).
        seed: of the order of the batches.
        epochs: the most.
        on_epoch: told the mean squared errors of training and validation after each, and `direct`,
            how many outputs were solved at once.
        directly: solve at once where few rows span all, with a warning.
    """
    outputs, first = targets.shape[1], len(alpha)
    task = Task.of(plan.components, targets, validation[1])
    alpha = torch.cat([plan.components.of(alpha), torch.zeros_like(task.targets)])
    chosen = sample_of(centres, plan.sample_size)
    sampled = centres[chosen]
    sample = fill_squared_distances(sampled, out=alpha.new_empty(len(sampled), len(sampled)))

    def tell(**words: int) -> None:
        on_epoch(*(error / outputs for error in task.total_errors()), **words)

    solved: dict[int, Subband] = {}
    if directly and not first:
        solved = _solve_directly(plan, sample, centres.rows, task, validation[0].rows, alpha)
        if solved:
            tell(direct=sum(band.last - band.first for band in solved.values()))
    left = [band for band in plan.subbands if band.first not in solved]
    heads: list[Head] = []
    if left:
        rows = KernelRows(
            centres,
            validation[0],
            [kernel for kernel, _ in plan.kernels(left)],
            first=first,
            batch_size=plan.batch_size,
            memory_bytes=plan.memory_bytes,
        )
        heads = _heads(plan, left, rows, chosen, sample, alpha)
        solve(rows, heads, task, epochs=epochs, seed=seed, on_epoch=tell)
        for head in heads:
            alpha[:, head.columns] = head.best
        solved |= plan.outcome([group for head in heads for group in head.groups])
    return Solution(
        plan.components.back(alpha),
        tuple(solved[band.first] for band in plan.subbands),
        max((head.epoch for head in heads), default=1),
    )


def _solve_directly(
    plan: Plan, sample: Tensor, x: Tensor, task: Task, held_x: Tensor, alpha: Tensor
) -> dict[int, Subband]:
    """Solve the subbands in whose kernel few rows span all; give those by their first channel.

    Writes their columns of `alpha` and of the task's errors.
    """
    solved = {}
    repeated = count_distinct(x) <= min(len(sample), len(x) // 2)
    for kernel, bands in plan.kernels():
        if not (repeated or has_low_rank(kernel, sample)):
            continue
        system = LowRank.find(kernel, x, len(sample))
        if system is None:
            continue
        warnings.warn(
            "the kernel matrix is numerically singular (repeated rows, few distinct values, or "
            f"a smooth kernel): solved directly from {len(system)} of {len(x)} rows, not by "
            "iteration",
            stacklevel=6,  # the line that called `fit`
        )
        held = held_x, task.validation_targets
        solutions = system.solve(task.targets, held, [plan.columns(band) for band in bands])
        for band, solution in zip(bands, solutions, strict=True):
            own = plan.columns(band)
            alpha[:, own] = solution.alpha.to(alpha)
            task.train_mse[own] = solution.train_mse.to(alpha)
            task.validation_mse[own] = solution.validation_mse.to(alpha)
            error = plan.in_units(task.validation_error(own) / (band.last - band.first))
            solved[band.first] = replace(band, epoch=1, validation_mse=error, ridge=solution.ridge)
    return solved


def _heads(
    plan: Plan,
    subbands: Sequence[Subband],
    rows: KernelRows,
    chosen: slice,
    sample: Tensor,
    alpha: Tensor,
) -> list[Head]:
    """The coefficients of each kernel with its preconditioner and step, from a subsample."""
    sampled = rows.centres[chosen]
    # A batch stands for points that the preconditioner has not seen.
    unseen = rows.centres[rows.unseen(chosen)]
    m = len(unseen)
    across = fill_squared_distances(unseen, sampled, out=alpha.new_empty(m, len(sampled)))
    within = fill_squared_distances(unseen, out=alpha.new_empty(m, m))
    heads = []
    for kernel, bands in plan.kernels(subbands):
        preconditioner = choose_preconditioner(kernel(sample), batch_size=rows.batch_size)
        measured = preconditioner.largest_eigenvalue(kernel(within), kernel(across))
        step = preconditioner.step_size(rows.batch_size, measured)
        groups, columns = plan.groups(bands)
        columns = columns.to(alpha.device)
        heads.append(Head(groups, columns, alpha[:, columns], preconditioner, chosen, step))
    return heads
