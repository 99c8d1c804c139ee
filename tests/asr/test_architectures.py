"""Every recognition experiment under conf/ builds, has the size of its source, and trains."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from squall.asr.bridge.names import MODEL_NAME
from squall.asr.bridge.running import espnet_task, language_model_task
from squall.asr.settings import RecognitionConfig
from squall.engine.grid import expand_grid
from squall.engine.tasks import load_config
from squall.losses import LOSSES
from squall.losses.registry import SOURCE_SETTINGS
from squall.settings import read_settings

pytest.importorskip("espnet2")

from espnet2.tasks.abs_task import scheduler_classes

from squall.asr.bridge.model import AttentionLoss, SquallModel

CONF = Path(__file__).parents[2] / "conf"
SETTINGS = {path: read_settings(path) for path in sorted(CONF.rglob("*.yaml"))}
CONFIGS = [p for p in SETTINGS if SETTINGS[p].get("task", "recognition") == "recognition"]
PAPERS = ("timit", "wsj", "librispeech")
PARTS = ("encoder", "decoder", "ctc")

# The models are built by one worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("architectures")]

PARAMETERS = {
    # Encoder: GRU 2 * 3 * 320 * (in + 320 + 2) with in 80, then 4 x 320; 5 projections 640 to 320.
    # Attention: encoder 320 * 320 + 320, decoder 300 * 320, channels 10 * 320, filters 10 * 201,
    # energy 321: 204,251. Decoder: that, embedding 300 C, LSTM 4 * 300 * (300 + 320 + 300 + 2) and
    # 301 C. CTC: 321 C. C = 39 or 28 (letters, apostrophe, space), and three.
    "timit/rnn": {"encoder": 6_728_000, "decoder": 1_335_893, "ctc": 13_482},
    "timit/rnn_char": {"encoder": 6_728_000, "decoder": 1_329_282, "ctc": 9_951},
    # VGG: 640 + 36,928 + 73,856 + 147,584 = 259,008, out 128 * 20. Encoder: that, LSTM
    # 2 * 4 * 320 * (in + 320 + 2) with in 2,560, then 5 x 320, and 6 projections. C = 52.
    "wsj/rnn": {"encoder": 17_085_248, "decoder": 1_341_903, "ctc": 16_692},
    # conv2d: 2,560 + 590,080 + (256 * 19 + 1) * 256 = 1,838,080. A layer of the encoder: attention
    # 4 * 257 * 256, feed-forward 257 * 2,048 + 2,049 * 256, norms 2 * 512: 1,315,072, 12 times, and
    # a norm. Of the decoder: with two attentions and three norms, 1,578,752, 6 times, and a norm;
    # embedding 256 C and output 257 C. CTC: 257 C. C = 52 or 1,000.
    "wsj/transformer": {"encoder": 17_619_456, "decoder": 9_499_700, "ctc": 13_364},
    "librispeech/transformer": {"encoder": 17_619_456, "decoder": 9_986_024, "ctc": 257_000},
    "librispeech/transformer_square": {"encoder": 17_619_456, "decoder": 9_986_024, "ctc": 257_000},
    # Encoder: VGG, LSTM 2 * 4 * 1,024 * (in + 1,024 + 2) with in 2,560, then 3 x 2,048, and one
    # projection 2,048 to 1,024. Attention: 1,025 * 1,024 + 1,024 * 1,024 + 10,240 + 2,010 + 1,025.
    # Decoder: that, LSTM 4 * 1,024 * (2,048 + 1,026) and 4 * 1,024 * (1,024 + 1,026), embedding
    # 1,024 C and output 1,025 C. C = 1,000.
    "librispeech/rnn": {"encoder": 107_280_320, "decoder": 25_148_355, "ctc": 1_025_000},
    "librispeech/rnn_square": {"encoder": 107_280_320, "decoder": 25_148_355, "ctc": 1_025_000},
    # A block: attention with relative positions 4 * 257 * 256 + 256 * 256 + 512, gating MLP
    # 257 * 1,024 + 1,024 + 512 * 32 + 513 * 256, two feed-forwards of 257 * 1,024 + 1,025 * 256,
    # five norms, merge 512 * 32 + 513 * 256: 1,942,528, 12 times; the rest as in the transformer,
    # with C = 5,000. Altogether 38,471,952; egs2/librispeech_100/asr1/README.md says 38.47 M.
    "librispeech/e_branchformer": {"encoder": 25_148_928, "decoder": 12_038_024, "ctc": 1_285_000},
}
"""Weights of the parts of each model, from the sizes of its source; C is the number of tokens."""

ATTENTION = {
    "timit/rnn": "AttCovLoc",
    "timit/rnn_char": "AttCovLoc",
    "wsj/rnn": "AttLoc",
    "librispeech/rnn": "AttLoc",
}
"""ESPnet's class of the RNN decoders' attention: some kinds have the same weights."""

CHARACTERS = {"timit": 31, "wsj": 52}
PHONES = {"phone39": 42, "phone48": 51}


def _model_settings(path: Path) -> str:
    """What the model of an experiment is built from."""
    settings = SETTINGS[path]
    characters = CHARACTERS.get(settings["corpus"]["name"])
    espnet = {key: value for key, value in settings["espnet"].items() if key != "max_epoch"}
    return yaml.safe_dump([characters, settings.get("tokens"), espnet])


MODELS = list({_model_settings(path): path for path in reversed(CONFIGS)}.values())[::-1]
"""The experiments without those whose model another one has: a model is built once."""


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def _config(path: Path) -> RecognitionConfig:
    config = load_config(path)
    assert isinstance(config, RecognitionConfig)
    return config


def _tokens(config: RecognitionConfig) -> list[str]:
    """As many tokens as the source has, ESPnet's three among them."""
    units = config.tokens.units
    number = (
        config.tokens.vocabulary_size
        if units == "bpe"
        else PHONES.get(units, CHARACTERS.get(config.corpus.name, 30))
    )
    return ["<blank>", "<unk>", *(f"t{k}" for k in range(number - 3)), "<sos/eos>"]


