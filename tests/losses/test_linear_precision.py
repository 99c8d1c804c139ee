"""Losses of a linear layer's logits in float32, half precision and under autocast."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from squall.losses import LINEAR_LOSSES, LOSSES, chunks, gram, linear_ccql_loss
from squall.losses.chunks import Head, Plan
from squall.losses.fused import head_losses

CASES: list[dict[str, Any]] = [
    {"name": "ce"},
    {"name": "square"},
    {"name": "rescaled_square", "k": 15.0, "M": 30.0},
    {"name": "ccql"},
    {"name": "squentropy"},
]
SQUARES = CASES[1:4]
N, D, V = 60, 16, 200

every_loss = pytest.mark.parametrize("config", CASES, ids=[case["name"] for case in CASES])
every_square = pytest.mark.parametrize("config", SQUARES, ids=[case["name"] for case in SQUARES])
half_precision = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])

Layer = tuple[Tensor, Tensor, Tensor | None, Tensor]
"""hidden, weight, bias and target."""


def make_layer(regime: str) -> Layer:
    """In float64, of numbers that float32 has.

    "common" has rows with a large part in common, to which hidden is orthogonal, "cancelled" a bias
    that all but cancels it, "trained" logits of 1 (30) at the true class and of nearly 0 elsewhere.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    target = torch.randint(V, (N,), generator=generator)
    hidden, weight, bias = draw(N, D), draw(V, D) / D**0.5, None
    common = torch.linalg.qr(draw(D, D)).Q[0]
    if regime == "bias":
        bias = draw(V)
    elif regime in ("common", "cancelled"):
        hidden -= torch.outer(hidden @ common, common)
        weight += 100 * common
        if regime == "cancelled":
            hidden += common
            bias = torch.full((V,), -100.0, dtype=torch.float64)
    elif regime.startswith("trained"):
        size = float(regime.split()[1])
        target %= D
        weight[:D] = torch.eye(D)
        weight[D:] *= 1e-3
        hidden = size * (torch.eye(D, dtype=torch.float64)[target] + 1e-4 * draw(N, D))
    else:
        assert regime == "any"
    narrow = (hidden.float().double(), weight.float().double())
    return *narrow, None if bias is None else bias.float().double(), target


def gradients_of(loss: Any, layer: Layer, dtype: torch.dtype, factor: float = 1.0) -> list[Tensor]:
    """Value, and gradients by hidden, weight and bias."""
    *parts, target = layer
    leaves = [
        None if t is None else t.detach().to(dtype, copy=True).requires_grad_() for t in parts
    ]
    value = loss(leaves[0], leaves[1], target, leaves[2])
    (factor * value).sum().backward()
    return [value.detach(), *(leaf.grad for leaf in leaves if leaf is not None)]


def fused(config: dict[str, Any], **options: Any) -> Any:
    given = {**config, **options}
    return LINEAR_LOSSES[given.pop("name")](**given)


def plain(config: dict[str, Any], softcap: float | None = None, **options: Any) -> Any:
    given = {**config, **options, "class_dim": -1}
    loss = LOSSES[given.pop("name")](**given)

    def of_layer(hidden: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None) -> Tensor:
        logits = F.linear(hidden, weight, bias)
        capped = logits if softcap is None else softcap * torch.tanh(logits / softcap)
        value: Tensor = loss(capped, target)
        return value

    return of_layer


def error(found: Tensor, exact: Tensor) -> float:
    """The largest difference, as a part of the largest entry."""
    return float((found.double() - exact).abs().max() / exact.abs().max())


REGIMES = ["any", "bias", "common", "cancelled", "trained 1", "trained 30"]


