"""A small vision transformer.

Source: Dosovitskiy and others, *An image is worth 16 x 16 words*, ICLR 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["VisionTransformer"]


class VisionTransformer(nn.Module):
    """Patches as tokens, a class token before them, learnt places, pre-norm encoder layers.

    Args:
        channels: of the images.
        side: of the images, a multiple of `patch`.
        patch: side of a patch.
        dimensions: D of the features (B, D), those of the class token.
        layers, heads: of the encoder; its inner layer has 4 D units.
        dropout: as in the paper.

    Raises:
        ValueError: the side is no multiple of the patch.
    """

    def __init__(
        self,
        channels: int,
        side: int,
        *,
        patch: int = 4,
        dimensions: int = 192,
        layers: int = 6,
        heads: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if side % patch:
            raise ValueError(f"side is {side}; it must be a multiple of the patch's {patch}")
        self.patches = nn.Conv2d(channels, dimensions, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, dimensions))
        self.places = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2 + 1, dimensions))
        layer = nn.TransformerEncoderLayer(
            dimensions, heads, 4 * dimensions, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, layers, nn.LayerNorm(dimensions), enable_nested_tensor=False
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) of images (B, channels, side, side)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        with_class = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        found: Tensor = self.encoder(with_class + self.places)[:, 0]
        return found
