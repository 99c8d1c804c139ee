"""Losses of a linear layer's logits: values and gradients beside those of the logits themselves."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from squall import losses
from squall.losses import LINEAR_LOSSES, LOSSES, build_loss, chunks, gram
from squall.losses.formulas import token_values

CASES: list[dict[str, Any]] = [
    {"name": "ce", "label_smoothing": 0.1},
    {"name": "square"},
    {"name": "rescaled_square", "k": 2.0, "M": 3.0},
    {"name": "ccql"},
    {"name": "squentropy", "alpha": 0.7},
    {"name": "squentropy", "alpha": 3.0, "label_smoothing": 0.1, "scale": 1.5},
]
SQUARES = [case for case in CASES if case["name"] in ("square", "rescaled_square", "ccql")]
EXTRAS: list[dict[str, Any]] = [
    {},
    {"softcap": 2.0},
    {"z_loss": 0.3},
    {"softcap": 5.0, "z_loss": 0.1},
]

every_loss = pytest.mark.parametrize("config", CASES, ids=[case["name"] for case in CASES])
every_extra = pytest.mark.parametrize("extra", EXTRAS, ids=["plain", "softcap", "z_loss", "both"])
every_square = pytest.mark.parametrize("config", SQUARES, ids=[case["name"] for case in SQUARES])

Layer = tuple[Tensor, Tensor, Tensor, Tensor | None]
"""hidden, weight, target, bias: the order of the losses' arguments."""


