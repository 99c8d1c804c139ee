"""Probabilities of logits that were trained with squares alone."""

from __future__ import annotations

from torch import Tensor

from squall.losses.baselines import BaselineLoss
from squall.losses.modules import TokenLoss

__all__ = ["log_clipped_posterior", "square_aim"]

_ANY_CLASSES = 2  # what a loss drives its logits to does not depend on their number


def square_aim(loss: TokenLoss) -> float | None:
    """What a loss of squares alone drives the true logit to, M; None for all other losses.

    >>> from squall.losses import RescaledSquareLoss, SquentropyLoss
    >>> square_aim(RescaledSquareLoss(k=1, M=15)), square_aim(SquentropyLoss())
    (15.0, None)
    """
    if isinstance(loss, BaselineLoss):
        return None
    terms = loss.terms(_ANY_CLASSES)
    return float(terms.true_aim) if terms.square else None


def log_clipped_posterior(logits: Tensor, *, target: float, floor: float) -> Tensor:
    """log(p_j), p_j = max(f_j / M, floor) / sum_i max(f_i / M, floor).

    The minimiser of the square loss is f_j = P(j | x), of the rescaled one with k = 1 it is
    M P(j | x): the logits are themselves the posterior, up to the factor M, so that a softmax on
    top of them flattens it (Hui and Belkin 2021, section 2).

    Args:
        logits: (..., C).
        target: M, positive.
        floor: smallest value before normalisation, in (0, 1).
    """
    clipped = (logits / target).clamp(min=floor)
    return clipped.log() - clipped.sum(dim=-1, keepdim=True).log()
