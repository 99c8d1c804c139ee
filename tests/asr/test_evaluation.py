"""From hypotheses to result files: names, counts and units of every number."""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tiny
from pieces import write_earlier_pieces

pytest.importorskip("espnet2")

from squall.asr.bridge.running import espnet_tokenizer
from squall.asr.calibration import read_hypotheses
from squall.asr.evaluation import evaluate
from squall.asr.export import reference_texts, target_texts
from squall.asr.forced_logits import ForcedLogits, write_forced
from squall.asr.settings import RecognitionConfig
from squall.corpora.manifest import Interval, Utterance, read_manifest
from squall.engine.experiment import Experiment, RunOptions
from squall.report.records import Record, read_records
from squall.text.phones import phone_classes
from squall.text.tokens import BLANK, SENTENCE_END, UNKNOWN, build_tokens
from tiny_report import write_experiment

PROVENANCE = {"commit": "abc+", "command": "./run.sh demo", "hardware": "two cores"}


def _by_metric(experiment: Experiment) -> dict[str, Record]:
    return {r.metric: r for r in read_records(experiment.result_path) if r.condition == "test"}


def _of_split(experiment: Experiment) -> dict[str, Record]:
    """The records without those of the calibration."""
    found = read_records(experiment.result_path)
    return {r.metric: r for r in found if r.condition.replace("/fold", "").isalnum()}


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


def _write_hypotheses(folder: Path, found: Iterable[tuple[str, str, list[str]]]) -> None:
    """Hypotheses of id, text and tokens, every confidence in which is a half."""
    lines = [
        json.dumps(
            {
                "id": id,
                "text": text,
                "tokens": tokens,
                "token_probs": [0.5] * len(tokens),
                "words": [{"text": word, "confidence": 0.5} for word in text.split()],
                "probability": 0.5,
            }
        )
        for id, text, tokens in found
    ]
    (folder / "hypotheses.jsonl").write_text("".join(f"{line}\n" for line in lines))


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
    (target / "forced.npz").write_bytes((decoded / "forced.npz").read_bytes())
    spelled = [(k, v, list(v.replace(" ", "_"))) for k, v in texts.items()]
    _write_hypotheses(target, spelled)
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


@pytest.mark.slow
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


def _phones(id: str, labels: str, speaker: str = "s1") -> Utterance:
    times = [(label, 0.1 * n, 0.1 * n + 0.1) for n, label in enumerate(labels.split())]
    phones = tuple(Interval(*time) for time in times)
    return Utterance(id, f"{id}.wav", 0.0, 1.0, 16000, speaker, "A WORD", phones=phones)


def _score_phones(
    folder: Path, utterances: list[Utterance], tokens: list[str], **corpus: object
) -> tuple[Experiment, dict[str, Record]]:
    """Score the phones that a recogniser gave for the utterances of a test set."""
    config = RecognitionConfig.model_validate(
        {
            "recipe": "toy",
            "experiment": "phones",
            "corpus": {"name": "timit", **corpus},
            "tokens": {"units": "phone48"},
            "decode": {"sets": ["test"]},
            "espnet": {},
        }
    )
    experiment = Experiment(config, RunOptions(exp_dir=str(folder)))
    decoded = experiment.variant_dir("decode") / "test"
    decoded.mkdir(parents=True)
    (decoded / "decoding.json").write_text('{"rtf": 0.5, "parameters": 7}')
    texts = [(u.id, "not used", line.split()) for u, line in zip(utterances, tokens, strict=True)]
    _write_hypotheses(decoded, texts)
    _write_forced(decoded / "forced.npz", utterances)
    (experiment.directory / "train").mkdir()
    (experiment.directory / "train" / "history.json").write_text('[{"train": {"time": 2.0}}]')
    evaluate(experiment, {"test": utterances}, dataset="timit", provenance=PROVENANCE)
    return experiment, _of_split(experiment)


def _write_forced(path: Path, utterances: list[Utterance]) -> None:
    """A decoder that finds all of 51 tokens as likely."""
    tokens = [BLANK, UNKNOWN, *phone_classes(48), SENTENCE_END]
    texts = (
        reference_texts(utterances, units="phone48") if all(u.phones for u in utterances) else {}
    )
    parts = []
    for text in texts.values():
        targets = [tokens.index(phone) for phone in text.split()] + [len(tokens) - 1]
        logits = np.zeros((len(targets), len(tokens)), dtype=np.float32)
        parts.append(ForcedLogits(logits, np.array(targets), np.array([len(targets)])))
    if parts:
        write_forced(path, parts, tokens=tokens)


FORMS = ["\uff11\uff12 ｶﾞ", "e\u0301te\u0301 ½", "ﬁ … ①"]


