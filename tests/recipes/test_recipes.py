"""Every recipe runs all its stages on a tiny corpus, in the command that a user types."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny

pytest.importorskip("espnet2")

from squall.cli import main
from squall.corpora.demo.corpus import prepare_demo
from squall.corpora.manifest import write_manifest
from squall.report.records import read_records

Squall = Callable[..., tuple[int, str, str]]


@pytest.fixture
def squall(capfd: pytest.CaptureFixture[str]) -> Squall:
    """`squall run RECIPE` with the tiny model: exit code, standard output and error."""

    def run(recipe: str, *arguments: object, **settings: object) -> tuple[int, str, str]:
        chosen = {**tiny.SETTINGS, **{k.replace("__", "."): v for k, v in settings.items()}}
        assignments = [part for k, v in chosen.items() for part in ("--set", f"{k}={v}")]
        capfd.readouterr()
        code = main(["run", recipe, *assignments, *map(str, arguments)])
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def corpora(demo_corpus: Path, an4_corpus: Path, tmp_path: Path) -> dict[str, Path]:
    """A tiny corpus of the kind that each recipe reads."""
    for split, utterances in prepare_demo(demo_corpus).items():
        write_manifest(tmp_path / "own-corpus" / f"{split}.jsonl", utterances)
    return {"demo": demo_corpus, "an4": an4_corpus, "own": tmp_path / "own-corpus"}


def _work_done(out: str) -> list[str]:
    """The stages that did not skip, e.g. `5 train`."""
    done = [line for line in out.splitlines() if ": done in " in line]
    return sorted(line.split("] ")[1].split(":")[0] for line in done)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["an4", "demo", "own"])
def test_all_stages_run_and_run_again_skips(
    squall: Squall, corpora: dict[str, Path], tmp_path: Path, recipe: str
) -> None:
    arguments = ("--corpus-dir", corpora[recipe], "--exp-dir", tmp_path, "--results-dir", tmp_path)
    settings = {"loss__name": "squentropy", "corpus__dev_speakers": 2}
    code, out, err = squall(recipe, *arguments, **settings)
    assert code == 0, err
    stages = ["check", "prepare", "tokens", "stats", "lm", "train", "decode", "score"]
    assert _work_done(out) == [f"{number} {name}" for number, name in enumerate(stages)]
    records = read_records(tmp_path / "results.json")
    assert {"wer", "cer", "ser", "rtf", "params"} <= {record.metric for record in records}
    assert {record.system for record in records} == {"squentropy"}
    assert "WER %" in (tmp_path / "RESULTS.md").read_text()
    assert "<svg" in (tmp_path / recipe / "report.html").read_text()
    before = (tmp_path / "results.json").read_text()

    code, out, err = squall(recipe, *arguments, **settings)
    assert code == 0, err
    assert _work_done(out) == ["0 check", "4 lm"]
    assert (tmp_path / "results.json").read_text() == before


def test_the_grid_of_a_recipe_is_its_three_losses(
    squall: Squall, demo_corpus: Path, tmp_path: Path
) -> None:
    code, out, _ = squall("demo", "--corpus-dir", demo_corpus, "--exp-dir", tmp_path, "--dry-run")
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


PREPARE_ONLY = {"loss__name": "ce", "corpus__dev_speakers": 2}


def test_a_corrupt_file_stops_the_run_and_is_named(
    squall: Squall, damaged: tuple[Path, str], tmp_path: Path
) -> None:
    folder, utterance = damaged
    arguments = ("--corpus-dir", folder, "--exp-dir", tmp_path, "--stop-stage", 2)
    code, out, err = squall("an4", *arguments, **PREPARE_ONLY)
    assert code == 1
    assert f"train/{utterance}: " in err
    assert f"{utterance}.sph" in err
    assert "--skip-bad" in err
    assert "2 tokens" not in out


def test_a_corrupt_file_is_left_out_when_asked_for(
    squall: Squall, damaged: tuple[Path, str], tmp_path: Path
) -> None:
    folder, utterance = damaged
    arguments = ("--corpus-dir", folder, "--exp-dir", tmp_path, "--stop-stage", 2, "--skip-bad")
    code, out, err = squall("an4", *arguments, **PREPARE_ONLY)
    assert code == 0, err
    assert "1 problems left out" in out
    (data,) = (tmp_path / "an4" / "shared").glob("data-*")
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
        ({"decode__lm_weight": 0.3}, "the settings have no `lm` part"),
        ({"loss__name": "squentropi"}, "did you mean 'squentropy'"),
        ({"loss__alfa": 2}, "ce has no parameter 'alfa'"),
    ],
)
def test_what_would_fail_later_is_refused_by_the_check(
    squall: Squall, demo_corpus: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    arguments = ("--corpus-dir", demo_corpus, "--exp-dir", tmp_path)
    code, out, err = squall("demo", *arguments, **{"loss__name": "ce", **settings})
    assert code == 1
    assert message in err
    assert "1 prepare" not in out


def test_a_missing_corpus_says_what_to_give(squall: Squall, tmp_path: Path) -> None:
    code, _, err = squall(
        "an4", "--corpus-dir", tmp_path / "absent", "--exp-dir", tmp_path, loss__name="ce"
    )
    assert code == 1
    assert f"{tmp_path / 'absent'} does not exist" in err
    assert "--download" in err
