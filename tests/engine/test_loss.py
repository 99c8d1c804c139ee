"""The setting `loss`: what it is called, and the loss that it builds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from squall.engine.loss import LossSettings
from squall.losses import SquentropyLoss


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({}, "ce"),
        ({"name": "squentropy", "alpha": 0.1}, "squentropy-a0.1"),
        ({"name": "rescaled_square", "k": 1, "M": 15}, "rescaled_square-m15-k1"),
        ({"label_smoothing": 0.1}, "ce-ls0.1"),
        ({"name": "square", "scale": "ce"}, "square-scale-ce"),
        ({"name": "square", "scale": 2.5}, "square-scale2.5"),
        ({"name": "square", "scale": 1}, "square"),
    ],
)
def test_a_loss_is_called_by_what_the_settings_give_it(given: dict[str, Any], label: str) -> None:
    assert LossSettings(**given).label == label


def test_the_loss_takes_logits_with_classes_last() -> None:
    loss = LossSettings(name="squentropy", alpha=0.5).build(classes=4)
    assert isinstance(loss, SquentropyLoss)
    logits, target = torch.randn(2, 3, 4), torch.tensor([[0, 1, 2], [3, 0, 1]])
    expected = SquentropyLoss(alpha=0.5)(logits.reshape(6, 4), target.reshape(6))
    assert loss(logits, target) == pytest.approx(float(expected))


@pytest.mark.parametrize("classes", [2, 20])
def test_a_scale_of_ce_begins_at_the_value_of_cross_entropy(classes: int) -> None:
    logits, target = torch.zeros(5, classes), torch.zeros(5, dtype=torch.int64)
    losses = [LossSettings(name=n, scale="ce").build(classes=classes) for n in ("ce", "square")]
    ce, square = (float(loss(logits, target)) for loss in losses)
    assert square == pytest.approx(ce)


@pytest.mark.parametrize("scale", [0, -1, "much", float("inf")])
def test_a_scale_that_is_none_is_refused(scale: object) -> None:
    with pytest.raises(ValidationError, match="a number above 0, or ce"):
        LossSettings(scale=scale)


def test_settings_do_not_wait_for_torch() -> None:
    code = "import sys, squall.engine.loss; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
