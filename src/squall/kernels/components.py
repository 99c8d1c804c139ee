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

__all__ = ["Components", "find_components"]

# Fewer channels of a subband are left as they are, and all where fewer rows would judge them.
FEWEST_CHANNELS = 8
FEWEST_ROWS = 250
# Directions that lower a sample's validation error by less than this share of it together are
# left out. On mask features a fit of ten times as many rows gains some ten times that in them.
NEGLIGIBLE = 1e-5


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


def find_components(
    targets: Tensor,
    kernel_matrix: Tensor,
    cross: Tensor,
    validation_targets: Tensor,
    groups: Sequence[slice],
) -> Components:
    """Choose the directions by what a direct solution of a sample gains in each.

    The directions are the principal ones of the targets. From the least on, those are left out
    whose gain, the validation error of the mean less that of the solution, is none, or all
    together less than a hundred thousandth of the error.

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
    bases: list[Tensor | None] = []
    for group in groups:
        own = targets[:, group]
        if own.shape[1] < FEWEST_CHANNELS:
            bases.append(None)
            continue
        basis = torch.linalg.eigh((own.T @ own).double())[1].flip(1).to(own)
        right, found = validation_targets[:, group] @ basis, predicted[:, group] @ basis
        gains = (2 * right * found - found.square()).mean(0)
        error = (right - found).square().mean(0).sum()
        beyond = gains.clamp(min=0).flip(0).cumsum(0).flip(0)  # of this direction and all after it
        count = int((beyond > NEGLIGIBLE * error).sum())
        bases.append(basis[:, : max(count, 1)].contiguous())
    return Components(groups, bases)


def _times(rows: Tensor, basis: Tensor | None) -> Tensor:
    return rows if basis is None else rows @ basis
