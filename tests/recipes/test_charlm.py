"""Language models run all their stages on a small text, and go on where they were killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from squall.cli import main
from squall.engine.experiment import RunOptions, repository_root
from squall.engine.runner import Cell, run_cell
from squall.engine.tasks import load_config
from squall.networks.checkpoint import Checkpoint
from squall.report.records import Record, read_records
from squall.studies.charlm import recipe
from tiny_letters import write_letters

pytest.importorskip("matplotlib")

Squall = Callable[..., tuple[int, str, str]]

FAST = {
    "network.layers": 2,
    "network.d_model": 16,
    "network.heads": 2,
    "network.d_inner": 24,
    "network.memory": 8,
    "network.dropout": 0.1,
    "training.batch": 4,
    "training.segment": 8,
    "training.steps": 10,
    "training.steps_per_epoch": 4,
    "training.warmup": 2,
    "training.dev_tokens": 200,
    "training.precision": "float32",
    "evaluation.segment": 16,
    "evaluation.memory": 16,
    "evaluation.block": 50,
    "text.ngrams": [2, 3],
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_letters(tmp_path / "corpus")


def _records(tmp_path: Path) -> dict[tuple[str, str, int, str], Record]:
    records = read_records(tmp_path / "results" / "results.json")
    return {(r.system, r.condition, r.seed, r.metric): r for r in records}


@pytest.mark.slow
def test_all_stages_of_two_losses_and_two_seeds(
    squall: Squall, corpus: Path, tmp_path: Path
) -> None:
    code, out, err = squall(
        "charlm", "--corpus-dir", corpus, "--grid", "loss.name=ce,square", "seed=1,2",
        settings=FAST,
    )  # fmt: skip
    assert code == 0, err
    assert "classes; " in out
    assert "about 0 minutes of training" in out
    assert out.count("1 prepare: done before, skipped") == 3  # one text for all four
    records = _records(tmp_path)
    networks = {"ce", "square"}
    assert {key[0] for key in records} == {*networks, "2-gram", "3-gram"}
    seeds = {(system, seed) for system, condition, seed, _ in records if condition == "test"}
    assert seeds == {*((n, s) for n in networks for s in (1, 2)), ("2-gram", 0), ("3-gram", 0)}
    for system, seed in seeds:
        tokens = records[system, "test", seed, "accuracy"].n
        nll = records[system, "test", seed, "nll"].number
        assert records[system, "test", seed, "bpc"].value == pytest.approx(nll / np.log(2))
        parts = [
            records[system, "test/scaled", seed, f"nll_{part}"].number
            for part in ("refinement", "calibration")
        ]
        assert sum(parts) == pytest.approx(nll, abs=1e-6)
        assert tokens > 500
    assert ("square", "test/clipped", 1, "ece") in records
    assert ("ce", "test/clipped", 1, "ece") not in records
    assert records["3-gram", "test", 0, "bpc"].number < records["2-gram", "test", 0, "bpc"].number
    difference = records["3-gram", "test/vs ce", -1, "bpc_difference"]
    mean = np.mean([records["ce", "test", seed, "bpc"].number for seed in (1, 2)])
    assert difference.value == pytest.approx(records["3-gram", "test", 0, "bpc"].number - mean)
    assert ("square", "test/vs ce", -1, "accuracy_difference_seeds_low") in records
    assert ("ce", "test", 1, "params") in records
    assert records["ce", "test", 1, "epochs"].n == 3

    table = (tmp_path / "results" / "RESULTS.md").read_text()
    for heading in (
        "## text8, test",
        "## text8, test: one temperature, and other probabilities",
        "## text8, test: differences to ce",
        "## The sources' accuracy (ECE) %, and ours",
    ):
        assert f"{heading}\n" in table
    assert " | 3-gram | 0 |" in table
    assert " | square | mean ± sd of 2 |" in table
    page = (tmp_path / "exp" / "charlm" / "report.html").read_text()
    assert page.count("<svg") == 4 + 3  # curves; softmax, scaled and clipped
    assert "bits per character on dev" in page
    histories = list((tmp_path / "exp").rglob("history.json"))
    assert len(histories) == 4
    epochs = json.loads(histories[0].read_text())["epochs"]
    assert [one["step"] for one in epochs] == [4, 8, 10]
    assert not list((tmp_path / "exp").rglob("unfinished.pt"))

    folders = [str(path.parents[1]) for path in histories]
    other = tmp_path / "page.html"
    assert main(["report", *folders, "-o", str(other)]) == 0
    assert "4 runs; systems" in other.read_text()
    text = Path(folders[0], "result.block=50,memory=16,segment=16.json")
    text.write_text(
        text.read_text().replace('"3-gram", "test", 0, "ece", ', '"3-gram", "test", 0, "ece", 1')
    )
    assert main(["report", *folders, "-o", str(other)]) == 1


@pytest.mark.slow
def test_pieces_have_tables_of_their_own(squall: Squall, corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    settings = FAST | {"text.vocabulary_size": 24, "loss.name": "ce", "loss.fused": True}
    code, _, err = squall(
        "charlm", "--preset", "subword", "--corpus-dir", corpus, settings=settings
    )
    assert code == 0, err
    records = _records(tmp_path)
    assert {key[1] for key in records} >= {"test in pieces", "test in pieces/scaled"}
    nats = records["ce", "test in pieces", 1, "nll"]
    bits = records["ce", "test in pieces", 1, "bpc"]
    with np.load(next((tmp_path / "exp").rglob("texts.npz"))) as texts:
        characters = texts["test_characters"][1:].astype(int)
    assert nats.n == len(characters) < sum(characters)
    assert bits.value == pytest.approx(nats.number * nats.n / sum(characters) / np.log(2), rel=1e-5)
    table = (tmp_path / "results" / "RESULTS.md").read_text()
    assert "## text8, test in pieces\n" in table
    assert "The sources" not in table


@pytest.mark.slow
def test_unknown_characters_and_another_evaluation(squall: Squall, tmp_path: Path) -> None:
    corpus = write_letters(tmp_path / "corpus", extra=b"\xc3\xa9")
    settings = FAST | {"loss.name": "ce"}
    arguments = ("charlm", "--preset", "enwik8_small", "--corpus-dir", corpus)
    code, out, err = squall(*arguments, settings=settings)
    assert code == 0, err
    assert "no class of training stands for: dev 2; they are a class of their own" in out
    page = (tmp_path / "exp" / "charlm" / "report.html").read_text()
    assert "unknown characters" in page
    code, out, err = squall(*arguments, settings=settings | {"evaluation.memory": 0})
    assert code == 0, err
    assert "5 train: done before, skipped" in out
    assert "6 predict: done" in out
    names = {r.experiment for r in read_records(tmp_path / "results" / "results.json")}
    assert names == {f"enwik8_small block=50,memory={memory},segment=16" for memory in (16, 0)}


def _cell(corpus: Path, tmp_path: Path, **changes: Any) -> Cell:
    path = repository_root() / "conf" / "charlm" / "text8_small.yaml"
    options = RunOptions(str(tmp_path / "exp"), str(corpus))
    return Cell(load_config(path, {**FAST, **changes}), options)


class KilledError(Exception):
    """What ends a training in the middle of a test."""


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 2])
def test_killed_in_any_epoch_it_ends_with_the_same_bits(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    monkeypatch.setattr(recipe, "_SAVE_EVERY_S", 0.0)
    whole = _cell(corpus, tmp_path / "whole")
    run_cell(whole)
    written: list[int] = []

    def write(self: Checkpoint, state: Any) -> None:
        plain(self, state)
        written.append(1)
        if len(written) == epoch:
            raise KilledError

    plain = Checkpoint.write
    monkeypatch.setattr(Checkpoint, "write", write)
    cell = _cell(corpus, tmp_path / "killed")
    with pytest.raises(KilledError):
        run_cell(cell)
    assert (cell.experiment.directory / "train" / "unfinished.pt").is_file()
    run_cell(cell)
    assert len(written) == 3
    one, other = (read_records(run.experiment.result_path) for run in (whole, cell))
    assert [r.value for r in one if r.metric != "train_seconds"] == [
        r.value for r in other if r.metric != "train_seconds"
    ]
    with (
        np.load(whole.experiment.variant_dir("predict") / "test.npz") as a,
        np.load(cell.experiment.variant_dir("predict") / "test.npz") as b,
    ):
        assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("has_it", [True, False])
def test_a_training_goes_on_in_the_precision_it_began_with(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_it: bool
) -> None:
    stages = recipe._Recipe(_cell(corpus, tmp_path, **{"training.precision": "auto"}).experiment)
    stages.train_dir.mkdir(parents=True)
    checkpoint = stages.train_dir / "unfinished.pt"
    monkeypatch.setattr("squall.networks.precision.multiplies_bfloat16", lambda: has_it)
    begun = "bfloat16" if has_it else "float32"
    assert stages._precision(checkpoint) == begun
    checkpoint.touch()
    monkeypatch.setattr("squall.networks.precision.multiplies_bfloat16", lambda: not has_it)
    assert stages._precision(checkpoint) == begun
    checkpoint.unlink()
    assert stages._precision(checkpoint) != begun


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.batch": 4000}, "too few for 4000 streams of a segment of 8"),
        ({"loss.name": "focal", "loss.fused": True}, "loss.fused=true needs one of ce"),
        ({"loss.name": "squentropi"}, "did you mean 'squentropy'"),
        ({"network.heads": 3}, "d_model 16 cannot be shared by 3 heads"),
    ],
)
def test_what_cannot_be_trained_is_said_at_once(
    squall: Squall, corpus: Path, settings: dict[str, Any], message: str
) -> None:
    code, _, err = squall(
        "charlm", "--corpus-dir", corpus, settings={"loss.name": "ce"} | FAST | settings
    )
    assert code == 1
    assert message in " ".join(err.split())


def test_another_corpus_is_not_taken_for_text8(squall: Squall, tmp_path: Path) -> None:
    corpus = write_letters(tmp_path / "corpus", extra=b"Q")
    code, _, err = squall("charlm", "--corpus-dir", corpus, settings=FAST | {"loss.name": "ce"})
    assert code == 1
    assert "is not text8: its dev part has the byte 0x51" in " ".join(err.split())
    code, _, err = squall("charlm", "--corpus-dir", tmp_path / "lost", settings={"loss.name": "ce"})
    assert code == 1
    assert "is no folder: give that of the corpus with --corpus-dir" in " ".join(err.split())
