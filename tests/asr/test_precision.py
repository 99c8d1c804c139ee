"""Products in bfloat16 in a recogniser's training, and what stays in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny

pytest.importorskip("espnet2")

from squall.asr.needs import _build_model
from squall.asr.training import _begun_precision


@pytest.mark.parametrize(
    ("told", "expected"), [({"precision": "bfloat16"}, "bfloat16"), ({}, "float32")]
)
def test_espnets_settings_tell_how_a_training_began(
    tmp_path: Path, told: dict[str, str], expected: str
) -> None:
    settings = tmp_path / "settings.yaml"
    assert _begun_precision(settings) is None
    settings.write_text(yaml.safe_dump({"model_conf": told}))
    assert _begun_precision(settings) == expected


def test_the_name_of_an_experiment_has_the_precision_that_was_asked_for() -> None:
    names = [tiny.config(precision=p).directory_name for p in ("auto", "float32", "bfloat16")]
    assert len(set(names)) == 3
    assert tiny.config().directory_name == names[0]


def test_weights_features_and_losses_are_float32() -> None:
    losses = {}
    batch = {
        "speech": torch.randn(2, 16000, generator=torch.Generator().manual_seed(1)) / 10,
        "speech_lengths": torch.tensor([16000, 12000]),
        "text": torch.tensor([[3, 4, 5], [6, 3, -1]]),
        "text_lengths": torch.tensor([3, 2]),
    }
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(2)
        model = _build_model(tiny.config(), precision).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        fed: list[Any] = []
        model.encoder.register_forward_pre_hook(
            lambda _, inputs, fed=fed: fed.append(inputs[0].dtype)
        )
        made: list[Any] = []
        model.decoder.register_forward_hook(lambda _, __, out, made=made: made.append(out[0].dtype))
        loss, stats, _ = model(**batch)
        loss.backward()
        assert fed == [torch.float32]
        assert made == [getattr(torch, precision)]
        assert loss.dtype == stats["loss_att"].dtype == torch.float32
        assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
        losses[precision] = float(loss)
        model.eval()(**batch)
        assert made[-1] == torch.float32  # a validation is exact
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
