"""Losses of a linear layer's logits never hold all logits, nor more than they may."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from squall import losses
from squall.losses import LINEAR_LOSSES

CASES: list[dict[str, Any]] = [
    {"name": "ce", "label_smoothing": 0.1, "z_loss": 0.1},
    {"name": "square"},
    {"name": "square", "softcap": 3.0},
    {"name": "ccql"},
    {"name": "squentropy"},
    {"name": "squentropy", "softcap": 3.0, "reduction": "none"},
    {"name": "rescaled_square", "reduction": "none"},
]
every_loss = pytest.mark.parametrize(
    "config", CASES, ids=[" ".join(map(str, c.values())) for c in CASES]
)


class Storages(TorchDispatchMode):
    """Follows what the operations allocate: the largest storage, and the most at one time."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.largest = self.peak = self.now = 0
        self._seen = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address in self._seen:
            return
        self._seen.add(address)
        self.now += size
        self.peak, self.largest = max(self.peak, self.now), max(self.largest, size)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        self._seen.discard(address)
        self.now -= size


N, D, V = 60, 8, 20_000


def make_layer(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """hidden, weight, target and bias."""
    parts = [torch.randn(shape, dtype=dtype) for shape in ((N, D), (V, D), (V,))]
    hidden, weight, bias = (part.requires_grad_() for part in parts)
    return [hidden, weight, torch.randint(V, (N,)), bias]


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("budget", [2_000_000, 600_000])
def test_temporary_tensors_stay_within_the_budget(
    config: dict[str, Any], dtype: torch.dtype, budget: int
) -> None:
    given = {**config, "max_memory_gb": budget / 1e9}
    loss = LINEAR_LOSSES[given.pop("name")](**given)
    hidden, weight, target, bias = make_layer(dtype)
    with Storages(hidden, weight, target, bias) as seen:
        loss(hidden, weight, target, bias).sum().backward()
    of_gradients = 4 * (N * D + V * D + V)
    if dtype != torch.float32:  # each is there in float32 first
        of_gradients += 2 * (N * D + V * D + V)
    of_tokens = 100 * N * D * 8
    bias_converted = 4 * V
    assert seen.peak <= budget + of_gradients + of_tokens + bias_converted
    assert seen.largest <= max(budget, 4 * V * D)
    assert seen.peak < of_gradients + 4 * N * V // 2


@every_loss
def test_memory_does_not_grow_with_the_tokens_left_to_the_code(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_LEAST_CHUNK_BYTES", "_MOST_CHUNK_BYTES"):
        monkeypatch.setattr(losses.chunks, name, 4 * 4 * V)
    monkeypatch.setattr(losses.gram, "_PART_BYTES", 4 * 4 * V)
    given = dict(config)
    loss = LINEAR_LOSSES[given.pop("name")](**given)
    hidden, weight, target, bias = make_layer()
    with Storages(hidden, weight, target, bias) as seen:
        loss(hidden, weight, target, bias).sum().backward()
    assert seen.largest <= 4 * V * D
    assert seen.peak < 4 * (V * D + V) + 4 * N * V // 2


def test_forward_alone_makes_nothing_of_the_size_of_the_weight() -> None:
    hidden, weight, target, bias = make_layer()
    with torch.no_grad(), Storages(hidden, weight, target, bias) as seen:
        losses.linear_squentropy_loss(hidden, weight, target, bias, max_memory_gb=6e-4)
    assert seen.peak < 600_000


def test_budget_below_one_token_says_what_it_needs() -> None:
    layer = make_layer()
    message = r"max_memory_gb is 0.0003; the logits of a single token need 0.0004"
    with pytest.raises(ValueError, match=message):
        losses.linear_squentropy_loss(*layer, max_memory_gb=3e-4)
    losses.linear_squentropy_loss(*layer, max_memory_gb=4.1e-4)