def make_layer(
    *shape: int, width: int = 5, classes: int = 11, with_bias: bool = True, seed: int = 0
) -> Layer:
    """In float64, with one ignored token if there is more than one."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(*shape, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    bias = torch.randn(classes, generator=generator, dtype=torch.float64)
    target = torch.randint(classes, shape, generator=generator)
    if target.numel() > 1:
        target.view(-1)[1] = -100
    return hidden, weight, target, bias if with_bias else None


def plain(
    config: dict[str, Any],
    softcap: float | None = None,
    z_loss: float = 0.0,
    **options: Any,
) -> Callable[..., Tensor]:
    """The loss of all logits, with cap and z-loss as their formulas say."""
    loss = build_loss(**config, **options, class_dim=-1)

    def of_layer(hidden: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None) -> Tensor:
        logits = F.linear(hidden, weight, bias)
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        value = loss(logits, target)
        kept = target != loss.ignore_index
        z = loss.scale * z_loss * logits.logsumexp(-1).square().masked_fill(~kept, 0.0)
        if loss.reduction == "none":
            return value + z
        return value + (z.sum() if loss.reduction == "sum" else z.sum() / kept.sum().clamp(min=1))

    return of_layer


def fused(config: dict[str, Any], **options: Any) -> Callable[..., Tensor]:
    given = {**config, **options}
    return LINEAR_LOSSES[given.pop("name")](**given)


def with_gradients(
    loss: Callable[..., Tensor], layer: Layer, factors: Tensor | None = None
) -> list[Tensor]:
    """The value, and the gradients by hidden, weight and bias."""
    hidden, weight, target, bias = layer
    leaves = [t.detach().clone().requires_grad_() for t in (hidden, weight, bias) if t is not None]
    value = loss(leaves[0], leaves[1], target, leaves[2] if bias is not None else None)
    total = value.sum() if factors is None else (value * factors).sum()
    return [value.detach(), *torch.autograd.grad(total, leaves)]


def assert_same(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-10) -> None:
    """Equal to a fraction of the largest entry."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        scale = float(other.detach().abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(
            one.to(other.dtype), other, rtol=0, atol=tolerance * max(scale, 1e-30)
        )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of few tokens, so that several of them make a batch."""
    for name in ("_LEAST_CHUNK_BYTES", "_MOST_CHUNK_BYTES"):
        monkeypatch.setattr(chunks, name, 8 * 11 * 3)
    monkeypatch.setattr(chunks, "_PART_BYTES", 8 * 5 * 4)
    monkeypatch.setattr(gram, "_PART_BYTES", 8 * 5 * 4)


def test_cases_name_every_loss() -> None:
    assert {case["name"] for case in CASES} == set(LOSSES) == set(LINEAR_LOSSES)


@pytest.mark.parametrize("name", LINEAR_LOSSES)
def test_module_gives_the_value_of_the_function(name: str) -> None:
    functions = {"ce": losses.linear_cross_entropy}
    function = functions.get(name) or getattr(losses, f"linear_{name}_loss")
    hidden, weight, target, bias = make_layer(6)
    options: dict[str, Any] = {"reduction": "sum", "scale": 0.5, "softcap": 3.0, "z_loss": 0.1}
    module = LINEAR_LOSSES[name](**options)
    expected = function(hidden, weight, target, bias, **options)
    assert torch.equal(module(hidden, weight, target, bias), expected)
    assert repr(module).endswith("(reduction='sum', scale=0.5, softcap=3.0, z_loss=0.1)")
    assert torch.equal(copy.deepcopy(module)(hidden, weight, target, bias), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_parameters_and_terms_are_those_of_the_loss_of_logits(name: str) -> None:
    own = {"softcap", "z_loss", "max_memory_gb"}
    one, other = LINEAR_LOSSES[name](), LOSSES[name]()
    assert set(one.arguments()) - own == set(other.arguments()) - {"class_dim"}
    assert one.terms(7) == other.terms(7)


@pytest.mark.usefixtures("small_chunks")
@every_loss
@every_extra
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_the_loss_of_the_logits(
    config: dict[str, Any], extra: dict[str, Any], reduction: str, with_bias: bool
) -> None:
    layer = make_layer(4, 5, with_bias=with_bias)
    factors = torch.linspace(-1, 2, 20, dtype=torch.float64).view(4, 5)
    if reduction != "none":
        factors = factors[0, 0]
    options = {**extra, "reduction": reduction}
    found = with_gradients(fused(config, **options), layer, factors)
    assert_same(found, with_gradients(plain(config, **options), layer, factors))


@every_loss
@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(0, 5), min_size=0, max_size=3),
    width=st.integers(1, 7),
    classes=st.integers(2, 40),
    seed=st.integers(0, 99),
    ignored=st.floats(0, 1),
    with_bias=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    extra=st.sampled_from(EXTRAS),
)
def test_any_shape_equals_the_loss_of_the_logits(
    config: dict[str, Any],
    shape: list[int],
    width: int,
    classes: int,
    seed: int,
    ignored: float,
    with_bias: bool,
    dtype: torch.dtype,
    extra: dict[str, Any],
) -> None:
    hidden, weight, target, bias = make_layer(
        *shape, width=width, classes=classes, with_bias=with_bias, seed=seed
    )
    target = target.masked_fill(torch.rand(shape) < ignored, -100)
    layer = (hidden.to(dtype), weight.to(dtype), target, None if bias is None else bias.to(dtype))
    exact = (
        layer[0].double(),
        layer[1].double(),
        target,
        None if bias is None else layer[3].double(),
    )
    found = with_gradients(fused(config, **extra), layer)
    assert all(tensor.dtype == dtype for tensor in found)
    expected = with_gradients(plain(config, **extra), exact)
    assert_same(found, [t.to(dtype) for t in expected], 1e-10 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("tokens", [3, 40])
@every_square
def test_squares_of_many_tokens_need_no_logits(
    config: dict[str, Any], tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, loss = make_layer(tokens, width=8, classes=50), fused(config)
    made: list[int] = []
    for module in (gram, losses.fused):
        monkeypatch.setattr(
            module, "chunk_pass", lambda head, plan, out: made.append(len(head.target))
        )
    if tokens == 3:  # where the Gram matrix would take more products than the logits
        with pytest.raises(AttributeError):
            loss(*layer)
        assert made == [2]
        return
    found = with_gradients(loss, layer)
    assert not made
    assert_same(found, with_gradients(plain(config), layer))


@every_loss
def test_derivatives_are_those_of_differences(config: dict[str, Any]) -> None:
    hidden, weight, target, bias = make_layer(3, width=2, classes=4)
    assert bias is not None
    leaves = [tensor.requires_grad_() for tensor in (hidden, weight, bias)]

    for reduction in ("none", "mean"):
        loss = fused(config, reduction=reduction, z_loss=0.1, softcap=4.0)

        def of(h: Tensor, w: Tensor, b: Tensor, loss: Callable[..., Tensor] = loss) -> Tensor:
            return loss(h, w, target, b)

        assert torch.autograd.gradcheck(of, leaves, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(of, leaves)


@every_square
def test_derivatives_by_the_gram_matrix(config: dict[str, Any]) -> None:
    hidden, weight, target, bias = make_layer(9, width=2, classes=6)
    assert bias is not None
    leaves = [tensor.requires_grad_() for tensor in (hidden, weight, bias)]
    assert torch.autograd.gradcheck(lambda h, w, b: fused(config)(h, w, target, b), leaves)


@every_loss
def test_second_derivatives_of_tied_weights(config: dict[str, Any]) -> None:
    """Where hidden is a function of the weight, none of its gradient is counted twice."""
    _, weight, target, _ = make_layer(9, classes=6)
    weight.requires_grad_()
    found = []
    for loss in (fused(config), plain(config)):
        hidden = weight[torch.arange(9) % 6].tanh()
        (first,) = torch.autograd.grad(
            loss(hidden, weight, target, None), weight, create_graph=True
        )
        found.append([first, *torch.autograd.grad(first.square().sum(), weight)])
    assert_same(*found)


@every_loss
def test_transforms_of_torch_func(config: dict[str, Any]) -> None:
    hidden, weight, target, bias = make_layer(2, 9, classes=6)
    one, other = fused(config), plain(config)
    for transform in (torch.func.grad, torch.func.hessian):
        found = transform(lambda h: one(h, weight, target, bias))(hidden)
        torch.testing.assert_close(
            found, transform(lambda h: other(h, weight, target, bias))(hidden)
        )
    mapped = torch.func.vmap(one, in_dims=(0, None, 0, None))(hidden, weight, target, bias)
    looped = torch.stack([other(h, weight, t, bias) for h, t in zip(hidden, target, strict=True)])
    torch.testing.assert_close(mapped, looped)


@every_loss
def test_batches_of_incoming_gradients(config: dict[str, Any]) -> None:
    hidden, weight, target, bias = make_layer(9)
    jacobians = [
        torch.autograd.functional.jacobian(
            lambda h, w, b, loss=loss: loss(h, w, target, b), (hidden, weight, bias), vectorize=True
        )
        for loss in (fused(config, reduction="none"), plain(config, reduction="none"))
    ]
    assert_same(list(jacobians[0]), list(jacobians[1]))
    assert bias is not None
    leaves = [tensor.requires_grad_() for tensor in (hidden, weight, bias)]
    assert torch.autograd.gradcheck(
        lambda h, w, b: fused(config)(h, w, target, b), leaves, check_batched_grad=True
    )


@every_loss
def test_backward_twice_and_by_parts(config: dict[str, Any]) -> None:
    """The second pass has to compute again what the first one gave away."""
    hidden, weight, target, bias = make_layer(9)
    leaves = [t.clone().requires_grad_() for t in (hidden, weight, bias) if t is not None]
    value = fused(config)(leaves[0], leaves[1], target, leaves[2])
    first = torch.autograd.grad(value, leaves, retain_graph=True)
    kept = [gradient.clone() for gradient in first]
    second = torch.autograd.grad(3 * value, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))
    assert_same(list(second), [3 * gradient for gradient in kept])


@every_loss
@pytest.mark.parametrize("frozen", [("hidden",), ("weight",), ("bias",), ("weight", "bias")])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_frozen_parts_take_no_work(
    config: dict[str, Any],
    frozen: tuple[str, ...],
    reduction: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hidden, weight, target, bias = make_layer(9)
    made: list[chunks.Gradients] = []
    for name in ("chunk_pass", "gram_pass"):
        real = getattr(losses.fused, name)

        def record(head: Any, plan: Any, out: chunks.Gradients, real: Any = real) -> Tensor:
            made.append(out)
            return real(head, plan, out)

        monkeypatch.setattr(losses.fused, name, record)
    parts = {"hidden": hidden, "weight": weight, "bias": bias}
    expected = dict(
        zip(parts, with_gradients(plain(config), (hidden, weight, target, bias))[1:], strict=True)
    )
    leaves = {k: t.clone().requires_grad_(k not in frozen) for k, t in parts.items()}
    value = fused(config, reduction=reduction)(
        leaves["hidden"], leaves["weight"], target, leaves["bias"]
    )
    (value.sum() / (1 if reduction == "mean" else 8)).backward()
    for name, leaf in leaves.items():
        if name in frozen:
            assert leaf.grad is None
            assert all(getattr(gradients, name) is None for gradients in made)
        else:
            torch.testing.assert_close(leaf.grad, expected[name])


@every_loss
def test_without_gradients_none_is_computed(config: dict[str, Any]) -> None:
    hidden, weight, target, bias = make_layer(9)
    expected = plain(config)(hidden, weight, target, bias)
    assert_same([fused(config)(hidden, weight, target, bias)], [expected])
    weight.requires_grad_()
    with torch.no_grad():
        value = fused(config)(hidden, weight, target, bias)
    assert not value.requires_grad
    assert_same([value], [expected])


@every_loss
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("garbage", [math.nan, math.inf])
@pytest.mark.parametrize("transformed", [False, True])
def test_ignored_tokens_may_hold_anything(
    config: dict[str, Any], reduction: str, garbage: float, transformed: bool
) -> None:
    hidden, weight, target, bias = make_layer(9)
    loss = fused(config, reduction=reduction)
    if transformed:  # what other devices do, where asking would wait

        def run(layer: Layer) -> list[Tensor]:
            def of(h: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
                value = loss(h, w, layer[2], layer[3])
                return value.sum(), value

            grads, value = torch.func.grad(of, argnums=(0, 1), has_aux=True)(layer[0], layer[1])
            return [value, *grads]
    else:

        def run(layer: Layer) -> list[Tensor]:
            return with_gradients(loss, layer)

    expected = run((hidden, weight, target, bias))
    spoilt = hidden.clone()
    spoilt[1] = garbage
    found = run((spoilt, weight, target, bias))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert torch.equal(found[1][1], torch.zeros_like(found[1][1]))


@every_loss
@pytest.mark.parametrize("tokens", [0, 4])
def test_nothing_to_learn_from_gives_zero(config: dict[str, Any], tokens: int) -> None:
    hidden, weight, target, bias = make_layer(tokens)
    found = with_gradients(fused(config, z_loss=0.1), (hidden, weight, target.fill_(-100), bias))
    assert all(torch.equal(tensor, torch.zeros_like(tensor)) for tensor in found)


@every_loss
def test_layout_and_integers_do_not_matter(config: dict[str, Any]) -> None:
    hidden, weight, target, bias = make_layer(4, 6)
    expected = with_gradients(fused(config), (hidden, weight, target, bias))

    def of_strided(h: Tensor, w: Tensor, t: Tensor, b: Tensor | None) -> Tensor:
        h = h.movedim(0, 2).contiguous().movedim(2, 0)
        return fused(config)(h, w.T.contiguous().T, t.T.contiguous().T.to(torch.int32), b)

    assert_same(with_gradients(of_strided, (hidden, weight, target, bias)), expected)


@every_loss
def test_micro_batches_add_up_to_the_batch(config: dict[str, Any]) -> None:
    """Sums divided by the number of all tokens, as a training with accumulation has it."""
    hidden, weight, target, bias = make_layer(12)
    expected = with_gradients(fused(config), (hidden, weight, target, bias))
    head = nn.Linear(5, 11, dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)  # type: ignore[arg-type]
    loss = fused(config, reduction="sum")
    for part in (slice(0, 5), slice(5, 12)):
        (loss(hidden[part], head.weight, target[part], head.bias) / 11).backward()
    assert_same([head.weight.grad, head.bias.grad], expected[2:])  # type: ignore[list-item]


class Tied(nn.Module):
    """A language model of one layer, whose head is its embedding; with the loss in its forward."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 5, dtype=torch.float64)
        self.layer = nn.Linear(5, 5, dtype=torch.float64)
        self.loss = LINEAR_LOSSES[name]()

    def hidden(self, tokens: Tensor) -> Tensor:
        return torch.tanh(self.layer(self.embedding(tokens[:, :-1])))

    def forward(self, tokens: Tensor) -> Tensor:
        value: Tensor = self.loss(self.hidden(tokens), self.embedding.weight, tokens[:, 1:])
        return value


