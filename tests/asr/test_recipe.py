"""What of a recipe is done again when something changes, and what is not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import tiny
from training_runs import epochs

pytest.importorskip("espnet2")

from squall.asr.decoding import load_recogniser
from squall.asr.forced_logits import read_forced
from squall.asr.recipe import list_stages
from squall.asr.settings import RecognitionConfig
from squall.corpora.demo.corpus import prepare_demo
from squall.corpora.manifest import Interval, Utterance, read_manifest, write_manifest
from squall.engine.experiment import Experiment, RunOptions
from squall.engine.runner import Cell, run_cell
from squall.engine.stages import StageError
from squall.report.records import read_records
from squall.scoring.calibration import score_logits

EVERY_TIME = ["0 check", "4 lm"]


@pytest.mark.slow
def test_the_posterior_is_a_variant_of_one_trained_model(demo_corpus: Path, tmp_path: Path) -> None:
    plain = tiny.config(loss__name="square")
    experiment, _ = tiny.run(plain, corpus=demo_corpus, exp_dir=tmp_path)
    model = (experiment.directory / "train" / "model.pth").read_bytes()
    softmax = tiny.config(loss__name="square", decode__posterior="softmax")
    variant, done = tiny.run(softmax, corpus=demo_corpus, exp_dir=tmp_path)
    assert done == ["0 check", "4 lm", "6 decode", "7 score"]
    assert variant.directory == experiment.directory
    assert (experiment.directory / "train" / "model.pth").read_bytes() == model
    assert variant.result_path == experiment.directory / "result.posterior=softmax.json"
    assert {r.experiment for r in read_records(experiment.result_path)} == {"conformer"}
    assert {r.experiment for r in read_records(variant.result_path)} == {
        "conformer posterior=softmax"
    }
    hypotheses = [
        (folder.variant_dir("decode") / "test" / "hypotheses.jsonl").read_text()
        for folder in (experiment, variant)
    ]
    assert hypotheses[0] != hypotheses[1]
    assert tiny.run(plain, corpus=demo_corpus, exp_dir=tmp_path)[1] == EVERY_TIME


@pytest.mark.slow
def test_a_baseline_with_the_scale_of_ce_goes_through_all_stages(
    demo_corpus: Path, tmp_path: Path
) -> None:
    settings = tiny.config(loss__name="logit_norm", loss__tau=0.1, loss__scale="ce")
    experiment, _ = tiny.run(settings, corpus=demo_corpus, exp_dir=tmp_path)
    records = read_records(experiment.result_path)
    assert {record.system for record in records} == {"logit_norm-tau0.1-scale-ce"}
    forced = read_forced(experiment.variant_dir("decode") / "test" / "forced.npz")[0]
    np.testing.assert_allclose(np.linalg.norm(forced.logits, axis=1), 10, rtol=1e-4)
    expected = score_logits(logits=forced.logits, targets=forced.targets).calibration()
    (ece,) = [r.value for r in records if (r.metric, r.condition) == ("ece", "test/token")]
    assert ece == pytest.approx(100 * expected.ece)


@pytest.mark.slow
def test_losses_share_everything_before_the_training(demo_corpus: Path, tmp_path: Path) -> None:
    tiny.run(tiny.config(), corpus=demo_corpus, exp_dir=tmp_path, last=5)
    _, done = tiny.run(tiny.config(loss__name="ccql"), corpus=demo_corpus, exp_dir=tmp_path, last=5)
    assert done == ["0 check", "4 lm", "5 train"]


@pytest.mark.parametrize("name", ["lm", "train"])
def test_a_forced_training_begins_anew_and_keeps_the_earlier_one(tmp_path: Path, name: str) -> None:
    experiment = Experiment(tiny.config(), RunOptions(exp_dir=str(tmp_path)))
    stage = next(stage for stage in list_stages(experiment) if stage.name == name)
    trained = stage.directory / name / "checkpoint.pth"
    trained.parent.mkdir(parents=True)
    trained.write_text("weights")
    stage.set_aside()
    assert not trained.exists()
    assert (stage.directory / f"{name}.before-1" / "checkpoint.pth").read_text() == "weights"
    stage.set_aside()  # nothing there: nothing to do


@pytest.mark.slow
def test_more_epochs_continue_the_same_experiment(demo_corpus: Path, tmp_path: Path) -> None:
    first, _ = tiny.run(
        tiny.config(espnet__max_epoch=1), corpus=demo_corpus, exp_dir=tmp_path, last=5
    )
    more, done = tiny.run(
        tiny.config(espnet__max_epoch=3), corpus=demo_corpus, exp_dir=tmp_path, last=5
    )
    assert more.directory == first.directory
    assert done == [*EVERY_TIME, "5 train"]
    assert epochs(more.directory / "train") == [1, 2, 3]
    assert not (more.directory / "train.before-1").exists()


@pytest.mark.slow
def test_another_text_is_trained_on_anew(demo_corpus: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    splits = prepare_demo(demo_corpus)
    for split, utterances in splits.items():
        write_manifest(own / f"{split}.jsonl", utterances)
    settings = tiny.config("own", espnet__max_epoch=1)
    first, _ = tiny.run(settings, corpus=own, exp_dir=tmp_path, last=5)
    path = own / "train.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[0]["text"] += " AGAIN"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    again, done = tiny.run(settings, corpus=own, exp_dir=tmp_path, last=5)
    assert again.directory == first.directory
    assert done == ["0 check", "1 prepare", "2 tokens", "3 stats", "4 lm", "5 train"]
    assert (again.directory / "train.before-1" / "model.pth").exists()
    assert epochs(again.directory / "train") == [1]


def _own_corpus(folder: Path, demo_corpus: Path) -> Path:
    """The demo corpus as a user's own manifests, with a copy of its audio beside them."""
    for split, utterances in prepare_demo(demo_corpus).items():
        copied = []
        for utterance in utterances:
            path = folder / "audio" / f"{utterance.id}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(utterance.audio_path, path)
            copied.append(replace(utterance, audio_path=str(path)))
        write_manifest(folder / f"{split}.jsonl", copied)
    return folder


