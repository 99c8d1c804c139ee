"""The five losses of a linear layer's logits, without all logits at once.

Each is the loss of `squall.losses.functional` of the same name applied to

    logits = torch.nn.functional.linear(hidden, weight, bias)

for large vocabularies, where N x V logits and their gradient would be most of the memory of a
training. The logits are made chunk by chunk, the gradients of hidden, weight and bias are added up
in the forward pass (`squall.losses.chunks`), and where the losses of squares alone have more tokens
than features, no logits are made but those of the true classes (`squall.losses.gram`).

Arguments that all of them share:

    hidden: (..., D), what the linear layer takes; float16, bfloat16, float32 or float64.
    weight: (V, D) of the same dtype, V >= 2. It may be an embedding's.
    target: class numbers 0 .. V-1 as integers, of the shape of hidden without D.
    bias: (V,), or None.
    ignore_index, reduction, scale, check: as in `squall.losses.functional`. What `hidden` holds at
        ignored tokens, NaN too, reaches neither the value nor a gradient.
    softcap: None, or a number s above 0: the logits f are replaced by s tanh(f / s).
    z_loss: at least 0; adds z_loss (log sum_j exp f_j)^2 to the loss of each token.
    check_finite: whether to look for NaN and infinities in hidden, where not ignored, in weight and
        in bias.
    max_memory_gb: bound of the temporary tensors in 10^9 bytes, or None for what is quickest: a few
        to 32 MiB on the CPU, some 256 MiB elsewhere. What is O(N D), and the sums of the gradients,
        which are of the size of hidden, weight and bias, in float32 for half precision, come to it.

Result: one value, or for reduction "none" those of the target's shape. Its dtype is that of hidden,
or float32 under autocast. bfloat16, or float32 under autocast to it, is multiplied in bfloat16 and
summed in float32; float16 is multiplied in float32, as small gradients would vanish in it.

Raised: as in `squall.losses.functional`; ValueError also where `max_memory_gb` is too small for the
logits of one token.

The first derivatives of the mean and of the sum take three products of matrices, as without chunks.
The gradient of single values (reduction "none") takes one more, as its factors are only known in
the backward pass, and so does a second backward pass through the same graph. Under `torch.no_grad`
the values alone are computed. Second derivatives, forward mode, `torch.func`, batches of incoming
gradients and tensors without memory (meta) work through the plain formula, with all logits.
`torch.compile` breaks its graph at the loss, which runs as it is.
"""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor
from typing_extensions import Unpack

from squall.losses.arguments import (
    arrange_hidden,
    check_at_least,
    check_finite_head,
    check_ignore_index,
    check_positive,
    check_reduction,
    check_target_range,
    count_rows,
)
from squall.losses.chunks import Head, Plan
from squall.losses.formulas import accumulation_dtype
from squall.losses.fused import head_losses, plain_losses, uncompiled
from squall.losses.terms import (
    Terms,
    ccql_terms,
    cross_entropy_terms,
    rescaled_square_terms,
    square_terms,
    squentropy_terms,
)
from squall.losses.transforms import sees_every_operation

__all__ = [
    "HeadOptions",
    "linear_ccql_loss",
    "linear_cross_entropy",
    "linear_loss",
    "linear_rescaled_square_loss",
    "linear_square_loss",
    "linear_squentropy_loss",
]


class HeadOptions(TypedDict, total=False):
    """The keyword-only arguments that all of them share; defaults as in `linear_loss`."""

    ignore_index: int
    reduction: str
    scale: float
    softcap: float | None
    z_loss: float
    check: bool | None
    check_finite: bool
    max_memory_gb: float | None


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
    **options: Unpack[HeadOptions],
) -> Tensor:
    """`squall.losses.cross_entropy` of the logits of a linear layer.

    Args:
        hidden, weight, target, bias, options: see the module's docstring.
        label_smoothing: in [0, 1].

    >>> import torch
    >>> hidden, weight = torch.ones(2, 3), torch.zeros(4, 3)
    >>> linear_cross_entropy(hidden, weight, torch.tensor([0, 3]))  # log 4
    tensor(1.3863)
    """
    terms = cross_entropy_terms(label_smoothing=label_smoothing)
    return linear_loss(hidden, weight, target, bias, terms, **options)


def linear_square_loss(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    **options: Unpack[HeadOptions],
) -> Tensor:
    """`squall.losses.square_loss` of the logits of a linear layer.

    Args:
        hidden, weight, target, bias, options: see the module's docstring.

    >>> import torch
    >>> weight = torch.tensor([[1.0], [2.0], [0.0], [0.0]])
    >>> linear_square_loss(torch.ones(1, 1), weight, torch.tensor([1]))  # (1 + 1) / 4
    tensor(0.5000)
    """
    terms = square_terms(count_rows(weight))
    return linear_loss(hidden, weight, target, bias, terms, **options)


