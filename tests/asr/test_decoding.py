"""Decoding of splits."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("espnet2")

from squall.asr import decoding, memory
from squall.asr.decoding import decode_splits, load_recogniser
from squall.asr.recogniser import Recogniser
from squall.corpora.manifest import Utterance, read_manifest
from squall.engine.experiment import Experiment


def _test_split(experiment: Experiment) -> list[Utterance]:
    (path,) = (experiment.recipe_dir / "shared").glob("data-*/test.jsonl")
    return read_manifest(path)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_decoding_again_writes_the_same_hypotheses(
    trained: Experiment, tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_UTTERANCES_PER_PROCESS", 2)
    told: list[tuple[int, int]] = []
    utterances = _test_split(trained)
    decode_splits(
        trained,
        {"test": utterances[::-1], "two": utterances[:2]},
        tmp_path,
        processes=processes,
        on_progress=lambda done, total, message: told.append((done, total)),
    )
    again = (tmp_path / "test" / "hypotheses.jsonl").read_text()
    assert again == (trained.variant_dir("decode") / "test" / "hypotheses.jsonl").read_text()
    assert [json.loads(line)["id"] for line in again.splitlines()] == [u.id for u in utterances]
    two = (tmp_path / "two" / "hypotheses.jsonl").read_text()
    assert two.splitlines() == again.splitlines()[:2]
    assert told == [(4, 6), (6, 6)]  # two batches
    facts = json.loads((tmp_path / "test" / "decoding.json").read_text())
    assert facts["processes"] == processes
    assert facts["audio_s"] == pytest.approx(sum(u.duration_s for u in utterances), abs=0.01)
    assert facts["rtf"] == pytest.approx(facts["seconds"] / facts["audio_s"])
    recogniser = load_recogniser(trained, device="cpu", threads=1)
    assert facts["parameters"] == recogniser.parameters


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_an_utterance_that_is_too_short_is_named(
    trained: Experiment,
    tmp_path: Path,
    make_utterance: Any,
    processes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "_UTTERANCES_PER_PROCESS", 1)
    split = [make_utterance("u-short", seconds=0.05), *_test_split(trained)[:1]]
    with pytest.raises(ValueError, match=r"u-short \(.*\.wav\): need at least"):
        decode_splits(
            trained, {"test": split}, tmp_path, processes=processes, on_progress=lambda *_: None
        )
    assert not (tmp_path / "test" / "hypotheses.jsonl").exists()


def _decode(trained: Experiment, folder: Path, **options: Any) -> None:
    split = {"test": _test_split(trained)}
    decode_splits(trained, split, folder, on_progress=lambda *_: None, **options)


@pytest.mark.slow
def test_processes_are_as_many_as_memory_is_enough_for(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(decoding, "_UTTERANCES_PER_PROCESS", 1)
    monkeypatch.setattr(decoding, "free_memory_bytes", lambda device: 700_000_000)
    with caplog.at_level(logging.WARNING):
        _decode(trained, tmp_path, processes=2)
    assert json.loads((tmp_path / "test" / "decoding.json").read_text())["processes"] == 1
    assert "1 processes decode instead of 2: each may need 0.4 GB" in caplog.text


def test_an_utterance_too_long_for_the_memory_is_named_before_anything_is_decoded(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: 1000)
    monkeypatch.setattr(decoding, "_recognise", lambda *_: pytest.fail("decoded"))
    longest = max(_test_split(trained), key=lambda u: u.duration_s)
    with pytest.raises(ValueError, match=rf"^{longest.id} \(.*\): its {longest.duration_s:.1f} s"):
        _decode(trained, tmp_path)


def test_an_utterance_that_memory_is_not_enough_for_is_named(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Recogniser, "search_all", fail)
    longest = max(_test_split(trained), key=lambda utterance: utterance.duration_s)
    with pytest.raises(ValueError, match=rf"^{longest.id} \(.*\): the memory was full before"):
        _decode(trained, tmp_path)