def _would_run(settings: RecognitionConfig, corpus: Path, exp_dir: Path) -> dict[str, str]:
    """Why stages would run again, of those that are done."""
    told: dict[str, str] = {}
    cell = replace(tiny.cell(settings, corpus=corpus, exp_dir=exp_dir), dry_run=True)
    run_cell(cell, lambda stage, done, total, text: told.update({stage.name: text}))
    return {k: v for k, v in told.items() if v not in ("done, skip", "would run: runs every time")}


@pytest.mark.slow
def test_an_edit_of_a_transcript_that_keeps_its_length_is_read(
    demo_corpus: Path, tmp_path: Path
) -> None:
    corpus = _own_corpus(tmp_path / "mine", demo_corpus)
    settings = tiny.config("own")
    tiny.run(settings, corpus=corpus, exp_dir=tmp_path, last=2)
    path = corpus / "dev.jsonl"
    first = read_manifest(path)[0].text
    path.write_text(path.read_text().replace(first, first[::-1]))
    _, done = tiny.run(settings, corpus=corpus, exp_dir=tmp_path, last=2)
    assert done == ["0 check", "1 prepare", "2 tokens"]
    (prepared,) = (tmp_path / "own" / "shared").glob("data-*/dev.jsonl")
    assert read_manifest(prepared)[0].text == first[::-1]


@pytest.mark.slow
def test_other_audio_of_the_same_length_reaches_every_stage_that_hears_it(
    demo_corpus: Path, tmp_path: Path
) -> None:
    corpus = _own_corpus(tmp_path / "mine", demo_corpus)
    settings = tiny.config("own")
    experiment, _ = tiny.run(settings, corpus=corpus, exp_dir=tmp_path, last=1)
    hear = [s for s in list_stages(experiment) if s.name in ("stats", "train", "decode")]
    before = [stage.fingerprint() for stage in hear]
    utterance = read_manifest(corpus / "train.jsonl")[0]
    samples, rate_hz = soundfile.read(utterance.audio_path)
    soundfile.write(utterance.audio_path, samples[::-1], rate_hz)
    assert _would_run(settings, corpus, tmp_path)["prepare"].startswith(
        "would run: fingerprint.audio was"
    )
    _, done = tiny.run(settings, corpus=corpus, exp_dir=tmp_path, last=1)
    assert done == ["0 check", "1 prepare"]
    after = [stage.fingerprint() for stage in hear]
    assert [sorted(one) for one in after] == [["dev", "train"], ["dev", "train"], ["dev", "test"]]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]


@pytest.mark.slow
def test_an_experiment_of_an_earlier_version_goes_on(demo_corpus: Path, tmp_path: Path) -> None:
    settings = tiny.config(espnet__max_epoch=1)
    first, _ = tiny.run(settings, corpus=demo_corpus, exp_dir=tmp_path, last=5)
    for digests in tmp_path.rglob("*.sha256"):
        digests.unlink()
    for stamp in (*tmp_path.rglob(".stages/*.json"), first.directory / "train" / "started.json"):
        record = json.loads(stamp.read_text())
        record.pop("audio", None)
        if record.get("fingerprint"):
            files = {k: v for k, v in record["fingerprint"].items() if k in ("files", "bytes")}
            record["fingerprint"] = files or None
        stamp.write_text(json.dumps(record))
    more = tiny.config(espnet__max_epoch=2)
    _, done = tiny.run(more, corpus=demo_corpus, exp_dir=tmp_path, last=5)
    assert done == ["0 check", "1 prepare", "4 lm", "5 train"]
    assert epochs(first.directory / "train") == [1, 2]
    assert not (first.directory / "train.before-1").exists()


