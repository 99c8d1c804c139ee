"""From hypotheses to result files: names, counts and units of every number."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

import tiny

pytest.importorskip("espnet2")

from squall.asr.evaluation import evaluate, read_hypotheses
from squall.corpora.manifest import read_manifest
from squall.experiment import Experiment
from squall.results import Record, read_records

PROVENANCE = {"commit": "abc+", "command": "./run.sh demo", "hardware": "two cores"}


def _by_metric(experiment: Experiment) -> dict[str, Record]:
    return {r.metric: r for r in read_records(experiment.result_path) if r.condition == "test"}


def _references(experiment: Experiment) -> dict[str, str]:
    (path,) = (experiment.recipe_dir / "shared").glob("data-*/test.jsonl")
    return {u.id: u.text for u in read_manifest(path)}


def test_every_number_has_its_unit_and_count(trained: Experiment) -> None:
    found = _by_metric(trained)
    words = sum(len(text.split()) for text in _references(trained).values())
    characters = sum(len(text) for text in _references(trained).values())
    assert {name: (r.unit, r.n) for name, r in found.items()} == {
        "wer": ("%", words),
        "cer": ("%", characters),
        "ser": ("%", 4),
        "rtf": ("ratio", 4),
        "train_seconds": ("s", 2),
        "epochs": ("epochs", 2),
        "params": ("weights", found["params"].value),
    }
    assert found["epochs"].value == 2
    assert all(math.isfinite(r.value) and r.value >= 0 for r in found.values())
    for record in found.values():
        assert (record.recipe, record.dataset, record.system) == ("demo", "demo", "square")
        assert record.seed == 1
        assert record.seconds == found["train_seconds"].value > 0


def test_rates_equal_those_of_another_implementation(trained: Experiment) -> None:
    jiwer = pytest.importorskip("jiwer")
    references = _references(trained)
    hypotheses = read_hypotheses(trained.variant_dir("decode") / "test" / "hypotheses.jsonl")
    pair = ([references[h["id"]] for h in hypotheses], [h["text"] for h in hypotheses])
    found = _by_metric(trained)
    assert found["wer"].value == pytest.approx(100 * jiwer.wer(*pair))
    assert found["cer"].value == pytest.approx(100 * jiwer.cer(*pair))


def test_speakers_are_counted_apart(trained: Experiment) -> None:
    summary = json.loads((trained.score_dir / "test.summary.json").read_text())
    assert set(summary) == {"wer", "cer"}
    words = summary["wer"]
    assert len(words["speakers"]) == 4
    for key, total in words["total"].items():
        assert sum(speaker[key] for speaker in words["speakers"].values()) == total


def test_every_utterance_has_a_row_and_an_alignment(trained: Experiment) -> None:
    with (trained.score_dir / "test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["utterance"]: row["reference"] for row in rows} == _references(trained)
    alignments = (trained.score_dir / "test.alignments.txt").read_text()
    assert all(row["utterance"] in alignments for row in rows)


def _evaluate_as(trained: Experiment, texts: dict[str, str], folder: Path) -> dict[str, Record]:
    """Score other hypotheses with the same references and training."""
    decoded = trained.variant_dir("decode") / "test"
    experiment = Experiment(trained.config, trained.options)
    experiment.directory = folder
    (folder / "train").mkdir()
    for name in ("model.pth", "history.json"):
        (folder / "train" / name).write_bytes((trained.directory / "train" / name).read_bytes())
    target = experiment.variant_dir("decode") / "test"
    target.mkdir(parents=True)
    (target / "decoding.json").write_bytes((decoded / "decoding.json").read_bytes())
    lines = [json.dumps({"id": k, "text": v, "tokens": list(v)}) for k, v in texts.items()]
    (target / "hypotheses.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (path,) = (trained.recipe_dir / "shared").glob("data-*/test.jsonl")
    splits = {"test": read_manifest(path)}
    evaluate(experiment, splits, dataset="demo", provenance=PROVENANCE)
    return _by_metric(experiment)


def test_perfect_hypotheses_have_no_errors(trained: Experiment, tmp_path: Path) -> None:
    found = _evaluate_as(trained, _references(trained), tmp_path)
    assert [found[name].value for name in ("wer", "cer", "ser")] == [0.0, 0.0, 0.0]
    assert found["wer"].commit == "abc+"
    assert found["wer"].command == "./run.sh demo"


def test_empty_hypotheses_are_all_errors(trained: Experiment, tmp_path: Path) -> None:
    found = _evaluate_as(trained, dict.fromkeys(_references(trained), ""), tmp_path)
    assert [found[name].value for name in ("wer", "cer", "ser")] == [100.0, 100.0, 100.0]


def test_a_missing_hypothesis_is_an_error(trained: Experiment, tmp_path: Path) -> None:
    texts = _references(trained)
    lost = texts.popitem()[0]
    with pytest.raises(ValueError, match=lost):
        _evaluate_as(trained, texts, tmp_path)


def test_pieces_have_a_rate_of_their_own(demo_corpus: Path, tmp_path: Path) -> None:
    import sentencepiece

    settings = tiny.config(
        tokens={"units": "bpe", "vocabulary_size": 40},
        espnet__max_epoch=1,
        decode__sets=["dev", "test"],
    )
    experiment, _ = tiny.run(settings, corpus=demo_corpus, exp_dir=tmp_path)
    found = _by_metric(experiment)
    model = sentencepiece.SentencePieceProcessor(
        model_file=str(experiment.directory / "train" / "bpe.model")
    )
    pieces = sum(len(model.encode(text)) for text in _references(experiment).values())
    assert (found["ter"].unit, found["ter"].n) == ("%", pieces)
    dev = {r.metric for r in read_records(experiment.result_path) if r.condition == "dev"}
    assert dev == {"wer", "cer", "ser", "ter", "rtf"}
