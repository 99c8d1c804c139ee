"""What is decided before a kernel machine is solved: kernels, directions of the targets, bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from squall.kernels.components import Components
from squall.kernels.functions import ExponentialPowerKernel
from squall.kernels.solver import OutputGroup

__all__ = ["Plan", "Subband", "by_kernel"]


@dataclass(frozen=True)
class Subband:
    """Consecutive output channels that share a kernel and stop at the same epoch.

    Args:
        first: its first channel.
        last: one after its last channel.
        gamma: power of the kernel.
        bandwidth: sigma in units of the median distance to the power gamma.
        sigma: scale of the kernel.
        epoch: whose coefficients were kept; 0 before the first pass, or those of the centres alone.
        validation_mse: after that epoch; NaN without validation data.
        ridge: added to the kernel matrix's diagonal where the system was solved directly; 0 where
            it was solved by iteration.
    """

    first: int
    last: int
    gamma: float
    bandwidth: float
    sigma: float
    epoch: int = 0
    validation_mse: float = float("nan")
    ridge: float = 0.0

    @property
    def kernel(self) -> ExponentialPowerKernel:
        """The kernel function."""
        return ExponentialPowerKernel(self.gamma, self.sigma)

    @property
    def columns(self) -> slice:
        """Its channels."""
        return slice(self.first, self.last)


@dataclass(frozen=True)
class Plan:
    """What a solver is told.

    Args:
        subbands: with their kernels.
        components: directions of the targets that are solved for.
        feature_scale: that features were multiplied by.
        target_scale: that targets were multiplied by.
        patience: epochs without a better validation error before a subband stops.
        sample_size: points of the eigensystem.
        batch_size: rows of a step.
        memory_bytes: bound on distances and kernel values.
    """

    subbands: tuple[Subband, ...]
    components: Components
    feature_scale: float
    target_scale: float
    patience: float
    sample_size: int
    batch_size: int
    memory_bytes: int

    def kernels(
        self, subbands: Sequence[Subband] | None = None
    ) -> list[tuple[ExponentialPowerKernel, list[Subband]]]:
        """The distinct kernels of scaled features, each with those of the subbands that use it."""
        return by_kernel(self.subbands if subbands is None else subbands, self.feature_scale)

    def columns(self, band: Subband) -> slice:
        """The components of a subband."""
        return self.components.columns[[one.first for one in self.subbands].index(band.first)]

    def groups(self, bands: Sequence[Subband]) -> tuple[list[OutputGroup], Tensor]:
        """What stops together, and the components (R,) of all of them."""
        own = [self.columns(band) for band in bands]
        groups = [
            OutputGroup(columns, self.patience, band.last - band.first)
            for columns, band in zip(own, bands, strict=True)
        ]
        return groups, torch.cat([torch.arange(part.start, part.stop) for part in own])

    def in_units(self, mse: float) -> float:
        """The mean squared error of targets as they were given."""
        return mse / self.target_scale**2

    def outcome(self, groups: Sequence[OutputGroup]) -> dict[int, Subband]:
        """The subbands of these groups after the iteration, by their first channel."""
        found = {group.columns.start: group for group in groups}
        ended = {}
        for band in self.subbands:
            if (group := found.get(self.columns(band).start)) is not None:
                error = self.in_units(group.best_mse / group.outputs)
                ended[band.first] = replace(
                    band, epoch=group.best_epoch, validation_mse=error, ridge=0.0
                )
        return ended


def by_kernel(
    subbands: Sequence[Subband], feature_scale: float
) -> list[tuple[ExponentialPowerKernel, list[Subband]]]:
    """The distinct kernels of scaled features, each with the subbands that use it."""
    shared: dict[ExponentialPowerKernel, list[Subband]] = {}
    for band in subbands:
        sigma = band.sigma * feature_scale**band.gamma
        shared.setdefault(ExponentialPowerKernel(band.gamma, sigma), []).append(band)
    return list(shared.items())
