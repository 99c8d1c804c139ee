"""The loss of a linear layer's logits as a differentiable operation on hidden, weight and bias.

The forward pass adds up the gradients along with the values, as the logits of a chunk are there for
a moment only; the backward pass of a sum is then a product, in the tensors that the forward pass
made, which it gives away. What asks for more computes them again, chunk by chunk: a backward pass
of single values, whose factors are known then, and a second one through the same graph.

Convention: gradients are kept in float32 (float64 for float64) and rounded to the dtype of their
tensor when all factors are in, as in `squall.losses.tokenwise`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from typing_extensions import ParamSpec

from squall.losses.chunks import Gradients, Head, Plan, chunk_pass
from squall.losses.formulas import accumulation_dtype, token_values
from squall.losses.gram import gram_pass, gram_pays
from squall.losses.transforms import is_batched

__all__ = ["head_losses", "plain_losses", "uncompiled"]

P = ParamSpec("P")
R = TypeVar("R")


def head_losses(head: Head, plan: Plan, *, summed: bool) -> Tensor:
    """The loss of each token (N,), or their sum, in the dtype of accumulation.

    Where the head has rows, which are 0 or 1, they multiply the losses too. Differentiable any
    number of times by hidden, weight and bias. Derivatives beyond the first go through
    `plain_losses`, and need its memory.
    """
    tensors = (head.hidden, head.weight, head.bias)
    wanted = tuple(torch.is_grad_enabled() and t is not None and t.requires_grad for t in tensors)
    loss: Tensor = _HeadLosses.apply(*head, plan, summed, wanted)  # type: ignore[no-untyped-call]
    return loss


def uncompiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which `torch.compile` leaves as it is: a graph ends before it.

    As `torch.compiler.disable`, which takes over a second to import, does; but that is imported
    only where something has imported the compiler already.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling() or "torch._dynamo" in sys.modules:
            disabled = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
            return cast(R, disabled(*args, **kwargs))
        return function(*args, **kwargs)

    return run


def plain_losses(head: Head, plan: Plan) -> Tensor:
    """What `head_losses` gives for each token, from all logits at once, for any transform."""
    with torch.autocast(_device_type(head), enabled=False):
        bias = None if head.bias is None else head.bias.to(plan.dtype)
        logits = F.linear(head.hidden.to(plan.dtype), head.weight.to(plan.dtype), bias)
        logits = logits.to(accumulation_dtype(plan.dtype))
        if plan.softcap is not None:
            logits = plan.softcap * torch.tanh(logits / plan.softcap)
        ignored = torch.zeros_like(head.target, dtype=torch.bool)
        values = token_values(logits, head.target, ignored, plan.terms)
        return values if head.rows is None else values * head.rows


def _device_type(head: Head) -> str:
    """Of the head, for `torch.autocast`, which knows no meta device."""
    return "cpu" if head.hidden.is_meta else head.hidden.device.type


def _compute(head: Head, plan: Plan, wanted: tuple[bool, ...]) -> tuple[Tensor, Gradients]:
    """The values (N,), and the sums over the tokens of the gradients that are wanted."""
    dtype = accumulation_dtype(plan.dtype)
    gradients = Gradients(
        *(
            torch.zeros_like(tensor, dtype=dtype, memory_format=torch.contiguous_format)
            if tensor is not None and want
            else None
            for tensor, want in zip(head[:3], wanted, strict=True)
        )
    )
    run = gram_pass if gram_pays(head, plan, gradients) else chunk_pass
    with torch.autocast(_device_type(head), enabled=False):
        return run(head, plan, gradients), gradients


class _HeadLosses(Function):
    """(hidden, weight, bias, target, rows) -> losses, as `head_losses` has them."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        *tensors, ctx.plan, ctx.summed, ctx.wanted = args
        ctx.save_for_backward(*tensors)
        head = Head(*tensors)
        ctx.dtypes = tuple(None if tensor is None else tensor.dtype for tensor in head[:3])
        at_once = ctx.summed and any(ctx.wanted)
        values, gradients = _compute(head, ctx.plan, ctx.wanted if at_once else (False,) * 3)
        ctx.gradients = gradients if at_once else None
        if head.rows is not None:
            values.masked_fill_(head.rows == 0, 0.0)
        return values.sum() if ctx.summed else values

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (grad,) = grads
        if torch.is_grad_enabled() or is_batched(grad):
            return *_differentiable(ctx, grad), None, None, None, None, None
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            factors = grad.expand(ctx.saved_tensors[3].shape)
            head = Head(*ctx.saved_tensors)
            rows = factors if head.rows is None else factors * head.rows
            _, gradients = _compute(head._replace(rows=rows), ctx.plan, ctx.wanted)
        else:
            for gradient in (gradients.hidden, gradients.weight, gradients.bias):
                if gradient is not None:
                    gradient.mul_(grad)
        found = (gradients.hidden, gradients.weight, gradients.bias)
        rounded = (
            None if gradient is None else gradient.to(dtype)
            for gradient, dtype in zip(found, ctx.dtypes, strict=True)
        )
        return *rounded, None, None, None, None, None


def _differentiable(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by hidden, weight and bias, of one `grad` or of a batch of them (vmap).

    If anyone asks, they can be differentiated again.
    """
    again = torch.is_grad_enabled()
    head = Head(*ctx.saved_tensors)
    # Of these alone: with tied weights the hidden features are a function of the weight, too.
    with torch.enable_grad():
        head = head._replace(
            hidden=head.hidden.view_as(head.hidden),
            weight=head.weight.view_as(head.weight),
            bias=None if head.bias is None else head.bias.view_as(head.bias),
        )
        values = plain_losses(head, ctx.plan)
        loss = values.sum() if ctx.summed else values
    wanted = zip(head[:3], ctx.wanted, strict=True)
    sources = [tensor for tensor, want in wanted if want and tensor is not None]
    found = iter(torch.autograd.grad(loss, sources, grad, create_graph=again))
    return tuple(next(found) if want else None for want in ctx.wanted)
