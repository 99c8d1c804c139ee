"""From the losses of single tokens to one number."""

from __future__ import annotations

import torch
from torch import Tensor

from squall.losses.arguments import arrange, check_ignore_index, check_reduction
from squall.losses.terms import Terms
from squall.losses.tokenwise import TokenOptions, reduced_losses, token_losses

__all__ = ["reduced_loss"]


def reduced_loss(
    logits: Tensor,
    target: Tensor,
    terms: Terms,
    *,
    ignore_index: int,
    reduction: str,
    class_dim: int,
    scale: float,
    check: bool | None,
    check_finite: bool,
) -> Tensor:
    """The loss of the given terms over all tokens.

    Args:
        terms: coefficients of the loss of one token.
        logits, target and all others: as in `squall.losses.functional`.

    Returns the values in the shape of the target for reduction "none", otherwise one value. Its
    dtype is that of the logits, or float32 for half precision under autocast.
    """
    check_reduction(reduction)
    check_ignore_index(ignore_index)
    options = TokenOptions(terms.scaled(scale), ignore_index, check, check_finite)
    arranged, target = arrange(logits, target, class_dim)
    if reduction == "none":
        loss = token_losses(arranged, target, options)
    else:
        loss = reduced_losses(arranged, target, options, mean=reduction == "mean")
    device = logits.device.type
    under_autocast = device != "meta" and torch.is_autocast_enabled(device)
    return loss if under_autocast else loss.to(logits.dtype)
