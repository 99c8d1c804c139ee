"""The losses that a study compares."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator

from squall.losses import SOURCE_SETTINGS, TokenLoss, build_loss
from squall.settings import Settings

__all__ = ["ComparedLosses", "build_losses", "softmax_logits"]


class ComparedLosses(Settings):
    """Settings of a study that trains with several losses.

    Args:
        losses: label in the results to the parameters of the loss; the label is the loss's name
            unless `name` is among the parameters (`squentropy-a0.1: {name: squentropy, alpha:
            0.1}`). The source has these three, with k = 1 and M = 5 for the rescaled square loss.
    """

    losses: dict[str, dict[str, Any]] = Field(
        default={
            "ce": {},
            "squentropy": {},
            "rescaled_square": dict(SOURCE_SETTINGS["tabular"]),
        },
        min_length=1,
    )

    @field_validator("losses")
    @classmethod
    def _losses_exist(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        build_losses(value)
        return value


def build_losses(given: dict[str, dict[str, Any]]) -> dict[str, TokenLoss]:
    """The losses by their labels.

    Raises:
        ValueError: there is no such loss, parameter or value.
    """
    return {label: build_loss(**{"name": label, **params}) for label, params in given.items()}


def softmax_logits(loss: TokenLoss, logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """`TokenLoss.softmax_logits` of an array (N, C)."""
    found: NDArray[np.floating] = loss.softmax_logits(torch.from_numpy(logits)).numpy()
    return found
