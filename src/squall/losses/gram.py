"""The square losses of a linear layer without the logits of the wrong classes.

With logits f = W h + b, Gram matrix G = W'W (D, D), u = W'b and s = b'b,

    sum_j f_j^2 = h'G h + 2 u'h + s,

so that a token needs D^2 products in place of V D, and of the logits f_y alone. The gradients of
c sum_j f_j^2, summed over the tokens, are

    by h:  2c (G h + u)
    by W:  2c (W K + b k')    with K = sum_n h_n h_n', k = sum_n h_n
    by b:  2c (W k + N b)

and what the true class has of its own, b (f_y - M)^2 - c f_y^2, adds its derivative
2b (f_y - M) - 2c f_y times w_y to h's, times h to row y of W's and times 1 to entry y of b's.

Convention: a difference of large numbers has the rounding errors of the large ones. They are large
where f_y^2 is nearly all of the sum, or h nearly orthogonal to a component that all rows of W have
in common. The sum of the squares of all products that make the logits,

    (sqrt(sum_d h_d^2 G_dd) + sqrt(s))^2 + |f_y| (|w_y| |h| + |b_y|),

says how large; a token whose value is less than 1/16 of it goes through the logits after all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from squall.losses.chunks import Gradients, Head, Plan, chunk_bytes, chunk_pass, weight_parts
from squall.losses.formulas import accumulation_dtype

__all__ = ["gram_pass", "gram_pays"]

# How many times the rounding errors may be those of the plain sum.
_MOST_CANCELLATION = 16.0
# Rows of W whose products are summed before the sum goes on in float64.
_ROWS_IN_ONE_SUM = 4096
# Tensors (n, D) that a chunk of n tokens holds.
_TENSORS_OF_A_CHUNK = 5


def gram_pays(head: Head, plan: Plan, gradients: Gradients) -> bool:
    """Whether the Gram matrix can be used, and takes fewer products than the logits."""
    if plan.terms.cross_entropy or plan.terms.z_loss or plan.softcap is not None:
        return False
    tokens, classes, width = len(head.target), *head.weight.shape
    if plan.max_bytes is not None and 2 * 8 * width**2 > plan.max_bytes:
        return False
    of_weight = gradients.weight is not None
    of_logits = tokens * classes * width * (1 + of_weight + (gradients.hidden is not None))
    of_gram = (classes * (1 + of_weight) + tokens * (1 + of_weight)) * width**2
    return of_gram < of_logits


def gram_pass(head: Head, plan: Plan, gradients: Gradients) -> Tensor:
    """The value of each token (N,), and its gradients added to `gradients`."""
    dtype = accumulation_dtype(plan.dtype)
    tokens, width = head.hidden.shape
    gram = _gram(head, plan)
    moments = _Moments.zeros(width, gram.matrix)
    values = gram.matrix.new_empty(tokens)
    doubtful = torch.empty_like(values, dtype=torch.bool)
    row_bytes = _TENSORS_OF_A_CHUNK * width * dtype.itemsize
    step = chunk_bytes(row_bytes, plan, values.device, what="hidden features") // row_bytes
    for start in range(0, tokens, step):
        chunk = slice(start, start + step)
        values[chunk], doubtful[chunk] = _of_chunk(head, chunk, plan, gram, gradients, moments)
    _add_moments(head, plan, moments, gradients)
    (rest,) = doubtful.nonzero(as_tuple=True)
    if len(rest):
        by_hidden = (
            None if gradients.hidden is None else gradients.hidden.new_zeros(len(rest), width)
        )
        others = Gradients(by_hidden, gradients.weight, gradients.bias)
        values[rest] = chunk_pass(head.at(rest), plan, others)
        if gradients.hidden is not None and by_hidden is not None:
            gradients.hidden[rest] = by_hidden
    return values


class _Gram(NamedTuple):
    """G = W'W (D, D), u = W'b (D,) and s = b'b, in the dtype of accumulation."""

    matrix: Tensor
    by_bias: Tensor
    bias_square: Tensor