class TiedWithLogits(Tied):
    """The same with all logits."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.loss_of_logits = build_loss(name, class_dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        logits = self.hidden(tokens) @ self.embedding.weight.T
        value: Tensor = self.loss_of_logits(logits, tokens[:, 1:])
        return value


@pytest.mark.parametrize("name", LINEAR_LOSSES)
def test_training_takes_the_same_steps(name: str) -> None:
    tokens = torch.randint(11, (20, 4, 6))
    histories = []
    for model in (Tied(name), TiedWithLogits(name)):
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(generator=generator)
        model.float()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        history = []
        for batch in tokens:
            optimizer.zero_grad()
            value = model(batch)
            value.backward()
            optimizer.step()
            history.append(value.item())
        histories.append(history)
    assert histories[0] == pytest.approx(histories[1], rel=1e-5)


@pytest.mark.parametrize("name", LINEAR_LOSSES)
def test_weight_may_be_an_embeddings(name: str) -> None:
    model, tokens = Tied(name), torch.randint(11, (4, 6))
    other = TiedWithLogits(name)
    other.load_state_dict(model.state_dict())
    model(tokens).backward()
    other(tokens).backward()
    for one, expected in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, expected.grad)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["square", "squentropy"])
def test_compiler_leaves_the_loss_as_it_is(name: str) -> None:
    model, tokens = Tied(name), torch.randint(11, (4, 6))
    torch.compiler.reset()
    compiled = torch.compile(model, backend="aot_eager")
    found, expected = [], []
    for of, out in ((compiled, found), (model, expected)):
        model.zero_grad()
        value = of(tokens)
        value.backward()
        out.extend([value.detach(), *(p.grad.clone() for p in model.parameters())])  # type: ignore[union-attr]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    torch.compiler.reset()
    with pytest.raises(Exception, match="disable"):
        torch.compile(model, backend="aot_eager", fullgraph=True)(tokens)


RANK = """
import os, sys, torch, torch.distributed as dist
from torch import nn
from squall.losses import LinearSquentropyLoss
store, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 5, dtype=torch.float64)
        self.loss = LinearSquentropyLoss()
    def forward(self, tokens):
        hidden = torch.tanh(self.embedding(tokens[:, :-1]))
        return self.loss(hidden, self.embedding.weight, tokens[:, 1:])
