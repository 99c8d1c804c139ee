"""What the sources publish of these sets of images."""

from __future__ import annotations

from squall.report.published import Published

__all__ = ["PUBLISHED"]

_RESCALED = "rescaled_square-m10-k1"
_IMAGENET = "rescaled_square-m30-k15"


def _entry(
    title: str,
    datasets: tuple[str, ...],
    squentropy: tuple[float, float],
    ce: tuple[float, float],
    square: tuple[float, float],
    *,
    square_name: str = "square",
    small_alpha: float | None = None,
    experiments: tuple[str, ...] | None = None,
) -> Published:
    """Accuracy and ECE; of squentropy with alpha 0.1 the accuracy."""
    values = {"ce": ce, "squentropy": squentropy, square_name: square}
    found = {loss: {"accuracy": accuracy, "ece": ece} for loss, (accuracy, ece) in values.items()}
    if small_alpha is not None:
        found["squentropy-a0.1"] = {"accuracy": small_alpha}
    return Published(title, datasets, found, experiments)


PUBLISHED = (
    _entry("TCN, permuted MNIST", ("mnist",), (97.8, 1.4), (97.7, 1.6), (97.7, 75.0),
           experiments=("tcn",)),
    _entry("ResNet-18, CIFAR-10", ("cifar10", "cifar10-part"),
           (85.5, 8.9), (84.7, 10.0), (84.6, 13.4), square_name=_RESCALED, small_alpha=86.0,
           experiments=("cifar10", "sample")),
    _entry("ResNet-18, STL-10", ("stl10",), (67.7, 21.2), (68.9, 26.1), (65.4, 40.3),
           small_alpha=69.5),
    _entry("WideResNet-28-20, CIFAR-100", ("cifar100",),
           (77.5, 10.9), (76.7, 17.9), (76.5, 12.7), square_name=_RESCALED, small_alpha=78.7,
           experiments=("wide_resnet",)),
    _entry("WideResNet-28-20, CIFAR-100, a subset", ("cifar100-part",),
           (43.5, 18.8), (41.5, 40.3), (41.0, 23.8), square_name=_RESCALED,
           experiments=("sample",)),
    _entry("ViT (pretrained), CIFAR-10", ("cifar10",), (99.3, 1.9), (99.2, 3.8), (99.3, 7.2),
           square_name=_RESCALED, experiments=("vit",)),
    _entry("ResNet-50, ImageNet", ("imagenet",), (76.3, 6.3), (76.1, 6.7), (76.2, 8.2),
           square_name=_IMAGENET, small_alpha=76.2, experiments=("imagenet",)),
    _entry("EfficientNet-B0, ImageNet", ("imagenet",), (76.4, 6.8), (77.0, 5.6), (74.6, 7.9),
           square_name=_IMAGENET, small_alpha=76.5, experiments=("imagenet_efficientnet",)),
    _entry("VGG, SVHN", ("svhn",), (93.0, 4.8), (93.7, 5.7), (92.5, 65.4), small_alpha=93.8),
)  # fmt: skip
"""In percent: Hui, Belkin and Wright 2023, and Hui's thesis (2023). The source does not tell which
images of CIFAR-100 its subset has."""
