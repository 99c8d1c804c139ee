"""The loss of each token as a differentiable operation on the logits.

The forward pass computes the gradient along with the value, while the logits are in cache, and
keeps it; the backward pass is one product. No other tensor of the size of the logits is made.
The logits are kept by reference, for second derivatives alone: until the backward pass, as with
torch's own losses, they may change.

Of a sum or mean the backward pass gives the kept tensor away, after a product in place where there
is a factor left; a second pass through the same graph computes it again, from the logits.

Convention: the gradient of half-precision logits is kept in float32 and rounded once, after the
factors of mean, scale and GradScaler, as under torch's autocast. Rounded before, what is below 6e-8
in float16 would be gone.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import Function

from squall.losses.arguments import check_finite_logits, check_target_range
from squall.losses.blocks import block_losses, blocks
from squall.losses.formulas import (
    accumulation_dtype,
    token_gradients,
    token_hessian_products,
    token_values,
)
from squall.losses.terms import Terms
from squall.losses.transforms import is_batched, sees_every_operation

__all__ = ["TokenOptions", "reduced_losses", "token_losses"]


class TokenOptions(NamedTuple):
    """What the computation needs beside its tensors."""

    terms: Terms
    ignore_index: int
    check: bool | None
    check_finite: bool


def token_losses(logits: Tensor, target: Tensor, options: TokenOptions) -> Tensor:
    """The loss of each token, 0 where the target is `ignore_index`.

    logits (A, S, C) floating and target int64 of any shape with A * S elements in the same
    order give values of the target's shape, in float32 (float64 for float64 logits).
    Differentiable any number of times, forwards and backwards.
    """
    if torch.compiler.is_compiling():  # the compiler fuses the plain formula by itself
        flat, ignored = _flatten(logits, target, options)
        return token_values(logits, flat, ignored, options.terms).reshape(target.shape)
    computed = _apply(_TokenGradients, logits, target, options, _wants_gradient(logits))
    values: Tensor = _apply(_TokenLosses, logits, target, *computed, options)
    return values


def reduced_losses(logits: Tensor, target: Tensor, options: TokenOptions, *, mean: bool) -> Tensor:
    """The sum of `token_losses`, or its mean over the tokens that are not ignored, 0 of none."""
    plain = torch.compiler.is_compiling() or not _wants_gradient(logits)
    if plain or sees_every_operation(logits):
        loss = token_losses(logits, target, options).sum()
        return loss / _count(target, options) if mean else loss
    loss = _apply(_ReducedLosses, logits, target, options, mean)
    return cast(Tensor, loss)


def _count(target: Tensor, options: TokenOptions) -> Tensor:
    return (target != options.ignore_index).sum().clamp(min=1)


def _apply(function: type[Function], *args: Any) -> Any:
    return function.apply(*args)  # type: ignore[no-untyped-call]


def _wants_gradient(logits: Tensor) -> bool:
    return torch.is_grad_enabled() and logits.requires_grad


def _flatten(logits: Tensor, target: Tensor, options: TokenOptions) -> tuple[Tensor, Tensor]:
    """The target as (A, S), and where it is ignored."""
    flat = target.reshape(logits.shape[:2])
    return flat, flat == options.ignore_index


def _values_and_gradients(
    logits: Tensor, target: Tensor, options: TokenOptions, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    """What `_TokenGradients` gives."""
    flat, ignored = _flatten(logits, target, options)
    on_cpu = logits.device.type == "cpu"
    if options.check or (options.check is None and on_cpu):
        check_target_range(target, logits.shape[-1], ignore_index=options.ignore_index)
    if options.check_finite:
        check_finite_logits(logits, ignored, target.shape)
    ignored = ignored.unsqueeze(-1)  # (A, S, 1)
    index = flat.unsqueeze(-1).masked_fill(ignored, 0)
    dtype = accumulation_dtype(logits.dtype)
    values = torch.empty(index.shape, dtype=dtype, device=logits.device)
    gradients = values.new_empty(0)
    if with_gradient:
        gradients = torch.empty_like(logits, dtype=dtype)
    any_ignored = not on_cpu or bool(ignored.any())
    for block in blocks(logits):
        out = gradients[block] if with_gradient else None
        values[block] = block_losses(
            logits[block].to(dtype), index[block], options.terms, gradient=out
        )
        if any_ignored and out is not None:
            out.masked_fill_(ignored[block], 0.0)
    return values.masked_fill_(ignored, 0.0).reshape(target.shape), gradients


class _TokenGradients(Function):
    """(logits, target) -> values, as `token_losses` has them, and gradients (A, S, C) of each.

    The gradients are an empty tensor where nobody asks for them. Both are in the dtype of the
    arithmetic: a half-precision gradient is rounded when all its factors are in. The gradients
    alone are differentiable here, and the logits are looked at again for that only.
    """

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, options: TokenOptions, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        return _values_and_gradients(logits, target, options, with_gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        logits, target, ctx.options, _ = inputs
        values, gradients = output
        ctx.empty = gradients.ndim != logits.ndim
        ctx.mark_non_differentiable(values, *([gradients] if ctx.empty else []))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(logits, target)
        ctx.save_for_forward(logits, target)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by_logits = None if grads[1] is None else _hessian_products(ctx, grads[1])
        return by_logits, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return None, None if ctx.empty else _hessian_products(ctx, tangents[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        logits, target, options, with_gradient = args
        # A tensor that vmap has wrapped does not tell; the one inside does.
        with_gradient = with_gradient or _wants_gradient(logits)
        logits = _to_front(logits, in_dims[0], info.batch_size)
        target = _to_front(target, in_dims[1], info.batch_size)
        inputs = (logits.flatten(0, 1), target, options, with_gradient)
        values, gradients = _apply(_TokenGradients, *inputs)
        if with_gradient:
            return (values, gradients.unflatten(0, logits.shape[:2])), (0, 0)
        return (values, gradients), (0, None)


def _hessian_products(ctx: Any, vectors: Tensor) -> Tensor:
    logits, target = ctx.saved_tensors
    flat, ignored = _flatten(logits, target, ctx.options)
    vectors = vectors.to(accumulation_dtype(logits.dtype))
    return token_hessian_products(logits, flat, ignored, ctx.options.terms, vectors)


class _TokenLosses(Function):
    """(logits, target, values, gradients) -> values, with these gradients by the logits."""

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, values: Tensor, gradients: Tensor, options: TokenOptions
    ) -> Tensor:
        return values.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        logits, target, _, gradients, ctx.options = inputs
        ctx.dtype = logits.dtype
        ctx.at_hand = gradients.ndim == logits.ndim
        saved = (gradients if ctx.at_hand else logits, target)
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        gradients = _gradients(ctx)
        columns = grads[0].reshape(gradients.shape[:2]).unsqueeze(-1)
        return _product(gradients, columns, ctx.dtype), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return (_gradients(ctx) * tangents[0]).sum(-1).reshape(ctx.saved_tensors[1].shape)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        logits, target, values, gradients = (
            _to_front(tensor, dim, info.batch_size)
            for tensor, dim in zip(args[:4], in_dims[:4], strict=True)
        )
        gradients = gradients.flatten(0, 1) if gradients.ndim == logits.ndim else args[3]
        return _apply(_TokenLosses, logits.flatten(0, 1), target, values, gradients, args[4]), 0


class _ReducedLosses(Function):
    """(logits, target) -> the sum of the losses, or their mean."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        logits, target, options, mean = args
        ctx.count = _count(target, options) if mean else None
        if mean and logits.device.type == "cpu":  # the gradients have the factor from the start
            options = options._replace(terms=options.terms.scaled(1 / int(ctx.count)))
            ctx.count = None
        ctx.save_for_backward(logits, target)
        ctx.options, ctx.dtype = options, logits.dtype
        values, ctx.gradients = _values_and_gradients(logits, target, options, True)
        loss = values.sum()
        return loss if ctx.count is None else loss / ctx.count

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        grad = grads[0] if ctx.count is None else grads[0] / ctx.count
        gradients, ctx.gradients = ctx.gradients, None
        if torch.is_grad_enabled() or is_batched(grad):
            gradients = _differentiable(ctx, grad)
        else:
            if gradients is None:
                logits, target = ctx.saved_tensors
                _, gradients = _values_and_gradients(logits, target, ctx.options, True)
            gradients = _given_away(gradients, grad, ctx.dtype)
        return gradients, None, None, None