@pytest.mark.parametrize("regime", REGIMES)
@every_loss
def test_float32_keeps_its_digits(config: dict[str, Any], regime: str) -> None:
    """To 1e-5, or to three times what the logits in float32 lose in the gradient."""
    layer = make_layer(regime)
    loss, reference = fused(config, reduction="none"), plain(config, reduction="none")
    exact = gradients_of(reference, layer, torch.float64)
    through_logits = gradients_of(reference, layer, torch.float32)
    found = gradients_of(loss, layer, torch.float32)
    if config in SQUARES:
        torch.testing.assert_close(found[0].double(), exact[0], rtol=2e-7, atol=0)
    for one, logits, best in zip(found, through_logits, exact, strict=True):
        assert error(one, best) <= max(1e-5, 3 * error(logits, best))


@pytest.mark.parametrize("regime", REGIMES)
@every_square
def test_float64_turns_to_the_logits_where_the_gram_matrix_cancels(
    config: dict[str, Any], regime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = make_layer(regime)
    through_logits: list[int] = []
    real = gram.chunk_pass

    def count(head: Head, plan: Plan, gradients: chunks.Gradients) -> Tensor:
        through_logits.append(len(head.target))
        return real(head, plan, gradients)

    expected = gradients_of(plain(config, reduction="none"), layer, torch.float64)
    loss = fused(config, reduction="none")
    monkeypatch.setattr(gram, "chunk_pass", count)
    found = gradients_of(loss, layer, torch.float64)
    for one, best in zip(found, expected, strict=True):
        assert error(one, best) < 1e-10
    torch.testing.assert_close(found[0], expected[0], rtol=1e-10, atol=0)
    if regime in ("any", "bias"):
        assert not through_logits
    if regime == "cancelled":
        assert set(through_logits) == {N}
    if regime == "common" and config["name"] == "square":
        assert through_logits


@half_precision
@every_loss
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("regime", ["bias", "cancelled"])
def test_half_precision_is_no_worse_than_through_logits(
    config: dict[str, Any], dtype: torch.dtype, softcap: float | None, regime: str
) -> None:
    layer = make_layer(regime)
    layer = (*(t.to(dtype).double() for t in layer[:3] if t is not None), layer[3])  # type: ignore[assignment]
    loss = fused(config, softcap=softcap)
    exact = gradients_of(loss, layer, torch.float64)
    through_logits = gradients_of(plain(config, softcap), layer, dtype)
    found = gradients_of(loss, layer, dtype)
    for one, logits, best in zip(found, through_logits, exact, strict=True):
        assert one.dtype == dtype
        assert error(one, best) <= 1.5 * error(logits, best) + torch.finfo(dtype).eps


@half_precision
@every_loss
def test_autocast_multiplies_in_half_precision(config: dict[str, Any], dtype: torch.dtype) -> None:
    layer = make_layer("bias")
    exact = gradients_of(plain(config), layer, torch.float64)
    with torch.autocast("cpu", dtype=dtype):
        through_logits = gradients_of(plain(config), layer, torch.float32)
        found = gradients_of(fused(config), layer, torch.float32)
    for one, logits, best in zip(found, through_logits, exact, strict=True):
        assert one.dtype == torch.float32
        assert error(one, best) <= 1.5 * error(logits, best) + torch.finfo(dtype).eps


def test_bfloat16_is_multiplied_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """And under autocast float32 is, part by part; float16, too narrow for gradients, is not."""
    layer, made = make_layer("any"), set[torch.dtype]()
    real = chunks._values_in_place

    def record(logits: Tensor, *args: Any) -> Tensor:
        made.add(logits.dtype)
        return real(logits, *args)

    monkeypatch.setattr(chunks, "_values_in_place", record)
    for dtype, products in ((torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)):
        loss = fused(CASES[4])
        made.clear()
        gradients_of(loss, layer, dtype)
        with torch.autocast("cpu", dtype=dtype):
            gradients_of(loss, layer, torch.float32)
        assert made == {products}


@half_precision
@every_loss
@pytest.mark.parametrize("autocast", [True, False])
def test_gradient_is_rounded_after_all_its_factors(
    config: dict[str, Any], dtype: torch.dtype, autocast: bool
) -> None:
    """A GradScaler's 65536 comes before the rounding, which a small scale would not survive."""
    layer = make_layer("any")
    loss = fused({**config, "scale": 1e-6 if autocast else 1e-3})
    factor = 65536 if autocast else 32768  # a half-precision value takes such a gradient
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        half = gradients_of(loss, layer, dtype, factor)
    full = gradients_of(
        loss,
        tuple(t if t is None or not t.is_floating_point() else t.to(dtype).double() for t in layer),
        torch.float64,
        factor,
    )  # type: ignore[arg-type]
    for one, best in zip(half[1:], full[1:], strict=True):
        assert error(one, best) < 4 * torch.finfo(dtype).eps


@half_precision
@every_loss
def test_grad_scaler_gives_the_gradients_back(config: dict[str, Any], dtype: torch.dtype) -> None:
    hidden, weight, bias, target = make_layer("bias")
    assert bias is not None
    head = torch.nn.Linear(D, V)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    with torch.autocast("cpu", dtype=dtype):
        value = fused(config)(hidden.float(), head.weight, target, head.bias)
    scaler.scale(value).backward()
    scaler.unscale_(optimizer)
    exact = gradients_of(plain(config), (hidden, weight, bias, target), torch.float64)
    for parameter, best in zip(head.parameters(), exact[2:], strict=True):
        assert parameter.grad is not None
        assert error(parameter.grad, best) < 4 * torch.finfo(dtype).eps


@half_precision
def test_gradient_of_one_token_may_exceed_the_range(dtype: torch.dtype) -> None:
    hidden = torch.ones(10, 1, dtype=dtype)
    weight = torch.zeros(60_000, 1, dtype=dtype)
    weight[0] = 300.0
    weight.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = linear_ccql_loss(hidden, weight, torch.zeros(10, dtype=torch.int64))
    value.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    expected = torch.tensor(59_999**0.5 * 299).to(dtype)
    if dtype == torch.bfloat16:
        torch.testing.assert_close(weight.grad[0, 0], expected)
    else:
        assert weight.grad[0, 0] == expected == torch.inf


@every_loss
@pytest.mark.parametrize("summed", [True, False])
def test_rows_take_the_place_of_leaving_tokens_out(config: dict[str, Any], summed: bool) -> None:
    """What is done on devices where counting the kept tokens would wait."""
    hidden, weight, bias, target = make_layer("bias")
    loss = fused(config)
    plan = Plan(loss.terms(V), None, torch.float64, None)
    rows = (torch.arange(N) % 3 != 0).double()
    kept = rows.nonzero().flatten()
    found = []
    for of in (
        Head(hidden, weight, bias, target, rows),
        Head(hidden[kept], weight, bias, target[kept], None),
    ):
        leaves = [t.detach().clone().requires_grad_() for t in of[:3] if t is not None]
        values = head_losses(Head(*leaves, *of[3:]), plan, summed=summed)
        factors = torch.linspace(1, 2, N, dtype=torch.float64)
        factors = factors[0] if summed else factors[:] if of.rows is not None else factors[kept]
        total = (factors * values).sum()
        by_hidden, *others = torch.autograd.grad(total, leaves)
        found.append([total.detach(), by_hidden if of.rows is None else by_hidden[kept], *others])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_loss
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_gpu_gives_the_numbers_of_the_cpu(config: dict[str, Any], dtype: torch.dtype) -> None:
    hidden, weight, bias, target = make_layer("bias")
    target[::7] = -100
    here = gradients_of(fused(config), (hidden, weight, bias, target), dtype)
    there = tuple(None if t is None else t.cuda() for t in (hidden, weight, bias, target))
    found = gradients_of(fused(config), there, dtype)  # type: ignore[arg-type]
    for one, other in zip(found, here, strict=True):
        assert error(one.cpu(), other.double()) < 20 * torch.finfo(dtype).eps
