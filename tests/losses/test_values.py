"""The values: by hand, against the slow twins, and against torch's cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import naive
from squall import losses

PARAMS = {
    "cross_entropy": [{}, {"label_smoothing": 0.1}],
    "square_loss": [{}],
    "rescaled_square_loss": [{"k": 1.0, "M": 15.0}, {"k": 15.0, "M": 30.0}],
    "ccql_loss": [{}, {"w": 3.0}],
    "squentropy_loss": [{}, {"alpha": 0.1, "label_smoothing": 0.2}, {"alpha": 0.0}],
    "focal_loss": [{}, {"gamma": 0.5}],
    "dual_focal_loss": [{}, {"gamma": 0.5}],
    "brier_loss": [{}],
    "logit_norm_loss": [{}, {"tau": 1.0}],
    "confidence_penalty_loss": [{}, {"beta": 2.0}],
}
CASES = [(name, params) for name, several in PARAMS.items() for params in several]
NAMES = list(PARAMS)


def make_batch(*shape: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(*shape, classes, generator=generator)
    return logits, torch.randint(classes, shape, generator=generator)


# The softmax of 0, 1, -2.
P_0, P_1, P_2 = (math.exp(f) / (1 + math.e + math.exp(-2)) for f in (0, 1, -2))
ENTROPY = -sum(p * math.log(p) for p in (P_0, P_1, P_2))


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("cross_entropy", {}, math.log(1 + math.exp(1) + math.exp(-2)) - 1),
        ("square_loss", {}, (0 + 0 + 4) / 3),
        ("rescaled_square_loss", {"k": 2.0, "M": 4.0}, (2 * 9 + 0 + 4) / 3),
        ("ccql_loss", {"w": 3.0}, 4 / 2 + 0),
        ("squentropy_loss", {"alpha": 0.5}, math.log(1 + math.e + math.exp(-2)) - 1 + 0.5 * 4 / 2),
        ("focal_loss", {"gamma": 2.0}, (P_0 + P_2) ** 2 * -math.log(P_1)),
        ("dual_focal_loss", {"gamma": 2.0}, (P_0 + P_2 + P_0) ** 2 * -math.log(P_1)),
        ("brier_loss", {}, P_0**2 + (1 - P_1) ** 2 + P_2**2),
        ("logit_norm_loss", {"tau": 5**-0.5 / (1 + 5**-0.5 * 1e-7)}, -math.log(P_1)),
        ("confidence_penalty_loss", {"beta": 0.5}, -math.log(P_1) - 0.5 * ENTROPY),
    ],
)
def test_value_by_hand(name: str, params: dict[str, float], expected: float) -> None:
    logits = torch.tensor([[0.0, 1.0, -2.0]], dtype=torch.float64)
    value = getattr(losses, name)(logits, torch.tensor([1]), **params)
    assert value.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("classes", [2, 7, 500])
def test_equals_slow_twin(name: str, params: dict[str, float], classes: int) -> None:
    logits, target = make_batch(40, classes=classes)
    target[::7] = -100
    expected = naive.loss_per_token(getattr(naive, name), logits, target, **params)
    loss: Callable[..., Tensor] = getattr(losses, name)
    values = loss(logits, target, reduction="none", **params)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-6, atol=2e-6)
    total = loss(logits, target, reduction="sum", **params).item()
    assert total == pytest.approx(expected.sum(), rel=1e-6)
    mean = loss(logits, target, **params).item()
    assert mean == pytest.approx(expected.sum() / (target != -100).sum().item(), rel=1e-6)


@pytest.mark.parametrize("name", ["rescaled_square_loss", "squentropy_loss"])
def test_sharp_logits_keep_their_digits(name: str) -> None:
    # Near the optimum f_y is large and the rest small: all squares less f_y^2 would be noise.
    logits = torch.full((5, 1000), 0.01)
    logits[:, 3] = 30.0
    target = torch.full((5,), 3)
    params = {"k": 1.0, "M": 30.0} if name == "rescaled_square_loss" else {}
    expected = naive.loss_per_token(getattr(naive, name), logits, target, **params)
    values = getattr(losses, name)(logits, target, reduction="none", **params)
    np.testing.assert_allclose(values.numpy(), expected, rtol=3e-6)


def test_underflowed_probability_gives_a_finite_value() -> None:
    logits = torch.tensor([[0.0, 500.0]], requires_grad=True)
    value = losses.cross_entropy(logits, torch.tensor([0]))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 500.0
    assert torch.equal(logits.grad, torch.tensor([[-1.0, 1.0]]))


@pytest.mark.parametrize("shape", [(6,), (6, 3), (2, 3, 4), (0,), ()])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_cross_entropy_agrees_with_torch(
    shape: tuple[int, ...], label_smoothing: float, reduction: str
) -> None:
    logits, target = make_batch(*shape, classes=5)
    if logits.ndim > 2:
        logits = logits.movedim(-1, 1)
    logits = logits.to(torch.float64)
    if target.numel() > 3:
        target.view(-1)[2] = -100
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    options = {"label_smoothing": label_smoothing, "reduction": reduction}
    expected = F.cross_entropy(theirs, target, **options)  # type: ignore[arg-type]
    value = losses.cross_entropy(ours, target, **options)  # type: ignore[arg-type]
    if target.numel() == 0 and reduction == "mean":
        assert value == 0
        return
    torch.testing.assert_close(value, expected)
    value.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_cross_entropy_takes_minus_infinity_at_wrong_classes() -> None:
    logits = torch.tensor([[1.0, -math.inf, 0.5]], requires_grad=True)
    value = losses.cross_entropy(logits, torch.tensor([0]))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(math.log(1 + math.exp(-0.5)))
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    classes=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_both_conventions_agree(name: str, shape: list[int], classes: int, seed: int) -> None:
    logits, target = make_batch(*shape, classes=classes, seed=seed)
    loss = getattr(losses, name)
    last = loss(logits, target, class_dim=-1, reduction="none")
    first = loss(logits.movedim(-1, 1), target, class_dim=1, reduction="none")
    contiguous = loss(logits.movedim(-1, 1).contiguous(), target, reduction="none")
    expected = naive.loss_per_token(getattr(naive, name), logits, target)
    assert last.shape == target.shape
    np.testing.assert_allclose(last.numpy(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first, last)
    torch.testing.assert_close(contiguous, last)


def test_special_parameters_give_the_plain_losses() -> None:
    logits, target = make_batch(9, classes=6)
    square = losses.square_loss(logits, target)
    assert torch.equal(losses.rescaled_square_loss(logits, target, k=1, M=1), square)
    entropy = losses.cross_entropy(logits, target)
    assert torch.equal(losses.squentropy_loss(logits, target, alpha=0), entropy)
    # Without additional weight, CCQL is the square loss times C / 2.
    torch.testing.assert_close(losses.ccql_loss(logits, target, w=0.0), 3 * square)


@pytest.mark.parametrize("name", NAMES)
def test_scale_multiplies_value_and_gradient(name: str) -> None:
    logits, target = make_batch(9, classes=6)
    loss = getattr(losses, name)
    one, two = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    plain, scaled = loss(one, target), loss(two, target, scale=2.5)
    plain.backward()
    scaled.backward()
    torch.testing.assert_close(scaled, 2.5 * plain)
    torch.testing.assert_close(two.grad, 2.5 * one.grad)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_the_wrong_classes_does_not_matter(name: str) -> None:
    logits, _ = make_batch(9, classes=6)
    target = torch.full((9,), 2)
    permuted = logits[:, [5, 3, 2, 0, 1, 4]]
    loss = getattr(losses, name)
    torch.testing.assert_close(loss(permuted, target), loss(logits, target))


@pytest.mark.parametrize("name", [*losses.LOSSES, *losses.BASELINE_LOSSES])
def test_shapes_are_told_of_tensors_without_values(name: str) -> None:
    """On the meta device, by which large models are laid out before they have memory."""
    loss = losses.build_loss(name)
    logits = torch.zeros(4, 7, device="meta", requires_grad=True)
    value = loss(logits, torch.zeros(4, dtype=torch.int64, device="meta"))
    assert (value.shape, value.device.type) == ((), "meta")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(name: str, dtype: torch.dtype) -> None:
    logits, target = make_batch(3000, classes=20)
    half = logits.to(dtype).requires_grad_()
    full = half.detach().float().requires_grad_()
    loss = getattr(losses, name)
    value, expected = loss(half, target), loss(full, target)
    value.backward()
    expected.backward()
    assert value.dtype == half.grad.dtype == dtype
    assert torch.equal(value, expected.to(dtype))
    torch.testing.assert_close(half.grad, full.grad.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_result_is_float32_under_autocast_as_in_torch(dtype: torch.dtype) -> None:
    logits, target = make_batch(8, classes=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = losses.cross_entropy(logits.to(dtype), target)
        expected = F.cross_entropy(logits.to(dtype), target)
    assert value.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(value, expected)
