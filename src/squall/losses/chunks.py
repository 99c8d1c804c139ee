"""A linear layer and the loss of its logits, chunk by chunk of the tokens.

The logits of a chunk are made in one buffer, used and written over by their gradient, and given to
the gradients of the layer at once. No tensor of N x V elements is ever there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from squall.losses.blocks import BLOCK_BYTES_PER_THREAD, block_losses, blocks
from squall.losses.formulas import accumulation_dtype
from squall.losses.terms import Terms

__all__ = ["Gradients", "Head", "Plan", "chunk_bytes", "chunk_pass", "weight_parts"]

_MEBIBYTE = 2**20
# A chunk reads the weight twice, and reads and writes its gradient. Of the tokens that one chunk of
# all would have, 256 take the same time, 128 a tenth more, 64 a quarter more.
_ENOUGH_TOKENS = 128
_LEAST_CHUNK_BYTES, _MOST_CHUNK_BYTES = 16 * _MEBIBYTE, 64 * _MEBIBYTE
_CHUNK_BYTES_ON_DEVICE = 256 * _MEBIBYTE
# Of a weight that is converted for the products, and of products that are.
_PART_BYTES = 4 * _MEBIBYTE
# Tensors of a block's size that `block_losses` may hold at once, the slopes of the cap included.
_TEMPORARIES = 4


class Plan(NamedTuple):
    """What is computed, beside the tensors, and in what."""

    terms: Terms
    softcap: float | None
    dtype: torch.dtype
    """Of the matrix products. What is summed over is in `accumulation_dtype` of it."""
    max_bytes: int | None
    """That all temporary tensors together may have; None: as many as are quickest."""


class Head(NamedTuple):
    """The linear layer and its tokens: hidden (N, D), weight (V, D), bias (V,), target (N,).

    The target is of int64 and has no ignored tokens. rows (N,), where there are any, multiply each
    token's gradient in `chunk_pass` and `gram_pass`. They multiply no value there.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    target: Tensor
    rows: Tensor | None

    def at(self, tokens: Tensor) -> Head:
        """The same layer with some of the tokens."""
        rows = None if self.rows is None else self.rows[tokens]
        return self._replace(hidden=self.hidden[tokens], target=self.target[tokens], rows=rows)


