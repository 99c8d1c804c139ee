"""Training a language model: streams and segments, the twin loop, going on, every loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from squall.engine.grid import grid_configs
from squall.losses import SquentropyLoss
from squall.networks.checkpoint import Checkpoint
from squall.networks.loop import Epoch, train
from squall.studies.charlm.settings import LanguageLoss, TrainingSettings
from squall.studies.charlm.tokens import Text
from squall.studies.charlm.training import (
    LanguageTraining,
    cut_streams,
    learning_rate,
    predict,
    time_step,
)
from squall.studies.charlm.transformer_xl import TransformerXL, TransformerXLSettings

CONF = Path(__file__).parents[3] / "conf" / "charlm"
C = 6
SETTINGS = TrainingSettings(
    batch=3, segment=4, steps=16, steps_per_epoch=5, learning_rate=0.01, warmup=3, clip=0.5
)


class KilledError(Exception):
    """What ends a training in the middle of a test."""


def _text(length: int, seed: int = 0) -> Text:
    tokens = np.random.default_rng(seed).integers(C, size=length).astype(np.uint8)
    return Text(tokens, np.ones(length, dtype=np.uint8))


def _network(*, classes: int = C, **changes: Any) -> TransformerXL:
    sizes = {"layers": 2, "d_model": 8, "heads": 2, "d_inner": 12, "memory": 6, "dropout": 0.2}
    torch.manual_seed(4)
    return TransformerXL(classes, TransformerXLSettings(**{**sizes, **changes}))


def _training(loss: str = "squentropy", *, fused: Any = "auto", **changes: Any) -> LanguageTraining:
    settings = SETTINGS.model_copy(update=changes)
    chosen = LanguageLoss(name=loss, fused=fused)
    return LanguageTraining(_network(), chosen, _text(100).tokens, _text(41, 1), settings)


def _weights(training: LanguageTraining) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in training.network.parameters()]


def test_streams_stand_side_by_side() -> None:
    streams = cut_streams(torch.arange(14), SETTINGS.model_copy(update={"segment": 3}))
    assert streams.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_a_text_too_short_for_its_streams_is_named() -> None:
    with pytest.raises(ValueError, match="has 14 tokens, too few for 3 streams of a segment of 4"):
        cut_streams(torch.arange(14), SETTINGS)


def test_the_rate_rises_and_falls() -> None:
    settings = TrainingSettings(steps=100, warmup=10, learning_rate=2.0)
    assert learning_rate(0, settings) == pytest.approx(0.2)
    assert learning_rate(4, settings) == pytest.approx(1.0 * 0.5 * (1 + math.cos(0.04 * math.pi)))
    assert learning_rate(50, settings) == pytest.approx(1.0)
    assert learning_rate(99, settings) < 0.001
    assert learning_rate(0, TrainingSettings()) == 2.5e-4


@pytest.mark.parametrize("clip", [0.5, 100.0])
def test_it_is_a_plain_loop_over_segments(clip: float) -> None:
    """16 steps in epochs of 5; streams of 33 tokens have 8 segments of 4 and a token after them."""
    training, reached = _training(clip=clip), []
    trained = train(training, epochs=4, on_epoch=lambda _: reached.append(_weights(training)))

    network = _network().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    streams = torch.from_numpy(_text(100).tokens).long()[:99].view(3, 33)
    loss, losses, norms = SquentropyLoss(class_dim=-1), [], []
    for step in range(16):
        if step % 5 == 0:
            losses.append([])
        if step % 5 == 0 or step % 8 == 0:
            memory = None
        start = 4 * (step % 8)
        hidden, memory = network(streams[:, start : start + 4], memory)
        value = loss(network.head(hidden), streams[:, start + 1 : start + 5])
        optimizer.zero_grad()
        value.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(network.parameters(), clip).item())
        optimizer.param_groups[0]["lr"] = (
            0.01 * min(1, (step + 1) / 3) * (1 + math.cos(math.pi * step / 16)) / 2
        )
        optimizer.step()
        losses[-1].append(value.item())
    assert (max(norms) > clip) == (clip == 0.5)
    assert [len(values) for values in losses] == [5, 5, 5, 1]
    means = [sum(values) / len(values) for values in losses]
    assert [epoch.loss for epoch in trained.history] == pytest.approx(means)
    assert all(map(torch.equal, reached[-1], network.parameters()))


def _kill_after(epoch: int) -> Any:
    def kill(done: Epoch) -> None:
        if done.epoch == epoch:
            raise KilledError

    return kill


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path, killed_after: int) -> None:
    plain = _training()
    whole = train(plain, epochs=4)
    checkpoint = Checkpoint(tmp_path / "unfinished.pt", {"seed": 1})
    with pytest.raises(KilledError):
        train(_training(), epochs=4, checkpoint=checkpoint, on_epoch=_kill_after(killed_after))
    torch.manual_seed(99)
    again = _training()
    torch.manual_seed(98)
    resumed = train(again, epochs=4, checkpoint=checkpoint)
    numbers = [
        [(one.epoch, one.loss, one.measures) for one in trained.history]
        for trained in (whole, resumed)
    ]
    assert numbers[0] == numbers[1]
    assert {*numbers[0][0][2]} == {"error", "bpc"}
    assert all(map(torch.equal, _weights(plain), _weights(again)))


@pytest.mark.parametrize("length", [42, 48])
@pytest.mark.parametrize("streams", [1, 5])
def test_every_token_but_the_first_is_predicted_from_those_before(
    length: int, streams: int
) -> None:
    network = _network(memory=1000).double()
    text = torch.from_numpy(_text(length).tokens)
    places, logits = map(
        torch.cat, zip(*predict(network, text, streams=streams, segment=4), strict=True)
    )
    assert sorted(places.tolist()) == list(range(1, length))
    expected = torch.empty(length, C, dtype=torch.float64)
    with torch.no_grad():
        of_stream = -(-(length - 1) // streams)
        for start in range(0, length - 1, of_stream):
            part = text[start : min(start + of_stream, length - 1)].long()
            expected[start + 1 : start + 1 + len(part)] = network.head(network(part[None])[0][0])
    torch.testing.assert_close(logits, expected[places])


def test_a_shorter_memory_in_evaluation_gives_other_logits() -> None:
    network = _network(memory=6)
    text = torch.from_numpy(_text(40).tokens)
    found = [
        torch.cat(
            [logits for _, logits in predict(network, text, streams=2, memory=memory, segment=5)]
        )
        for memory in (None, 6, 0)
    ]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert not torch.equal(found[1], found[2])


def test_a_look_is_the_mean_over_dev_in_bits_per_character() -> None:
    training = _training(dev_tokens=30)
    dev = Text(_text(41, 1).tokens, np.arange(41) % 3 + 1)
    training = LanguageTraining(
        training.network, LanguageLoss(), _text(100).tokens, dev, training.settings
    )
    places, logits = map(
        torch.cat, zip(*predict(training.network, torch.from_numpy(dev.tokens[:30])), strict=True)
    )
    targets = torch.from_numpy(dev.tokens).long()[places]
    nats = torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
    found = training.score()
    assert list(found) == ["error", "bpc"]
    assert found["error"] == float((logits.argmax(1) != targets).sum()) / 29
    assert found["bpc"] == pytest.approx(nats / math.log(2) / dev.characters[1:30].sum(), rel=1e-6)


@pytest.mark.parametrize("loss", ["ce", "squentropy", "square"])
def test_a_loss_with_the_output_layer_in_it_is_the_same_loss(loss: str) -> None:
    weights = []
    for fused in (False, True):
        training = _training(loss, fused=fused)
        training.network.dropout.p = 0.0
        training.train_epoch(1)
        weights.append(_weights(training))
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_large_vocabularies_are_fused_and_baselines_never() -> None:
    assert [LanguageLoss().is_fused(classes) for classes in (27, 1999, 2000)] == [
        False, False, True,
    ]  # fmt: skip
    assert not LanguageLoss(name="focal").is_fused(8000)
    with pytest.raises(ValueError, match=r"loss\.fused=true needs one of ce, .*; focal is a"):
        LanguageLoss(name="focal", fused=True).is_fused(27)


def test_in_bfloat16_weights_and_losses_are_float32() -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        training = LanguageTraining(
            _network(dropout=0.0), LanguageLoss(), _text(100).tokens, _text(41), SETTINGS,
            precision=precision,
        )  # fmt: skip
        made: list[torch.dtype] = []
        training.network.layers[0].query.register_forward_hook(
            lambda _, __, output, made=made: made.append(output.dtype)
        )
        losses[precision] = training.train_epoch(1)
        assert set(made) == {getattr(torch, precision)}
        assert {p.grad.dtype for p in training.network.parameters()} == {torch.float32}
        training.score()
        assert made[-1] == torch.float32
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


def test_the_time_of_a_step_is_measured() -> None:
    assert 0 < time_step(_network(), LanguageLoss(), SETTINGS, precision="float32") < 1


@pytest.mark.slow
def test_the_full_size_takes_a_step_in_every_loss() -> None:
    grids = [grid_configs(CONF / f"{preset}.yaml", {}) for preset in ("text8", "enwik8")]
    configs = [config for grid in grids for config in grid if config.seed == 1]
    assert [config.system for config in configs] == 2 * ["ce", "squentropy", "square"]
    assert [config.training.learning_rate for config in configs] == [2.5e-4] * 5 + [2.5e-5]
    network = TransformerXL(27, configs[0].network)
    weight = network.layers[11].query.weight
    for config in configs:
        assert config.network == configs[0].network
        before = weight.detach().clone()
        settings = config.training.model_copy(update={"batch": 1, "segment": 8, "steps": 1})
        training = LanguageTraining(network, config.loss, np.arange(9) % 7, _text(9), settings)
        assert math.isfinite(training.train_epoch(1))
        assert not torch.equal(before, weight)
