"""The architectures by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from squall.networks.vision.classifier import ImageClassifier
from squall.networks.vision.resnet import resnet_body, wide_resnet_body
from squall.networks.vision.tcn import TemporalConvolutions
from squall.networks.vision.vgg import vgg_body
from squall.networks.vision.vit import VisionTransformer

__all__ = ["ARCHITECTURES", "build_network"]

Shape = tuple[int, int, int]
"""Channels, height and width of the images."""

_INSTALL = "install it with pip install 'squall[images]'"


def build_network(
    name: str, *, shape: Shape, classes: int, seed: int = 0, **parameters: Any
) -> ImageClassifier:
    """A network with fresh weights, which it draws from torch's generator.

    Args:
        name: a key of `ARCHITECTURES`.
        shape: of the images.
        classes: C.
        seed: of what belongs to the task and not to the weights: the permutation of `tcn`.
        parameters: of the architecture, such as `width`.

    Raises:
        ValueError: there is no such architecture, parameter or value, or it does not take images of
            that shape.
        ImportError: it is torchvision's, which is not installed.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"no architecture {name!r}; there are {', '.join(ARCHITECTURES)}")
    try:
        body, dimensions = ARCHITECTURES[name](shape, seed, **parameters)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
    return ImageClassifier(body, dimensions, classes)


def _mlp(
    shape: Shape, seed: int, hidden: tuple[int, ...] = (1024, 1024, 1024)
) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = [nn.Flatten()]
    before = shape[0] * shape[1] * shape[2]
    for after in hidden:
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        before = after
    return nn.Sequential(*layers), before


def _resnet18(shape: Shape, seed: int, width: int = 64) -> tuple[nn.Module, int]:
    return resnet_body(shape[0], width=width), 8 * width


def _wide_resnet(
    shape: Shape, seed: int, depth: int = 28, factor: int = 10, dropout: float = 0.0
) -> tuple[nn.Module, int]:
    return wide_resnet_body(shape[0], depth=depth, factor=factor, dropout=dropout), 64 * factor


def _vgg11(shape: Shape, seed: int, width: int = 64) -> tuple[nn.Module, int]:
    if shape[1:] != (32, 32):
        raise ValueError(f"vgg11 takes images of 32 x 32, not of {shape[1]} x {shape[2]}")
    return vgg_body(shape[0], width=width), 8 * width


def _vit(shape: Shape, seed: int, **parameters: Any) -> tuple[nn.Module, int]:
    if shape[1] != shape[2]:
        raise ValueError(f"vit takes square images, not of {shape[1]} x {shape[2]}")
    body = VisionTransformer(shape[0], shape[1], **parameters)
    return body, body.token.shape[2]


def _tcn(
    shape: Shape, seed: int, *, permuted: bool = True, **parameters: Any
) -> tuple[nn.Module, int]:
    steps = shape[1] * shape[2]
    order = torch.randperm(steps, generator=torch.Generator().manual_seed(seed))
    body = TemporalConvolutions(shape[0], order=order if permuted else None, **parameters)
    return body, int(parameters.get("width", 25))


def _of_torchvision(name: str, last: str) -> Callable[..., tuple[nn.Module, int]]:
    def build(shape: Shape, seed: int) -> tuple[nn.Module, int]:
        try:
            from torchvision import models
        except ImportError as error:
            raise ImportError(f"{name} is torchvision's: {_INSTALL}") from error
        network = models.get_model(name, weights=None)
        place, _, inner = last.partition(".")
        layer: Any = getattr(network, place)
        if inner:
            dimensions = layer[int(inner)].in_features
            layer[int(inner)] = nn.Identity()
        else:
            dimensions = layer.in_features
            setattr(network, place, nn.Identity())
        if shape[0] != 3:
            raise ValueError(f"{name} takes images of 3 channels, not of {shape[0]}")
        return network, int(dimensions)

    return build


ARCHITECTURES: Mapping[str, Callable[..., tuple[nn.Module, int]]] = {
    "mlp": _mlp,
    "resnet18": _resnet18,
    "wide_resnet": _wide_resnet,
    "vgg11": _vgg11,
    "vit": _vit,
    "tcn": _tcn,
    "resnet50": _of_torchvision("resnet50", "fc"),
    "efficientnet_b0": _of_torchvision("efficientnet_b0", "classifier.1"),
    "densenet121": _of_torchvision("densenet121", "classifier"),
}
"""Name to what makes a body and the number of its features, from the shape of the images, a seed
and the architecture's own parameters."""
