"""The fully connected network: its dropout and its initial weights."""

from __future__ import annotations

import math

import pytest
import torch

from squall.networks.feedforward import FeedForward


def test_hidden_units_are_dropped_at_the_share_asked_for_and_keep_their_mean() -> None:
    network = FeedForward(5, 400, hidden_layers=1, hidden_units=4001, dropout=0.3, seed=1)
    hidden = torch.ones(50, 4001)
    factors = network._dropout_factors(hidden)
    assert factors.unique().tolist() == pytest.approx([0.0, 1 / 0.7], rel=1e-4)
    assert (factors == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert not torch.equal(factors, network._dropout_factors(hidden))
    network.eval()
    features = torch.randn(3, 5)
    assert torch.equal(network(features), network(features))
    network.train()
    assert not torch.equal(network(features), network(features))


def test_initial_weights_have_the_variance_of_he() -> None:
    network = FeedForward(400, 300, hidden_layers=1, hidden_units=500, dropout=0.0, seed=1)
    first, last = network.layers
    assert first.weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert last.weight.std().item() == pytest.approx(math.sqrt(1 / 500), rel=0.02)
    assert not any(layer.bias.any() for layer in network.layers)