def _gram(head: Head, plan: Plan) -> _Gram:
    dtype = accumulation_dtype(plan.dtype)
    width = head.weight.shape[1]
    matrix = head.hidden.new_zeros(width, width, dtype=torch.float64)
    by_bias, bias_square = matrix.new_zeros(width), matrix.new_zeros(())
    for start in range(0, len(head.weight), _ROWS_IN_ONE_SUM):
        part = slice(start, start + _ROWS_IN_ONE_SUM)
        weight = head.weight[part].to(dtype)
        matrix += weight.T @ weight
        if head.bias is not None:
            bias = head.bias[part].to(dtype)
            by_bias += bias @ weight
            bias_square += bias @ bias
    return _Gram(matrix.to(dtype), by_bias.to(dtype), bias_square.to(dtype))


class _Moments(NamedTuple):
    """K = sum_n r_n h_n h_n' (D, D), k = sum_n r_n h_n (D,) and sum_n r_n."""

    second: Tensor
    first: Tensor
    rows: Tensor

    @classmethod
    def zeros(cls, width: int, like: Tensor) -> _Moments:
        return cls(like.new_zeros(width, width), like.new_zeros(width), like.new_zeros(()))


def _of_chunk(
    head: Head, chunk: slice, plan: Plan, gram: _Gram, gradients: Gradients, moments: _Moments
) -> tuple[Tensor, Tensor]:
    """Values (n,) and which of them are in doubt.

    The others have what is their own of the gradients added to `gradients`, and what all classes
    have in common to `moments`.
    """
    terms = plan.terms
    hidden, index = head.hidden[chunk].to(gram.matrix.dtype), head.target[chunk]  # (n, D), (n,)
    own = head.weight[index].to(hidden.dtype)
    true = (own * hidden).sum(-1)
    reach = own.norm(dim=-1) * hidden.norm(dim=-1)
    if head.bias is not None:
        bias = head.bias[index].to(hidden.dtype)
        true, reach = true + bias, reach + bias.abs()
    images = hidden @ gram.matrix  # (n, D)
    squares = (images * hidden).sum(-1) + 2 * (hidden @ gram.by_bias) + gram.bias_square
    offsets = true - terms.true_aim
    values = terms.true * offsets.square() + terms.wrong * (squares - true.square())
    norms = (hidden.square() @ gram.matrix.diagonal()).sqrt() + gram.bias_square.sqrt()
    errors = terms.wrong * (norms.square() + true.abs() * reach)
    trusted = errors <= _MOST_CANCELLATION * values  # not so where either is NaN
    if gradients:
        rows = trusted.to(hidden.dtype)
        if head.rows is not None:
            rows *= head.rows[chunk]
        at_true = rows * (2 * terms.true * offsets - 2 * terms.wrong * true)
        if gradients.hidden is not None:
            images.add_(gram.by_bias).mul_(2 * terms.wrong * rows.unsqueeze(-1))
            gradients.hidden[chunk] = images.addcmul_(own, at_true.unsqueeze(-1))
        if gradients.weight is not None:
            gradients.weight.index_add_(0, index, at_true.unsqueeze(-1) * hidden)
            moments.second.addmm_((rows.unsqueeze(-1) * hidden).T, hidden)
        if gradients.bias is not None:
            gradients.bias.index_add_(0, index, at_true)
        moments.first.add_(rows @ hidden)
        moments.rows.add_(rows.sum())
    return values, ~trusted


def _add_moments(head: Head, plan: Plan, moments: _Moments, gradients: Gradients) -> None:
    """Add the gradients by W and b of what all classes have in common."""
    dtype, factor = moments.first.dtype, 2 * plan.terms.wrong
    bias = None if head.bias is None else head.bias.to(dtype)
    for part in weight_parts(head.weight, plan):
        if gradients.weight is None and gradients.bias is None:
            return
        weight = head.weight[part].to(dtype)
        if gradients.weight is not None:
            gradients.weight[part].addmm_(weight, moments.second, alpha=factor)
            if bias is not None:
                gradients.weight[part].addr_(bias[part], moments.first, alpha=factor)
        if gradients.bias is not None:
            gradients.bias[part].addmv_(weight, moments.first, alpha=factor)
    if gradients.bias is not None and bias is not None:
        gradients.bias.add_(factor * moments.rows * bias)
