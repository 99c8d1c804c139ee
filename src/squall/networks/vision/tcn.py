"""Temporal convolutional networks, which read an image pixel by pixel.

Source: Bai, Kolter, Koltun, *An empirical evaluation of generic convolutional and recurrent
networks for sequence modeling*, 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

__all__ = ["TemporalConvolutions"]


class TemporalConvolutions(nn.Module):
    """Residual blocks of two dilated causal convolutions; features (B, width) of the last pixel.

    Args:
        channels: of the images, which become sequences of H W steps row by row.
        width: filters of every convolution; the paper has 25 for MNIST.
        levels: blocks, with dilations 1, 2, 4, ...; the paper has 8.
        kernel: length of the filters; 7.
        dropout: after each convolution; 0.05.
        order: (H W,) the permutation of the pixels, for permuted MNIST; None reads them in order.
    """

    order: Tensor | None

    def __init__(
        self,
        channels: int,
        *,
        width: int = 25,
        levels: int = 8,
        kernel: int = 7,
        dropout: float = 0.05,
        order: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("order", order)
        self.blocks = nn.Sequential(
            *(
                _Block(width if level else channels, width, kernel, 2**level, dropout)
                for level in range(levels)
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, width) of images (B, channels, H, W)."""
        steps = images.flatten(2)
        if self.order is not None:
            steps = steps[:, :, self.order]
        found: Tensor = self.blocks(steps)[:, :, -1]
        return found


class _Block(nn.Module):
    def __init__(self, before: int, after: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.first = _convolution(before, after, kernel, dilation)
        self.second = _convolution(after, after, kernel, dilation)
        self.padding = (kernel - 1) * dilation
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Conv1d(before, after, 1) if before != after else None
        if self.shortcut is not None:
            nn.init.normal_(self.shortcut.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        inner = x
        for layer in (self.first, self.second):
            padded = nn.functional.pad(inner, (self.padding, 0))
            inner = self.dropout(layer(padded).relu())
        found: Tensor = (inner + (x if self.shortcut is None else self.shortcut(x))).relu()
        return found


def _convolution(before: int, after: int, kernel: int, dilation: int) -> nn.Module:
    layer = nn.Conv1d(before, after, kernel, dilation=dilation)
    with torch.no_grad():
        layer.weight.normal_(0.0, 0.01)
    found: nn.Module = weight_norm(layer)
    return found
