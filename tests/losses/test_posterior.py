"""The clipped posterior by hand, and which losses it is for."""

from __future__ import annotations

import math

import pytest
import torch

from squall.losses import BASELINE_LOSSES, LOSSES, build_loss, log_clipped_posterior, square_aim

C = 6


def test_clipped_posterior_by_hand() -> None:
    logits = torch.tensor([2.0, 1.0, -3.0, 0.0])
    # max(f / 2, 0.1): 1, 0.5, 0.1, 0.1
    expected = [math.log(p / 1.7) for p in (1.0, 0.5, 0.1, 0.1)]
    found = log_clipped_posterior(logits, target=2.0, floor=0.1)
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_every_logit_below_the_floor_gives_equal_probabilities() -> None:
    log_probs = log_clipped_posterior(torch.full((C,), -9.0), target=1.0, floor=1e-3)
    assert log_probs.exp().tolist() == pytest.approx([1 / C] * C)


@pytest.mark.parametrize("name", [*LOSSES, *BASELINE_LOSSES])
def test_losses_of_squares_alone_have_an_aim(name: str) -> None:
    expected = 1.0 if name in ("square", "rescaled_square", "ccql") else None
    assert square_aim(build_loss(name)) == expected


def test_the_aim_is_that_of_the_loss() -> None:
    assert square_aim(build_loss("rescaled_square", k=3, M=15)) == 15.0
