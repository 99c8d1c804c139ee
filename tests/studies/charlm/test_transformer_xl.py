"""Transformer-XL: the paper's sums position by position, memory, gradients, sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import naive_language as naive
from squall.engine.tasks import load_config
from squall.studies.charlm.settings import CharlmConfig
from squall.studies.charlm.transformer_xl import TransformerXL, TransformerXLSettings

CONF = Path(__file__).parents[3] / "conf" / "charlm"
C, B = 7, 2


def _network(**changes: Any) -> TransformerXL:
    """A small network in float64 whose u, v, offsets and norms are not what they begin as."""
    settings = {"layers": 3, "d_model": 8, "heads": 2, "d_inner": 12, "memory": 5}
    torch.manual_seed(0)
    network = TransformerXL(C, TransformerXLSettings(**{**settings, "dropout": 0.0, **changes}))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape))
    return network.double().eval()


def _tokens(length: int) -> Tensor:
    return torch.randint(C, (B, length), generator=torch.Generator().manual_seed(1))


SHAPES = [
    {"norm": "post"},
    {"norm": "pre", "tied": False},
    {"norm": "post", "d_head": 3, "heads": 3},
]


@pytest.mark.slow
@pytest.mark.parametrize("changes", SHAPES, ids=["post", "pre", "narrow heads"])
def test_it_is_the_papers_sums_position_by_position(changes: dict[str, Any]) -> None:
    network = _network(**changes)
    tokens = _tokens(11)
    segments = [tokens[:, :4], tokens[:, 4:5], tokens[:, 5:11]]  # the second is short of a memory
    memory = None
    kept: list[list[list[Tensor]]] = [[[] for _ in network.layers] for _ in range(B)]
    for segment in segments:
        with torch.no_grad():
            found, memory = network(segment, memory)
            for row, line in enumerate(segment.tolist()):
                expected, inputs = naive.transformer_xl(network, line, kept[row])
                torch.testing.assert_close(found[row], torch.stack(expected))
                pairs = zip(kept[row], inputs, strict=True)
                kept[row] = [(before + new)[-network.settings.memory :] for before, new in pairs]
                for layer, vectors in enumerate(kept[row]):
                    torch.testing.assert_close(memory[layer][row], torch.stack(vectors))


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("segment", [1, 5, 23])
def test_segments_with_memory_of_everything_are_one_text(norm: str, segment: int) -> None:
    network = _network(norm=norm)
    tokens = _tokens(23)
    with torch.no_grad():
        whole, _ = network(tokens)
        parts, memory = [], None
        for part in tokens.split(segment, dim=1):
            hidden, memory = network(part, memory, keep=1000)
            parts.append(hidden)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    assert {one.shape[1] for one in memory} == {23}


def test_a_shorter_memory_forgets() -> None:
    network = _network(memory=5, layers=1)
    tokens = _tokens(12)
    other = tokens.clone()
    other[:, :2] = (other[:, :2] + 1) % C
    results = []
    for text in (tokens, other):
        with torch.no_grad():
            _, memory = network(text[:, :4])
            _, memory = network(text[:, 4:8], memory)
            assert memory[0].shape == (B, 5, 8)
            results.append(network(text[:, 8:], memory)[0])
    torch.testing.assert_close(*results, rtol=0, atol=0)  # of positions 3 to 7 alone


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_no_position_sees_a_later_one(norm: str) -> None:
    network = _network(norm=norm)
    tokens = _tokens(10)
    other = tokens.clone()
    other[:, 6] = (other[:, 6] + 1) % C
    with torch.no_grad():
        _, memory = network(_tokens(3))
        one, two = network(tokens, memory)[0], network(other, memory)[0]
    torch.testing.assert_close(one[:, :6], two[:, :6], rtol=0, atol=0)
    assert all(not torch.equal(one[:, k], two[:, k]) for k in range(6, 10))


def test_every_weight_has_a_gradient_and_memory_has_none() -> None:
    network = _network(tied=False).train()
    first, second = torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.int64)
    _, memory = network(first)
    assert all(not one.requires_grad for one in memory)
    hidden, _ = network(second, memory)
    network.head(hidden).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    by_row = network.embedding.weight.grad.abs().sum(dim=1)
    assert by_row[1] > 0
    assert by_row[0] == 0  # the class of the first segment alone


def test_tied_weights_are_one_parameter() -> None:
    tied, untied = _network(tied=True), _network(tied=False)
    assert tied.head.weight is tied.embedding.weight
    counts = [sum(p.numel() for p in network.parameters()) for network in (tied, untied)]
    assert counts[1] - counts[0] == C * 8


def test_dropout_acts_in_training_alone() -> None:
    network = _network(dropout=0.5, attention_dropout=0.5)
    tokens = _tokens(6)
    torch.testing.assert_close(network(tokens)[0], network(tokens)[0], rtol=0, atol=0)
    network.train()
    assert not torch.equal(network(tokens)[0], network(tokens)[0])


@pytest.mark.parametrize("std", [0.02, None])
def test_what_a_training_begins_with(std: float | None) -> None:
    torch.manual_seed(3)
    settings = TransformerXLSettings(layers=1, d_model=64, heads=2, d_inner=256, initial_std=std)
    network = TransformerXL(200, settings)
    layer = network.layers[0]
    weights = {
        "embedding": (network.embedding.weight, 64),
        "query": (layer.query.weight, 64),
        "inner": (layer.feed_forward[0].weight, 64),
        "outer": (layer.feed_forward[3].weight, 256),
        "u": (network.u, 32),
    }
    for name, (weight, inputs) in weights.items():
        expected = std or inputs**-0.5
        assert float(weight.detach().std()) == pytest.approx(expected, rel=0.2), name
    assert float(layer.feed_forward[0].bias.detach().abs().max()) == 0
    assert set(layer.attention_norm.weight.tolist()) == {1.0}


PUBLISHED = {
    # Table 2 of the paper: enwik8, 41 M and 277 M; the authors' scripts have the sizes.
    41: {"layers": 12, "d_model": 512, "heads": 8, "d_inner": 2048},
    277: {"layers": 24, "d_model": 1024, "heads": 8, "d_inner": 3072},
}


@pytest.mark.parametrize("millions", PUBLISHED)
def test_the_published_sizes_have_the_published_numbers_of_weights(millions: int) -> None:
    size = PUBLISHED[millions]
    with torch.device("meta"):
        network = TransformerXL(204, TransformerXLSettings(**size))
    found = sum(parameter.numel() for parameter in network.parameters())
    d, inner = size["d_model"], size["d_inner"]
    of_layer = 5 * d * d + 2 * d * inner + inner + d + 4 * d
    assert found == size["layers"] * of_layer + 2 * d + 204 * d + 204
    assert round(found / 1e6) == millions


@pytest.mark.parametrize("name", ["text8", "enwik8"])
def test_the_sources_presets_are_the_papers_twelve_layers(name: str) -> None:
    config = load_config(CONF / f"{name}.yaml")
    assert isinstance(config, CharlmConfig)
    own = config.network.model_dump(exclude={"memory"})
    assert own == TransformerXLSettings().model_dump(exclude={"memory"})
    training = config.training
    assert (training.batch, training.segment, training.steps) == (8, 70, 400_000)
    assert training.learning_rate == 2.5e-4


def test_a_width_that_heads_cannot_share_is_named() -> None:
    with pytest.raises(
        ValidationError, match="d_model 10 cannot be shared by 4 heads: give d_head"
    ):
        TransformerXLSettings(d_model=10, heads=4)