torch.manual_seed(0)
model = Model()
tokens = torch.randint(11, (4, 6))
model(tokens).backward()
expected = model.embedding.weight.grad.clone()
model.zero_grad()
parallel = nn.parallel.DistributedDataParallel(model)
parallel(tokens[2 * rank : 2 * rank + 2]).backward()
torch.testing.assert_close(model.embedding.weight.grad, expected)
dist.destroy_process_group()
os._exit(0)  # now and then a thread of torch 2.14 aborts a process that ends by itself
"""


@pytest.mark.slow
def test_distributed_data_parallel_averages_the_gradients(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RANK, str(tmp_path / "store")]
    ranks = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]


def test_gradient_of_the_weight_is_given_away() -> None:
    """The tensor that the forward pass made is the gradient in the end; nothing copies it."""
    hidden, weight, target, _ = make_layer(12)
    weight.requires_grad_()
    value = losses.linear_squentropy_loss(hidden, weight, target)
    held = value.grad_fn.next_functions[0][0].gradients  # type: ignore[union-attr]
    address = held.weight.data_ptr()
    del held
    value.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.data_ptr() == address


def test_shapes_are_told_of_tensors_without_values() -> None:
    hidden, weight, target, bias = (t.to("meta") for t in make_layer(3, 4) if t is not None)
    value = losses.linear_squentropy_loss(hidden.requires_grad_(), weight, target, bias)
    value.backward()  # type: ignore[no-untyped-call]
    assert (value.shape, hidden.grad.shape) == ((), hidden.shape)  # type: ignore[union-attr]


def test_values_of_terms_with_z_loss() -> None:
    """The formula and the blocks, beside torch's own logsumexp."""
    logits, target = torch.randn(4, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 5])
    terms = losses.SquentropyLoss().terms(6)
    without = token_values(logits, target, target < 0, terms)
    found = token_values(logits, target, target < 0, terms._replace(z_loss=0.5))
    torch.testing.assert_close(found, without + 0.5 * logits.logsumexp(-1).square())
