"""Gradients, padding, memory, and the transforms of torch.func and torch.compile."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from squall.losses import (
    BASELINE_LOSSES,
    LOSSES,
    blocks,
    build_loss,
    ccql_loss,
    cross_entropy,
)

CASES: list[dict[str, Any]] = [
    {"name": "ce", "label_smoothing": 0.1},
    {"name": "square"},
    {"name": "rescaled_square", "k": 2.0, "M": 3.0},
    {"name": "ccql"},
    {"name": "squentropy", "alpha": 0.7, "label_smoothing": 0.1, "scale": 1.5},
]

BASELINES: list[dict[str, Any]] = [
    {"name": "focal", "gamma": 0.5, "scale": 1.5},
    {"name": "dual_focal"},
    {"name": "brier"},
    {"name": "logit_norm", "tau": 0.5},
    {"name": "confidence_penalty", "beta": 0.7},
]


def _over(cases: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("config", cases, ids=[case["name"] for case in cases])


every_loss = _over([*CASES, *BASELINES])
every_loss_of_terms = _over(CASES)
half_precision = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


def make_batch(
    *shape: int, classes: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(*shape, classes, generator=generator, dtype=dtype)
    target = torch.randint(classes, shape, generator=generator)
    target.view(-1)[1] = -100
    return logits, target


def gradient_of(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> Tensor:
    logits = logits.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(logits, target), logits)[0]


def test_cases_name_every_loss() -> None:
    assert {case["name"] for case in CASES} == set(LOSSES)
    assert {case["name"] for case in BASELINES} == set(BASELINE_LOSSES)


@every_loss
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_derivatives_of_first_and_second_order(config: dict[str, Any], reduction: str) -> None:
    logits, target = make_batch(2, 3, classes=4)
    logits = logits.movedim(-1, 1).requires_grad_()
    loss = build_loss(**config, reduction=reduction)
    assert torch.autograd.gradcheck(
        loss, (logits, target), check_forward_ad=True, check_batched_grad=True
    )
    assert torch.autograd.gradgradcheck(loss, (logits, target), check_fwd_over_rev=True)


@every_loss_of_terms
def test_blocks_change_nothing(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = make_batch(5, 7, classes=6)
    loss = build_loss(**config, class_dim=-1, reduction="sum")
    value, gradient = loss(logits, target), gradient_of(loss, logits, target)
    for elements in (1, 20, 50, 90):
        monkeypatch.setattr(blocks, "_BLOCK_ELEMENTS_PER_THREAD", elements)
        torch.testing.assert_close(loss(logits, target), value)
        torch.testing.assert_close(gradient_of(loss, logits, target), gradient)


@every_loss
@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
def test_padding_changes_nothing(config: dict[str, Any], garbage: float) -> None:
    logits, target = make_batch(6, classes=4)
    kept = target != -100
    padded = logits.masked_fill(~kept.unsqueeze(-1), garbage)
    loss = build_loss(**config)
    torch.testing.assert_close(loss(padded, target), loss(logits[kept], target[kept]))
    gradient = gradient_of(loss, padded, target)
    torch.testing.assert_close(gradient[kept], gradient_of(loss, logits[kept], target[kept]))
    assert torch.equal(gradient[~kept], torch.zeros_like(gradient[~kept]))


@every_loss
@pytest.mark.parametrize("garbage", [math.nan, math.inf, 0.0])
def test_padding_reaches_no_second_derivative(config: dict[str, Any], garbage: float) -> None:
    logits, target = make_batch(4, classes=3)
    padded = logits.masked_fill((target == -100).unsqueeze(-1), garbage)
    loss = build_loss(**config)
    found, expected = (
        torch.autograd.functional.hessian(lambda one: loss(one, target), batch)
        for batch in (padded, logits)
    )
    assert bool(found.abs().sum() > 0)
    torch.testing.assert_close(found, expected)


@every_loss
def test_nothing_but_padding_gives_zero(config: dict[str, Any]) -> None:
    logits, target = torch.randn(3, 4), torch.full((3,), -1)
    loss = build_loss(**config, ignore_index=-1)
    assert loss(logits, target) == 0
    assert torch.equal(gradient_of(loss, logits, target), torch.zeros(3, 4))


@every_loss
def test_ignore_index_can_be_a_class(config: dict[str, Any]) -> None:
    logits, target = torch.randn(4, 5), torch.tensor([0, 2, 2, 4])
    ignoring = build_loss(**config, ignore_index=2)(logits, target)
    torch.testing.assert_close(ignoring, build_loss(**config)(logits[[0, 3]], target[[0, 3]]))


@every_loss
def test_inputs_stay_untouched(config: dict[str, Any]) -> None:
    logits, target = make_batch(6, classes=4, dtype=torch.float32)
    before = copy.deepcopy((logits, target))
    logits.requires_grad_()
    value = build_loss(**config)(logits, target)
    first = torch.autograd.grad(value, logits, retain_graph=True)[0]
    second = torch.autograd.grad(value, logits)[0]
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])
    assert torch.equal(first, second)


def confident_batch(loss: float, classes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Three tokens whose cross-entropy is about this, with logits of the wrong classes near 0."""
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(3, classes, generator=generator, dtype=torch.float64) / 2
    target = torch.arange(3) % classes
    odds = math.log(math.expm1(loss)) if loss < 700 else loss  # of all the wrong classes
    logits[torch.arange(3), target] = math.log(classes - 1) - odds
    return logits.to(dtype), target


