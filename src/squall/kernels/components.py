"""Targets in the directions that carry what can be learnt of them.

Neighbouring channels and the places of a window of masks say nearly the same, and what they say
apart is mostly noise: of 320 targets of mask windows some 40 directions carry all that a kernel
machine finds. Kernel values are multiplied with the coefficients of those only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from typing_extensions import Self

from squall.kernels.direct import solve_directly

__all__ = ["Components", "Sketch", "find_components"]

# Fewer channels of a subband are left as they are, and all where fewer rows would judge them.
FEWEST_CHANNELS = 8
FEWEST_ROWS = 250
# So are channels whose spreads differ by more: the small ones would drown in the large ones.
UNEQUAL = 10.0
# Directions are left out only of those that have so much of the variance together ...
LEFT_OUT = 0.05
# ... and in which a solution predicts no more than chance: by the correlation, times the root of
# the number of rows. It is high because frames that follow each other are no samples of their own.
SIGNIFICANT = 4.0
# What is gained by fewer directions than this share of the channels outweighs what may be missed.
WORTHWHILE = 0.5
# Random directions by which a sketch judges all that components leave out.
RANDOM = 16


@dataclass(frozen=True)
class Components:
    """Orthonormal directions of the channels of each subband.

    Args:
        groups: channels of each subband, F in all.
        bases: for each subband (width, k) directions, or None for its channels as they are.
    """

    groups: Sequence[slice]
    bases: Sequence[Tensor | None]

    @classmethod
    def all(cls, groups: Sequence[slice]) -> Self:
        """The channels as they are."""
        return cls(groups, [None] * len(groups))

    @property
    def columns(self) -> list[slice]:
        """Where each subband's components stand among those of all."""
        counts = [
            group.stop - group.start if basis is None else basis.shape[1]
            for group, basis in zip(self.groups, self.bases, strict=True)
        ]
        return [slice(a, b) for a, b in pairwise(accumulate(counts, initial=0))]

    @property
    def count(self) -> int:
        """How many there are of all subbands, R."""
        return int(self.columns[-1].stop)

    def of(self, targets: Tensor) -> Tensor:
        """The components (n, R) of targets (n, F)."""
        parts = zip(self.groups, self.bases, strict=True)
        return torch.cat([_times(targets[:, group], basis) for group, basis in parts], dim=1)

    def back(self, components: Tensor) -> Tensor:
        """The targets (n, F) that have these components (n, R) and no others."""
        parts = zip(self.columns, self.bases, strict=True)
        return torch.cat(
            [_times(components[:, own], None if b is None else b.T) for own, b in parts], dim=1
        )

    def rest(self, targets: Tensor) -> list[float]:
        """For each subband the mean over rows of the squares that its components leave out."""
        left = []
        for group, basis in zip(self.groups, self.bases, strict=True):
            part = targets[:, group]
            kept = _times(part, basis)
            total = part.square().sum(dtype=torch.float64) - kept.square().sum(dtype=torch.float64)
            left.append(max(total.item() / max(len(targets), 1), 0.0) if basis is not None else 0.0)
        return left


@dataclass(frozen=True)
class Sketch:
    """Directions by which the errors of all channels are estimated.

    The components, and of what they leave out some random directions, whose errors stand for those
    of all the others. What a kernel makes of noise is so judged too, at the price of few targets.

    Args:
        directions: of each subband, R of them.
        weights: (R,) for how many directions the square of an error stands.
    """

    directions: Components
    weights: Tensor

    @classmethod
    def of(cls, components: Components) -> Self:
        """Of components; the same ones give the same sketch."""
        generator = torch.Generator().manual_seed(0)
        bases: list[Tensor | None] = []
        weights = []
        for group, basis in zip(components.groups, components.bases, strict=True):
            width = group.stop - group.start
            if basis is None:
                bases.append(None)
                weights.append(torch.ones(width))
                continue
            kept = basis.shape[1]
            drawn = min(RANDOM, width - kept)
            exact = basis.double().cpu()
            random = torch.randn(width, drawn, generator=generator, dtype=torch.float64)
            others = torch.linalg.qr(random - exact @ (exact.T @ random))[0]
            bases.append(torch.cat([exact, others], dim=1).to(basis))
            share = (width - kept) / max(drawn, 1)
            weights.append(torch.cat([torch.ones(kept), torch.full((drawn,), share)]))
        return cls(Components(components.groups, bases), torch.cat(weights))

    def errors(self, squares: Tensor) -> list[float]:
        """The mean over the channels of each subband, from squares (R,) of errors."""
        weighted = squares.double().cpu() * self.weights
        parts = zip(self.directions.columns, self.directions.groups, strict=True)
        return [(weighted[own].sum() / (g.stop - g.start)).item() for own, g in parts]


def find_components(
    targets: Tensor,
    kernel_matrix: Tensor,
    cross: Tensor,
    validation_targets: Tensor,
    groups: Sequence[slice],
) -> Components:
    """Choose the principal directions in which a direct solution of a sample predicts something.

    The directions of most variance, all but a twentieth of it, are always kept, so that noise in
    every channel alike hides nothing. Of the others those are left out whose correlation with what
    the solution predicts, on validation rows, is no more than that of chance. Where more than half
    are kept the channels are left as they are.

    Args:
        targets: (s, F) of a sample, centred.
        kernel_matrix: (s, s); overwritten.
        cross: (v, s) kernel values of validation rows with the sample.
        validation_targets: (v, F), centred in the same way.
        groups: channels of each subband.
    """
    narrow = all(group.stop - group.start < FEWEST_CHANNELS for group in groups)
    if narrow or min(cross.shape) < FEWEST_ROWS:
        return Components.all(groups)
    predicted = cross @ solve_directly(kernel_matrix, targets)
    parts = ((targets[:, g], validation_targets[:, g], predicted[:, g]) for g in groups)
    return Components(groups, [_basis(*part) for part in parts])


def _basis(targets: Tensor, held: Tensor, predicted: Tensor) -> Tensor | None:
    """The directions that are kept, or None for all channels as they are."""
    spreads = targets.std(0)
    if targets.shape[1] < FEWEST_CHANNELS or not spreads.max() <= UNEQUAL * spreads.min():
        return None
    exact = targets.double()
    variance, directions = torch.linalg.eigh(exact.T @ exact)  # the least first
    small = variance.clamp(min=0).cumsum(0) <= LEFT_OUT * variance.sum()
    right, found = held.double() @ directions, predicted.double() @ directions
    together = (right * found).sum(0)
    chance = (right.square().sum(0) * found.square().sum(0) / len(held)).sqrt()
    kept = ~small | (together > SIGNIFICANT * chance)
    if kept.sum() > WORTHWHILE * len(kept):
        return None
    basis: Tensor = directions[:, kept].flip(1).to(targets).contiguous()
    return basis


def _times(rows: Tensor, basis: Tensor | None) -> Tensor:
    return rows if basis is None else rows @ basis
