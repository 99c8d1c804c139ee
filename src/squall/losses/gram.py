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

Convention: all of the first and its difference to f_y^2 is computed in float64, whatever the dtype,
as a difference of large numbers has the rounding errors of the large ones. They are large where
f_y^2 is nearly all of the sum, as it is after a training with these losses, or where h is nearly
orthogonal to a component that all rows of W have in common. What the sum is made of has the size

    (sqrt(sum_d h_d^2 G_dd) + sqrt(s))^2 + |f_y| (|w_y| |h| + |b_y|).

Where that is so much above the value of a token that float64 does not save the digits of float32,
or for float64 itself more than 16 times the value, the token goes through its logits after all.
The rows of W K + b k' at true classes are in float64 too, and the others in float32 for float32 and
half precision, which is twice as quick, unless the norms say the same of them.

Largest errors of `square_loss` in float32, beside float64, of N = 300, D = 128, V = 4,000 normal
numbers: of values relative to each, of gradients by h and by W relative to their largest entry.

| regime | here | by the logits in float32 |
|---|---|---|
| all alike, with or without b | 6e-8, 4e-8, 5e-7 | 4e-7, 2e-7, 4e-7 |
| trained: f_y = 1, others 1e-3 | 6e-8, 5e-8, 6e-7 | 2e-7, 9e-5, 3e-5 |
| common component 10 times the rest, h orthogonal to it | 6e-8, 4e-8, 3e-6 | 4e-7, 2e-6, 7e-7 |
| 100 times the rest | 5e-8, 5e-8, 4e-8 | 2e-6, 2e-5, 6e-6 |
| b cancels W h but for 1 % | 5e-8, 4e-8, 4e-8 | 3e-4, 2e-6, 5e-5 |

In bfloat16 all errors here are below 4e-3, half a unit of its last place; by the logits they come
to 0.1 in the trained regime.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from squall.losses.chunks import Gradients, Head, Plan, chunk_bytes, chunk_pass
from squall.losses.formulas import accumulation_dtype

__all__ = ["gram_pass", "gram_pays"]

# How many times the rounding errors may be those of the plain sum in the dtype of accumulation.
_MOST_CANCELLATION = 16.0
# Of a part of W in float64, whose products are added to the matrix at once.
_PART_BYTES = 4 * 2**20
# The matrix is symmetric: of 4 x 4 blocks, 10 are computed.
_BLOCKS = 4
# A product of float64, in products of float32.
_COST_OF_FLOAT64 = 2.0
# As it takes up to twice the time that its products would tell.
_PAYS_BELOW = 0.5
# Tensors (n, D) in float64 that a chunk of n tokens holds.
_TENSORS_OF_A_CHUNK = 5


def gram_pays(head: Head, plan: Plan, gradients: Gradients) -> bool:
    """Whether the Gram matrix can be used, and takes less work than the logits."""
    if plan.terms.cross_entropy or plan.terms.z_loss or plan.softcap is not None:
        return False
    tokens, classes, width = len(head.target), *head.weight.shape
    if plan.max_bytes is not None and 3 * 8 * width**2 > plan.max_bytes:
        return False
    of_weight = gradients.weight is not None
    of_logits = tokens * classes * width * (1 + of_weight + (gradients.hidden is not None))
    half = _COST_OF_FLOAT64 * (1 + 1 / _BLOCKS) / 2  # of a matrix that is symmetric
    of_gram = classes * (half + of_weight)
    of_gram += tokens * (_COST_OF_FLOAT64 + (half + _COST_OF_FLOAT64) * of_weight)
    return of_gram * width**2 < _PAYS_BELOW * of_logits