@half_precision
@settings(max_examples=30, deadline=None)
@given(exponent=st.floats(-7, 3), classes=st.sampled_from([2, 3, 50, 5000, 200_000]))
def test_half_precision_gradient_of_cross_entropy_is_torchs(
    dtype: torch.dtype, exponent: float, classes: int
) -> None:
    logits, target = confident_batch(10**exponent, classes, dtype)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value, expected = cross_entropy(ours, target), F.cross_entropy(theirs, target)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=3e-7)
    (65536 * value).backward()
    (65536 * expected).backward()
    # To the last digit; at the true class p - 1 leaves both a few digits of float32 only.
    info, of_true = torch.finfo(dtype), F.one_hot(target, classes)
    allowed = theirs.grad.double().abs() * info.eps + info.smallest_normal * info.eps
    allowed += 4 * 65536 / len(target) * torch.finfo(torch.float32).eps * of_true
    assert bool(((ours.grad.double() - theirs.grad.double()).abs() <= allowed).all())


@every_loss
@half_precision
@pytest.mark.parametrize("classes", [2, 300, 200_000])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_gradient_is_rounded_after_all_its_factors(
    config: dict[str, Any], dtype: torch.dtype, classes: int, autocast: bool
) -> None:
    loss = build_loss(**{**config, "scale": 1e-3})
    # A half-precision value takes a half-precision gradient: 65536 would be infinite.
    factor = 65536 if autocast else 32768
    for aim in (1e-7, 1e-5, 1e-2, 1.0, 1e3):
        logits, target = confident_batch(aim, classes, dtype)
        half, full = logits.clone().requires_grad_(), logits.float().requires_grad_()
        with torch.autocast("cpu", dtype=dtype, enabled=autocast):
            (factor * loss(half, target)).backward()
            (factor * loss(full, target)).backward()
        assert torch.equal(half.grad, full.grad.to(dtype))


@half_precision
def test_half_precision_gradient_of_one_token_may_exceed_the_range(dtype: torch.dtype) -> None:
    # At the true class it is sqrt(C - 1) (f - 1), here 73,000, and a tenth of it in the mean.
    logits = torch.zeros(10, 60_000, dtype=dtype)
    logits[:, 0] = 300.0
    logits.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = ccql_loss(logits, torch.zeros(10, dtype=torch.int64))
    value.backward()  # type: ignore[no-untyped-call]
    expected = torch.full((10,), math.sqrt(59_999) * 299 / 10).to(dtype)
    torch.testing.assert_close(logits.grad[:, 0], expected)


@every_loss_of_terms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_logits_may_change_before_the_backward_pass(
    config: dict[str, Any], dtype: torch.dtype
) -> None:
    batch, target = make_batch(6, classes=4)
    loss = build_loss(**config)
    leaf = batch.to(dtype).requires_grad_()
    logits = leaf * 1
    value = loss(logits, target)
    logits.zero_()
    expected = gradient_of(loss, leaf, target)
    # The second derivatives are those at the logits, which are gone.
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(value, leaf, create_graph=True)
    value = loss(logits := leaf * 1, target)
    logits.zero_()
    torch.testing.assert_close(torch.autograd.grad(value, leaf)[0], expected)


@every_loss
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_a_graph_that_is_kept_gives_the_same_gradient_again(
    config: dict[str, Any], reduction: str
) -> None:
    logits, target = make_batch(6, classes=4)
    leaf = logits.requires_grad_()
    value = build_loss(**config, reduction=reduction)(leaf, target).sum()
    first, second, third = (
        torch.autograd.grad(value, leaf, factor, retain_graph=True)[0]
        for factor in (torch.tensor(1.0), torch.tensor(3.0), torch.tensor(1.0))
    )
    kept = first.clone()
    torch.testing.assert_close(second, 3 * first)
    third.mul_(2)  # each is its own
    torch.testing.assert_close(first, kept, rtol=0, atol=0)
    torch.testing.assert_close(third, 2 * first)


class LargeStorages(TorchDispatchMode):
    """Collects the storages of at least a given size that operations return."""

    def __init__(self, size_bytes: int, known: Tensor) -> None:
        super().__init__()
        self.size_bytes = size_bytes
        self.known = known.untyped_storage().data_ptr()
        # Storages, kept so that no address is used twice; a kept tensor would make autograd copy.
        self.found: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage.nbytes() >= self.size_bytes and storage.data_ptr() != self.known:
                    self.found[storage.data_ptr()] = storage
        return result


