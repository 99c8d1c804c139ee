"""The five losses as pure functions of logits and targets.

Each takes the place of `torch.nn.functional.cross_entropy`: the order of the arguments, the
shapes, `ignore_index` and `reduction` are torch's. Two things of torch's function are not taken:
a weight per class, and class probabilities as targets.

Arguments that all of them share:

    logits: (N, C), (N, C, d1, ...) or (C,); with `class_dim=-1` (..., C). C >= 2. float16,
        bfloat16, float32 or float64.
    target: class numbers 0 .. C-1 as integers, of the shape of the logits without C.
    ignore_index: targets of this value count in no sum and no mean, and their logits get a
        gradient of exactly 0, whatever they hold.
    reduction: "none" gives one value per target (0 where ignored), "sum" their sum, "mean" the
        mean over the targets that are not ignored.
    class_dim: where the classes are: 1, as in torch, or -1, the last dimension, as the output of
        a linear layer over (B, L, D) has them. It is never guessed.
    scale: a number above 0 that multiplies the loss.
    check: whether to compare every target with C. None does so on the CPU, and not on other
        devices, where it would wait for the device; there True asks for it. Under
        `torch.compile` values are never checked.
    check_finite: whether to look for NaN and infinities in the logits of tokens that are not
        ignored. Costs one more pass over the logits.

Result: half-precision logits are summed in float32; the result has the dtype of the logits, as
torch's has, and is float32 under autocast, as torch's is. Their gradient is kept in float32 until
the backward pass and rounded once, when all factors are in.

Raised: ValueError (shapes, parameters, fewer than two classes, NaN or infinite logits), TypeError
(dtypes), IndexError (a target out of range, as in torch).

Derivatives of any order, `torch.func` (grad, vmap, jvp, hessian) and `torch.compile` work, but for
forward mode within forward mode (`jacfwd` of `jacfwd`): through any `autograd.Function` torch gives
zeros there. The logits may change in place after the loss; for second derivatives they may not.

Convention: a mean over no token at all, where every target is ignored, is 0 with zero gradient.
torch gives NaN there, which ends a training whose batch happens to hold only padding.

>>> import torch
>>> nothing = torch.tensor([-100, -100])
>>> square_loss(torch.ones(2, 4), nothing)
tensor(0.)
"""

from __future__ import annotations

from torch import Tensor

from squall.losses.arguments import count_classes
from squall.losses.reduction import reduced_loss
from squall.losses.terms import (
    ccql_terms,
    cross_entropy_terms,
    rescaled_square_terms,
    square_terms,
    squentropy_terms,
)

__all__ = [
    "ccql_loss",
    "cross_entropy",
    "rescaled_square_loss",
    "square_loss",
    "squentropy_loss",
]


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: str = "mean",
    class_dim: int = 1,
    scale: float = 1.0,
    check: bool | None = None,
    check_finite: bool = False,
) -> Tensor:
    """Cross-entropy of the softmax of the logits.

        -log softmax(f)_y

    Args:
        logits, target: see the module's docstring, as for the arguments not named here.
        label_smoothing: eps in [0, 1]; the loss is then
            (1 - eps) * (-log p_y) + (eps / C) * sum_j (-log p_j).

    Convention: eps is shared among all C classes, as torch does. ESPnet shares it among the
    C - 1 wrong ones and subtracts the entropy of the smoothed target, a constant.

    >>> import torch
    >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))  # log 4
    tensor(1.3863)
    """
    count_classes(logits, class_dim)
    terms = cross_entropy_terms(label_smoothing=label_smoothing)
    return reduced_loss(
        logits,
        target,
        terms,
        ignore_index=ignore_index,
        reduction=reduction,
        class_dim=class_dim,
        scale=scale,
        check=check,
        check_finite=check_finite,
    )


def square_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    class_dim: int = 1,
    scale: float = 1.0,
    check: bool | None = None,
    check_finite: bool = False,
) -> Tensor:
    """Square loss between the logits and the one-hot target, without a softmax.

        (1/C) sum_j (f_j - 1[j = y])^2

    Args: see the module's docstring.

    Source: Hui and Belkin 2021 (ICLR).

    >>> import torch
    >>> square_loss(torch.tensor([[1.0, 2.0, 0.0, 0.0]]), torch.tensor([1]))  # (1 + 1) / 4
    tensor(0.5000)
    """
    classes = count_classes(logits, class_dim)
    terms = square_terms(classes)
    return reduced_loss(
        logits,
        target,
        terms,
        ignore_index=ignore_index,
        reduction=reduction,
        class_dim=class_dim,
        scale=scale,
        check=check,
        check_finite=check_finite,
    )


