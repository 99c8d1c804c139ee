"""The loss of the best constant answer, by formulas and by trying."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from squall.losses import build_loss
from squall.studies.tabular.constant_answer import constant_answer_loss

SHARES = np.array([0.5, 0.3, 0.15, 0.05])


def test_cross_entropy_has_the_entropy_of_the_shares() -> None:
    expected = -(SHARES * np.log(SHARES)).sum()
    assert constant_answer_loss(build_loss("ce"), SHARES) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("k", "aim", "scale"), [(1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (3.0, 2.0, 7.0)])
def test_square_losses_have_a_minimum_in_closed_form(k: float, aim: float, scale: float) -> None:
    loss = build_loss("rescaled_square", k=k, M=aim, scale=scale)
    # Class by class k p (f - M)^2 + (1 - p) f^2 is least at f = k p M / (k p + 1 - p).
    least = k * SHARES * (1 - SHARES) * aim**2 / (k * SHARES + 1 - SHARES)
    expected = scale * least.mean()
    assert constant_answer_loss(loss, SHARES) == pytest.approx(expected, rel=1e-6)


def test_ccql_has_one_too() -> None:
    factor = 1 + 0.7
    least = factor * SHARES * (1 - SHARES) / (factor * SHARES + 1 - SHARES) / 2
    loss = build_loss("ccql", w=0.7)
    assert constant_answer_loss(loss, SHARES) == pytest.approx(least.sum(), rel=1e-6)


def test_brier_has_the_shares_themselves() -> None:
    found = constant_answer_loss(build_loss("brier"), SHARES)
    assert found == pytest.approx(1 - (SHARES**2).sum(), rel=1e-6)


@pytest.mark.parametrize("name", ["focal", "logit_norm", "confidence_penalty"])
@pytest.mark.parametrize("shares", [SHARES, np.full(4, 0.25)])
def test_no_other_answer_has_less_of_a_smooth_baseline(
    name: str, shares: NDArray[np.float64]
) -> None:
    loss = build_loss(name, reduction="none", scale=2.0)
    found = constant_answer_loss(loss, shares)
    logits = torch.randn(20_000, 1, 4, generator=torch.Generator().manual_seed(1)).double()
    values = loss(logits.expand(-1, 4, 4).flatten(0, 1), torch.arange(4).repeat(20_000))
    means = values.view(-1, 4).numpy() @ shares
    assert found <= means.min() * (1 + 1e-9)
    assert found == pytest.approx(means.min(), rel=0.1)


def test_no_other_answer_has_less_squentropy() -> None:
    loss = build_loss("squentropy", reduction="none")
    found = constant_answer_loss(loss, SHARES)
    logits = torch.randn(20_000, 1, 4, generator=torch.Generator().manual_seed(1)).double()
    values = loss(logits.expand(-1, 4, 4).flatten(0, 1), torch.arange(4).repeat(20_000))
    means = values.view(-1, 4).numpy() @ SHARES
    assert found <= means.min()
    assert found == pytest.approx(means.min(), rel=0.02)
