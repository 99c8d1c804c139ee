"""Errors of the losses of a linear layer's logits, and what they are called with."""

from __future__ import annotations

import inspect
import math
from typing import Any, get_type_hints

import pytest
import torch
from torch import Tensor

from squall import losses
from squall.losses import LINEAR_LOSSES, linear, linear_squentropy_loss

HIDDEN, WEIGHT, TARGET = torch.zeros(2, 3, 4), torch.zeros(5, 4), torch.zeros(2, 3).long()

every_name = pytest.mark.parametrize("name", LINEAR_LOSSES)


@every_name
def test_target_out_of_range_is_named_with_its_position(name: str) -> None:
    target = torch.tensor([[0, -100, 3], [1, 5, 9]])
    with pytest.raises(IndexError, match=r"target\[1, 1\] is 5; .* between 0 and 4, or -100"):
        LINEAR_LOSSES[name]()(HIDDEN, WEIGHT, target)


@every_name
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_check_finite_names_where(name: str, bad: float) -> None:
    loss = LINEAR_LOSSES[name](check_finite=True)
    target = torch.tensor([[0, -100, 1], [2, 3, 0]])
    hidden, weight, bias = HIDDEN.clone(), WEIGHT.clone(), torch.zeros(5)
    hidden[0, 1] = math.nan
    hidden[1, 1] = 3e38  # a sum may overflow where every number is finite
    loss(hidden, weight, target, bias)
    bias[4] = bad
    with pytest.raises(ValueError, match=rf"^bias\[4\] is {bad}; the model has diverged"):
        loss(hidden, weight, target, bias)
    weight[3, 2] = bad
    with pytest.raises(ValueError, match=rf"^weight\[3, 2\] is {bad}"):
        loss(hidden, weight, target, bias)
    hidden[1, 0, 2] = bad
    with pytest.raises(ValueError, match=rf"^feature 2 of hidden\[1, 0\] is {bad}"):
        loss(hidden, weight, target, bias)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"weight": torch.zeros(5, 3)}, ValueError, r"hidden \(2, 3, 4\) does not fit .*\(5, 3\)"),
        ({"weight": torch.zeros(1, 4)}, ValueError, r"shape \(1, 4\).* at least 2 classes"),
        ({"weight": torch.zeros(5)}, ValueError, r"shape \(5,\); it must be \(V, D\)"),
        ({"weight": TARGET}, TypeError, r"order .* \(hidden, weight, target, bias\)"),
        ({"weight": WEIGHT.double()}, TypeError, "weight is torch.float64, but hidden is .*32"),
        ({"hidden": HIDDEN.long()}, TypeError, "hidden is torch.int64"),
        ({"hidden": torch.tensor(1.0)}, ValueError, r"hidden \(\) does not fit"),
        ({"target": TARGET[0]}, ValueError, r"needs a target \(2, 3\), not \(3,\)"),
        ({"target": torch.zeros(2, 3)}, TypeError, "class numbers as integers"),
        ({"target": TARGET.to("meta")}, ValueError, "target is on meta, but hidden is on cpu"),
        ({"bias": torch.zeros(4)}, ValueError, r"a bias \(5,\), not \(4,\)"),
        ({"bias": torch.zeros(5).half()}, TypeError, "bias is torch.float16"),
        ({"bias": torch.zeros(5).long()}, TypeError, "bias is torch.int64"),
    ],
)
def test_shapes_and_dtypes(
    changed: dict[str, Tensor], error: type[Exception], message: str
) -> None:
    layer = {"hidden": HIDDEN, "weight": WEIGHT, "target": TARGET, **changed}
    with pytest.raises(error, match=message):
        linear_squentropy_loss(**layer)


def test_dtypes_may_differ_under_autocast() -> None:
    """As a layer before gives bfloat16 there, to a head whose weight is of float32."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = linear_squentropy_loss(HIDDEN.bfloat16(), WEIGHT, TARGET, torch.zeros(5))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(math.log(5), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("squentropy", {"alpha": -0.1}, "alpha is -0.1; .* at least 0"),
        ("ce", {"label_smoothing": 1.5}, "label_smoothing is 1.5"),
        ("rescaled_square", {"k": 0}, "k is 0; .* above 0"),
        ("ccql", {"w": -1.0}, "w is -1.0"),
        ("square", {"scale": 0.0}, "scale is 0.0"),
        ("square", {"reduction": "batchmean"}, "none, mean, sum"),
        ("square", {"softcap": 0.0}, "softcap is 0.0; .* above 0"),
        ("ce", {"z_loss": -1.0}, "z_loss is -1.0; .* at least 0"),
        ("ce", {"max_memory_gb": 0.0}, "max_memory_gb is 0.0; .* above 0"),
    ],
)
def test_parameters_out_of_range_fail_when_the_loss_is_made(
    name: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LINEAR_LOSSES[name](**params)


def test_unknown_argument_is_no_argument() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'softcapp'"):
        linear_squentropy_loss(HIDDEN, WEIGHT, TARGET, softcapp=3.0)  # type: ignore[call-arg]


def test_shared_arguments_are_listed_once_and_in_full() -> None:
    """For a type checker: what the functions take as `options` is what `linear_loss` takes."""
    taken = inspect.signature(linear.linear_loss).parameters
    keywords = {name for name, p in taken.items() if p.kind is p.KEYWORD_ONLY}
    assert keywords == set(get_type_hints(linear.HeadOptions))
    fields = set(losses.LinearSquareLoss().arguments())
    assert keywords == fields


@pytest.mark.parametrize("value", ["-1", 1.5, None])
def test_ignore_index_is_an_integer(value: Any) -> None:
    message = f"ignore_index is {value!r}, a .*; it must be an integer"
    with pytest.raises(TypeError, match=message):
        LINEAR_LOSSES["ce"](ignore_index=value)
    with pytest.raises(TypeError, match=message):
        losses.squentropy_loss(torch.zeros(2, 5), TARGET[:, 0], ignore_index=value)


def test_hidden_without_features_has_logits_of_the_bias_alone() -> None:
    hidden, weight = torch.zeros(2, 3, 0), torch.zeros(5, 0)
    value = linear_squentropy_loss(hidden, weight, torch.zeros(2, 3, dtype=torch.int64))
    assert value.item() == pytest.approx(math.log(5))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_small_integers_are_targets_too(dtype: torch.dtype) -> None:
    value = linear_squentropy_loss(HIDDEN, WEIGHT, TARGET.to(dtype))
    assert torch.equal(value, linear_squentropy_loss(HIDDEN, WEIGHT, TARGET))
