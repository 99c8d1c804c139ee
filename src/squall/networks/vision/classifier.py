"""A network for images: a body that makes features, and the last layer."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ImageClassifier"]


class ImageClassifier(nn.Module):
    """Features of the last hidden layer, and the linear layer on them.

    Args:
        body: takes images (B, channels, H, W) and returns features (B, D).
        dimensions: D.
        classes: C.
    """

    def __init__(self, body: nn.Module, dimensions: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.output_layer = nn.Linear(dimensions, classes)

    def features(self, images: Tensor) -> Tensor:
        """Features (B, D), which the measures of neural collapse are of."""
        found: Tensor = self.body(images)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C)."""
        logits: Tensor = self.output_layer(self.features(images))
        return logits