def _arguments(task: Any, settings: dict[str, Any], folder: Path) -> argparse.Namespace:
    """ESPnet's own reading of settings, which refuses what it does not know."""
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    arguments: argparse.Namespace = task.get_parser().parse_args(["--config", str(path)])
    return arguments


@dataclass
class Architecture:
    """An experiment's model with the arguments that it was built from."""

    path: Path
    arguments: argparse.Namespace
    model: SquallModel


@pytest.fixture(scope="module", params=MODELS, ids=_name)
def architecture(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Architecture]:
    """The model of one experiment; one lives at a time, since the largest takes a gigabyte."""
    config = _config(request.param)
    loss = {"name": config.loss.name, "parameters": config.loss.parameters}
    settings = {
        **config.espnet,
        "model": MODEL_NAME,
        "model_conf": {**config.espnet["model_conf"], "loss": loss},
        "token_list": _tokens(config),
        "token_type": "char",
        "output_dir": "unused",
    }
    task = espnet_task()
    arguments = _arguments(task, settings, tmp_path_factory.mktemp("architecture"))
    torch.manual_seed(0)
    built = Architecture(request.param, arguments, task.build_model(arguments))
    yield built
    del built.model
    gc.collect()


def _size(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _batch(vocabulary_size: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "speech": torch.randn(2, 14000, generator=generator),
        "speech_lengths": torch.tensor([14000, 11000]),
        "text": torch.tensor([[5, 3, vocabulary_size - 2], [4, 2, -1]]),
        "text_lengths": torch.tensor([3, 2]),
    }


def test_every_experiment_of_the_papers_has_a_size() -> None:
    names = {_name(path) for path in CONFIGS if path.parent.name in PAPERS}
    assert names - {f"{recipe}/sample" for recipe in PAPERS} == PARAMETERS.keys()


def test_experiments_with_the_same_model_have_the_same_size() -> None:
    of_model = {_model_settings(path): PARAMETERS.get(_name(path)) for path in MODELS}
    for path in CONFIGS:
        assert PARAMETERS.get(_name(path)) == of_model[_model_settings(path)], path


def test_the_model_has_the_size_of_its_source(architecture: Architecture) -> None:
    sizes = {part: _size(getattr(architecture.model, part)) for part in PARTS}
    assert sizes == PARAMETERS.get(_name(architecture.path), sizes)
    assert sum(sizes.values()) == _size(architecture.model)  # no weights elsewhere


def test_the_encoder_keeps_every_fourth_frame(architecture: Architecture) -> None:
    """14,000 samples are 88 frames; conv2d, without padding, leaves one fewer than the others.

    One of no paper keeps every second: conv2d2, for recordings as short as those of the sample.
    """
    batch = _batch(len(architecture.arguments.token_list))
    with torch.no_grad():
        _, lengths = architecture.model.encode(batch["speech"], batch["speech_lengths"])
    layer = architecture.arguments.encoder_conf.get("input_layer")
    assert int(lengths.max()) == {"conv2d": 21, "conv2d2": 41}.get(layer, 22)


def test_the_attention_is_that_of_the_source(architecture: Architecture) -> None:
    attentions = getattr(architecture.model.decoder, "att_list", ())
    expected = ATTENTION.get(_name(architecture.path))
    assert [type(a).__name__ for a in attentions] == ([expected] if expected else [])


def test_the_optimiser_and_its_schedule_can_be_built(architecture: Architecture) -> None:
    arguments = architecture.arguments
    (optimiser,) = espnet_task().build_optimizers(arguments, torch.nn.Linear(1, 1))
    schedule = scheduler_classes[arguments.scheduler](optimiser, **arguments.scheduler_conf)
    if arguments.scheduler == "warmuplr":
        top, steps = arguments.optim_conf["lr"], arguments.scheduler_conf["warmup_steps"]
        assert schedule.get_last_lr() == [pytest.approx(top / steps)]


def _loss(name: str, ignore_index: int) -> AttentionLoss:
    constants = SOURCE_SETTINGS["librispeech"] if name == "rescaled_square" else {}
    return AttentionLoss(name=name, ignore_index=ignore_index, parameters=dict(constants))


def test_a_step_with_each_loss_is_finite(architecture: Architecture) -> None:
    """One pass through the model, whose logits all losses are given."""
    model = architecture.model.train()
    fused, model.fused = model.fused, False
    given: list[tuple[torch.Tensor, torch.Tensor]] = []
    handle = model.criterion_att.register_forward_hook(lambda *hooked: given.append(hooked[1]))
    model.zero_grad(set_to_none=True)
    batch = _batch(len(architecture.arguments.token_list))
    torch.manual_seed(0)
    loss, stats, _ = model(**batch)
    handle.remove()
    model.fused = fused
    if fused:
        torch.manual_seed(0)
        loss, _, _ = model(**batch)
        assert float(loss.detach()) == pytest.approx(float(stats["loss"]), rel=1e-5)
    assert torch.isfinite(loss)
    for part in ("loss_ctc", "loss_att"):
        assert float(stats[part]) > 0
    ((logits, targets),) = given
    last_of_encoder = list(model.encoder.parameters())[-1]
    for name in LOSSES:
        attention_loss = _loss(name, model.ignore_id)(logits, targets)
        assert float(attention_loss.detach()) > 0, name
        wanted = (logits, last_of_encoder)
        of_logits, reached = torch.autograd.grad(attention_loss, wanted, retain_graph=True)
        assert bool(of_logits.isfinite().all()), name
        assert bool(reached.isfinite().all()), name
        assert bool(reached.any()), name  # by this loss alone: CTC has its own way there
    loss.backward()
    gradients = {key: weight.grad for key, weight in model.named_parameters()}
    assert all(g is None or bool(g.isfinite().all()) for g in gradients.values())
    for part in PARTS:
        of_part = [g for key, g in gradients.items() if key.startswith(f"{part}.")]
        assert all(g is not None for g in of_part), part
        assert any(bool(g.any()) for g in of_part if g is not None), part


@pytest.mark.parametrize("path", [p for p in MODELS if SETTINGS[p].get("lm")], ids=_name)
def test_the_language_model_builds_and_its_loss_is_finite(path: Path, tmp_path: Path) -> None:
    config = _config(path)
    assert config.lm is not None
    task = language_model_task()
    tokens = _tokens(config)
    fixed = {"token_list": tokens, "token_type": "char", "output_dir": "unused"}
    arguments = _arguments(task, {**config.lm.espnet, **fixed}, tmp_path)
    model = task.build_model(arguments)
    task.build_optimizers(arguments, model)
    loss, _, _ = model(torch.tensor([[5, 3, 4], [2, 6, 0]]), torch.tensor([3, 2]))
    loss.backward()
    assert torch.isfinite(loss)
    assert any(bool(w.grad.any()) for w in model.parameters() if w.grad is not None)


@pytest.mark.parametrize("name", [name for name in PARAMETERS if "branch" not in name])
def test_the_losses_have_the_sources_constants(name: str) -> None:
    """Label smoothing where the source has it; k and M; and the epochs of the square loss."""
    path = CONF / f"{name}.yaml"
    corpus, experiment = name.split("/")
    smoothing = 0.1 if "transformer" in experiment else 0.05 if name == "wsj/rnn" else 0.0
    units = {"rnn": "timit-phones", "rnn_char": "timit-characters"}
    constants = SOURCE_SETTINGS[units[experiment] if corpus == "timit" else corpus]
    losses = {}
    for cell in expand_grid(load_config(path).grid):
        config = load_config(path, cell)
        assert isinstance(config, RecognitionConfig)
        losses[config.loss.name] = config.loss.parameters
    square = losses.pop("rescaled_square", None)
    apart = corpus == "librispeech"
    assert (square is None) == (apart and not experiment.endswith("_square"))
    assert square in (None, dict(constants))
    assert losses.keys() == (set() if experiment.endswith("_square") else {"ce", "squentropy"})
    for parameters in losses.values():
        assert parameters == ({"label_smoothing": smoothing} if smoothing else {})


def test_epochs_are_those_of_the_sources() -> None:
    epochs = {name: _config(CONF / f"{name}.yaml").espnet["max_epoch"] for name in PARAMETERS}
    assert epochs == {
        "timit/rnn": 20,
        "timit/rnn_char": 20,
        "wsj/rnn": 15,
        "wsj/transformer": 100,
        "librispeech/rnn": 20,
        "librispeech/rnn_square": 30,
        "librispeech/transformer": 100,
        "librispeech/transformer_square": 120,
        "librispeech/e_branchformer": 210,
    }
