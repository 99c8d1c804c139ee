"""The attention loss: values by hand, equality with ESPnet's, and its place in the model."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
from training_runs import train

pytest.importorskip("espnet2")

from squall.asr.bridge.espnet import LabelSmoothingLoss
from squall.asr.bridge.model import AttentionLoss, SquallModel, TrainingDivergedError
from squall.asr.bridge.names import MODEL_NAME
from squall.asr.bridge.running import espnet_task
from squall.asr.needs import _build_model
from squall.engine.experiment import Experiment
from squall.losses import BASELINE_LOSSES, LOSSES

TOKENS = ["<blank>", "<unk>", "<space>", "A", "B", "C", "<sos/eos>"]
C = len(TOKENS)
TARGETS = torch.tensor([[3, 4, 6], [5, -1, -1]])
LENGTHS = (3, 1)
EVERY_LOSS = {**LOSSES, **BASELINE_LOSSES}
RNN = {key.replace(".", "__"): value for key, value in tiny.RNN.items()}


def _logits() -> torch.Tensor:
    return torch.randn(2, 3, C, generator=torch.Generator().manual_seed(0))


def _square_by_hand(logits: torch.Tensor) -> list[list[float]]:
    """(1/C) sum_j (f_j - 1[j=y])^2 of every token that is not padding."""
    return [
        [
            sum((float(f) - (j == int(target))) ** 2 for j, f in enumerate(row)) / C
            for row, target in zip(rows, targets, strict=True)
            if target >= 0
        ]
        for rows, targets in zip(logits, TARGETS, strict=True)
    ]


@pytest.mark.parametrize("normalize", ["token", "utterance", "batch"])
def test_normalisation_by_hand(normalize: str) -> None:
    logits = _logits()
    first, second = map(math.fsum, _square_by_hand(logits))
    expected = {
        "token": (first + second) / sum(LENGTHS),
        "utterance": (first / LENGTHS[0] + second / LENGTHS[1]) / 2,
        "batch": (first + second) / 2,
    }[normalize]
    loss = AttentionLoss(name="square", normalize=normalize)
    assert float(loss(logits, TARGETS)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("normalize", ["token", "utterance", "batch"])
@pytest.mark.parametrize("name", EVERY_LOSS)
def test_padding_changes_nothing(name: str, normalize: str) -> None:
    loss = AttentionLoss(name=name, normalize=normalize)
    logits = _logits()
    expected = loss(logits, TARGETS)
    longer = torch.nn.functional.pad(TARGETS, (0, 2), value=-1)
    padding = torch.full((2, 2, C), 1e3)
    filled = torch.where((TARGETS < 0)[..., None], torch.tensor(7.0), logits)
    torch.testing.assert_close(loss(torch.cat([filled, padding], dim=1), longer), expected)


@pytest.mark.parametrize(("normalize", "by_length"), [("batch", False), ("token", True)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_equals_espnets(normalize: str, by_length: bool, smoothing: float) -> None:
    logits = _logits()
    espnets = LabelSmoothingLoss(C, -1, smoothing, by_length)(logits, TARGETS)
    # ESPnet's loss is a divergence (0 at its minimum) that shares the mass among the other C - 1.
    ours = AttentionLoss(
        name="ce",
        normalize=normalize,
        parameters={"label_smoothing": smoothing * C / (C - 1)},
    )(logits, TARGETS)
    entropy = 0.0
    if smoothing:
        other = smoothing / (C - 1)
        entropy = -(1 - smoothing) * math.log(1 - smoothing) - (C - 1) * other * math.log(other)
    tokens_per_unit = 1 if by_length else sum(LENGTHS) / 2
    assert float(ours) - entropy * tokens_per_unit == pytest.approx(float(espnets), rel=1e-5)


def test_scale_multiplies() -> None:
    plain, scaled = AttentionLoss(name="ccql"), AttentionLoss(name="ccql", scale=3.0)
    assert float(scaled(_logits(), TARGETS)) == pytest.approx(3 * float(plain(_logits(), TARGETS)))


@pytest.mark.parametrize("name", EVERY_LOSS)
def test_a_scale_of_ce_begins_where_cross_entropy_does(name: str) -> None:
    loss = AttentionLoss(name=name, scale="ce", normalize="token", classes=C)
    start = loss(torch.zeros(2, 3, C), TARGETS)
    assert float(start) == pytest.approx(math.log(C), rel=1e-6)
    if loss.linear_loss is not None:
        layer = torch.nn.Linear(4, C)
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        fused = loss.of_layer(torch.ones(2, 3, 4), layer, TARGETS)
        assert float(fused.detach()) == pytest.approx(math.log(C), rel=1e-6)


def test_a_scale_of_ce_is_of_the_parameters_and_may_not_exist() -> None:
    loss = AttentionLoss(name="rescaled_square", parameters={"M": 3.0}, scale="ce", classes=C)
    assert loss.loss.scale == pytest.approx(math.log(C) * C / 9)
    with pytest.raises(ValueError, match="needs the number of classes"):
        AttentionLoss(name="square", scale="ce")
    with pytest.raises(ValueError, match="no scale brings it to the value of ce"):
        AttentionLoss(name="confidence_penalty", parameters={"beta": 1.0}, scale="ce", classes=C)


def _model(experiment: Experiment, loss: dict[str, Any], **model_conf: Any) -> SquallModel:
    """A model built as a training builds it, from the settings that stage 3 saved."""
    (saved,) = (experiment.recipe_dir / "shared").glob("stats-*/config.yaml")
    args = yaml.safe_load(saved.read_text())
    args |= {"model": MODEL_NAME, "model_conf": {**args["model_conf"], **model_conf, "loss": loss}}
    args |= {"token_list": TOKENS, "init": None}
    torch.manual_seed(0)
    model = espnet_task().build_model(argparse.Namespace(**args))
    assert isinstance(model, SquallModel)
    return model


def _batch() -> dict[str, torch.Tensor]:
    speech = torch.randn(2, 16000, generator=torch.Generator().manual_seed(1))
    return {
        "speech": speech,
        "speech_lengths": torch.tensor([16000, 12000]),
        "text": torch.tensor([[3, 4], [5, -1]]),
        "text_lengths": torch.tensor([2, 1]),
    }


@pytest.mark.parametrize("name", EVERY_LOSS)
def test_the_model_trains_with_the_loss_of_its_name(prepared: Experiment, name: str) -> None:
    model = _model(prepared, {"name": name, "normalize": "token", "scale": 2.0}).eval()
    assert type(model.criterion_att.loss) is EVERY_LOSS[name]
    seen: list[torch.Tensor] = []
    model.criterion_att.register_forward_hook(lambda module, inputs, output: seen.append(output))
    loss, stats, _ = model(**_batch())
    loss.backward()
    weight = model.ctc_weight
    expected = weight * float(stats["loss_ctc"]) + (1 - weight) * float(seen[0].detach())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    gradients = [p.grad for p in model.decoder.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert any(bool(g.abs().sum() > 0) for g in gradients)


def _trained(model: SquallModel, steps: int) -> list[float]:
    """The losses of a training without dropout, so that nothing but the loss decides."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    seen = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss, _, _ = model(**_batch())
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("normalize", ["token", "utterance", "batch"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_fused_training_has_the_losses_of_an_unfused_one(
    prepared: Experiment, name: str, normalize: str
) -> None:
    loss = {"name": name, "normalize": normalize, "scale": 2.0}
    plain, fused = (
        _trained(_model(prepared, loss, fused=fused), steps=20) for fused in (False, True)
    )
    assert plain[-1] < plain[0]
    assert fused == pytest.approx(plain, rel=1e-5)


def test_a_fused_step_makes_no_logits_and_validation_has_its_accuracy(
    prepared: Experiment,
) -> None:
    model = _model(prepared, {"name": "squentropy"}, fused=True)
    made: list[torch.Tensor] = []
    model.decoder.output_layer.register_forward_hook(lambda *args: made.append(args[-1]))
    assert model.train()(**_batch())[1]["acc"] is None
    assert not made
    assert 0 <= float(model.eval()(**_batch())[1]["acc"]) <= 1
    assert made


@pytest.mark.parametrize("fused", [True, False, "auto"])
def test_a_small_vocabulary_is_fused_where_it_is_asked_for(
    prepared: Experiment, fused: bool | str
) -> None:
    assert _model(prepared, {"name": "ce"}, fused=fused).fused is (fused is True)


def test_a_decoder_whose_output_layer_is_not_its_last_cannot_be_fused() -> None:
    settings = tiny.config(**RNN, loss__fused=True)
    with pytest.raises(ValueError, match=r"loss.fused=true needs a transformer.*RNNDecoder"):
        _build_model(settings)
    assert not _build_model(tiny.config(**RNN)).fused


def test_a_model_resolves_the_scale_with_its_tokens(prepared: Experiment) -> None:
    model = _model(prepared, {"name": "square", "scale": "ce"})
    assert model.criterion_att.loss.scale == pytest.approx(math.log(C) * C)
    settings = tiny.config(loss__name="square", loss__scale="ce")
    tokens = len(_build_model(settings).token_list)
    assert _build_model(settings).criterion_att.loss.scale == pytest.approx(
        math.log(tokens) * tokens
    )


@pytest.mark.parametrize("name", BASELINE_LOSSES)
def test_a_baseline_is_not_fused(name: str) -> None:
    large = {"tokens__units": "bpe", "tokens__vocabulary_size": 5000, "loss__name": name}
    assert not _build_model(tiny.config(**large)).fused
    with pytest.raises(ValueError, match=rf"loss.fused=true needs one of ce,.*; {name} is a base"):
        _build_model(tiny.config(loss__name=name, loss__fused=True))


def test_a_large_vocabulary_is_fused() -> None:
    large = {"tokens__units": "bpe", "tokens__vocabulary_size": 5000}
    assert _build_model(tiny.config(**large)).fused
    assert not _build_model(tiny.config(**large, loss__fused=False)).fused


def test_whether_a_loss_is_fused_names_no_other_experiment() -> None:
    names = {tiny.config(loss__fused=fused).directory_name for fused in (True, False, "auto")}
    assert len(names) == 1


def test_ctc_is_untouched_by_the_loss(prepared: Experiment) -> None:
    values = {
        name: float(_model(prepared, {"name": name}).eval()(**_batch())[1]["loss_ctc"])
        for name in ("ce", "rescaled_square")
    }
    assert values["ce"] == values["rescaled_square"]


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("lsm_weight", 0.1, "loss.label_smoothing"),
        ("length_normalized_loss", True, "loss.normalize=token"),
    ],
)
def test_settings_of_the_loss_have_one_place(
    prepared: Experiment, key: str, value: Any, instead: str
) -> None:
    with pytest.raises(ValueError, match=f"model_conf.{key} is {value}: set {instead}"):
        _model(prepared, {"name": "ce"}, **{key: value})


def test_a_model_without_attention_decoder_is_refused(prepared: Experiment) -> None:
    with pytest.raises(ValueError, match=r"no attention decoder.*ctc_weight below 1"):
        _model(prepared, {"name": "square"}, ctc_weight=1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_says_what_to_do(prepared: Experiment, bad: float) -> None:
    model = _model(prepared, {"name": "square"}).eval()
    with torch.no_grad():
        model.decoder.output_layer.bias.fill_(bad)
    with pytest.raises(TrainingDivergedError) as caught:
        model(**_batch(), utt_id=["u7", "u8"])
    message = str(caught.value)
    assert "u7" in message
    assert "loss_ctc" in message
    assert f"loss_att {bad:g}" in message
    assert "Lower espnet.optim_conf.lr" in message


def test_divergence_stops_the_training(prepared: Experiment, tmp_path: Path) -> None:
    settings = tiny.config(loss__name="square", loss__scale=1e38, espnet__optim_conf={"lr": 1e30})
    with pytest.raises(TrainingDivergedError, match="the training loss is"):
        train(prepared, settings, tmp_path / "train")
