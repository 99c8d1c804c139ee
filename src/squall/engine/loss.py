"""The setting `loss` of an experiment that is trained with one loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from squall.engine.config import parameter_label

if TYPE_CHECKING:
    from squall.losses import TokenLoss

__all__ = ["LossSettings"]

_SHOWN = {"alpha": "a", "label_smoothing": "ls"}


class LossSettings(BaseModel):
    """A loss by its name, with its parameters.

    Args:
        name: one of `squall.losses.LOSSES` or `BASELINE_LOSSES`.
        scale: factor on the loss: a number above 0, or `ce` for the one by which the loss has the
            value of cross-entropy, log C, at logits of zero and with the C classes that there are
            (`squall.losses.scale_of_ce`).

    Every further key (alpha, k, M, w, label_smoothing, gamma) goes to the loss, which checks it.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "ce"
    scale: float | Literal["ce"] = 1.0

    @field_validator("scale", mode="plain")
    @classmethod
    def _number_or_ce(cls, value: Any) -> Any:
        if value == "ce":
            return value
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 < number < math.inf:
            raise ValueError(f"it is {value!r}; it must be a number above 0, or ce")
        return number

    @property
    def parameters(self) -> dict[str, Any]:
        """The loss's own parameters."""
        return dict(self.model_extra or {})

    @property
    def label(self) -> str:
        """What tables call it: the name, and what the settings give it (`squentropy-a0.1`)."""
        factor = "-scale-ce" if self.scale == "ce" else f"-scale{self.scale:g}"
        return (
            self.name
            + parameter_label(self.parameters, _SHOWN)
            + (factor if self.scale != 1.0 else "")
        )

    def build(self, *, classes: int) -> TokenLoss:
        """The loss of logits (..., C), the mean over the targets.

        Raises:
            ValueError: there is no such loss, parameter or value, or no scale that makes it begin
                at the value of cross-entropy.
        """
        from squall.losses import build_loss  # torch, for which settings do not wait

        return build_loss(
            self.name, scale=self.factor(classes=classes), class_dim=-1, **self.parameters
        )

    def factor(self, *, classes: int) -> float:
        """The scale as a number; raises as `build`."""
        if self.scale != "ce":
            return self.scale
        from squall.losses import scale_of_ce

        return scale_of_ce(self.name, classes, **self.parameters)
