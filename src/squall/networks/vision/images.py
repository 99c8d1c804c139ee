"""Images as a network takes them: numbers around 0, shifted and mirrored for training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Images", "shift_and_mirror"]

_PADDING = 4


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their classes and the scaling of their values.

    Args:
        values: (N, channels, H, W) uint8.
        targets: (N,) int64.
        mean, scale: broadcast against an image; a network gets (values - mean) / scale.
    """

    values: Tensor
    targets: Tensor
    mean: Tensor
    scale: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.values.shape[1:]
        return channels, height, width

    def batch(self, rows: Tensor) -> Tensor:
        """Some images (B, channels, H, W) float32, scaled."""
        return (self.values[rows].float() - self.mean) / self.scale


def shift_and_mirror(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Each image moved by up to 4 pixels, with zeros where it was not, and every second mirrored.

    Args:
        images: (B, channels, H, W), scaled.
        generator: draws shifts and mirrors.

    Source: what He and others 2016 do on CIFAR.
    """
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (_PADDING,) * 4)
    shifts = torch.randint(2 * _PADDING + 1, (2, count), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    columns = torch.arange(width)
    across = torch.where(mirrored[:, None], width - 1 - columns, columns) + shifts[1][:, None]
    down = torch.arange(height) + shifts[0][:, None]
    of_image = torch.arange(count)[:, None, None]
    # (B, H, W, channels), as the indices stand apart from the channels
    chosen = padded[of_image, :, down[:, :, None], across[:, None, :]]
    return chosen.permute(0, 3, 1, 2)
