"""The five losses as modules that take the place of `torch.nn.CrossEntropyLoss`.

A module holds the parameters of one function of `squall.losses.functional`, whose docstrings have
formula, shapes and source. They are checked when the module is made, and all are keyword-only.
A subclass may have fields, layers and a `forward` of its own.

>>> loss = SquentropyLoss(alpha=0.1)
>>> loss
SquentropyLoss(alpha=0.1)
>>> loss(torch.zeros(2, 4), torch.tensor([0, 3]))
tensor(1.3863)
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from squall.losses.arguments import count_classes
from squall.losses.blocks import block_losses
from squall.losses.reduction import reduced_loss
from squall.losses.terms import (
    Terms,
    ccql_terms,
    cross_entropy_terms,
    rescaled_square_terms,
    square_terms,
    squentropy_terms,
)

__all__ = [
    "CCQLLoss",
    "CCQLParameters",
    "CrossEntropyLoss",
    "CrossEntropyParameters",
    "LossModule",
    "RescaledSquareLoss",
    "RescaledSquareParameters",
    "SquareLoss",
    "SquareParameters",
    "SquentropyLoss",
    "SquentropyParameters",
    "TokenLoss",
]


@dataclass(eq=False, repr=False, kw_only=True)
class LossModule(nn.Module):
    """What the modules here and in `squall.losses.linear_modules` share.

    Args:
        ignore_index: targets of this value count nowhere.
        reduction: none, mean or sum.
        scale: a number above 0 that multiplies the loss.
        check: whether to check the range of the targets; None: on the CPU only.
        check_finite: whether to look for NaN and infinities in what the loss is computed from.
    """

    ignore_index: int = -100
    reduction: str = "mean"
    scale: float = 1.0
    check: bool | None = None
    check_finite: bool = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """A module, ready for the layers that a subclass may have among its fields."""
        loss = super().__new__(cls)
        nn.Module.__init__(loss)
        return loss

    @abstractmethod
    def terms(self, classes: int) -> Terms:
        """The coefficients of the loss of a token with this many classes, before `scale`.

        Called when the module is made, too: it needs the fields alone.
        """

    def arguments(self) -> dict[str, Any]:
        """Every argument the module was made with, its defaults included."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults."""
        changed = [f for f in fields(self) if getattr(self, f.name) != f.default]
        return ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in changed)


@dataclass(eq=False, repr=False, kw_only=True)
class CrossEntropyParameters(LossModule):
    """Parameters and terms of `squall.losses.cross_entropy`.

    Args:
        label_smoothing: in [0, 1].
    """

    label_smoothing: float = 0.0

    def terms(self, classes: int) -> Terms:
        """Those of this loss."""
        return cross_entropy_terms(label_smoothing=self.label_smoothing)


@dataclass(eq=False, repr=False, kw_only=True)
class SquareParameters(LossModule):
    """Parameters and terms of `squall.losses.square_loss`."""

    def terms(self, classes: int) -> Terms:
        """Those of this loss."""
        return square_terms(classes)


@dataclass(eq=False, repr=False, kw_only=True)
class RescaledSquareParameters(LossModule):
    """Parameters and terms of `squall.losses.rescaled_square_loss`.

    Args:
        k: weight of the true class, above 0.
        M: aim of the true class's logit, above 0.
    """

    k: float = 1.0
    M: float = 1.0

    def terms(self, classes: int) -> Terms:
        """Those of this loss."""
        return rescaled_square_terms(classes, k=self.k, M=self.M)


@dataclass(eq=False, repr=False, kw_only=True)
class CCQLParameters(LossModule):
    """Parameters and terms of `squall.losses.ccql_loss`.

    Args:
        w: additional weight of the true class, at least 0; None for sqrt(C - 1) - 1.
    """

    w: float | None = None

    def terms(self, classes: int) -> Terms:
        """Those of this loss."""
        return ccql_terms(classes, w=self.w)


@dataclass(eq=False, repr=False, kw_only=True)
class SquentropyParameters(LossModule):
    """Parameters and terms of `squall.losses.squentropy_loss`.

    Args:
        alpha: weight of the square part, at least 0.
        label_smoothing: in [0, 1], on the cross-entropy part only.
    """

    alpha: float = 1.0
    label_smoothing: float = 0.0

    def terms(self, classes: int) -> Terms:
        """Those of this loss."""
        return squentropy_terms(classes, alpha=self.alpha, label_smoothing=self.label_smoothing)


@dataclass(eq=False, repr=False, kw_only=True)
class TokenLoss(LossModule):
    """What the modules of losses of logits share; see `squall.losses.functional`.

    Args:
        class_dim: 1 for logits (N, C, ...), -1 for logits (..., C).
        all others: see `LossModule`.
    """

    class_dim: int = 1

    def __post_init__(self) -> None:
        # A loss of the smallest possible input, so that a bad parameter fails here and not after
        # the data are loaded. A subclass's own forward may take another and need its layers.
        logits = torch.zeros(1, 2, device="cpu")
        TokenLoss.forward(self, logits, torch.zeros(1, dtype=torch.int64, device="cpu"))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (N, C, ...) or (..., C), as `class_dim` says."""
        return self._reduced(
            logits,
            target,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            class_dim=self.class_dim,
            scale=self.scale,
            check=self.check,
            check_finite=self.check_finite,
        )

    def _reduced(self, logits: Tensor, target: Tensor, **options: Any) -> Tensor:
        return reduced_loss(
            logits, target, self.terms(count_classes(logits, self.class_dim)), **options
        )

    def values_with_gradient(self, logits: Tensor, index: Tensor, gradient: Tensor) -> Tensor:
        """The values of tokens, with the gradient of each by its logits; for loops by hand.

        Args:
            logits: (a, s, C) in float32 or float64.
            index: (a, s, 1), the true classes; none is ignored, and none is checked.
            gradient: (a, s, C), which is filled.

        Returns:
            (a, s, 1); both are times `scale`, and not reduced.
        """
        terms = self.terms(logits.shape[-1]).scaled(self.scale)
        return block_losses(logits, index, terms, gradient)

    def softmax_logits(self, logits: Tensor) -> Tensor:
        """The logits whose softmax is what a model trained with this loss says of the classes.

        Those of the model itself, but for `squall.losses.LogitNormLoss`. Shape as in `forward`.
        """
        return logits


@dataclass(eq=False, repr=False, kw_only=True)
class CrossEntropyLoss(CrossEntropyParameters, TokenLoss):
    """`squall.losses.cross_entropy` as a module; see `CrossEntropyParameters`."""


@dataclass(eq=False, repr=False, kw_only=True)
class SquareLoss(SquareParameters, TokenLoss):
    """`squall.losses.square_loss` as a module; see `SquareParameters`."""


@dataclass(eq=False, repr=False, kw_only=True)
class RescaledSquareLoss(RescaledSquareParameters, TokenLoss):
    """`squall.losses.rescaled_square_loss` as a module; see `RescaledSquareParameters`."""


@dataclass(eq=False, repr=False, kw_only=True)
class CCQLLoss(CCQLParameters, TokenLoss):
    """`squall.losses.ccql_loss` as a module; see `CCQLParameters`."""


@dataclass(eq=False, repr=False, kw_only=True)
class SquentropyLoss(SquentropyParameters, TokenLoss):
    """`squall.losses.squentropy_loss` as a module; see `SquentropyParameters`."""