@pytest.mark.parametrize(
    ("units", "normalization"),
    [("char", "nfkc"), ("word", "nfc"), ("bpe", "identity"), ("bpe", "nfc"), ("bpe", "nfkc"),
     ("bpe", "of an earlier version")],
)  # fmt: skip
def test_a_perfect_recogniser_has_no_errors(
    tmp_path: Path, units: str, normalization: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever its text is rewritten to before it is learnt, it is scored on the same."""
    utterances = [
        replace(_phones(f"u{k}", "aa", f"s{k}"), text=text) for k, text in enumerate(FORMS)
    ]
    earlier = normalization == "of an earlier version"
    form = "identity" if earlier else normalization
    texts = target_texts(utterances, units=units, normalization=form)
    config = RecognitionConfig.model_validate(
        {
            "recipe": "toy",
            "experiment": "forms",
            "corpus": {"name": "toy"},
            "tokens": {"units": units, "normalization": form},
            "decode": {"sets": ["test"]},
            "espnet": {},
        }
    )
    experiment = Experiment(config, RunOptions(exp_dir=str(tmp_path)))
    train, decoded = experiment.directory / "train", experiment.variant_dir("decode") / "test"
    size = len(set("".join(texts.values())) - {" "}) + 4
    if earlier:
        spelled = {c for text in texts.values() for c in unicodedata.normalize("NFKC", text)}
        write_earlier_pieces(list(texts.values()), train, len(spelled) + 4)
    else:
        build_tokens(texts.values(), train, units=units, vocabulary_size=size)
    tokenizer = espnet_tokenizer(units, train / "bpe.model" if units == "bpe" else None)
    decoded.mkdir(parents=True)
    found = []
    for identifier, text in texts.items():
        tokens = tokenizer.text2tokens(text)
        found.append((identifier, " ".join(tokenizer.tokens2text(tokens).split()), tokens))
    _write_hypotheses(decoded, found)
    _write_forced(decoded / "forced.npz", utterances)
    (decoded / "decoding.json").write_text('{"rtf": 0.5, "parameters": 7}')
    (train / "history.json").write_text('[{"train": {"time": 2.0}}]')
    evaluate(experiment, {"test": utterances}, dataset="toy", provenance=PROVENANCE)
    assert ("rewrote 3 transcripts by NFKC, the first is u0" in caplog.text) == earlier
    rates = {k: r.value for k, r in _of_split(experiment).items() if r.unit == "%"}
    assert rates == dict.fromkeys(("wer", "cer", "ser", *(["ter"] if units == "bpe" else [])), 0)


def test_phones_are_scored_as_39_classes_on_both_sides(tmp_path: Path) -> None:
    utterances = [_phones("u1", "h# q ix tcl t ax-h h#"), _phones("u2", "h# zh epi", "s2")]
    experiment, found = _score_phones(tmp_path, utterances, ["sil ih cl t ah sil", "sil sh sh"])
    assert set(found) == {"per", "ser", "rtf", "train_seconds", "epochs", "params"}
    assert (found["per"].value, found["per"].unit, found["per"].n) == (100 * 1 / 9, "%", 9)
    assert (found["ser"].value, found["ser"].n) == (50.0, 2)
    assert found["per"].condition == "test"
    summary = json.loads((experiment.score_dir / "test.summary.json").read_text())
    assert summary["per"]["speakers"]["s2"]["substitutions"] == 1
    alignments = (experiment.score_dir / "test.alignments.txt").read_text()
    assert "REF:  sil ih sil t ah sil" in alignments


def test_an_utterance_without_a_phone_on_either_side_is_counted(tmp_path: Path) -> None:
    utterances = [_phones("u1", "q q"), _phones("u2", "h# aa"), _phones("u3", "q")]
    _, found = _score_phones(tmp_path, utterances, ["sil", "", ""])
    assert (found["per"].value, found["per"].n) == (150.0, 2)
    assert found["ser"].value == pytest.approx(200 / 3)


def test_what_the_recogniser_does_not_know_is_an_error(tmp_path: Path) -> None:
    _, found = _score_phones(tmp_path, [_phones("u1", "h# aa")], ["sil <unk>"])
    assert found["per"].value == 50.0


def test_a_test_set_without_phones_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 of 2 utterances have no phones, the first is u2"):
        _score_phones(tmp_path, [_phones("u1", "aa"), _phones("u2", "")], ["aa", "aa"])


def test_folds_have_numbers_of_their_own(tmp_path: Path) -> None:
    utterances = [_phones("u1", "h# aa")]
    found = [
        _score_phones(tmp_path, utterances, ["sil aa"], options={"fold": fold})[1]["per"]
        for fold in (0, 1)
    ]
    assert [record.condition for record in found] == ["test/fold0", "test/fold1"]
    assert found[0].key != found[1].key


def test_what_a_single_right_utterance_cannot_tell_has_a_reason(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, said={"anna_01": "GO ON"}, errors=0.0)
    records = [r for r in read_records(experiment.result_path) if r.value is None]
    reasons = {(r.condition, r.metric): r.reason for r in records}
    refined = "all 3 in test/token are of one utterance: there is none to recalibrate on"
    assert reasons["test/token", "nll_refinement"] == refined
    assert reasons["test/word", "brier_calibration_isotonic"] == refined.replace(
        "3 in test/token", "2 in test/word"
    )
    assert reasons["test/word", "nce"].startswith("all 2 in test/word are right, or none is")
    assert not any(reason.startswith("undefined") for reason in reasons.values())
