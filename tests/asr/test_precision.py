"""Products in bfloat16 on processors that have them, and what stays in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny

pytest.importorskip("espnet2")

from squall.asr.needs import _build_model
from squall.asr.precision import choose_precision


@pytest.mark.parametrize("has_it", [True, False])
def test_auto_is_what_the_processor_has(monkeypatch: pytest.MonkeyPatch, has_it: bool) -> None:
    monkeypatch.setattr("squall.asr.precision.multiplies_bfloat16", lambda: has_it)
    expected = "bfloat16" if has_it else "float32"
    assert choose_precision(tiny.config(), device="cpu") == expected
    assert choose_precision(tiny.config(), device="cuda") == "float32"
    for asked in ("float32", "bfloat16"):
        assert choose_precision(tiny.config(precision=asked), device="cpu") == asked


@pytest.mark.parametrize(
    ("told", "expected"), [({"precision": "bfloat16"}, "bfloat16"), ({}, "float32")]
)
def test_a_training_goes_on_as_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str], expected: str
) -> None:
    settings = tmp_path / "settings.yaml"
    for has_it in (True, False):
        monkeypatch.setattr(
            "squall.asr.precision.multiplies_bfloat16", lambda has_it=has_it: has_it
        )
        settings.unlink(missing_ok=True)
        fresh = choose_precision(tiny.config(), device="cpu", settings=settings)
        assert fresh == ("bfloat16" if has_it else "float32")
        settings.write_text(yaml.safe_dump({"model_conf": told}))
        assert choose_precision(tiny.config(), device="cpu", settings=settings) == expected


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
