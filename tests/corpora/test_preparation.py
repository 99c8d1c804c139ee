"""From the name of a corpus to its splits, and the fingerprint that tells a changed corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from squall.corpora.demo import corpus as demo
from squall.corpora.manifest import Utterance, write_manifest
from squall.corpora.preparation import CORPORA, corpus_fingerprint, prepare_corpus
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


def test_an_unknown_corpus_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no corpus 'timmit'; there are \['an4', 'demo'"):
        prepare_corpus(CorpusConfig(name="timmit"), tmp_path)


def test_every_corpus_of_a_config_has_a_preparer() -> None:
    assert {"an4", "demo", "manifest"} <= CORPORA.keys()


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


def test_a_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    prints = [corpus_fingerprint(folder)]
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.wav").write_bytes(b"12345")
    prints.append(corpus_fingerprint(folder))
    (folder / "b.wav").write_bytes(b"")
    prints.append(corpus_fingerprint(folder))
    (folder / "b.wav").write_bytes(b"1")
    prints.append(corpus_fingerprint(folder))
    (folder / "lost").symlink_to(folder / "nowhere")
    prints.append(corpus_fingerprint(folder))
    assert [(p["files"], p["bytes"]) for p in prints] == [(0, 0), (1, 5), (2, 5), (2, 6), (2, 6)]
