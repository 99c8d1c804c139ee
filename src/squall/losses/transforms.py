"""Whether something else than a plain backward pass looks at a loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["is_batched", "sees_every_operation"]


def _is_transformed() -> bool:
    """Whether a transform of torch.func runs; what `autograd.Function` asks itself, too."""
    return torch._C._are_functorch_transforms_active()


def is_batched(gradient: Tensor) -> bool:
    """Whether an incoming gradient stands for a batch of them.

    So `torch.autograd.grad` and `jacobian` call a backward pass, by the vmap of old.
    """
    return _is_transformed() or torch._C._functorch.is_legacy_batchedtensor(gradient)


def sees_every_operation(*tensors: Tensor) -> bool:
    """Whether a transform or forward mode has to, or there are no numbers to compute with."""
    return _is_transformed() or any(t.is_meta or _has_tangent(t) for t in tensors)


def _has_tangent(tensor: Tensor) -> bool:
    dual = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return dual.tangent is not None
