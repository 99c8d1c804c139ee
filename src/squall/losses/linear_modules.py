"""The five losses of a linear layer's logits as modules.

A module holds the parameters of one function of `squall.losses.linear`, whose docstring has what
they mean. They are checked when the module is made, and all are keyword-only. The linear layer is
no part of the module: its weight and bias come with every call.

>>> loss = LinearSquentropyLoss(alpha=0.1)
>>> loss
LinearSquentropyLoss(alpha=0.1)
>>> head = torch.nn.Linear(3, 4)
>>> value = loss(torch.ones(2, 3), head.weight, torch.tensor([0, 3]), head.bias)
>>> value.backward()
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from squall.losses.arguments import count_rows
from squall.losses.linear import linear_loss
from squall.losses.modules import (
    CCQLParameters,
    CrossEntropyParameters,
    LossModule,
    RescaledSquareParameters,
    SquareParameters,
    SquentropyParameters,
)

__all__ = [
    "LinearCCQLLoss",
    "LinearCrossEntropyLoss",
    "LinearRescaledSquareLoss",
    "LinearSquareLoss",
    "LinearSquentropyLoss",
    "LinearTokenLoss",
]


@dataclass(eq=False, repr=False, kw_only=True)
class LinearTokenLoss(LossModule):
    """What the five modules share; see `squall.losses.linear` for each argument.

    Args:
        softcap: None, or a number above 0 that bounds the logits.
        z_loss: at least 0; weight of the square of log sum_j exp f_j.
        max_memory_gb: bound of the temporary tensors; None for what is quickest.
        all others: see `squall.losses.modules.LossModule`.
    """

    softcap: float | None = None
    z_loss: float = 0.0
    max_memory_gb: float | None = None

    def __post_init__(self) -> None:
        # As in `TokenLoss`: a bad parameter fails here.
        hidden, weight = torch.zeros(1, 1, device="cpu"), torch.zeros(2, 1, device="cpu")
        target = torch.zeros(1, dtype=torch.int64, device="cpu")
        LinearTokenLoss.forward(self, hidden, weight, target)

    def forward(
        self, hidden: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """The loss of hidden (..., D), weight (V, D), target (...) and bias (V,)."""
        return linear_loss(
            hidden,
            weight,
            target,
            bias,
            self.terms(count_rows(weight)),
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            scale=self.scale,
            softcap=self.softcap,
            z_loss=self.z_loss,
            check=self.check,
            check_finite=self.check_finite,
            max_memory_gb=self.max_memory_gb,
        )


@dataclass(eq=False, repr=False, kw_only=True)
class LinearCrossEntropyLoss(CrossEntropyParameters, LinearTokenLoss):
    """`squall.losses.linear_cross_entropy` as a module."""


@dataclass(eq=False, repr=False, kw_only=True)
class LinearSquareLoss(SquareParameters, LinearTokenLoss):
    """`squall.losses.linear_square_loss` as a module."""


@dataclass(eq=False, repr=False, kw_only=True)
class LinearRescaledSquareLoss(RescaledSquareParameters, LinearTokenLoss):
    """`squall.losses.linear_rescaled_square_loss` as a module."""


@dataclass(eq=False, repr=False, kw_only=True)
class LinearCCQLLoss(CCQLParameters, LinearTokenLoss):
    """`squall.losses.linear_ccql_loss` as a module."""


@dataclass(eq=False, repr=False, kw_only=True)
class LinearSquentropyLoss(SquentropyParameters, LinearTokenLoss):
    """`squall.losses.linear_squentropy_loss` as a module."""
