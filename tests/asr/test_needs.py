"""What a training will need, against the training itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

import tiny

pytest.importorskip("espnet2")

from squall.asr import needs
from squall.asr.needs import TrainingNeeds, free_memory_bytes, measure_needs
from squall.engine.experiment import Experiment
from squall.losses import LOSSES


def _measure(**settings: Any) -> TrainingNeeds:
    return measure_needs(tiny.config(**settings), lengths_s=[1.0] * 20, device="cpu", threads=1)


def test_weights_and_disk_are_those_of_the_training(trained: Experiment) -> None:
    config = trained.config
    found = measure_needs(config, lengths_s=[1.0] * 20, device="cpu", threads=1)
    facts = trained.variant_dir("decode") / "test" / "decoding.json"
    # Its token list is a few characters shorter than the 32 that are assumed.
    assert found.parameters == pytest.approx(json.loads(facts.read_text())["parameters"], rel=0.05)
    models = [p for p in (trained.directory / "train").glob("*.pth") if not p.is_symlink()]
    written = sum(path.stat().st_size for path in models)
    # So small a model's files are more names than weights.
    names = 20_000 * len(models)
    assert found.disk_bytes <= 2 * written
    assert written <= 2 * (found.disk_bytes + names)


@pytest.mark.slow
def test_time_and_memory_grow_with_the_model() -> None:
    small = _measure()
    large = _measure(espnet__encoder_conf__linear_units=4096, espnet__encoder_conf__num_blocks=4)
    assert large.parameters > 4 * small.parameters
    assert large.seconds_per_speech_s > small.seconds_per_speech_s > 0
    assert large.disk_bytes > 4 * small.disk_bytes
    assert large.memory_bytes >= small.memory_bytes > 10 * small.parameters


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "units"),
    [
        *((loss, "char") for loss in LOSSES),
        *(("ce", units) for units in ("bpe", "word", "phone48")),
    ],
)
def test_every_loss_and_unit(loss: str, units: str) -> None:
    found = _measure(loss__name=loss, tokens__units=units, tokens__vocabulary_size=200)
    assert found.parameters > 0


@pytest.mark.parametrize(
    ("espnet", "lengths_s", "expected"),
    [
        ({"batch_type": "numel", "batch_bins": 480_000}, [3.0] * 22, [(10, 3.0)] * 2 + [(2, 3.0)]),
        ({"batch_type": "numel", "batch_bins": 40_000}, [3.0] * 2, [(1, 3.0)] * 2),
        ({"batch_type": "unsorted", "batch_size": 30}, [3.0] * 29 + [9.0], [(30, 9.0)]),
        # ESPnet closes a batch after the utterance that fills it.
        ({"batch_type": "numel", "batch_bins": 480_000}, [1.0] * 9 + [100.0], [(10, 100.0)]),
        (
            {"batch_type": "folded", "batch_size": 8, "fold_length": [80_000, 150]},
            [1.0] * 8 + [10.0, 12.0],
            [(8, 1.0), (2, 12.0)],
        ),
    ],
    ids=["bins", "few bins", "size", "outlier", "folded"],
)
def test_batches_are_those_of_the_training(
    espnet: dict[str, Any], lengths_s: list[float], expected: list[tuple[int, float]]
) -> None:
    config = tiny.config(**{f"espnet__{key}": value for key, value in espnet.items()})
    assert needs._batches(config, lengths_s, vocabulary=30) == expected


@pytest.mark.parametrize(
    ("lengths_s", "utterances", "padded_s"),
    [([2.0] * 5, 5, 2.0), ([2.0] * 4 + [20.0], 5, 20.0), ([2.0] * 4 + [100.0], 5, 100.0)],
    ids=["equal", "measured", "beyond what is measured"],
)
def test_memory_is_that_of_the_longest_utterance(
    monkeypatch: pytest.MonkeyPatch, lengths_s: list[float], utterances: int, padded_s: float
) -> None:
    """An utterance of t seconds takes 3 t + 2 t² megabytes here, and 7 megabytes are held."""
    peak = 0

    def train(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> None:
        nonlocal peak
        count, samples = batch["speech"].shape
        t = samples / 16000
        assert count * t <= 40
        gradients = 4 * sum(weight.numel() for weight in model.parameters())
        peak = max(peak, round(7e6 + gradients + count * (3e6 * t + 2e6 * t**2)))

    monkeypatch.setattr(needs, "_pass", train)
    monkeypatch.setattr(needs, "_settled_memory_bytes", lambda device: 7_000_000)
    monkeypatch.setattr(needs, "_peak_memory_bytes", lambda device: peak)
    config = tiny.config(espnet__batch_type="unsorted", espnet__batch_size=5)
    found = measure_needs(config, lengths_s=lengths_s, device="cpu", threads=1)
    assert (found.utterances, found.padded_s) == (utterances, padded_s)
    weights = 12 * found.parameters  # their gradients and the states of the optimizer
    expected = 7e6 + weights + utterances * (3e6 * padded_s + 2e6 * padded_s**2)
    assert found.memory_bytes == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"espnet__encoder_conf__input_layer": "conv2d2"},
        {"espnet__frontend_conf__hop_length": 128},
        {"espnet__encoder": "vgg_rnn", "espnet__encoder_conf": {"hidden_size": 8}},
    ],
    ids=["conv2d", "conv2d2", "hop", "vgg"],
)
def test_frames_are_those_of_the_encoder(settings: dict[str, Any]) -> None:
    config = tiny.config(**settings)
    frames_of = needs.encoder_frames(config)
    model = needs._build_model(config).eval()
    for length_s in (0.4, 1.0, 3.33, 11.1):
        speech = torch.zeros(1, round(16000 * length_s))
        with torch.no_grad():
            frames = int(model.encode(speech, torch.tensor([speech.size(1)]))[1])
        assert abs(frames_of(length_s) - frames) <= 1


def test_hours_by_hand() -> None:
    some = TrainingNeeds(1, 0.5, memory_bytes=1, disk_bytes=1, utterances=1, padded_s=1.0)
    assert some.hours(train_s=3600, dev_s=1080, epochs=4) == pytest.approx(4 * 1.1 * 0.5)


def test_a_setting_that_espnet_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match="encoder_typo"):
        _measure(espnet__encoder_typo=1)


def test_free_memory_is_told_where_the_system_tells_it() -> None:
    free = free_memory_bytes("cpu")
    assert free is None or 10**6 < free < 10**14
