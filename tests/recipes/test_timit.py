"""The `timit` recipe runs all stages on both layouts of the corpus, and names what is broken."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tiny
from commands import RECOGNITION, numbered, work_done
from squall.corpora.timit import CORE_TEST_SPEAKERS, DEV_SPEAKERS
from squall.report.records import read_records
from squall.text.phones import fold_phones

pytest.importorskip("espnet2")

from squall.cli import main

Squall = Callable[..., tuple[int, str, str]]

RATE_HZ = 16000
PHONE_SAMPLES = 1280
SENTENCES = {
    "SA1": "h# sh iy hv eh dcl jh h#",
    "SI5": "h# q ao l axr pcl t h#",
    "SX3": "pau ix nx uw zh eng epi",
}
TRAIN = ("FCJF0", "MDAC0", "FVMH0")
SAMPLE = ("dr1-fvmh0", "dr1-mcpm0", "dr2-faem0", "dr2-marc0", "dr3-falk0", "dr3-madc0")


def _write(stem: Path, labels: list[str], *, upper: bool) -> None:
    """A recording in which each phone is a tone of its own, with its three text files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(PHONE_SAMPLES) / RATE_HZ
    tones = [np.sin(2 * np.pi * (200 + 40 * sum(map(ord, label))) * time) for label in labels]
    noise = np.random.default_rng(len(stem.name)).normal(0, 0.1, len(tones) * PHONE_SAMPLES)
    samples = 0.3 * np.concatenate(tones) + noise
    end = len(samples)
    phones = [
        f"{n * PHONE_SAMPLES} {(n + 1) * PHONE_SAMPLES} {label}" for n, label in enumerate(labels)
    ]
    texts = {
        ".txt": f"0 {end} The quick brown fox.",
        ".wrd": f"0 {end} the",
        ".phn": "\n".join(phones),
    }
    for suffix, text in texts.items():
        stem.with_suffix(suffix.upper() if upper else suffix).write_text(f"{text}\n")
    audio = stem.with_suffix(".WAV" if upper else ".wav")
    soundfile.write(audio, samples, RATE_HZ, format="NIST", subtype="PCM_16")


def write_whole(top: Path) -> Path:
    """LDC93S1: all 50 development and 24 core test speakers, and three to train on."""
    halves = {"TRAIN": TRAIN, "TEST": (*DEV_SPEAKERS, *CORE_TEST_SPEAKERS)}
    for half, speakers in halves.items():
        for number, speaker in enumerate(speakers):
            folder = top / half / f"DR{number % 8 + 1}" / speaker
            for sentence in SENTENCES if half == "TRAIN" else ("SA1", "SI5"):
                _write(folder / sentence, SENTENCES[sentence].split(), upper=True)
    return top


def write_sample(folder: Path) -> Path:
    """NLTK's layout: six speakers of three sentences."""
    for speaker in SAMPLE:
        for sentence, labels in SENTENCES.items():
            _write(folder / speaker / sentence.lower(), labels.split(), upper=False)
    (folder / "sentences").mkdir()
    return folder


