"""The losses that a study compares: all in one experiment, or one in each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from squall.engine.config import parameter_label
from squall.losses import SOURCE_SETTINGS, TokenLoss, build_loss
from squall.settings import Settings

__all__ = ["ComparedLosses", "StudyLoss", "build_losses", "softmax_logits"]


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


class StudyLoss(BaseModel):
    """Settings of the loss of an experiment that trains with one.

    Args:
        name: one of `squall.losses.LOSSES` or `BASELINE_LOSSES`.

    Every further key (alpha, k, M, w, label_smoothing, gamma, scale) goes to the loss, which checks
    it.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "ce"

    @model_validator(mode="after")
    def _loss_exists(self) -> Self:
        self.build()
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        """The loss's own parameters."""
        return dict(self.model_extra or {})

    @property
    def label(self) -> str:
        """The loss with the parameters that the settings give it."""
        shown = {"alpha": "a", "label_smoothing": "ls"}
        return self.name + parameter_label(self.parameters, shown)

    def build(self) -> TokenLoss:
        """The loss of logits (..., C).

        Raises:
            ValueError: there is no such loss, parameter or value.
        """
        return build_loss(self.name, **{"class_dim": -1, **self.parameters})


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
