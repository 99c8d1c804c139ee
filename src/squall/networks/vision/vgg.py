"""VGG-11 with batch normalisation for images of 32 x 32.

Source: Simonyan, Zisserman, *Very deep convolutional networks for large-scale image recognition*,
ICLR 2015 (configuration A); Ioffe, Szegedy 2015.
"""

from __future__ import annotations

from torch import nn

__all__ = ["vgg_body"]

_CONFIGURATION = (1, "pool", 2, "pool", 4, 4, "pool", 8, 8, "pool", 8, 8, "pool")


def vgg_body(channels: int, *, width: int = 64) -> nn.Module:
    """Eight convolutions and five poolings; features (B, 8 width).

    Args:
        channels: of the images, whose side is 32.
        width: filters of the first convolution.

    Convention: on CIFAR the paper's three full layers, for 7 x 7 places, are one.
    """
    layers: list[nn.Module] = []
    before = channels
    for entry in _CONFIGURATION:
        if entry == "pool":
            layers.append(nn.MaxPool2d(2))
            continue
        after = width * int(entry)
        layers += [
            nn.Conv2d(before, after, 3, padding=1),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
        before = after
    return nn.Sequential(*layers, nn.Flatten())
