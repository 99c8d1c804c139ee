"""Fine-tuning: the course of the learning rate, resuming, and what padding must not change."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import squall.studies.text.training
from squall.losses import SquentropyLoss
from squall.networks.checkpoint import Checkpoint
from squall.networks.loop import Epoch
from squall.studies.text.dataset import EncodedTexts
from squall.studies.text.encoder import EncoderFamily
from squall.studies.text.settings import FineTuningSettings
from squall.studies.text.training import fine_tune, predict_logits, rate_at
from tiny_texts import opinions

SETTINGS = FineTuningSettings(
    epochs=4, batch_size=8, learning_rate=0.01, precision="float32", warmup=0.0
)


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(squall.studies.text.training).failed == 0


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_the_learning_rate_rises_and_falls_evenly(warmup: float) -> None:
    settings = FineTuningSettings(warmup=warmup)
    rates = [rate_at(step, 40, settings) for step in range(1, 41)]
    rising = round(40 * warmup)
    assert rates[:rising] == pytest.approx([(k + 1) / rising for k in range(rising)])
    falls = np.diff(rates[max(rising - 1, 0) :])
    assert falls == pytest.approx(falls[0])
    assert rates[-1] == pytest.approx(-falls[0])
    assert max(rates) == 1.0
    constant = FineTuningSettings(warmup=warmup, decay="none")
    assert [rate_at(step, 40, constant) for step in range(rising + 1, 41)] == [1.0] * (40 - rising)


def _encoded(family: EncoderFamily, count: int, seed: int) -> EncodedTexts:
    rows = opinions(count, seed)
    inputs, _ = family.encode([(text, None) for _, text in rows])
    return EncodedTexts(inputs, np.array([int(label) for label, _ in rows]))


def _tune(family: EncoderFamily, **changes: Any) -> tuple[torch.nn.Module, Any]:
    return fine_tune(
        family, _encoded(family, 60, 0), _encoded(family, 20, 1), SquentropyLoss(class_dim=-1),
        SETTINGS, classes=2, learning_rate=0.01, seed=3, **changes,
    )  # fmt: skip


def test_a_network_learns(tiny_encoder: Path) -> None:
    family = EncoderFamily(str(tiny_encoder), 16)
    network, trained = _tune(family)
    assert trained.best is not None
    assert trained.best.score == 0.0
    test = _encoded(family, 20, 2)
    logits = predict_logits(network, family, test, SETTINGS)
    assert (logits.argmax(axis=1) == test.targets).all()


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_a_training_that_is_stopped_goes_on_to_the_bit(
    tiny_encoder: Path, tmp_path: Path, stopped_after: int
) -> None:
    family = EncoderFamily(str(tiny_encoder), 16)
    whole, trained = _tune(family)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "stamp")

    def stop(epoch: Epoch) -> bool:
        return epoch.epoch == stopped_after

    _tune(family, checkpoint=checkpoint, on_epoch=stop)
    torch.manual_seed(99)
    again, gone_on = _tune(family, checkpoint=checkpoint)
    assert [e.loss for e in gone_on.history] == [e.loss for e in trained.history]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_last_epoch_is_kept_where_that_is_asked_for(tiny_encoder: Path) -> None:
    family = EncoderFamily(str(tiny_encoder), 16)
    settings = SETTINGS.model_copy(update={"keep": "last", "epochs": 1})
    texts = _encoded(family, 20, 0)
    _, trained = fine_tune(
        family, texts, texts, SquentropyLoss(class_dim=-1), settings, classes=2,
        learning_rate=0.01, seed=3,
    )  # fmt: skip
    assert trained.best is None
    assert trained.history[0].score is None


def test_padding_changes_nothing(tiny_encoder: Path) -> None:
    family = EncoderFamily(str(tiny_encoder), 16)
    torch.manual_seed(0)
    network = family.network(classes=3)
    texts = _encoded(family, 30, 5)
    together = predict_logits(network, family, texts, SETTINGS)
    for number in range(0, 30, 7):
        with torch.inference_mode():
            alone = network.eval()(**family.batch(texts.inputs, [number])).numpy()[0]
        np.testing.assert_allclose(together[number], alone, atol=1e-5)


def test_only_matrices_decay(tiny_encoder: Path) -> None:
    from squall.studies.text.training import _groups

    network = EncoderFamily(str(tiny_encoder), 16).network(classes=2)
    decaying, others = _groups(network, 0.1)
    assert decaying["weight_decay"] == 0.1
    assert others["weight_decay"] == 0.0
    names = {id(p): name for name, p in network.named_parameters()}
    of_others = {names[id(p)] for p in others["params"]}
    assert all(name.endswith("bias") or "LayerNorm" in name for name in of_others)
    assert len(of_others) + len(decaying["params"]) == len(names)
