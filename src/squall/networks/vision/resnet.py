"""Residual networks for images of 32 x 32: ResNet-18 in its CIFAR form, wide residual networks.

Source: He, Zhang, Ren, Sun, *Deep residual learning for image recognition*, CVPR 2016; Zagoruyko,
Komodakis, *Wide residual networks*, BMVC 2016.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["resnet_body", "wide_resnet_body"]


def resnet_body(
    channels: int, *, width: int = 64, blocks: tuple[int, ...] = (2, 2, 2, 2)
) -> nn.Module:
    """The body of ResNet-18 with 3 x 3 filters and no pooling at its entry; features (B, 8 width).

    Args:
        channels: of the images.
        width: filters of the first stage; each further stage has twice as many on half the side.
        blocks: of each stage.

    Convention: this is what is called ResNet-18 on CIFAR; He and others have 7 x 7 filters and a
    pooling at the entry, for images of 224 x 224, and other networks for CIFAR.
    """
    layers: list[nn.Module] = [
        _convolution(channels, width),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    before = width
    for stage, count in enumerate(blocks):
        after = width * 2**stage
        for number in range(count):
            layers.append(_Block(before, after, stride=2 if stage and not number else 1))
            before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class _Block(nn.Module):
    """ReLU(x' + BN(conv(ReLU(BN(conv(x)))))); where it grows x' is a 1 x 1 convolution of x."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            _convolution(before, after, stride=stride),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            _convolution(after, after),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = (self.shortcut(x) + self.inner(x)).relu()
        return found


def wide_resnet_body(
    channels: int, *, depth: int = 28, factor: int = 10, dropout: float = 0.0
) -> nn.Module:
    """The body of WRN-depth-factor; features (B, 64 factor).

    Args:
        channels: of the images.
        depth: 6 n + 4 for n blocks in each of three stages.
        factor: how much wider it is than 16, 32 and 64 filters.
        dropout: between the two convolutions of a block.

    Raises:
        ValueError: there is no network of that depth.
    """
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(f"depth is {depth}; it must be 6 n + 4: 10, 16, 22, 28, ...")
    count = (depth - 4) // 6
    widths = (16, 16 * factor, 32 * factor, 64 * factor)
    layers: list[nn.Module] = [_convolution(channels, widths[0])]
    for stage, (before, after) in enumerate(pairwise(widths)):
        for number in range(count):
            layers.append(
                _WideBlock(
                    after if number else before,
                    after,
                    stride=2 if stage and not number else 1,
                    dropout=dropout,
                )
            )
    last = [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, *last, nn.Flatten())


class _WideBlock(nn.Module):
    """x' + conv(ReLU(BN(conv(o)))), o = ReLU(BN(x)); x' is x, or where it grows conv(o)."""

    def __init__(self, before: int, after: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.entry = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(inplace=True))
        self.inner = nn.Sequential(
            _convolution(before, after, stride=stride),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            _convolution(after, after),
        )
        grows = stride != 1 or before != after
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if grows else None

    def forward(self, x: Tensor) -> Tensor:
        entered = self.entry(x)
        found: Tensor = self.inner(entered) + (
            x if self.shortcut is None else self.shortcut(entered)
        )
        return found


def _convolution(before: int, after: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
