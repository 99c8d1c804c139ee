"""Errors: each names the value, where it is, and what would be right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from squall.losses import BASELINE_LOSSES, LOSSES, build_loss, squentropy_loss

LOGITS, TARGET = torch.zeros(3, 4), torch.tensor([0, 1, 2])

every_name = pytest.mark.parametrize("name", [*LOSSES, *BASELINE_LOSSES])


@every_name
def test_target_out_of_range_is_named_with_its_position(name: str) -> None:
    loss = build_loss(name, class_dim=-1)
    target = torch.tensor([[0, -100, 3], [1, 4, 9]])
    with pytest.raises(IndexError, match=r"target\[1, 1\] is 4; .* between 0 and 3, or -100"):
        loss(torch.zeros(2, 3, 4), target)
    with pytest.raises(IndexError, match=r"target\[0, 1\] is -1"):
        loss(torch.zeros(2, 3, 4), torch.tensor([[0, -1, 3], [1, 1, 1]]))


def test_target_out_of_range_is_named_under_vmap() -> None:
    targets = torch.tensor([[0, 1, 2], [0, 7, 2]])
    with pytest.raises(IndexError, match=r"target\[1, 1\] is 7"):
        torch.func.vmap(squentropy_loss, in_dims=(None, 0))(LOGITS, targets)


@every_name
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_check_finite_names_token_and_class(name: str, bad: float) -> None:
    logits = torch.zeros(2, 3, 4)
    logits[1, 0, 2] = bad
    logits[0, 1] = math.nan
    target = torch.tensor([[0, -100, 1], [2, 3, 0]])
    loss = build_loss(name, class_dim=-1, check_finite=True)
    with pytest.raises(ValueError, match=rf"class 2 is {bad} for the token of target\[1, 0\]"):
        loss(logits, target)
    logits[1, 0, 2] = 1e38  # a sum may overflow where every logit is finite
    logits[1, 0, 3] = 3e38
    loss(logits, target)


def test_values_are_not_looked_at_unless_asked_for() -> None:
    assert torch.isnan(squentropy_loss(LOGITS.fill_(0) + math.nan, TARGET))


@every_name
def test_one_class_is_no_choice(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(3, 1\) have 1 classes along dimension 1"):
        build_loss(name)(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("logits", "target", "class_dim", "error", "message"),
    [
        (torch.zeros(2, 5, 7), torch.zeros(2, 5).long(), 1, ValueError, "with class_dim=-1 these"),
        (torch.zeros(2, 5, 7), torch.zeros(2, 7).long(), -1, ValueError, "with class_dim=1 these"),
        (torch.zeros(3, 4), torch.zeros(4).long(), 1, ValueError, r"need a target \(3,\), not \(4"),
        (torch.zeros(4), torch.zeros(1).long(), 1, ValueError, r"need a target \(\), not \(1,\)"),
        (torch.zeros(3, 4), torch.zeros(3), 1, TypeError, "class numbers as integers"),
        (torch.zeros(3, 4), torch.zeros(3, 4), 1, TypeError, "probabilities are not taken"),
        (torch.zeros(3, 4), torch.zeros(3).bool(), 1, TypeError, "torch.bool"),
        (torch.zeros(3).long(), torch.zeros(3, 4), 1, TypeError, r"order .* \(logits, target\)"),
        (torch.tensor(1.0), torch.tensor(0), 1, ValueError, "no dimensions"),
        (torch.zeros(3, 4), torch.zeros(3).long(), 0, ValueError, "class_dim is 0"),
        (torch.zeros(3, 4), torch.zeros(3, device="meta").long(), 1, ValueError, "on meta"),
    ],
)
def test_shapes_and_dtypes(
    logits: torch.Tensor,
    target: torch.Tensor,
    class_dim: int,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        squentropy_loss(logits, target, class_dim=class_dim)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_small_integers_are_targets_too(dtype: torch.dtype) -> None:
    expected = squentropy_loss(LOGITS, TARGET)
    assert torch.equal(squentropy_loss(LOGITS, TARGET.to(dtype)), expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "squentropy", "alpha": -0.1}, "alpha is -0.1; .* at least 0"),
        ({"name": "squentropy", "alpha": math.nan}, "alpha is nan"),
        ({"name": "squentropy", "label_smoothing": 1.5}, "label_smoothing is 1.5; .* 0 and 1"),
        ({"name": "ce", "label_smoothing": -0.1}, "label_smoothing is -0.1"),
        ({"name": "rescaled_square", "k": 0}, "k is 0; .* above 0"),
        ({"name": "rescaled_square", "M": -1.0}, "M is -1.0; .* above 0"),
        ({"name": "ccql", "w": -1.0}, "w is -1.0; .* at least 0"),
        ({"name": "square", "scale": 0.0}, "scale is 0.0; .* above 0"),
        ({"name": "square", "scale": math.inf}, "scale is inf"),
        ({"name": "square", "reduction": "batchmean"}, "none, mean, sum"),
        ({"name": "square", "class_dim": 2}, "class_dim is 2"),
        ({"name": "focal", "gamma": -1.0}, "gamma is -1.0; .* at least 0"),
        ({"name": "dual_focal", "gamma": math.inf}, "gamma is inf"),
        ({"name": "logit_norm", "tau": 0.0}, "tau is 0.0; .* above 0"),
        ({"name": "confidence_penalty", "beta": -0.1}, "beta is -0.1; .* at least 0"),
        ({"name": "brier", "scale": 0.0}, "scale is 0.0; .* above 0"),
        ({"name": "brier", "reduction": "batchmean"}, "none, mean, sum"),
        ({"name": "brier", "class_dim": 2}, "class_dim is 2"),
    ],
)
def test_parameters_out_of_range_fail_when_the_loss_is_made(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_loss(**config)


def test_text_from_yaml_is_no_number() -> None:
    with pytest.raises(TypeError, match=r"alpha is '1e-1', a str; .*YAML"):
        build_loss("squentropy", alpha="1e-1")


@pytest.mark.parametrize("number", [np.int64, np.uint8, np.float64, np.float32, np.float16])
@pytest.mark.parametrize(
    ("name", "param"),
    [
        ("rescaled_square", "k"),
        ("rescaled_square", "M"),
        ("ccql", "w"),
        ("squentropy", "alpha"),
        ("ce", "label_smoothing"),
        ("square", "scale"),
        ("focal", "gamma"),
        ("logit_norm", "tau"),
        ("confidence_penalty", "beta"),
        ("brier", "scale"),
    ],
)
def test_numbers_of_numpy_are_numbers(name: str, param: str, number: type) -> None:
    """What a grid over a numpy array hands over; a narrow one rounds nothing but itself."""
    logits = torch.linspace(-1.0, 1.0, 12, dtype=torch.float64).view(3, 4)
    expected = build_loss(name, **{param: 1.0})
    loss = build_loss(name, **{param: number(1)})
    assert torch.equal(loss(logits, TARGET), expected(logits, TARGET))
    if name in LOSSES:
        assert loss.terms(7).scaled(loss.scale) == expected.terms(7).scaled(expected.scale)


def test_arguments_of_numpy_are_arguments() -> None:
    loss = build_loss(
        np.str_("square"),
        reduction=np.str_("sum"),
        class_dim=np.int64(-1),
        ignore_index=np.int64(2),
        check=np.bool_(True),
        check_finite=np.bool_(True),
    )
    plain = build_loss("square", reduction="sum", class_dim=-1, ignore_index=2)
    assert torch.equal(loss(LOGITS, TARGET), plain(LOGITS, TARGET))