def _differentiable(ctx: Any, grad: Tensor) -> Tensor:
    """The gradient of the sum, of one `grad` or of a batch of them, to be differentiated again."""
    logits, target = ctx.saved_tensors
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        loss = token_losses(logits, target, ctx.options).sum()
    by_logits: Tensor = torch.autograd.grad(loss, logits, grad, create_graph=again)[0]
    return by_logits


def _given_away(gradients: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradients times the factor in the dtype, rounded once, in place where they have it."""
    if gradients.dtype != dtype:
        return _product(gradients, factor.expand(*gradients.shape[:2], 1), dtype)
    if factor.device.type == "cpu" and float(factor) == 1.0:
        return gradients
    return gradients.mul_(factor)


def _gradients(ctx: Any) -> Tensor:
    saved, target = ctx.saved_tensors
    if ctx.at_hand:
        gradients: Tensor = saved
        return gradients
    flat, ignored = _flatten(saved, target, ctx.options)
    return token_gradients(saved, flat, ignored, ctx.options.terms)


def _product(gradients: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
    """gradients (A, S, C) times columns (A, S, 1) in the dtype, rounded once."""
    if gradients.dtype == dtype or torch.is_grad_enabled():
        return (gradients * columns).to(dtype)
    # By the block, as a product in float32 would be the largest of all tensors.
    product = torch.empty_like(columns.expand_as(gradients), dtype=dtype)
    for block in blocks(gradients):
        product[block] = gradients[block] * columns[block]
    return product


def _to_front(tensor: Tensor, dim: int | None, batch_size: int) -> Tensor:
    """The tensor with the dimension that vmap maps over in front; repeated where it has none."""
    if dim is None:
        return tensor.expand(batch_size, *tensor.shape)
    return tensor.movedim(dim, 0)
