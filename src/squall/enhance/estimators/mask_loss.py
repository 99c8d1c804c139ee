"""What a mask network is trained by, and how its output becomes a mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from squall.losses import BASELINE_LOSSES, LOSSES, TokenLoss, build_loss

__all__ = ["MaskLoss"]

_OF_PROBS = ("mse", "bce")
_DECIDED = frozenset({"class_dim", "check", "reduction", "ignore_index"})  # by what masks are


class MaskLoss:
    """A loss between the output of a network and masks.

    Args:
        name: `mse` or `bce` between the sigmoid of the output and the mask; or a name in
            `squall.losses.LOSSES` or `BASELINE_LOSSES`, by which each unit is a classification into
            noise (0) and speech (1): the network has two logits per unit, and the mask is the
            softmax probability of class 1.
        parameters: of a loss from `squall.losses`.

    Raises:
        ValueError: there is no such loss, parameter or value.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any]) -> None:
        of_logits = (*LOSSES, *BASELINE_LOSSES)
        if name not in _OF_PROBS and name not in of_logits:
            known = ", ".join([*_OF_PROBS, *of_logits])
            raise ValueError(f"unknown loss {name!r}; use one of {known}")
        self.name = name
        decided = sorted(_DECIDED & parameters.keys())
        if decided:
            raise ValueError(f"loss_parameters: {decided[0]} cannot be chosen here")
        self.unit_loss: TokenLoss | None = None
        if name in of_logits:
            # That masks are of 0 and 1 is checked once, and not with every batch.
            self.unit_loss = build_loss(name, **parameters, class_dim=-1, check=False)
        elif parameters:
            raise ValueError(f"loss {name} has no parameters: {dict(parameters)}")

    @property
    def binary(self) -> bool:
        """Whether the masks must be of 0 and 1."""
        return self.unit_loss is not None

    def outputs(self, channels: int) -> int:
        """How many outputs the network has for the channels of a mask."""
        return 2 * channels if self.binary else channels

    def __call__(self, output: Tensor, masks: Tensor) -> Tensor:
        """The mean loss of an output (B, outputs) and masks (B, F)."""
        if self.unit_loss is not None:
            value: Tensor = self.unit_loss(_per_unit(output), masks.long())
            return value
        if self.name == "bce":
            return F.binary_cross_entropy_with_logits(output, masks)
        return F.mse_loss(torch.sigmoid(output), masks)

    def probs(self, output: Tensor) -> Tensor:
        """The masks (B, F) in [0, 1] of an output (B, outputs)."""
        if self.unit_loss is None:
            return torch.sigmoid(output)
        logits = self.unit_loss.softmax_logits(_per_unit(output))
        return torch.sigmoid(logits[..., 1] - logits[..., 0])  # softmax of two classes


def _per_unit(output: Tensor) -> Tensor:
    """(B, 2 F) outputs as the two logits of each unit, (B, F, 2)."""
    return output.view(len(output), -1, 2)