def linear_rescaled_square_loss(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    k: float = 1.0,
    M: float = 1.0,
    **options: Unpack[HeadOptions],
) -> Tensor:
    """`squall.losses.rescaled_square_loss` of the logits of a linear layer.

    Args:
        hidden, weight, target, bias, options: see the module's docstring.
        k: weight of the true class, above 0.
        M: aim of the true class's logit, above 0.

    >>> import torch
    >>> weight, target = torch.tensor([[1.0], [2.0]]), torch.tensor([1])
    >>> linear_rescaled_square_loss(torch.ones(1, 1), weight, target, k=3.0, M=4.0)
    tensor(6.5000)
    """
    terms = rescaled_square_terms(count_rows(weight), k=k, M=M)
    return linear_loss(hidden, weight, target, bias, terms, **options)


def linear_ccql_loss(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    w: float | None = None,
    **options: Unpack[HeadOptions],
) -> Tensor:
    """`squall.losses.ccql_loss` of the logits of a linear layer.

    Args:
        hidden, weight, target, bias, options: see the module's docstring.
        w: additional weight of the true class, at least 0; None for sqrt(V - 1) - 1.

    >>> import torch
    >>> weight, target = torch.tensor([[1.0], [2.0]]), torch.tensor([1])
    >>> linear_ccql_loss(torch.ones(1, 1), weight, target, w=3.0)  # (1 + 1) / 2 + 3 / 2
    tensor(2.5000)
    """
    terms = ccql_terms(count_rows(weight), w=w)
    return linear_loss(hidden, weight, target, bias, terms, **options)


def linear_squentropy_loss(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    alpha: float = 1.0,
    label_smoothing: float = 0.0,
    **options: Unpack[HeadOptions],
) -> Tensor:
    """`squall.losses.squentropy_loss` of the logits of a linear layer.

    Args:
        hidden, weight, target, bias, options: see the module's docstring.
        alpha: weight of the square part, at least 0.
        label_smoothing: in [0, 1], on the cross-entropy part only.

    >>> import torch
    >>> weight = torch.tensor([[3.0], [3.0]])
    >>> linear_squentropy_loss(torch.ones(1, 1), weight, torch.tensor([0]))  # log 2 + 9
    tensor(9.6931)
    """
    terms = squentropy_terms(count_rows(weight), alpha=alpha, label_smoothing=label_smoothing)
    return linear_loss(hidden, weight, target, bias, terms, **options)


@uncompiled
def linear_loss(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None,
    terms: Terms,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    scale: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    check: bool | None = None,
    check_finite: bool = False,
    max_memory_gb: float | None = None,
) -> Tensor:
    """The loss of the given terms; arguments, result and errors as in the module's docstring."""
    check_reduction(reduction)
    check_ignore_index(ignore_index)
    classes = count_rows(weight)
    flat, index = arrange_hidden(hidden, weight, target, bias)
    z_loss = check_at_least("z_loss", z_loss, minimum=0.0)
    plan = Plan(
        terms=terms._replace(z_loss=z_loss).scaled(scale),
        softcap=None if softcap is None else check_positive("softcap", softcap),
        dtype=_product_dtype(hidden),
        max_bytes=_bytes(max_memory_gb),
    )
    ignored = index == ignore_index
    if sees_every_operation(*(t for t in (flat, weight, bias) if t is not None)):
        head = _masked(flat, weight, bias, index, ignored)
        loss = plain_losses(head, plan)
        loss = loss if reduction == "none" else loss.sum()
    else:
        on_cpu = flat.device.type == "cpu"
        if check or (check is None and on_cpu):
            check_target_range(target, classes, ignore_index=ignore_index)
        if check_finite:
            check_finite_head(flat, weight, bias, ignored, target.shape)
        kept = None
        if not on_cpu:  # where counting the kept ones would wait for the device
            head = _masked(flat, weight, bias, index, ignored)
        elif bool(ignored.any()):
            (kept,) = (~ignored).nonzero(as_tuple=True)
            head = Head(flat.index_select(0, kept), weight, bias, index[kept], rows=None)
        else:
            head = Head(flat, weight, bias, index, rows=None)
        loss = head_losses(head, plan, summed=reduction != "none")
        if reduction == "none" and kept is not None:
            loss = loss.new_zeros(index.shape).index_copy(0, kept, loss)
    if reduction == "none":
        loss = loss.reshape(target.shape)
    if reduction == "mean":  # clamped: with nothing to average the mean is 0, not NaN
        loss = loss / (~ignored).sum().clamp(min=1)
    return loss if _is_under_autocast(hidden) else loss.to(hidden.dtype)


def _masked(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, index: Tensor, ignored: Tensor
) -> Head:
    """All tokens, the ignored ones as zeros of the first class that count 0 times."""
    return Head(
        hidden.masked_fill(ignored.unsqueeze(-1), 0.0),
        weight,
        bias,
        index.masked_fill(ignored, 0),
        rows=(~ignored).to(accumulation_dtype(hidden.dtype)),
    )


def _is_under_autocast(hidden: Tensor) -> bool:
    return not hidden.is_meta and torch.is_autocast_enabled(hidden.device.type)


def _product_dtype(hidden: Tensor) -> torch.dtype:
    dtype = hidden.dtype
    if _is_under_autocast(hidden) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(hidden.device.type)
    return torch.float32 if dtype == torch.float16 else dtype


def _bytes(memory_gb: float | None) -> int | None:
    if memory_gb is None:
        return None
    return int(1e9 * check_positive("max_memory_gb", memory_gb))
