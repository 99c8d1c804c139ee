"""The loss of each token as a differentiable operation on the logits.

The forward pass computes the gradient along with the value, while the logits are in cache, and
keeps it; the backward pass is one product. No other tensor of the size of the logits is made.
The logits are kept by reference, for second derivatives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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

__all__ = ["TokenOptions", "token_losses"]


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
    values: Tensor = _apply(_TokenLoss, logits, target, options, _wants_gradient(logits))[0]
    return values


def _apply(function: type[Function], *args: Any) -> Any:
    return function.apply(*args)  # type: ignore[no-untyped-call]


def _wants_gradient(logits: Tensor) -> bool:
    return torch.is_grad_enabled() and logits.requires_grad


def _flatten(logits: Tensor, target: Tensor, options: TokenOptions) -> tuple[Tensor, Tensor]:
    """The target as (A, S), and where it is ignored."""
    flat = target.reshape(logits.shape[:2])
    return flat, flat == options.ignore_index


class _TokenLoss(Function):
    """(logits, target) -> values, as `token_losses` has them, and gradients (A, S, C) of each.

    The gradients are an empty tensor where nobody asks for them.
    """

    @staticmethod
    def forward(
        logits: Tensor, target: Tensor, options: TokenOptions, with_gradient: bool
    ) -> tuple[Tensor, Tensor]:
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
        gradients = torch.empty_like(logits) if with_gradient else logits.new_empty(0)
        any_ignored = not on_cpu or bool(ignored.any())
        for block in blocks(logits):
            out = gradients[block] if with_gradient else None
            values[block] = block_losses(
                logits[block].to(dtype), index[block], options.terms, gradient=out
            )
            if any_ignored and out is not None:
                out.masked_fill_(ignored[block], 0.0)
        return values.masked_fill_(ignored, 0.0).reshape(target.shape), gradients

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        logits, target, ctx.options, _ = inputs
        gradients = output[1]
        ctx.mark_non_differentiable(gradients)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(logits, target, gradients)
        ctx.save_for_forward(logits, target)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if grads[0] is None:
            return None, None, None, None
        gradient = _apply(_WeightedGradient, grads[0], *ctx.saved_tensors, ctx.options)
        return gradient, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        logits, target = ctx.saved_tensors[:2]
        flat, ignored = _flatten(logits, target, ctx.options)
        gradients = token_gradients(logits, flat, ignored, ctx.options.terms)
        return (gradients * tangents[0]).sum(-1).reshape(target.shape), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        logits, target, options, with_gradient = args
        # A tensor that vmap has wrapped does not tell; the one inside does.
        with_gradient = with_gradient or _wants_gradient(logits)
        logits = _to_front(logits, in_dims[0], info.batch_size)
        target = _to_front(target, in_dims[1], info.batch_size)
        inputs = (logits.flatten(0, 1), target, options, with_gradient)
        values, gradients = _apply(_TokenLoss, *inputs)
        if with_gradient:
            return (values, gradients.unflatten(0, logits.shape[:2])), (0, 0)
        return (values, gradients), (0, None)


class _WeightedGradient(Function):
    """(weights, logits, target, gradients) -> the gradient of sum(weights * values) by the logits.

    Its value is a mere product; it is a function of the logits for the sake of its derivatives.
    """

    @staticmethod
    def forward(
        weights: Tensor, logits: Tensor, target: Tensor, gradients: Tensor, options: TokenOptions
    ) -> Tensor:
        flat, ignored = _flatten(logits, target, options)
        if gradients.shape != logits.shape:
            gradients = token_gradients(logits, flat, ignored, options.terms)
        columns = weights.reshape(flat.shape).unsqueeze(-1)
        if gradients.dtype == columns.dtype:
            return gradients * columns
        return torch.mul(gradients, columns, out=torch.empty_like(logits))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        weights, logits, target, _, ctx.options = inputs
        ctx.save_for_backward(weights, logits, target)
        ctx.save_for_forward(weights, logits, target)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        weights, logits, target = ctx.saved_tensors
        terms = ctx.options.terms
        flat, ignored = _flatten(logits, target, ctx.options)
        vectors = grads[0].to(weights.dtype)
        gradients = token_gradients(logits, flat, ignored, terms)
        by_weights = (gradients * vectors).sum(-1).reshape(weights.shape)
        products = token_hessian_products(logits, flat, ignored, terms, vectors)
        by_logits = weights.reshape(flat.shape).unsqueeze(-1) * products
        return by_weights, by_logits.to(logits.dtype), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        weights, logits, target = ctx.saved_tensors
        terms = ctx.options.terms
        flat, ignored = _flatten(logits, target, ctx.options)
        result = torch.zeros_like(logits, dtype=weights.dtype)
        if tangents[0] is not None:
            columns = tangents[0].reshape(flat.shape).unsqueeze(-1)
            result = result + columns * token_gradients(logits, flat, ignored, terms)
        if tangents[1] is not None:
            vectors = tangents[1].to(weights.dtype)
            products = token_hessian_products(logits, flat, ignored, terms, vectors)
            result = result + weights.reshape(flat.shape).unsqueeze(-1) * products
        return result.to(logits.dtype)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        weights, logits, target, gradients, options = args
        weights = _to_front(weights, in_dims[0], info.batch_size)
        logits = _to_front(logits, in_dims[1], info.batch_size)
        target = _to_front(target, in_dims[2], info.batch_size)
        if gradients.numel():
            gradients = _to_front(gradients, in_dims[3], info.batch_size).flatten(0, 1)
        inputs = (weights, logits.flatten(0, 1), target, gradients, options)
        return _apply(_WeightedGradient, *inputs).unflatten(0, logits.shape[:2]), 0


def _to_front(tensor: Tensor, dim: int | None, batch_size: int) -> Tensor:
    """The tensor with the dimension that vmap maps over in front; repeated where it has none."""
    if dim is None:
        return tensor.expand(batch_size, *tensor.shape)
    return tensor.movedim(dim, 0)