def rescaled_square_loss(
    logits: Tensor,
    target: Tensor,
    *,
    k: float = 1.0,
    M: float = 1.0,
    ignore_index: int = -100,
    reduction: str = "mean",
    class_dim: int = 1,
    scale: float = 1.0,
    check: bool | None = None,
    check_finite: bool = False,
) -> Tensor:
    """Square loss with a weight and an aim for the true class, for many classes.

        (1/C) (k (f_y - M)^2 + sum_{j != y} f_j^2)

    Args:
        logits, target: see the module's docstring, as for the arguments not named here.
        k: weight of the true class, above 0. The authors' code spells it `weighted + 1`.
        M: what the true class's logit should be, above 0. With k = M = 1 this is `square_loss`.

    `squall.losses.SOURCE_SETTINGS` has the k and M of the sources. At f = 0 the value is
    k M^2 / C, so that k and M also set its weight beside other losses; `scale` evens that out.

    Source: Hui and Belkin 2021 (ICLR).

    >>> import torch
    >>> logits, target = torch.tensor([[1.0, 2.0]]), torch.tensor([1])
    >>> rescaled_square_loss(logits, target, k=3.0, M=4.0)  # (3 * 2^2 + 1^2) / 2
    tensor(6.5000)
    """
    classes = count_classes(logits, class_dim)
    terms = rescaled_square_terms(classes, k=k, M=M)
    return reduced_loss(
        logits,
        target,
        terms,
        ignore_index=ignore_index,
        reduction=reduction,
        class_dim=class_dim,
        scale=scale,
        check=check,
        check_finite=check_finite,
    )


def ccql_loss(
    logits: Tensor,
    target: Tensor,
    *,
    w: float | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    class_dim: int = 1,
    scale: float = 1.0,
    check: bool | None = None,
    check_finite: bool = False,
) -> Tensor:
    """Correct-class quadratic loss: the square loss with more weight on the true class.

        1/2 sum_j (f_j - 1[j = y])^2 + (w/2) (1 - f_y)^2

    Args:
        logits, target: see the module's docstring, as for the arguments not named here.
        w: additional weight of the true class, at least 0; None for sqrt(C - 1) - 1.

    Source: Demirkaya, Chen and Oymak 2020 (CISS). Unlike `square_loss`, it has no 1/C.

    >>> import torch
    >>> logits, target = torch.tensor([[1.0, 2.0]]), torch.tensor([1])
    >>> ccql_loss(logits, target, w=3.0)  # (1 + 1) / 2 + 3 / 2
    tensor(2.5000)
    """
    classes = count_classes(logits, class_dim)
    terms = ccql_terms(classes, w=w)
    return reduced_loss(
        logits,
        target,
        terms,
        ignore_index=ignore_index,
        reduction=reduction,
        class_dim=class_dim,
        scale=scale,
        check=check,
        check_finite=check_finite,
    )


def squentropy_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float = 1.0,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: str = "mean",
    class_dim: int = 1,
    scale: float = 1.0,
    check: bool | None = None,
    check_finite: bool = False,
) -> Tensor:
    """Cross-entropy plus the mean square of the wrong classes' logits.

        -log softmax(f)_y + alpha / (C - 1) * sum_{j != y} f_j^2

    Args:
        logits, target: see the module's docstring, as for the arguments not named here.
        alpha: weight of the square part, at least 0; 1 in the source. 0 is `cross_entropy`.
        label_smoothing: as in `cross_entropy`, on the cross-entropy part only.

    Source: Hui, Belkin and Wright 2023 (ICML), where alpha is 1.

    >>> import torch
    >>> squentropy_loss(torch.tensor([[3.0, 3.0]]), torch.tensor([0]))  # log 2 + 9
    tensor(9.6931)
    """
    classes = count_classes(logits, class_dim)
    terms = squentropy_terms(classes, alpha=alpha, label_smoothing=label_smoothing)
    return reduced_loss(
        logits,
        target,
        terms,
        ignore_index=ignore_index,
        reduction=reduction,
        class_dim=class_dim,
        scale=scale,
        check=check,
        check_finite=check_finite,
    )
