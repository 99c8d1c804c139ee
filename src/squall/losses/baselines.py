"""Losses that others proposed for calibration: baselines beside those of `functional`.

Label smoothing, the oldest of them, is a parameter of `cross_entropy`. Those here take the same
arguments as the functions of `squall.losses.functional`, give results and raise errors as they do,
and have derivatives of any order; they are plain torch, with the temporary tensors of autograd, and
there is no form of them with the linear layer in one.

What differs: under `torch.func`, as under `torch.compile`, values are never checked; a target out
of range is then torch's own error. p is softmax(f) throughout.

Convention: each is a function of the margin m = f_y - log sum_{j != y} exp f_j where it can be, as
log p_y = -log(1 + exp(-m)) and log(1 - p_y) = -log(1 + exp m) are exact and smooth for any m. The
power (1 - p_y)^gamma taken of a rounded probability has no derivative at 1 for gamma below 1, and
loses its digits long before for every gamma.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from squall.losses.arguments import (
    arrange,
    check_at_least,
    check_finite_logits,
    check_ignore_index,
    check_positive,
    check_reduction,
    check_target_range,
    count_classes,
)
from squall.losses.formulas import accumulation_dtype
from squall.losses.modules import TokenLoss
from squall.losses.terms import Terms
from squall.losses.transforms import sees_every_operation

__all__ = [
    "BaselineLoss",
    "BaselineOptions",
    "BrierLoss",
    "ConfidencePenaltyLoss",
    "DualFocalLoss",
    "FocalLoss",
    "LogitNormLoss",
    "brier_loss",
    "confidence_penalty_loss",
    "dual_focal_loss",
    "focal_loss",
    "logit_norm_loss",
]

_SMALLEST_NORM = 1e-7  # that of the authors' code


class BaselineOptions(TypedDict, total=False):
    """The arguments that all share; meaning and defaults as in `squall.losses.functional`."""

    ignore_index: int
    reduction: str
    class_dim: int
    scale: float
    check: bool | None
    check_finite: bool


def focal_loss(
    logits: Tensor, target: Tensor, *, gamma: float = 3.0, **options: Unpack[BaselineOptions]
) -> Tensor:
    """Cross-entropy with less weight on what is right already.

        -(1 - p_y)^gamma log p_y

    Args:
        logits, target, options: see `squall.losses.functional`.
        gamma: at least 0; 0 is `cross_entropy`. 3 is what Mukhoti and others hold fixed.

    Source: Lin, Goyal, Girshick, He and Dollar 2017 (ICCV), for detection with gamma 2; as a loss
    for calibration Mukhoti and others 2020 (NeurIPS).

    >>> import torch
    >>> focal_loss(torch.zeros(1, 2), torch.tensor([0]))  # (1/2)^3 log 2
    tensor(0.0866)
    """
    return _reduced(logits, target, partial(_focal, gamma=gamma), **options)


def dual_focal_loss(
    logits: Tensor, target: Tensor, *, gamma: float = 5.0, **options: Unpack[BaselineOptions]
) -> Tensor:
    """The focal loss with the distance to the next class below the true one in its weight.

        -(1 - p_y + p_j)^gamma log p_y, p_j the largest probability strictly below p_y

    Args:
        logits, target, options: see `squall.losses.functional`.
        gamma: at least 0; 0 is `cross_entropy`. 5 is what the authors' command for ImageNet has;
            it is to be chosen on held-out data.

    Convention: as in the authors' code, a class that has p_y itself is not below it, and where none
    is (the true class has the smallest probability, or all have the same) p_j is 0. The loss jumps
    where another class passes the true one. Classes are compared by their logits here, by rounded
    probabilities there.

    Source: Tao, Dong and Xu 2023 (ICML), and the code they published.

    >>> import torch
    >>> logits = torch.tensor([[0.25, 0.5, 0.25]]).log()
    >>> dual_focal_loss(logits, torch.tensor([1]), gamma=1.0)  # 3/4 log 2
    tensor(0.5199)
    """
    return _reduced(logits, target, partial(_dual_focal, gamma=gamma), **options)


def brier_loss(logits: Tensor, target: Tensor, **options: Unpack[BaselineOptions]) -> Tensor:
    """Square distance of the softmax to the one-hot target, in [0, 2].

        sum_j (p_j - 1[j = y])^2

    Args: see `squall.losses.functional`.

    Unlike `square_loss` it has a softmax, and no 1/C.

    Source: Brier 1950 (Monthly Weather Review).

    >>> import torch
    >>> brier_loss(torch.zeros(1, 4), torch.tensor([0]))  # (3/4)^2 + 3 (1/4)^2
    tensor(0.7500)
    """
    return _reduced(logits, target, _brier, **options)


def logit_norm_loss(
    logits: Tensor, target: Tensor, *, tau: float = 0.04, **options: Unpack[BaselineOptions]
) -> Tensor:
    """Cross-entropy of the logits at a norm that is always the same.

        -log softmax(g)_y, g = f / (tau (||f|| + 1e-7))

    Args:
        logits, target, options: see `squall.losses.functional`.
        tau: temperature, above 0; the norm of g is 1 / tau.

    Convention: the probabilities of the model are softmax(g), as trained (`softmax_logits` of the
    module). The authors score inputs of other kinds by softmax(f).

    At logits of zero the gradient is 10^7 / tau times that of `cross_entropy`: a last layer must
    not begin with zeros.

    Source: Wei, Xie, Cheng, Feng, An and Li 2022 (ICML).

    >>> import torch
    >>> logit_norm_loss(torch.tensor([[3.0, 4.0]]), torch.tensor([1]), tau=0.2)  # log(1 + 1/e)
    tensor(0.3133)
    """
    return _reduced(logits, target, partial(_logit_norm, tau=tau), **options)


def confidence_penalty_loss(
    logits: Tensor, target: Tensor, *, beta: float = 0.1, **options: Unpack[BaselineOptions]
) -> Tensor:
    """Cross-entropy less a share of the entropy of the softmax.

        -log p_y - beta H(p), H(p) = -sum_j p_j log p_j

    Args:
        logits, target, options: see `squall.losses.functional`.
        beta: at least 0; 0 is `cross_entropy`. The loss may be below 0.

    Source: Pereyra, Tucker, Chorowski, Kaiser and Hinton 2017 (ICLR workshop).

    >>> import torch
    >>> confidence_penalty_loss(torch.zeros(1, 4), torch.tensor([0]))  # 0.9 log 4
    tensor(1.2477)
    """
    return _reduced(logits, target, partial(_confidence_penalty, beta=beta), **options)


def _margins(logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """f_y - log sum_{j != y} exp f_j of logits (..., C) and index (..., 1), and that logarithm."""
    wrong = logits.scatter(-1, index, -torch.inf).logsumexp(-1, keepdim=True)
    return logits.gather(-1, index) - wrong, wrong


def _focal(logits: Tensor, index: Tensor, *, gamma: float) -> Tensor:
    gamma = check_at_least("gamma", gamma, minimum=0.0)
    margins, _ = _margins(logits, index)
    return -(gamma * F.logsigmoid(-margins)).exp() * F.logsigmoid(margins)


def _dual_focal(logits: Tensor, index: Tensor, *, gamma: float) -> Tensor:
    gamma = check_at_least("gamma", gamma, minimum=0.0)
    margins, wrong = _margins(logits, index)
    is_below = logits < logits.gather(-1, index)
    below = logits.masked_fill(~is_below, -torch.inf).amax(-1, keepdim=True)
    # p_j / (1 - p_y), so that 1 - p_y + p_j keeps its digits where both are small.
    ratios = (below - wrong).exp()
    log_weights = F.logsigmoid(-margins) + ratios.log1p()
    return -(gamma * log_weights).exp() * F.logsigmoid(margins)


def _brier(logits: Tensor, index: Tensor) -> Tensor:
    wrong = torch.softmax(logits, -1).scatter(-1, index, 0.0)
    return wrong.sum(-1, keepdim=True).square() + wrong.square().sum(-1, keepdim=True)


def _logit_norm(logits: Tensor, index: Tensor, *, tau: float) -> Tensor:
    margins, _ = _margins(_normalised(logits, -1, tau), index)
    return -F.logsigmoid(margins)


def _confidence_penalty(logits: Tensor, index: Tensor, *, beta: float) -> Tensor:
    beta = check_at_least("beta", beta, minimum=0.0)
    log_probs = torch.log_softmax(logits, -1)
    negative_entropy = (log_probs.exp() * log_probs).sum(-1, keepdim=True)
    return beta * negative_entropy - log_probs.gather(-1, index)


def _normalised(logits: Tensor, dim: int, tau: float) -> Tensor:
    tau = check_positive("tau", tau)
    squares = logits.square().sum(dim, keepdim=True)
    is_zero = squares == 0  # where a norm has no derivative
    norms = squares.masked_fill(is_zero, 1.0).sqrt().masked_fill(is_zero, 0.0)
    return logits / (tau * (norms + _SMALLEST_NORM))


def _reduced(
    logits: Tensor,
    target: Tensor,
    token_losses: Callable[[Tensor, Tensor], Tensor],
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    class_dim: int = 1,
    scale: float = 1.0,
    check: bool | None = None,
    check_finite: bool = False,
) -> Tensor:
    """`squall.losses.reduction.reduced_loss` of any function of logits (..., C), index (..., 1)."""
    check_reduction(reduction)
    check_ignore_index(ignore_index)
    scale = check_positive("scale", scale)
    classes = count_classes(logits, class_dim)
    arranged, target = arrange(logits, target, class_dim)
    index = target.reshape(*arranged.shape[:2], 1)
    ignored = index == ignore_index
    if not (torch.compiler.is_compiling() or sees_every_operation(arranged)):
        if check or (check is None and arranged.device.type == "cpu"):
            check_target_range(target, classes, ignore_index=ignore_index)
        if check_finite:
            check_finite_logits(arranged.detach(), ignored.squeeze(-1), target.shape)
    # Zeros, so that a NaN in the padding reaches neither the value nor a derivative.
    clean = arranged.to(accumulation_dtype(logits.dtype)).masked_fill(ignored, 0.0)
    loss = scale * token_losses(clean, index.masked_fill(ignored, 0)).masked_fill(ignored, 0.0)
    loss = loss.reshape(target.shape) if reduction == "none" else loss.sum()
    if reduction == "mean":  # clamped: with nothing to average the mean is 0, not NaN
        loss = loss / (~ignored).sum().clamp(min=1)
    device = logits.device.type
    under_autocast = device != "meta" and torch.is_autocast_enabled(device)
    return loss if under_autocast else loss.to(logits.dtype)


@dataclass(eq=False, repr=False, kw_only=True)
class BaselineLoss(TokenLoss):
    """What the modules of the baselines share; arguments as of `squall.losses.modules.TokenLoss`.

    A subclass has `token_losses`.
    """

    @abstractmethod
    def token_losses(self, logits: Tensor, index: Tensor) -> Tensor:
        """Values (..., 1) of logits (..., C) in float32 or float64 and true classes (..., 1)."""

    def terms(self, classes: int) -> Terms:
        """There are none: raises TypeError."""
        raise TypeError(f"{type(self).__name__} is no sum of cross-entropy and squares")

    def values_with_gradient(self, logits: Tensor, index: Tensor, gradient: Tensor) -> Tensor:
        """As `TokenLoss.values_with_gradient`, by autograd."""
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            values = self.scale * self.token_losses(leaf, index)
            (found,) = torch.autograd.grad(values.sum(), leaf)
        gradient.copy_(found)
        return values.detach()

    def _reduced(self, logits: Tensor, target: Tensor, **options: Any) -> Tensor:
        return _reduced(logits, target, self.token_losses, **options)


@dataclass(eq=False, repr=False, kw_only=True)
class FocalLoss(BaselineLoss):
    """`squall.losses.focal_loss` as a module.

    Args:
        gamma: at least 0.
    """

    gamma: float = 3.0

    def token_losses(self, logits: Tensor, index: Tensor) -> Tensor:
        """Those of this loss."""
        return _focal(logits, index, gamma=self.gamma)


@dataclass(eq=False, repr=False, kw_only=True)
class DualFocalLoss(BaselineLoss):
    """`squall.losses.dual_focal_loss` as a module.

    Args:
        gamma: at least 0.
    """

    gamma: float = 5.0

    def token_losses(self, logits: Tensor, index: Tensor) -> Tensor:
        """Those of this loss."""
        return _dual_focal(logits, index, gamma=self.gamma)


@dataclass(eq=False, repr=False, kw_only=True)
class BrierLoss(BaselineLoss):
    """`squall.losses.brier_loss` as a module."""

    def token_losses(self, logits: Tensor, index: Tensor) -> Tensor:
        """Those of this loss."""
        return _brier(logits, index)


@dataclass(eq=False, repr=False, kw_only=True)
class LogitNormLoss(BaselineLoss):
    """`squall.losses.logit_norm_loss` as a module.

    Args:
        tau: temperature, above 0.
    """

    tau: float = 0.04

    def token_losses(self, logits: Tensor, index: Tensor) -> Tensor:
        """Those of this loss."""
        return _logit_norm(logits, index, tau=self.tau)

    def softmax_logits(self, logits: Tensor) -> Tensor:
        """The normalised logits g of `logit_norm_loss`; float32 for half precision."""
        dim = -1 if logits.ndim == 1 else self.class_dim
        return _normalised(logits.to(accumulation_dtype(logits.dtype)), dim, self.tau)


@dataclass(eq=False, repr=False, kw_only=True)
class ConfidencePenaltyLoss(BaselineLoss):
    """`squall.losses.confidence_penalty_loss` as a module.

    Args:
        beta: at least 0.
    """

    beta: float = 0.1

    def token_losses(self, logits: Tensor, index: Tensor) -> Tensor:
        """Those of this loss."""
        return _confidence_penalty(logits, index, beta=self.beta)
