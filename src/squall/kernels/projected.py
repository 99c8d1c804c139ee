"""EigenPro iteration for more samples than centres, its steps projected onto the centres.

The gradient of a batch is a sum of kernel functions at its samples, g = sum_b g_b K(x_b, .). Where
samples are no centres z, a step along it would leave the span of K(z, .), and takes the nearest
function in that span instead, whose coefficients are K(z, z)^-1 K(z, b) g_b. Each step then costs
O(m p) kernel values and two triangular systems, memory is O(p^2 + m p), and neither grows with the
number of samples.

Samples that are seen once or a few times keep the noise of the last steps in the coefficients: not
they, but their average over the steps is judged and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from squall.kernels.functions import ExponentialPowerKernel, Points, fill_squared_distances
from squall.kernels.solver import Head, Task, end_epoch

__all__ = ["ProjectedHead", "factorise", "solve_projected"]

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
# Of the average: the k-th step counts (1 + AVERAGE) / (k + AVERAGE), so that early ones fade.
AVERAGE = 3
# Times the error of the first batch of an epoch, or of zero: that of an epoch where steps diverge.
GROWN = 4

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(kw_only=True)
class ProjectedHead(Head):
    """The coefficients of centres that are no samples.

    Args:
        kernel: its kernel.
        factor: (p, p) lower triangle of K(z, z).
        steps: that were made.
        initial_steps: after which this training began, with `initial`.
    """

    kernel: ExponentialPowerKernel
    factor: Tensor
    steps: int = 0
    initial_steps: int = field(init=False, default=0)

    def begin(self, alpha: Tensor, steps: int) -> None:
        """Begin a training with coefficients (p, R) that so many steps have led to."""
        for kept in (self.initial, self.alpha, self.average, self.best):
            kept.copy_(alpha)
        self.steps = self.initial_steps = steps

    def restart(self) -> None:
        """Begin anew with half the step."""
        super().restart()
        self.average.copy_(self.initial)
        self.steps = self.initial_steps

    def advance(self, gradient: Tensor) -> None:
        """One step.

        Args:
            gradient: (p, R), K(z, b) times the residuals of a batch.
        """
        middle = torch.linalg.solve_triangular(self.factor, gradient, upper=False)
        step = torch.linalg.solve_triangular(self.factor.mT, middle, upper=True)
        vectors, weights = self.preconditioner.vectors, self.preconditioner.weights
        step[self.sample] -= vectors @ (weights[:, None] * (vectors.T @ gradient[self.sample]))
        self.alpha.sub_(step, alpha=self.step)
        self.steps += 1
        self.average.lerp_(self.alpha, (1 + AVERAGE) / (self.steps + AVERAGE))

    def state(self) -> dict[str, Any]:
        """What a training that was stopped goes on from."""
        progress = [(group.best_mse, group.best_epoch, group.waited) for group in self.groups]
        return {
            "alpha": self.alpha,
            "average": self.average,
            "best": self.best,
            "initial": self.initial,
            "step": self.step,
            "steps": self.steps,
            "initial_steps": self.initial_steps,
            "epoch": self.epoch,
            "groups": progress,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name in ("alpha", "average", "best", "initial"):
            getattr(self, name).copy_(state[name])
        for name in ("step", "steps", "initial_steps", "epoch"):
            setattr(self, name, state[name])
        for group, progress in zip(self.groups, state["groups"], strict=True):
            group.best_mse, group.best_epoch, group.waited = progress


def factorise(kernel: ExponentialPowerKernel, centres: Points) -> Tensor:
    """The lower triangle C (p, p) of C C' = K(z, z) + ridge I, with the least ridge it needs.

    Raises:
        ValueError: the matrix is not positive definite with a ridge of 0.1 either.
    """
    p = len(centres)
    matrix = centres.rows.new_empty(p, p)
    info = torch.empty((), dtype=torch.int32, device=matrix.device)
    for ridge in RIDGES:
        fill_squared_distances(centres, out=matrix, kernel=kernel)
        matrix.diagonal().add_(ridge)
        torch.linalg.cholesky_ex(matrix, out=(matrix, info))  # in its own memory
        if not int(info):
            return matrix
    raise ValueError("the kernel matrix of the centres is not positive definite: are they finite?")


def solve_projected(
    heads: Sequence[ProjectedHead],
    task: Task,
    *,
    centres: Points,
    validation: Points,
    batch_size: int,
    batches: Callable[[int], Batches],
    epochs: range,
    on_epoch: Callable[[], None],
) -> None:
    """Solve min ||K(x, z) alpha - Y||^2 for every head, keeping each group's best average.

    Args:
        heads: one per kernel, changed in place; `best` holds the result.
        task: errors are changed in place; those of training are the residuals during an epoch.
        centres: (p, D) points z.
        validation: (v, D) points; with v = 0 the last epoch counts as the best.
        batch_size: the most rows of a batch.
        batches: gives features (m, D) and components of targets (m, R) of an epoch.
        epochs: those to make.
        on_epoch: called after each.

    Source: after Abedsoltan, Belkin, Pandit 2023 (EigenPro 3), with an exact projection; averages
    after Polyak, Juditsky 1992, weighted as in Shamir, Zhang 2013.
    """
    distances = centres.rows.new_empty(batch_size, len(centres))
    values = torch.empty_like(distances)
    for epoch in epochs:
        active = [head for head in heads if not head.done]
        if not active:
            break
        seen = 0
        totals, of_zero = (torch.zeros_like(task.train_mse) for _ in range(2))
        first = torch.zeros_like(totals)
        for x, targets in batches(epoch):
            squared = fill_squared_distances(Points.of(x), centres, out=distances[: len(x)])
            for head in active:
                rows = head.kernel(squared, out=values[: len(x)])
                own = targets[:, head.columns]
                residual = rows @ head.alpha - own
                error = residual.square().sum(0)
                if not seen:
                    first[head.columns] = error / len(x)
                totals[head.columns] += error
                of_zero[head.columns] += own.square().sum(0)
                head.advance(rows.T @ residual)
            seen += len(x)
        for head in active:
            task.train_mse[head.columns] = totals[head.columns] / seen
        _validate(active, task, centres, validation, distances, values)
        for head in active:
            reached = task.train_mse[head.columns].mean()
            usual = torch.maximum(first, of_zero / seen)[head.columns].mean()
            end_epoch(head, task, grown=not reached.item() <= GROWN * usual.item())
        on_epoch()


def _validate(
    heads: Sequence[ProjectedHead],
    task: Task,
    centres: Points,
    validation: Points,
    distances: Tensor,
    values: Tensor,
) -> None:
    """Write the validation error of the heads' components."""
    targets = task.validation_targets
    if not len(targets):
        return
    for head in heads:
        task.validation_mse[head.columns] = 0
    for start in range(0, len(targets), len(distances)):
        part = slice(start, start + len(distances))
        points = validation[part]
        squared = fill_squared_distances(points, centres, out=distances[: len(points)])
        for head in heads:
            rows = head.kernel(squared, out=values[: len(points)])
            error = rows @ head.average - targets[part][:, head.columns]
            task.validation_mse[head.columns] += error.square().sum(0) / len(targets)