def gram_pass(head: Head, plan: Plan, gradients: Gradients) -> Tensor:
    """The value of each token (N,), and its gradients added to `gradients`, which are of zeros."""
    tokens, width = head.hidden.shape
    gram = _gram(head, plan)
    values = head.hidden.new_empty(tokens, dtype=accumulation_dtype(plan.dtype))
    sums = None
    if gradients.weight is not None or gradients.bias is not None:
        sums = _Sums.of(head.target, gram.matrix)
    doubtful = torch.empty_like(values, dtype=torch.bool)
    row_bytes = _TENSORS_OF_A_CHUNK * width * gram.matrix.itemsize
    step = chunk_bytes(row_bytes, plan, values.device, what="hidden features") // row_bytes
    for start in range(0, tokens, step):
        chunk = slice(start, start + step)
        values[chunk], doubtful[chunk] = _of_chunk(head, chunk, plan, gram, gradients, sums)
    if sums is not None:
        _finish(head, plan, gram, sums, gradients)
    (rest,) = doubtful.nonzero(as_tuple=True)
    if len(rest):
        by_hidden = None if gradients.hidden is None else gradients.hidden[rest].zero_()
        others = Gradients(by_hidden, gradients.weight, gradients.bias)
        values[rest] = chunk_pass(head.at(rest), plan, others)
        if gradients.hidden is not None and by_hidden is not None:
            gradients.hidden[rest] = by_hidden
    return values


class _Gram(NamedTuple):
    """G = W'W (D, D), u = W'b (D,) and s = b'b, in float64 where the device has it."""

    matrix: Tensor
    by_bias: Tensor
    bias_square: Tensor


def _gram(head: Head, plan: Plan) -> _Gram:
    width = head.weight.shape[1]
    dtype = torch.float32 if head.weight.device.type == "mps" else torch.float64
    matrix = head.weight.new_zeros(width, width, dtype=dtype)
    by_bias, bias_square = matrix.new_zeros(width), matrix.new_zeros(())
    for part in _parts(head.weight, plan):
        weight = head.weight[part].to(dtype)
        _add_symmetric_product(matrix, weight, weight)
        if head.bias is not None:
            bias = head.bias[part].to(dtype)
            by_bias.addmv_(weight.T, bias)
            bias_square.add_(bias @ bias)
    return _Gram(_mirrored(matrix), by_bias, bias_square)