@pytest.fixture
def timit(squall: Squall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Squall:
    """`squall run timit --preset sample` with the tiny model: exit code, output and errors."""
    monkeypatch.setenv("SQUALL_DATA", str(tmp_path / "data"))
    return partial(squall, "timit", "--preset", "sample", settings=tiny.SETTINGS)


def _phones(*sentences: str) -> int:
    """How many phones the sentences have after folding."""
    return sum(len(fold_phones(SENTENCES[s].split(), classes=39)) for s in sentences)


@pytest.mark.slow
def test_the_folds_of_the_sample_are_run_and_averaged(timit: Squall, tmp_path: Path) -> None:
    write_sample(tmp_path / "data" / "timit-nltk")
    arguments = (
        *("--set", "corpus.options.test_speakers=3", "--set", "corpus.options.dev_speakers=1"),
        *("--grid", "corpus.options.fold=0,1", "loss.name=squentropy"),
    )
    code, out, err = timit(*arguments)
    assert code == 0, err
    assert work_done(out) == sorted(2 * numbered(RECOGNITION))

    records = read_records(tmp_path / "results" / "results.json")
    found = {(r.condition, r.metric): r for r in records}
    folds = {f"{split}/fold{fold}" for split in ("dev", "test") for fold in (0, 1)}
    assert {condition for condition, _ in found if condition.count("/") == 1} == folds
    assert {metric for condition, metric in found if condition == "test/fold1"} == {
        "per", "ser", "rtf", "train_seconds", "epochs", "params",
    }  # fmt: skip
    tested = 3 * _phones("SI5", "SX3")
    assert found["test/fold0", "per"].n == found["test/fold1", "per"].n == tested
    results = (tmp_path / "results" / "RESULTS.md").read_text()
    assert "timit, test, mean over folds" in results
    assert f"(of {2 * tested})" in results
    assert "WER" not in results.split("## How")[0]
    page = (tmp_path / "exp" / "timit" / "report.html").read_text()
    assert "sample fold 1 squentropy, seed 1" in page

    speakers = []
    for path in (tmp_path / "exp" / "timit").glob("sample-*/score/default/test.csv"):
        with path.open(newline="") as file:
            speakers += sorted({row["speaker"] for row in csv.DictReader(file)})
    assert sorted(speakers) == sorted(name[4:].upper() for name in SAMPLE)

    code, out, err = timit(*arguments)
    assert code == 0, err
    assert work_done(out) == ["0 check", "0 check", "4 lm", "4 lm"]
    assert read_records(tmp_path / "results" / "results.json") == records


@pytest.mark.slow
def test_the_whole_corpus_in_phones_and_in_characters(timit: Squall, tmp_path: Path) -> None:
    corpus = write_whole(tmp_path / "LDC93S1" / "timit")
    code, out, err = timit(
        *("--corpus-dir", corpus.parent, "--set", "corpus.options={}"),
        *("--grid", "loss.name=ce", "tokens.units=phone39,char"),
    )
    assert code == 0, err
    assert work_done(out).count("1 prepare") == 1
    assert work_done(out).count("2 tokens") == work_done(out).count("7 score") == 2

    recipe_dir = tmp_path / "exp" / "timit"
    results = {}
    for path in recipe_dir.glob("sample-*/result.json"):
        metrics = {r.metric: r for r in read_records(path) if r.condition == "test"}
        results["per" in metrics] = path.parent, metrics
    directory, phones = results[True]
    assert phones["per"].n == 24 * _phones("SI5")
    assert "wer" not in phones
    assert {"wer", "cer"} <= results[False][1].keys()
    assert results[False][1]["wer"].n == 24 * len(["THE", "QUICK", "BROWN", "FOX"])
    tokens = (directory / "train" / "config.yaml").read_text()
    assert "- zh\n" not in tokens
    assert "- sh\n" in tokens

    audio = next(corpus.rglob("SI5.WAV"))
    assert main(["transcribe", str(audio), "--model", str(directory), "--threads", "1"]) == 0


Damage = Callable[[Path], object]


def _cut(folder: Path) -> None:
    path = folder / "dr3-madc0" / "si5.wav"
    path.write_bytes(path.read_bytes()[:9000])


def _twice(folder: Path) -> None:
    shutil.copytree(folder / "dr1-fvmh0", folder / "dr2-fvmh0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (lambda f: (f / "dr3-madc0" / "si5.txt").unlink(), ["si5.wav: there is no .TXT file"]),
        (lambda f: (f / "dr3-madc0" / "si5.phn").unlink(), ["si5.wav: there is no .PHN file"]),
        (
            lambda f: (f / "dr3-madc0" / "si5.phn").write_text("0 900 h#\n900 9000 spn\n"),
            ["MADC0_SI5: 'spn' is not a phone of TIMIT"],
        ),
        (
            lambda f: (f / "dr3-madc0" / "si5.phn").write_text("0 900 h#\n900 90000 ax\n"),
            ["si5.phn:2: 'ax' ends at 5.625 s, but the recording has"],
        ),
        (_cut, ["train/MADC0_SI5: ", "si5.wav", "--skip-bad"]),
        (_twice, ["FVMH0_SI5: its id is in test too", "speaker FVMH0 is in test too"]),
        (shutil.rmtree, ["timit-nltk does not exist: give the corpus with --corpus-dir"]),
        (
            lambda f: [shutil.rmtree(path) for path in f.glob("dr*")],
            ["no TIMIT here: neither folders TRAIN and TEST"],
        ),
    ],
    ids=["prompt", "phones", "label", "times", "cut", "twice", "absent", "empty"],
)
def test_what_is_broken_is_named(
    timit: Squall, tmp_path: Path, damage: Damage, messages: list[str]
) -> None:
    corpus = write_sample(tmp_path / "data" / "timit-nltk")
    arguments = (
        *("--set", "corpus.options.test_speakers=2", "--set", "corpus.options.dev_speakers=1"),
        *("--grid", "loss.name=ce", "corpus.options.fold=0", "--stop-stage", 2),
    )
    damage(corpus)
    code, out, err = timit(*arguments)
    assert code == 1, out
    for message in messages:
        assert message in err


def test_a_missing_speaker_of_the_whole_corpus_is_named(timit: Squall, tmp_path: Path) -> None:
    corpus = write_whole(tmp_path / "timit")
    shutil.rmtree(next(corpus.rglob("FADG0")))
    code, _, err = timit(
        *("--corpus-dir", corpus, "--set", "corpus.options={}"),
        *("--grid", "loss.name=ce", "--stop-stage", 2),
    )
    assert code == 1
    assert "1 of the 50 speakers of the dev set are missing: FADG0" in err
