"""What the baselines have of their own; all else they share with the losses of the other files."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import naive
from squall import losses
from squall.losses import BASELINE_LOSSES, build_loss

every_baseline = pytest.mark.parametrize("name", BASELINE_LOSSES)


def gradient_of(name: str, logits: Tensor, target: Tensor, **params: float) -> Tensor:
    logits = logits.clone().requires_grad_()
    value = build_loss(name, reduction="sum", **params)(logits, target)
    return torch.autograd.grad(value, logits)[0]


@pytest.mark.parametrize("name", ["focal", "dual_focal", "confidence_penalty"])
def test_without_their_weight_they_are_cross_entropy(name: str) -> None:
    params = {"beta": 0.0} if name == "confidence_penalty" else {"gamma": 0.0}
    logits, target = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 5
    found = build_loss(name, **params)(logits, target)
    torch.testing.assert_close(found, losses.cross_entropy(logits, target))


@pytest.mark.parametrize("name", ["focal", "dual_focal"])
@pytest.mark.parametrize("gamma", [0.3, 1.0, 3.0, 5.0])
@pytest.mark.parametrize("margin", [-800.0, -40.0, 20.0, 40.0, 800.0])
def test_certain_tokens_have_their_digits_and_finite_derivatives(
    name: str, gamma: float, margin: float
) -> None:
    logits = torch.tensor([[0.0, margin, -1.0, -1.0]], dtype=torch.float64)
    target = torch.tensor([1])
    loss = build_loss(name, gamma=gamma, reduction="sum")
    if margin <= 20:  # further out the twin's own -log p_y is 0
        expected = getattr(naive, f"{name}_loss")(logits[0], 1, gamma=gamma)
        digits = 1e-12 if margin < 0 else 1e-6
        assert loss(logits, target).item() == pytest.approx(expected, rel=digits)
    for dtype in (torch.float64, torch.float32):
        slopes = gradient_of(name, logits.to(dtype), target, gamma=gamma)
        assert slopes.isfinite().all()
        inputs = (logits.to(dtype), target)
        assert torch.func.hessian(loss)(*inputs).isfinite().all()


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_the_focal_loss_of_a_certain_token_by_its_first_term(gamma: float) -> None:
    # For m large, -log p_y and 1 - p_y are both e^-m.
    logits = torch.tensor([[60.0, 0.0]], dtype=torch.float64)
    value = losses.focal_loss(logits, torch.tensor([0]), gamma=gamma)
    assert value.item() == pytest.approx(math.exp(-60 * (1 + gamma)), rel=1e-12)
    slope = gradient_of("focal", logits, torch.tensor([0]), gamma=gamma)[0, 0]
    assert slope.item() == pytest.approx(-(1 + gamma) * value.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("label", "below"),
    [
        (0, 0.3),  # the largest: the next one
        (1, 0.1),  # two have 0.3, and none is below the other
        (2, 0.1),
        (3, 0.0),  # none is below the smallest, nor below what has its probability
        (4, 0.0),
    ],
)
def test_dual_focal_takes_the_largest_probability_strictly_below(label: int, below: float) -> None:
    probs = [0.4, 0.3, 0.3, 0.1, 0.1]
    logits = torch.tensor([probs], dtype=torch.float64).log()
    total = sum(probs)
    p, p_below = probs[label] / total, below / total
    value = losses.dual_focal_loss(logits, torch.tensor([label]), gamma=2.0)
    assert value.item() == pytest.approx(-((1 - p + p_below) ** 2) * math.log(p), rel=1e-12)


def test_dual_focal_is_that_of_probabilities_in_order() -> None:
    """The class after the true one; written with neither logits nor logarithms of sums."""
    logits = 3 * torch.randn(200, 9, dtype=torch.float64)
    target = torch.arange(200) % 9
    probs = torch.softmax(logits, -1)
    expected = []
    for row, label in zip(probs.tolist(), target.tolist(), strict=True):
        ranked = sorted(row, reverse=True)
        place = ranked.index(row[label])
        p_j = ranked[place + 1] if place + 1 < len(ranked) else 0.0
        expected.append(-((1 - row[label] + p_j) ** 5) * math.log(row[label]))
    found = losses.dual_focal_loss(logits, target, reduction="none")
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_brier_is_between_0_and_2() -> None:
    logits = torch.tensor([[500.0, 0.0, 0.0], [0.0, 500.0, 0.0]])
    values = losses.brier_loss(logits, torch.tensor([0, 0]), reduction="none")
    assert values.tolist() == [0.0, 2.0]


def test_brier_of_the_true_probabilities_is_the_least() -> None:
    """It is a proper score; a step from them to any side costs."""
    probs = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)

    def expected(logits: Tensor) -> Tensor:
        values = losses.brier_loss(logits.expand(3, 3), torch.arange(3), reduction="none")
        return (probs * values).sum()

    best = probs.log().requires_grad_()
    (slope,) = torch.autograd.grad(expected(best), best)
    torch.testing.assert_close(slope, torch.zeros(3, dtype=torch.float64))
    for step in 0.1 * torch.randn(20, 3, dtype=torch.float64):
        assert expected(best + step - step.mean()) > expected(best)


def test_logit_norm_does_not_see_the_length_of_the_logits() -> None:
    logits, target = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 5
    value = losses.logit_norm_loss(logits, target)
    torch.testing.assert_close(losses.logit_norm_loss(70 * logits, target), value)
    along = (gradient_of("logit_norm", logits, target) * logits).sum(-1)
    torch.testing.assert_close(along, torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-5)


def test_logit_norm_at_zero_has_the_gradient_of_its_formula() -> None:
    logits, target = torch.zeros(1, 4, dtype=torch.float64), torch.tensor([2])
    expected = torch.tensor([[0.25, 0.25, -0.75, 0.25]]).double() / (0.04 * 1e-7)
    torch.testing.assert_close(gradient_of("logit_norm", logits, target), expected)
    hessian = torch.autograd.functional.hessian(lambda f: losses.logit_norm_loss(f, target), logits)
    assert hessian.isfinite().all()


@pytest.mark.parametrize("name", [*losses.LOSSES, *BASELINE_LOSSES])
def test_logits_for_the_softmax_are_those_of_the_model(name: str) -> None:
    logits = torch.randn(3, 5)
    assert (build_loss(name).softmax_logits(logits) is logits) == (name != "logit_norm")


@pytest.mark.parametrize(
    ("shape", "class_dim"), [((3, 5), 1), ((3, 5, 2), 1), ((3, 2, 5), -1), ((5,), 1), ((5,), -1)]
)
def test_logit_norm_is_cross_entropy_of_its_logits_for_the_softmax(
    shape: tuple[int, ...], class_dim: int
) -> None:
    logits = 4 * torch.randn(*shape, dtype=torch.float64)
    target = torch.zeros([size for size in shape if size != 5], dtype=torch.int64)
    loss = build_loss("logit_norm", class_dim=class_dim)
    meant = loss.softmax_logits(logits)
    expected = losses.cross_entropy(meant, target, class_dim=class_dim)
    torch.testing.assert_close(loss(logits, target), expected)
    norms = meant.norm(dim=shape.index(5))
    torch.testing.assert_close(norms, torch.full_like(norms, 25.0), rtol=1e-6, atol=0)
    assert loss.softmax_logits(logits.half()).dtype == torch.float32


@every_baseline
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", [(0,), (2, 0), ()])
def test_no_token_and_a_single_one(name: str, reduction: str, shape: tuple[int, ...]) -> None:
    logits, target = torch.randn(*shape, 4), torch.zeros(shape, dtype=torch.int64)
    logits.requires_grad_()
    value = build_loss(name, reduction=reduction, class_dim=-1)(logits, target)
    assert value.shape == (shape if reduction == "none" else ())
    value.sum().backward()
    assert logits.grad.shape == logits.shape
    if not target.numel():
        assert value.sum() == 0


@every_baseline
def test_a_target_out_of_range_is_an_error_of_torch_under_vmap(name: str) -> None:
    targets = torch.tensor([[0, 1, 2], [0, 7, 2]])
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        torch.func.vmap(build_loss(name), in_dims=(None, 0))(torch.zeros(3, 4), targets)


@pytest.mark.parametrize("name", ["focal", "dual_focal", "brier"])  # no norm, no entropy of all
def test_minus_infinity_at_a_wrong_class_is_a_probability_of_0(name: str) -> None:
    logits = torch.tensor([[1.0, -math.inf, 0.5]], dtype=torch.float64)
    target = torch.tensor([0])
    expected = build_loss(name)(logits[:, [0, 2]], target)
    torch.testing.assert_close(build_loss(name)(logits, target), expected)
    assert gradient_of(name, logits, target).isfinite().all()


@pytest.mark.parametrize("name", [*losses.LOSSES, *BASELINE_LOSSES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_with_gradient_are_those_of_autograd(name: str, dtype: torch.dtype) -> None:
    logits, target = torch.randn(2, 3, 5, dtype=dtype), torch.randint(5, (2, 3))
    loss = build_loss(name, reduction="none", class_dim=-1, scale=0.5)
    leaf = logits.clone().requires_grad_()
    expected = loss(leaf, target)
    (slopes,) = torch.autograd.grad(expected.sum(), leaf)
    gradient = torch.full_like(logits, math.nan)
    with torch.no_grad():  # where the loops are
        found = loss.values_with_gradient(logits, target.unsqueeze(-1), gradient)
    torch.testing.assert_close(found.squeeze(-1), expected.detach())
    torch.testing.assert_close(gradient, slopes)
    assert not found.requires_grad