@pytest.mark.slow
def test_an_experiment_directory_is_all_that_later_stages_read(
    demo_corpus: Path, tmp_path: Path
) -> None:
    settings = tiny.config(tokens={"units": "bpe", "vocabulary_size": 40})
    experiment, _ = tiny.run(settings, corpus=demo_corpus, exp_dir=tmp_path, last=5)
    for folder in ("tokens", "stats"):
        (shared,) = (experiment.recipe_dir / "shared").glob(f"{folder}-*")
        shared.rename(tmp_path / folder)
    samples = tiny.first_test_samples(experiment)
    assert load_recogniser(experiment, device="cpu", threads=1)(samples).tokens


def _with_phones(demo_corpus: Path, folder: Path) -> Path:
    """The demo corpus as manifests whose phones are TIMIT's: a vowel for each word."""
    for split, utterances in prepare_demo(demo_corpus).items():
        spoken = [
            replace(
                u, phones=tuple(Interval("ih" if "I" in w else "ao", 0, 1) for w in u.text.split())
            )
            for u in utterances
        ]
        write_manifest(folder / f"{split}.jsonl", spoken)
    return folder


@pytest.mark.slow
def test_units_share_the_prepared_data(demo_corpus: Path, tmp_path: Path) -> None:
    corpus = _with_phones(demo_corpus, tmp_path / "mine")
    written = {}
    for units in ("char", "phone48", "phone39"):
        settings = tiny.config("own", tokens__units=units)
        experiment, done = tiny.run(settings, corpus=corpus, exp_dir=tmp_path, last=2)
        assert done == ["0 check", *(["1 prepare"] if units == "char" else []), "2 tokens"]
        (stage,) = (s for s in list_stages(experiment) if s.name == "tokens")
        written[units] = (stage.directory / "dev" / "text").read_text().split("\n")[0].split()[1:]
    words = written.pop("char")
    assert written == {
        "phone48": ["ih" if "I" in word else "ao" for word in words],
        "phone39": ["ih" if "I" in word else "aa" for word in words],
    }
    assert len(list((tmp_path / "own" / "shared").glob("data-*"))) == 1


@pytest.mark.slow
def test_texts_that_are_missing_are_written_again_and_nothing_else(
    demo_corpus: Path, tmp_path: Path
) -> None:
    experiment, _ = tiny.run(tiny.config(), corpus=demo_corpus, exp_dir=tmp_path, last=5)
    (text,) = (experiment.recipe_dir / "shared").glob("tokens-*/train/text")
    before = text.read_text()
    text.unlink()
    _, done = tiny.run(tiny.config(), corpus=demo_corpus, exp_dir=tmp_path, last=5)
    assert done == ["0 check", "2 tokens", "4 lm"]
    assert text.read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_phones_that_are_missing_are_found_before_the_training(
    demo_corpus: Path, tmp_path: Path, split: str
) -> None:
    corpus = _with_phones(demo_corpus, tmp_path / "mine")
    utterances = read_manifest(corpus / f"{split}.jsonl")
    write_manifest(corpus / f"{split}.jsonl", [replace(utterances[0], phones=()), *utterances[1:]])
    with pytest.raises(
        ValueError, match=f"utterances have no phones, the first is {utterances[0].id}"
    ):
        tiny.run(
            tiny.config("own", tokens__units="phone39"), corpus=corpus, exp_dir=tmp_path, last=2
        )


def _with_texts(corpus: Path, split: str, text: Callable[[Utterance], str]) -> None:
    """Other transcripts for a split."""
    utterances = read_manifest(corpus / f"{split}.jsonl")
    write_manifest(corpus / f"{split}.jsonl", [replace(u, text=text(u)) for u in utterances])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "text", "reason"),
    [
        (
            "test",
            lambda u: u.text.lower(),
            r"test: \d+ of \d+ tokens are not in the training",
        ),
        ("dev", lambda u: "ЖЩ", r"dev: 8 of 8 tokens .*'Ж' 4, 'Щ' 4.*, in "),
        (
            "train",
            lambda u: 107 * "GO",
            r"train: 14 of 14 utterances are too short",
        ),
    ],
    ids=["case", "script", "too short"],
)
def test_data_that_cannot_be_learnt_stops_before_the_training(
    demo_corpus: Path,
    tmp_path: Path,
    split: str,
    text: Callable[[Utterance], str],
    reason: str,
) -> None:
    corpus = _own_corpus(tmp_path / "mine", demo_corpus)
    _with_texts(corpus, split, text)
    first = read_manifest(corpus / f"{split}.jsonl")[0].id
    with pytest.raises(StageError, match=f"^{reason}.*{first}.*tokens.max_unlearnable=1"):
        tiny.run(tiny.config("own"), corpus=corpus, exp_dir=tmp_path, last=2)
    settings = tiny.config("own", tokens__max_unlearnable=1)
    assert tiny.run(settings, corpus=corpus, exp_dir=tmp_path, last=2)[1][-1] == "2 tokens"


