"""The expression of `squall.losses.terms` with its first and second derivatives.

What is here is written in plain torch: any transform (compile, vmap, higher derivatives) goes
through it, at the price of a few tensors of the size of the logits. `squall.losses.tokenwise`
computes the same numbers without them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from squall.losses.terms import Terms

__all__ = [
    "accumulation_dtype",
    "token_gradients",
    "token_hessian_products",
    "token_values",
]


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32 for half precision, otherwise the dtype itself."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _prepare(logits: Tensor, target: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor]:
    """Logits for the arithmetic, and a mask (..., C) that is true at the true class.

    Ignored tokens get zero logits, so that a NaN in the padding reaches neither the value nor
    a derivative of any order.
    """
    logits = logits.to(accumulation_dtype(logits.dtype)).masked_fill(ignored.unsqueeze(-1), 0.0)
    classes = torch.arange(logits.shape[-1], device=logits.device)
    return logits, classes == target.masked_fill(ignored, 0).unsqueeze(-1)  # (..., C)


def token_values(logits: Tensor, target: Tensor, ignored: Tensor, terms: Terms) -> Tensor:
    """The value of each token, 0 where ignored.

    logits (..., C) floating, target (...) int64 and ignored (...) bool give values (...) in
    float32, or in float64 for float64 logits.
    """
    logits, is_true = _prepare(logits, target, ignored)
    values = logits.new_zeros(target.shape)
    if terms.true:
        true = logits.masked_fill(~is_true, 0.0).sum(-1)
        values = values + terms.true * (true - terms.true_aim).square()
    if terms.wrong:
        wrong = logits.masked_fill(is_true, 0.0)
        values = values + terms.wrong * wrong.square().sum(-1)
    if terms.cross_entropy:
        log_probs = torch.log_softmax(logits, -1)
        entropies = -log_probs.masked_fill(~is_true, 0.0).sum(-1)
        if terms.label_smoothing:
            entropies = torch.lerp(entropies, -log_probs.mean(-1), terms.label_smoothing)
        values = values + terms.cross_entropy * entropies
    if terms.z_loss:
        values = values + terms.z_loss * torch.logsumexp(logits, -1).square()
    return values.masked_fill(ignored, 0.0)


def token_gradients(logits: Tensor, target: Tensor, ignored: Tensor, terms: Terms) -> Tensor:
    """The gradient of each token's value by its own logits, shape (..., C).

    With q = (1 - eps) * 1[j = y] + eps / C, the entry of class j is
    a * (p_j - q_j) + 2 b (f_j - M) if j = y, and a * (p_j - q_j) + 2 c f_j otherwise; to both
    comes 2 z l p_j with l = log sum_j exp f_j.
    """
    logits, is_true = _prepare(logits, target, ignored)
    gradients = torch.zeros_like(logits)
    if terms.true or terms.wrong:
        at_true = 2 * terms.true * (logits - terms.true_aim)
        gradients = torch.where(is_true, at_true, 2 * terms.wrong * logits)
    if terms.cross_entropy:
        aims = (1 - terms.label_smoothing) * is_true + terms.label_smoothing / logits.shape[-1]
        gradients = gradients + terms.cross_entropy * (torch.softmax(logits, -1) - aims)
    if terms.z_loss:
        sums = torch.logsumexp(logits, -1, keepdim=True)
        gradients = gradients + 2 * terms.z_loss * sums * torch.softmax(logits, -1)
    return gradients.masked_fill(ignored.unsqueeze(-1), 0.0)


def token_hessian_products(
    logits: Tensor, target: Tensor, ignored: Tensor, terms: Terms, vectors: Tensor
) -> Tensor:
    """The Hessian of each token's value times that token's vector; all of shape (..., C).

    The Hessian is (a + 2 z l) * (diag(p) - p p') + 2 z p p' + 2 diag(b at the true class, c
    elsewhere) with l = log sum_j exp f_j.
    """
    logits, is_true = _prepare(logits, target, ignored)
    products = torch.where(is_true, 2 * terms.true * vectors, 2 * terms.wrong * vectors)
    if terms.cross_entropy or terms.z_loss:
        probs = torch.softmax(logits, -1)
        means = (probs * vectors).sum(-1, keepdim=True)
        sums = torch.logsumexp(logits, -1, keepdim=True)
        factors = terms.cross_entropy + 2 * terms.z_loss * sums
        products = products + probs * (factors * (vectors - means) + 2 * terms.z_loss * means)
    return products.masked_fill(ignored.unsqueeze(-1), 0.0)
