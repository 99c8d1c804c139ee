"""A fully connected network with dropout, whose random numbers are its own."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

__all__ = ["FeedForward", "seeded_generator"]


class FeedForward(nn.Module):
    """Linear layers with ReLU and dropout between them.

    Args:
        dimensions: D of the input.
        outputs: of the last layer.
        hidden_layers: how many, at least 0.
        hidden_units: of each.
        dropout: share of hidden units set to 0 in training.
        seed: of the initial weights and of the dropout.
        device: where it lives.

    The state of torch's global generator is neither used nor changed.

    Convention: weights start normal with variance 2 / fan-in in front of a ReLU (He, Zhang, Ren,
    Sun 2015) and 1 / fan-in in front of the output; biases start at 0. Dropout is on the hidden
    units only, not on the input, and scales the others up in training.
    """

    def __init__(
        self,
        dimensions: int,
        outputs: int,
        *,
        hidden_layers: int,
        hidden_units: int,
        dropout: float,
        seed: int,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.dimensions, self.outputs = dimensions, outputs
        random = seeded_generator("cpu", seed, 0)
        widths = [dimensions, *[hidden_units] * hidden_layers, outputs]
        self.layers = nn.ModuleList()
        for place, (fan_in, fan_out) in enumerate(pairwise(widths)):
            layer: nn.Linear = skip_init(nn.Linear, fan_in, fan_out)  # type: ignore[no-untyped-call]
            gain = 2.0 if place < hidden_layers else 1.0
            nn.init.normal_(layer.weight, std=math.sqrt(gain / fan_in), generator=random)
            nn.init.zeros_(layer.bias)
            self.layers.append(layer)
        # Dropout to 16 bits: four draws from one 64-bit number take a tenth of torch's time for it.
        self._dropped = round(dropout * 2**16)
        self.dropout_random = seeded_generator(device, seed, 1)
        self.to(device)

    def forward(self, features: Tensor) -> Tensor:
        """The last layer's output for (B, D) features, (B, outputs)."""
        hidden = features
        for layer in self.layers[:-1]:
            hidden = F.relu(layer(hidden))
            if self.training and self._dropped:
                hidden = hidden * self._dropout_factors(hidden)
        output: Tensor = self.layers[-1](hidden)
        return output

    def _dropout_factors(self, hidden: Tensor) -> Tensor:
        """0 for units that are dropped, 1 / (share kept) for the others; of the shape of hidden."""
        draws = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64, device=hidden.device)
        draws.random_(-(2**63), None, generator=self.dropout_random)
        kept = draws.view(torch.int16)[: hidden.numel()].view_as(hidden) >= self._dropped - 2**15
        return kept.to(hidden.dtype).mul_(2**16 / (2**16 - self._dropped))


def seeded_generator(device: str, seed: int, purpose: int) -> torch.Generator:
    """A generator of its own for each purpose, so that their streams have nothing in common."""
    mixed = np.random.SeedSequence([seed, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed))