def _parts(weight: Tensor, plan: Plan) -> Iterator[slice]:
    """Slices over the rows of W that have the size of a part in float64."""
    classes, width = weight.shape
    part_bytes = _PART_BYTES if plan.max_bytes is None else min(_PART_BYTES, plan.max_bytes // 4)
    rows = max(1, part_bytes // (8 * width))
    for start in range(0, classes, rows):
        yield slice(start, start + rows)


def _add_symmetric_product(matrix: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a'b, which is symmetric, to a matrix, in the blocks above its diagonal and on it."""
    columns = -(-len(matrix) // _BLOCKS)
    for first in range(0, len(matrix), columns):
        block = slice(first, first + columns)
        matrix[block, first:].addmm_(a[:, block].T, b[:, first:])


def _mirrored(matrix: Tensor) -> Tensor:
    """The matrix with its upper half in place of the lower one."""
    return matrix.triu_().add_(matrix.triu(1).T)


class _Sums(NamedTuple):
    """What the tokens add to the gradients by W and b, in the dtype of the Gram matrix.

    K = sum_n r_n h_n h_n' (D, D), of which the upper half is filled, k = sum_n r_n h_n (D,) and
    sum_n r_n are for all classes. Of the U classes that are some token's, `of_token` (N,) has the
    number among them, and `own` (U, D) and `own_bias` (U,) what they have of their own.
    """

    second: Tensor
    first: Tensor
    rows: Tensor
    classes: Tensor
    of_token: Tensor
    own: Tensor
    own_bias: Tensor

    @classmethod
    def of(cls, target: Tensor, gram: Tensor) -> _Sums:
        classes, of_token = torch.unique(target, return_inverse=True)
        width, count = len(gram), len(classes)
        second, first, rows = (gram.new_zeros(s) for s in ((width, width), (width,), ()))
        own, own_bias = gram.new_zeros(count, width), gram.new_zeros(count)
        return cls(second, first, rows, classes, of_token, own, own_bias)


def _of_chunk(
    head: Head,
    chunk: slice,
    plan: Plan,
    gram: _Gram,
    gradients: Gradients,
    sums: _Sums | None,
) -> tuple[Tensor, Tensor]:
    """Values (n,) and which of them are in doubt.

    The gradient by hidden of the others is put into `gradients`, and what they have for those by
    weight and bias is added to `sums`.
    """
    terms, wide = plan.terms, gram.matrix.dtype
    hidden, index = head.hidden[chunk].to(wide), head.target[chunk]  # (n, D), (n,)
    own = head.weight[index].to(wide)
    true = (own * hidden).sum(-1)
    reach = own.norm(dim=-1) * hidden.norm(dim=-1)
    if head.bias is not None:
        bias = head.bias[index].to(wide)
        true, reach = true + bias, reach + bias.abs()
    images = hidden @ gram.matrix  # (n, D)
    squares = (images * hidden).sum(-1) + 2 * (hidden @ gram.by_bias) + gram.bias_square
    offsets = true - terms.true_aim
    values = terms.true * offsets.square() + terms.wrong * (squares - true.square())
    norms = (hidden.square() @ gram.matrix.diagonal()).sqrt() + gram.bias_square.sqrt()
    sizes = terms.wrong * (norms.square() + true.abs() * reach)
    dtype = accumulation_dtype(plan.dtype)
    saved_digits = torch.finfo(dtype).eps / torch.finfo(wide).eps
    trusted = sizes <= _MOST_CANCELLATION * saved_digits * values  # not so where either is NaN
    if gradients:
        rows = trusted.to(wide)
        if head.rows is not None:
            rows *= head.rows[chunk]
        at_true = (rows * (2 * terms.true * offsets - 2 * terms.wrong * true)).unsqueeze(-1)
        if gradients.hidden is not None:
            images.add_(gram.by_bias).mul_(2 * terms.wrong * rows.unsqueeze(-1))
            gradients.hidden[chunk] = images.addcmul_(own, at_true).to(dtype)
        if sums is not None:
            of_token = sums.of_token[chunk]
            sums.own_bias.index_add_(0, of_token, at_true.squeeze(-1))
            sums.first.add_(rows @ hidden)
            sums.rows.add_(rows.sum())
        if sums is not None and gradients.weight is not None:
            sums.own.index_add_(0, of_token, at_true * hidden)
            _add_symmetric_product(sums.second, rows.unsqueeze(-1) * hidden, hidden)
    return values.to(dtype), ~trusted


def _finish(head: Head, plan: Plan, gram: _Gram, sums: _Sums, gradients: Gradients) -> None:
    """The gradients by weight and bias from the sums over the tokens."""
    wide = gram.matrix.dtype
    dtype = accumulation_dtype(plan.dtype)
    sums = sums._replace(second=_mirrored(sums.second))
    if gradients.weight is None or _cancels(gram, sums, dtype):
        dtype = wide
    factor = 2 * plan.terms.wrong
    for part in _parts(head.weight, plan):
        _common(head, part, sums, factor, dtype, gradients)
    step = len(head.weight[next(_parts(head.weight, plan))])
    for start in range(0, len(sums.classes), step):
        own = slice(start, start + step)
        _common(head, sums.classes[own], sums, factor, wide, gradients, own)


def _common(
    head: Head,
    part: slice | Tensor,
    sums: _Sums,
    factor: float,
    dtype: torch.dtype,
    gradients: Gradients,
    own: slice | None = None,
) -> None:
    """Rows of the gradients: c's part of all tokens, and what is the classes' own if asked for."""
    weight = head.weight[part].to(dtype)
    bias = None if head.bias is None else head.bias[part].to(dtype)
    if gradients.weight is not None:
        rows = weight @ sums.second.to(dtype)
        if bias is not None:
            rows.addr_(bias, sums.first.to(dtype))
        rows.mul_(factor)
        if own is not None:
            rows.add_(sums.own[own])
        gradients.weight[part] = rows.to(gradients.weight.dtype)
    if gradients.bias is not None and bias is not None:
        column = factor * (weight @ sums.first.to(dtype) + sums.rows.to(dtype) * bias)
        if own is not None:
            column.add_(sums.own_bias[own])
        gradients.bias[part] = column.to(gradients.bias.dtype)


def _cancels(gram: _Gram, sums: _Sums, dtype: torch.dtype) -> bool:
    """Whether W K + b k' is much smaller than the products that it is made of."""
    if dtype == gram.matrix.dtype:
        return False
    second, first = sums.second, sums.first
    images = gram.matrix @ second + torch.outer(gram.by_bias, first)  # W' (W K + b k')
    by_first = second @ gram.by_bias + gram.bias_square * first  # (W K + b k')' b
    squares = (images * second).sum() + by_first @ first
    made_of = gram.matrix.diagonal() @ second.square().sum(-1)
    made_of = made_of + gram.bias_square * first.square().sum()
    return not bool(made_of <= _MOST_CANCELLATION**2 * squares)
