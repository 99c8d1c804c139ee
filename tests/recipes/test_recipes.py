"""Every recipe runs all its stages on a tiny corpus, in the command that a user types.

The experiments of `an4` are in processes of their own; those of the others, which train the same
model, in that of the test.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny
from commands import RECOGNITION, numbered, work_done

pytest.importorskip("espnet2")

from squall.corpora.demo.corpus import prepare_demo
from squall.corpora.manifest import write_manifest
from squall.report.records import read_records

Squall = Callable[..., tuple[int, str, str]]


@pytest.fixture
def corpora(demo_corpus: Path, an4_corpus: Path, tmp_path: Path) -> dict[str, Path]:
    """A tiny corpus of the kind that each recipe reads."""
    for split, utterances in prepare_demo(demo_corpus).items():
        write_manifest(tmp_path / "own-corpus" / f"{split}.jsonl", utterances)
    return {
        "demo": demo_corpus,
        "an4": an4_corpus,
        "own": tmp_path / "own-corpus",
        "voxforge": tmp_path / "own-corpus",
    }


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["an4", "demo", "own", "voxforge"])
def test_all_stages_run_and_run_again_skips(
    squall: Squall, corpora: dict[str, Path], tmp_path: Path, recipe: str
) -> None:
    arguments = (recipe, "--corpus-dir", corpora[recipe])
    settings = {**tiny.SETTINGS, "loss.name": "squentropy", "corpus.dev_speakers": 2}
    code, out, err = squall(*arguments, settings=settings, processes=recipe == "an4")
    assert code == 0, err
    assert work_done(out) == numbered(RECOGNITION)
    results = tmp_path / "results"
    records = read_records(results / "results.json")
    assert {"wer", "cer", "ser", "rtf", "params"} <= {record.metric for record in records}
    assert {record.system for record in records} == {"squentropy"}
    assert "WER %" in (results / "RESULTS.md").read_text()
    assert "<svg" in (tmp_path / "exp" / recipe / "report.html").read_text()
    before = (results / "results.json").read_text()

    code, out, err = squall(*arguments, settings=settings)
    assert code == 0, err
    assert work_done(out) == ["0 check", "4 lm"]
    assert (results / "results.json").read_text() == before


def test_the_grid_of_a_recipe_is_its_three_losses(
    squall: Squall, demo_corpus: Path, tmp_path: Path
) -> None:
    code, out, _ = squall("demo", "--corpus-dir", demo_corpus, "--dry-run")
    assert code == 0
    assert out.count("5 train") == 3
    assert not list(tmp_path.iterdir())


@pytest.fixture
def damaged(an4_corpus: Path, tmp_path: Path) -> tuple[Path, str]:
    """The tiny corpus with one file cut in its middle, and the name of that utterance."""
    folder = tmp_path / "corpus"
    shutil.copytree(an4_corpus, folder)
    path = sorted((folder / "wav" / "an4_clstk").rglob("*.sph"))[0]
    path.write_bytes(path.read_bytes()[:20000])
    return folder, path.stem


PREPARE_ONLY = {**tiny.SETTINGS, "loss.name": "ce", "corpus.dev_speakers": 2}


def test_a_corrupt_file_stops_the_run_and_is_named(
    squall: Squall, damaged: tuple[Path, str]
) -> None:
    folder, utterance = damaged
    arguments = ("--corpus-dir", folder, "--stop-stage", 2)
    code, out, err = squall("an4", *arguments, settings=PREPARE_ONLY)
    assert code == 1
    assert f"train/{utterance}: " in err
    assert f"{utterance}.sph" in err
    assert "--skip-bad" in err
    assert "2 tokens" not in out


@pytest.mark.slow
def test_a_corrupt_file_is_left_out_when_asked_for(
    squall: Squall, damaged: tuple[Path, str], tmp_path: Path
) -> None:
    folder, utterance = damaged
    arguments = ("--corpus-dir", folder, "--stop-stage", 2, "--skip-bad")
    code, out, err = squall("an4", *arguments, settings=PREPARE_ONLY)
    assert code == 0, err
    assert "1 problems left out" in out
    (data,) = (tmp_path / "exp" / "an4" / "shared").glob("data-*")
    with (data / "left_out.tsv").open(newline="") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert (row["split"], row["utterance"]) == ("train", utterance)
    assert f"{utterance}.sph" in row["problem"]
    kept = [json.loads(line)["id"] for line in (data / "train.jsonl").read_text().splitlines()]
    assert len(kept) == 14 - 2 - 1
    assert utterance not in kept
    exported = (data / "train" / "wav.scp").read_text().splitlines()
    assert [line.split()[0] for line in exported] == kept


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decode.lm_weight": 0.3}, "the settings have no `lm` part"),
        ({"loss.name": "squentropi"}, "did you mean 'squentropy'"),
        ({"loss.alfa": 2}, "ce has no parameter 'alfa'"),
    ],
)
def test_what_would_fail_later_is_refused_by_the_check(
    squall: Squall, demo_corpus: Path, settings: dict[str, object], message: str
) -> None:
    chosen = {**tiny.SETTINGS, "loss.name": "ce", **settings}
    code, out, err = squall("demo", "--corpus-dir", demo_corpus, settings=chosen)
    assert code == 1
    assert message in err
    assert "1 prepare" not in out


def test_a_missing_corpus_says_what_to_give(squall: Squall, tmp_path: Path) -> None:
    code, _, err = squall("an4", "--corpus-dir", tmp_path / "absent", settings=PREPARE_ONLY)
    assert code == 1
    assert f"{tmp_path / 'absent'} does not exist" in err
    assert "--download" in err
