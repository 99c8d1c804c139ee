"""Values and gradients of a block of tokens, small enough for its temporaries to stay in cache.

The same numbers as `squall.losses.formulas` gives, written in place: the several passes that a
loss makes over its logits then read main memory once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from squall.losses.terms import Terms

__all__ = ["BLOCK_BYTES_PER_THREAD", "block_losses", "blocks"]

# Two megabytes in float32: smaller blocks pay more for the calls than they gain from the cache.
_BLOCK_ELEMENTS_PER_THREAD = 2**19
BLOCK_BYTES_PER_THREAD = 8 * _BLOCK_ELEMENTS_PER_THREAD
"""The most that a block can have on a CPU: in float64."""
# Elsewhere than on the CPU a block only bounds the temporaries; few launches matter more.
_BLOCK_ELEMENTS_ON_DEVICE = 2**24
# Far enough above the smallest float32 for a probability to carry all its digits.
_SMALLEST_PROB = 1e-30


def blocks(logits: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices over the first two dimensions of (A, S, C) that cover it block by block."""
    outer, inner, classes = logits.shape
    elements = (
        _BLOCK_ELEMENTS_PER_THREAD * torch.get_num_threads()
        if logits.device.type == "cpu"
        else _BLOCK_ELEMENTS_ON_DEVICE
    )
    inner_step = max(1, min(inner, elements // classes))
    outer_step = max(1, elements // (classes * inner_step))
    for start in range(0, outer, outer_step):
        for inner_start in range(0, inner, inner_step):
            yield slice(start, start + outer_step), slice(inner_start, inner_start + inner_step)


def block_losses(logits: Tensor, index: Tensor, terms: Terms, gradient: Tensor | None) -> Tensor:
    """Values of one block; with a `gradient` to fill, also the gradient of each by its logits.

    logits (a, s, C) in float32 or float64, index (a, s, 1) the true classes and gradient
    (a, s, C) of any dtype, or the logits themselves to be written over; returns (a, s, 1).
    """
    true = logits.gather(-1, index)  # (a, s, 1)
    values = torch.zeros_like(true)
    work: Tensor | None = None
    at_true = torch.zeros_like(true)
    if gradient is not None and gradient.dtype == logits.dtype and gradient.is_contiguous():
        work = None if gradient is logits else gradient
    of_probs: Tensor | float = terms.cross_entropy
    if terms.cross_entropy or terms.z_loss:
        work = torch.softmax(logits, -1, out=work)
        true_probs = work.gather(-1, index)
    if terms.z_loss:
        sums = torch.logsumexp(logits, -1, keepdim=True)
        values.add_(sums.square(), alpha=terms.z_loss)
        of_probs = sums.mul_(2 * terms.z_loss)
        at_true.addcmul_(of_probs, true_probs)
        of_probs = of_probs.add_(terms.cross_entropy)
    if terms.cross_entropy:
        entropies = _cross_entropies(logits, true_probs, index, terms.label_smoothing)
        values.add_(entropies, alpha=terms.cross_entropy)
        aim = 1 - terms.label_smoothing + terms.label_smoothing / logits.shape[-1]
        at_true.add_(true_probs.sub_(aim), alpha=terms.cross_entropy)
    if terms.true:
        offsets = true - terms.true_aim
        values.add_(offsets.square(), alpha=terms.true)
        at_true.add_(offsets, alpha=2 * terms.true)
    if terms.wrong:
        values.add_(_wrong_squares(logits, true, index), alpha=terms.wrong)
    if gradient is not None:
        at_wrong = _at_wrong_classes(logits, work, terms, of_probs, in_place=gradient is logits)
        work = at_wrong.scatter_(-1, index, at_true)
        if work is not gradient:
            gradient.copy_(work)
    return values


def _cross_entropies(
    logits: Tensor, true_probs: Tensor, index: Tensor, label_smoothing: float
) -> Tensor:
    """Cross-entropy (a, s, 1), from the probabilities at hand where they have not underflowed."""
    if not label_smoothing and _is_cheap_to_ask(logits) and _all(true_probs > _SMALLEST_PROB):
        return true_probs.log().neg_()
    log_probs = torch.log_softmax(logits, -1)
    entropies = log_probs.gather(-1, index).neg_()
    if label_smoothing:
        entropies.lerp_(-log_probs.mean(-1, keepdim=True), label_smoothing)
    return entropies


def _wrong_squares(logits: Tensor, true: Tensor, index: Tensor) -> Tensor:
    """Sum of squares (a, s, 1) over the wrong classes.

    All squares less that of the true class is the quickest, but where f_y is near M and the
    others are near zero, the difference would cancel to nothing.
    """
    if _is_cheap_to_ask(logits):
        norms: Tensor = torch.linalg.vector_norm(logits, dim=-1, keepdim=True)
        squares = norms.square_()
        true_squares = true.square()
        if _all(2 * true_squares < squares):
            return squares.sub_(true_squares)
    return logits.square().scatter_(-1, index, 0.0).sum(-1, keepdim=True)


def _at_wrong_classes(
    logits: Tensor,
    work: Tensor | None,
    terms: Terms,
    of_probs: Tensor | float,
    *,
    in_place: bool,
) -> Tensor:
    """The gradient as a wrong class has it, in `work` or, if that helps, in place of the logits.

    `work` holds the probs, if the loss has any, and `of_probs` their factor, one or a column.
    """
    if work is None or not (terms.cross_entropy or terms.z_loss):
        return torch.mul(logits, 2 * terms.wrong, out=logits if in_place else work)
    if isinstance(of_probs, Tensor) or of_probs != 1:
        work.mul_(of_probs)
    if terms.label_smoothing:
        work.sub_(terms.cross_entropy * terms.label_smoothing / logits.shape[-1])
    if not terms.wrong:
        return work
    return torch.add(work, logits, alpha=2 * terms.wrong, out=logits if in_place else work)


def _is_cheap_to_ask(tensor: Tensor) -> bool:
    """Whether a branch on values does not have to wait for a device."""
    return tensor.device.type == "cpu"


def _all(condition: Tensor) -> bool:
    return bool(condition.all())