@dataclass
class Gradients:
    """Sums of the gradients of all tokens, in the dtype of accumulation; None if not wanted."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    def __bool__(self) -> bool:
        return any(gradient is not None for gradient in (self.hidden, self.weight, self.bias))


def chunk_bytes(row_bytes: int, plan: Plan, device: torch.device, *, what: str) -> int:
    """The size that a chunk of rows should have, at least one row.

    Raises ValueError where not even one row, `what`, fits into the plan's `max_bytes`.
    """
    if device.type == "cpu":
        wanted = max(_LEAST_CHUNK_BYTES, _ENOUGH_TOKENS * row_bytes)
        wanted = min(wanted, _MOST_CHUNK_BYTES)
    else:
        wanted = _CHUNK_BYTES_ON_DEVICE
    if plan.max_bytes is None:
        return max(wanted, row_bytes)
    blocks_bytes = _TEMPORARIES * BLOCK_BYTES_PER_THREAD * torch.get_num_threads()
    allowed = plan.max_bytes // (1 + _TEMPORARIES)
    if device.type == "cpu":
        allowed = max(allowed, plan.max_bytes - blocks_bytes)
    if allowed < row_bytes:
        least = (1 + _TEMPORARIES) * row_bytes
        raise ValueError(
            f"max_memory_gb is {plan.max_bytes / 1e9:g}; the {what} of a single token need "
            f"{least / 1e9:g}"
        )
    return min(max(wanted, row_bytes), allowed)


def weight_parts(weight: Tensor, plan: Plan) -> Iterator[slice]:
    """Slices over the V rows: one, or several where a part is converted on the way."""
    classes, width = weight.shape
    step = classes
    if not weight.dtype == plan.dtype == accumulation_dtype(plan.dtype):
        limit = _PART_BYTES if weight.device.type == "cpu" else _CHUNK_BYTES_ON_DEVICE
        if plan.max_bytes is not None:
            limit = min(limit, plan.max_bytes // (1 + _TEMPORARIES))
        step = max(1, limit // max(1, width * accumulation_dtype(plan.dtype).itemsize))
    for start in range(0, classes, step):
        yield slice(start, start + step)


def chunk_pass(head: Head, plan: Plan, gradients: Gradients) -> Tensor:
    """The value of each token (N,), and its gradients added to `gradients`."""
    tokens, classes = len(head.target), len(head.weight)
    dtype = accumulation_dtype(plan.dtype)
    values = head.hidden.new_empty(tokens, dtype=dtype)
    if not tokens:
        return values
    row_bytes = classes * dtype.itemsize  # a block is of this dtype, whatever the buffer's
    most = chunk_bytes(row_bytes, plan, head.hidden.device, what="logits") // row_bytes
    step = -(-tokens // -(-tokens // most))  # as few chunks, but equal ones
    buffer = head.hidden.new_empty(step, classes, dtype=plan.dtype)
    bias = None if head.bias is None else head.bias.to(plan.dtype)
    for start in range(0, tokens, step):
        chunk = slice(start, start + step)
        hidden = head.hidden[chunk].to(plan.dtype)
        logits = buffer[: len(hidden)]
        for part in weight_parts(head.weight, plan):
            weight = head.weight[part].to(plan.dtype)
            if bias is None or plan.dtype == dtype:  # added later, while a block is in cache
                torch.mm(hidden, weight.T, out=logits[:, part])
            else:  # before the logits are rounded
                torch.addmm(bias[part], hidden, weight.T, out=logits[:, part])
        rows = None if head.rows is None else head.rows[chunk]
        later = bias if plan.dtype == dtype else None
        index = head.target[chunk]
        values[chunk] = _values_in_place(logits, later, index, rows, plan, bool(gradients))
        _add_gradients(gradients, logits, hidden, head.weight, chunk, plan)
    return values


def _values_in_place(
    logits: Tensor,
    bias: Tensor | None,
    index: Tensor,
    rows: Tensor | None,
    plan: Plan,
    with_gradient: bool,
) -> Tensor:
    """Values (n,) of logits (n, V), which are replaced by their gradient if there is one.

    A bias (V,) is added to the logits first.
    """
    logits, index = logits.unsqueeze(0), index.view(1, -1, 1)
    factors = None if rows is None else rows.view(1, -1, 1)
    dtype = accumulation_dtype(plan.dtype)
    values = torch.empty(index.shape, dtype=dtype, device=logits.device)
    for block in blocks(logits):
        work = logits[block].to(dtype)
        slopes: Tensor | None = None
        if bias is not None:
            work.add_(bias)
        if plan.softcap is not None:
            work.div_(plan.softcap).tanh_()
            slopes = work.square().neg_().add_(1) if with_gradient else None
            work.mul_(plan.softcap)
        gradient = work if with_gradient else None
        values[block] = block_losses(work, index[block], plan.terms, gradient)
        if gradient is None:
            continue
        if slopes is not None:
            gradient.mul_(slopes)
        if factors is not None:
            gradient.mul_(factors[block])
        if gradient.dtype != logits.dtype:
            logits[block] = gradient
    return values.view(-1)


def _add_gradients(
    gradients: Gradients,
    by_logits: Tensor,
    hidden: Tensor,
    weight: Tensor,
    chunk: slice,
    plan: Plan,
) -> None:
    """Add those of a chunk, from the gradient (n, V) by its logits and its hidden (n, D)."""
    for part in weight_parts(weight, plan):
        if gradients.hidden is not None:
            _add_product(gradients.hidden[chunk], by_logits[:, part], weight[part].to(plan.dtype))
        if gradients.weight is not None:
            _add_product(gradients.weight[part], by_logits[:, part].T, hidden)
    if gradients.bias is not None:
        gradients.bias.add_(by_logits.sum(0, dtype=gradients.bias.dtype))


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total.add_(a @ b)
