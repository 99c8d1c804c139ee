"""Two spirals: how the decision boundary of each loss grows along training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from squall.networks.batches import Problem
from squall.networks.stack import NetworkStack
from squall.networks.training import train_networks
from squall.scoring.calibration import score_logits
from squall.scoring.temperature import softmax
from squall.studies.losses import build_losses, softmax_logits
from squall.studies.spiral.settings import SpiralSettings

__all__ = [
    "Boundary",
    "SpiralStudy",
    "draw_spirals",
    "study_spirals",
]


@dataclass(frozen=True, eq=False)
class Boundary:
    """What a network says after an epoch.

    Args:
        loss: its label.
        epoch: after which it was looked at.
        probs: (grid, grid) float64, probability of class 1 at `SpiralStudy.axis`; the first
            dimension is the second coordinate, from the bottom up.
        accuracy, ece: on the test part, as fractions of 1; NaN where the network diverged, as are
            all `probs`.
    """

    loss: str
    epoch: int
    probs: NDArray[np.float64]
    accuracy: float
    ece: float


@dataclass(frozen=True, eq=False)
class SpiralStudy:
    """Data and boundaries of the study.

    Args:
        inputs: (N, 2) float32 of the training part.
        targets: (N,) int64, 0 or 1.
        axis: (grid,) the values of either coordinate at which the boundaries are given.
        boundaries: in the order of losses, then epochs.
    """

    inputs: NDArray[np.float32]
    targets: NDArray[np.int64]
    axis: NDArray[np.float32]
    boundaries: tuple[Boundary, ...]


def draw_spirals(
    samples: int, *, turns: float, noise: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw samples of two spirals, each the other one turned by half a circle.

    A sample of class c at the share s of its spiral's length in angle, s uniform in [0.1, 1], lies
    at the radius s and the angle 2 pi turns s + pi c, plus noise.

    Args:
        samples: N; the classes have as many each, class 0 one more if N is odd.
        turns: around the centre.
        noise: standard deviation in each coordinate.
        seed: of the draw.

    Returns:
        (N, 2) float32 coordinates and (N,) int64 classes in turn, 0, 1, 0, ...

    >>> inputs, targets = draw_spirals(4, turns=1.0, noise=0.0, seed=0)
    >>> inputs.shape, targets
    ((4, 2), array([0, 1, 0, 1]))
    """
    random = np.random.default_rng(seed)
    targets = np.arange(samples) % 2
    share = random.uniform(0.1, 1.0, samples)
    angle = 2 * np.pi * turns * share + np.pi * targets
    points = share[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points += noise * random.standard_normal((samples, 2))
    return points.astype(np.float32), targets


def study_spirals(
    settings: SpiralSettings, *, seed: int = 0, on_epoch: Callable[[int], object] | None = None
) -> SpiralStudy:
    """Train a network per loss on two spirals, and keep its boundary after some epochs.

    The losses begin with the same weights and see the same samples in the same order.

    Args:
        settings: what to draw and train.
        seed: of the samples and of the network.
        on_epoch: told the number of each epoch that has ended.
    """
    shape = {"turns": settings.turns, "noise": settings.noise}
    inputs, targets = draw_spirals(settings.samples, **shape, seed=2 * seed)
    test, test_targets = draw_spirals(settings.samples, **shape, seed=2 * seed + 1)
    axis = np.linspace(-settings.extent, settings.extent, settings.grid, dtype=np.float32)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    losses = build_losses(settings.losses)
    found: dict[tuple[str, int], Boundary] = {}

    def look(epoch: int, stack: NetworkStack) -> None:
        if epoch in settings.epochs:
            looked = torch.from_numpy(np.concatenate([test, points]))
            for (name, loss), logits in zip(losses.items(), stack.predict(looked), strict=True):
                meant = softmax_logits(loss, logits)
                found[name, epoch] = _boundary(name, epoch, meant, test_targets)
        if on_epoch is not None:
            on_epoch(epoch)

    problem = Problem(torch.from_numpy(inputs), torch.from_numpy(targets), ("spirals", seed))
    network = settings.network.model_copy(update={"epochs": settings.epochs[-1]})
    train_networks([problem], losses, network, classes=2, on_epoch=look)
    boundaries = [found[loss, epoch] for loss in losses for epoch in settings.epochs]
    return SpiralStudy(inputs, targets, axis, tuple(boundaries))


def _boundary(
    loss: str, epoch: int, logits: NDArray[np.floating], targets: NDArray[np.int64]
) -> Boundary:
    """From logits of the test samples, and after them those of the grid."""
    grid = round((len(logits) - len(targets)) ** 0.5)
    if not np.isfinite(logits).all():
        return Boundary(loss, epoch, np.full((grid, grid), np.nan), np.nan, np.nan)
    scores = score_logits(logits=logits[: len(targets)], targets=targets).calibration()
    probs = softmax(logits=logits[len(targets) :])[:, 1].reshape(grid, grid)
    return Boundary(loss, epoch, probs, scores.accuracy, scores.ece)