@pytest.mark.slow
def test_a_little_that_cannot_be_learnt_is_told(demo_corpus: Path, tmp_path: Path) -> None:
    corpus = _own_corpus(tmp_path / "mine", demo_corpus)
    first = read_manifest(corpus / "dev.jsonl")[0]
    _with_texts(corpus, "dev", lambda u: f"{u.text} Ж" if u == first else u.text)
    told: list[str] = []
    chosen = tiny.cell(tiny.config("own"), corpus=corpus, exp_dir=tmp_path, last=2)
    run_cell(chosen, lambda stage, done, total, text: told.append(text))
    (words,) = [text for text in told if " tokens; " in text]
    assert re.search(rf"; dev: \d of \d+ tokens .*'Ж' 1.*, in .*{first.id}", words)


@pytest.mark.slow
def test_a_corpus_of_one_speaker_is_trained_on_and_told(demo_corpus: Path, tmp_path: Path) -> None:
    corpus = _own_corpus(tmp_path / "mine", demo_corpus)
    for path in corpus.glob("*.jsonl"):
        write_manifest(path, [replace(u, speaker="me") for u in read_manifest(path)])
    told: list[str] = []
    chosen = tiny.cell(tiny.config("own"), corpus=corpus, exp_dir=tmp_path, last=2)
    run_cell(chosen, lambda stage, done, total, text: told.append(text))
    words = "train 14, dev 4, test 4 utterances; all are of me: what is measured holds for this"
    assert any(text.startswith(words) for text in told)


def test_a_beam_wider_than_the_vocabulary_is_told_before_the_training(
    demo_corpus: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    settings = tiny.config(decode__beam_size=99)
    chosen = tiny.cell(settings, corpus=demo_corpus, exp_dir=tmp_path, last=2)
    run_cell(chosen, lambda stage, done, total, text: told.append(text))
    assert any(re.match(r"\d\d tokens; decode.beam_size 99 is cut to that", text) for text in told)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss__name": "focl"}, "no loss is called 'focl'; did you mean 'focal'"),
        ({"loss__name": "focal", "loss__alpha": 1.0}, "focal has no parameter 'alpha'"),
        ({"loss__name": "brier", "loss__fused": True}, "loss.fused=true: brier is a baseline"),
        (
            {"espnet__decoder": "hugging_face_transformers"},
            "espnet: hugging_face is a part .* set .* SQUALL_ESPNET_TRANSFORMERS=1",
        ),
        (
            {"loss__name": "confidence_penalty", "loss__beta": 2.0, "loss__scale": "ce"},
            "loss.scale=ce: confidence_penalty with .* is -",
        ),
    ],
)
def test_what_cannot_be_trained_stops_the_check(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, StageError), match=message):
        run_cell(Cell(tiny.config(**settings), RunOptions(str(tmp_path / "exp")), last=0))


def test_the_corpus_lies_where_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUALL_DATA", str(tmp_path / "data"))
    settings = tiny.config("own", corpus__dir="mine")
    with pytest.raises(StageError, match=f"{tmp_path / 'data' / 'mine'} does not exist"):
        run_cell(Cell(settings, RunOptions(str(tmp_path / "exp")), last=0))
    with pytest.raises(StageError, match=f"{tmp_path / 'given'} does not exist"):
        run_cell(Cell(settings, RunOptions(str(tmp_path / "exp"), str(tmp_path / "given")), last=0))
    with pytest.raises(StageError, match=f"{tmp_path / 'exp' / 'own' / 'corpus'} does not exist"):
        run_cell(Cell(tiny.config("own"), RunOptions(str(tmp_path / "exp")), last=0))


@pytest.mark.slow
def test_the_check_tells_what_the_training_needs(demo_corpus: Path, tmp_path: Path) -> None:
    told: list[str] = []
    for last in (0, 1, 0):
        cell = Cell(tiny.config(), RunOptions(str(tmp_path), str(demo_corpus)), last=last)
        run_cell(cell, lambda stage, done, total, text: told.append(text))
    needs = [text for text in told if "training needs about" in text]
    assert "GB free, device cpu; training needs about " in needs[0]
    assert "h for each hour of speech in each of 2 epochs" in needs[0]
    assert "h for 2 epochs of " in needs[-1]
