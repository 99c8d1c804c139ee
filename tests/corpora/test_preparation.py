"""From the name of a corpus to its splits, and the fingerprint that tells a changed corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from squall.corpora.demo import corpus as demo
from squall.corpora.manifest import Utterance, read_manifest, write_manifest
from squall.corpora.preparation import CORPORA, corpus_state, prepare_corpus
from squall.corpora.settings import CorpusConfig
from squall.corpora.validation import validate

MakeUtterance = Callable[..., Utterance]


@pytest.fixture
def own_corpus(tmp_path: Path, make_utterance: MakeUtterance) -> Path:
    """A user's own corpus: three manifests beside their audio, with relative paths."""
    for split in ("train", "dev", "test"):
        utterance = make_utterance(f"{split}1", speaker=split)
        relative = replace(utterance, audio_path=Path(utterance.audio_path).name)
        write_manifest(tmp_path / f"{split}.jsonl", [relative])
    return tmp_path


def test_manifests_are_a_corpus(own_corpus: Path) -> None:
    splits = prepare_corpus(CorpusConfig(name="manifest"), own_corpus)
    assert {split: [u.id for u in utterances] for split, utterances in splits.items()} == {
        "train": ["train1"],
        "dev": ["dev1"],
        "test": ["test1"],
    }
    assert validate(splits) == []


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_missing_manifest_is_named(own_corpus: Path, split: str) -> None:
    (own_corpus / f"{split}.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{split}\.jsonl is missing: .* Your own corpus"):
        prepare_corpus(CorpusConfig(name="manifest"), own_corpus)


def test_folders_of_ones_own_are_put_together(
    own_corpus: Path, tmp_path: Path, make_utterance: MakeUtterance
) -> None:
    more = tmp_path / "more"
    utterance = make_utterance("more1", speaker="more")
    more.mkdir()
    Path(utterance.audio_path).rename(more / "more1.wav")
    (more / "manifest.tsv").write_text("id\tspeaker\tsplit\ttext\nmore1\tmore\ttrain\tGO ON\n")
    splits = prepare_corpus(CorpusConfig(name="manifest"), [own_corpus, more])
    assert [u.id for u in splits["train"]] == ["more1", "train1"]
    assert [len(splits[name]) for name in ("dev", "test")] == [1, 1]
    assert validate(splits) == []


def test_an_unknown_corpus_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no corpus 'timmit'; there are \['an4', 'demo'"):
        prepare_corpus(CorpusConfig(name="timmit"), tmp_path)


def test_every_corpus_of_a_config_has_a_preparer() -> None:
    assert {"an4", "demo", "timit"} <= CORPORA.keys()


@pytest.mark.parametrize("name", ["an4", "manifest"])
def test_options_that_a_corpus_does_not_have_are_refused(own_corpus: Path, name: str) -> None:
    config = CorpusConfig(name=name, options={"voices": 3})
    with pytest.raises(ValueError, match=f"'{name}' has no options, found voices"):
        prepare_corpus(config, own_corpus)


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for the speech engine: the options that corpora were spoken with."""
    calls: list[dict[str, Any]] = []

    def speak(folder: Path, **options: Any) -> None:
        folder.mkdir()
        calls.append(options)

    monkeypatch.setattr(demo, "write_demo_corpus", speak)
    monkeypatch.setattr(demo, "prepare_demo", lambda folder: {})
    return calls


def test_the_demo_corpus_is_spoken_once(tmp_path: Path, spoken: list[dict[str, Any]]) -> None:
    config = CorpusConfig(name="demo", options={"seed": 3})
    for _ in range(2):
        prepare_corpus(config, tmp_path / "demo")
    assert [options["seed"] for options in spoken] == [3]


def test_a_demo_corpus_spoken_with_other_options_is_not_taken_for_this_one(
    tmp_path: Path, spoken: list[dict[str, Any]]
) -> None:
    prepare_corpus(CorpusConfig(name="demo", options={"seed": 3}), tmp_path / "demo")
    with pytest.raises(ValueError, match=r'with corpus\.options \{"seed": 3\}, .* \{"seed": 4\}'):
        prepare_corpus(CorpusConfig(name="demo", options={"seed": 4}), tmp_path / "demo")


@pytest.mark.parametrize("change", ["edit", "audio"])
def test_audio_outside_the_folder_of_the_manifests_is_watched_too(
    own_corpus: Path, tmp_path: Path, change: str
) -> None:
    folder = tmp_path / "lists"
    for split in ("train", "dev", "test"):
        write_manifest(folder / f"{split}.jsonl", read_manifest(own_corpus / f"{split}.jsonl"))
    config = CorpusConfig(name="manifest")
    before = corpus_state(config, folder)
    assert corpus_state(config, folder) == before
    assert before["files"] == 6
    if change == "audio":
        soundfile.write(own_corpus / "dev1.wav", np.zeros(1600), 16000)
        assert corpus_state(config, folder)["text"] == before["text"]
    else:
        lines = (folder / "dev.jsonl").read_text()
        (folder / "dev.jsonl").write_text(lines.replace("GO ON", "ON GO"))
        assert corpus_state(config, folder)["audio"] == before["audio"]
    assert corpus_state(config, folder) != before


def test_a_corpus_whose_manifests_are_broken_has_a_state(own_corpus: Path) -> None:
    """The preparation says what is wrong with it, not the question whether to prepare it."""
    (own_corpus / "dev.jsonl").write_text("{")
    assert corpus_state(CorpusConfig(name="manifest"), own_corpus)["files"] == 6