@every_loss_of_terms
@pytest.mark.parametrize("with_gradient", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_no_temporary_of_the_size_of_the_logits(
    config: dict[str, Any], with_gradient: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_BLOCK_ELEMENTS_PER_THREAD", 500)
    logits, target = make_batch(200, classes=50)
    logits = logits.to(dtype)
    logits.requires_grad_(with_gradient)
    loss = build_loss(**config)
    with LargeStorages(logits.nbytes // 2, known=logits) as forward:
        value = loss(logits, target)
    assert len(forward.found) == (1 if with_gradient else 0)
    if with_gradient:
        with LargeStorages(logits.nbytes // 2, known=logits) as backward:
            value.backward()  # type: ignore[no-untyped-call]
        # What the forward pass kept is the gradient, but for its dtype.
        assert len(backward.found.keys() - forward.found.keys()) == (dtype == torch.float16)


@every_loss
def test_vmap_equals_a_loop(config: dict[str, Any]) -> None:
    logits, _ = make_batch(3, 6, classes=4)
    _, target = make_batch(6, classes=4)
    loss = build_loss(**config)
    looped = torch.stack([loss(one, target) for one in logits])
    torch.testing.assert_close(torch.func.vmap(loss, in_dims=(0, None))(logits, target), looped)
    targets = target.expand(3, 6)
    torch.testing.assert_close(torch.func.vmap(loss)(logits, targets), looped)
    last = torch.func.vmap(loss, in_dims=(2, None))(logits.movedim(0, 2), target)
    torch.testing.assert_close(last, looped)


@every_loss
def test_func_gradients_equal_autograd(config: dict[str, Any]) -> None:
    logits, _ = make_batch(3, 6, classes=4)
    _, target = make_batch(6, classes=4)
    loss = build_loss(**config)
    expected = torch.stack([gradient_of(loss, one, target) for one in logits])
    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))(logits, target)
    torch.testing.assert_close(per_sample, expected)

    def total(logits: Tensor) -> Tensor:
        return torch.func.vmap(loss, in_dims=(0, None))(logits, target).sum()

    torch.testing.assert_close(torch.func.grad(total)(logits), expected)
    unreduced = build_loss(**config, reduction="sum")
    jacobian = torch.func.jacrev(unreduced)(logits[0], target)
    torch.testing.assert_close(torch.func.jacfwd(unreduced)(logits[0], target), jacobian)
    hessian = torch.func.hessian(loss)(logits[0], target)
    reverse = torch.autograd.functional.hessian(lambda one: loss(one, target), logits[0])
    torch.testing.assert_close(hessian, reverse)


@every_loss
@half_precision
def test_func_derivatives_of_half_precision(config: dict[str, Any], dtype: torch.dtype) -> None:
    batch, target = make_batch(6, classes=4)
    half, loss = batch.to(dtype), build_loss(**config)
    single = build_loss(**config, reduction="none")
    transforms = [torch.func.grad(loss), torch.func.hessian(loss)]
    transforms += [torch.func.jacrev(single), torch.func.jacfwd(single)]
    for transform in transforms:
        found, expected = transform(half, target), transform(half.double(), target)
        scale = float(expected.abs().max())
        torch.testing.assert_close(found.double() / scale, expected / scale, rtol=0, atol=0.01)


@pytest.mark.slow
@every_loss
def test_compiler_traces_one_graph_with_the_same_numbers(config: dict[str, Any]) -> None:
    logits, target = make_batch(2, 6, classes=4)
    loss = build_loss(**config, class_dim=-1)
    torch.compiler.reset()  # the losses share one forward, and its variants are limited
    # aot_eager traces forward and backward as inductor does, and leaves out the C++ compiler.
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, target), loss(logits, target))
    torch.testing.assert_close(
        gradient_of(compiled, logits, target), gradient_of(loss, logits, target)
    )
    with_nan = logits.masked_fill((target == -100).unsqueeze(-1), math.nan)
    assert torch.equal(
        gradient_of(compiled, with_nan, target), gradient_of(compiled, logits, target)
    )


@pytest.mark.slow
@every_loss
def test_compiler_takes_changing_sizes(config: dict[str, Any]) -> None:
    loss = build_loss(**config)
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (5, 9):
        logits, target = make_batch(size, classes=size + 2)
        torch.testing.assert_close(compiled(logits, target), loss(logits, target))


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("config", [CASES[2], CASES[4]], ids=["rescaled_square", "squentropy"])
def test_inductor_gives_the_same_numbers(config: dict[str, Any]) -> None:
    """Nightly: a C++ compiler runs. The graphs that it is given are traced and run above."""
    logits, target = make_batch(16, classes=10, dtype=torch.float32)
    loss = build_loss(**config)
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True)
    torch.testing.assert_close(compiled(logits, target), loss(logits, target))
    torch.testing.assert_close(
        gradient_of(compiled, logits, target), gradient_of(loss, logits, target)
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gpu_gives_the_numbers_of_the_cpu(config: dict[str, Any], dtype: torch.dtype) -> None:
    logits, target = make_batch(300, classes=40, dtype=torch.float32)
    logits = logits.to(dtype)
    loss = build_loss(**config)
    there = gradient_of(loss, logits.cuda(), target.cuda()).cpu()
    torch.testing.assert_close(loss(logits.cuda(), target.cuda()).cpu(), loss(logits, target))
    torch.testing.assert_close(there, gradient_of(loss, logits, target))
