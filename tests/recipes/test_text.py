"""Text classifiers through all stages, killed in between, and on texts of one's own."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("matplotlib")

from commands import numbered, work_done
from killed_epochs import kill_epochs
from squall.classification.recipe import read_logits
from squall.cli import main
from squall.engine.experiment import RunOptions, repository_root
from squall.engine.runner import Cell, run_cell
from squall.engine.stages import StageError
from squall.engine.tasks import TASKS, load_config
from squall.report.records import read_records
from squall.studies.text.places import TextPlaces
from tiny_texts import write_opinions, write_pairs, write_tiny_encoder

Squall = Callable[..., tuple[int, str, str]]

STAGES = list(TASKS["text"].stage_names.values())


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Those of a training of a second."""
    return {
        "model.pretrained": str(write_tiny_encoder(tmp_path / "encoder")),
        "max_length": 16,
        "training.epochs": 3,
        "training.batch_size": 8,
        "training.learning_rate": [0.001, 0.01],
        "training.precision": "float32",
    }


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_opinions(tmp_path / "opinions")


def _cell(corpus: Path, tmp_path: Path, settings: dict[str, Any], **options: Any) -> Cell:
    path = repository_root() / "conf" / "text" / "bert.yaml"
    chosen = RunOptions(str(tmp_path / "exp"), str(corpus))
    return Cell(load_config(path, {**settings, "results_dir": str(tmp_path)}), chosen, **options)


@pytest.mark.slow
def test_two_losses_through_all_stages(
    squall: Squall, corpus: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    arguments = ("text", "--corpus-dir", corpus, "--grid", "loss.name=ce,square", "seed=1,2")
    code, out, err = squall(*arguments, settings=settings)
    assert code == 0, err
    assert "texts: train 60, dev 20, test 20, of 2 classes" in out
    assert "learning rate 0.01, epoch 3" in out
    records = read_records(tmp_path / "results" / "results.json")
    tested = {(r.system, r.seed): r.value for r in records
              if (r.condition, r.metric) == ("test", "accuracy")}  # fmt: skip
    assert tested.keys() == {(loss, seed) for loss in ("ce", "square") for seed in (1, 2)}
    assert min(tested.values()) >= 90
    metrics = {r.metric for r in records if r.condition == "test"}
    assert {"f1", "ece", "nll_refinement", "brier_calibration", "aurc", "epochs"} <= metrics
    compared = {r.metric for r in records if r.condition == "test/vs ce"}
    assert {"accuracy_difference_seeds_low", "accuracy_mcnemar_p", "f1_difference"} <= compared
    text = (tmp_path / "results" / "RESULTS.md").read_text()
    assert "texts, test, refinement and calibration error" in text
    assert "texts, accuracy % on dev by learning rate" in text
    assert "other texts and seeds" in text
    page = (tmp_path / "exp" / "text" / "report.html").read_text()
    assert "Reliability diagrams" in page
    assert "accuracy on dev" in page

    code, out, err = squall(*arguments, settings=settings)
    assert code == 0, err
    assert set(work_done(out)) == {"0 check"}


def test_a_killed_training_ends_with_the_same_answers(
    corpus: Path, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("squall.classification.recipe._SAVE_EVERY_S", 0.0)
    cell = _cell(corpus, tmp_path, settings, last=6)
    run_cell(cell)
    places = TextPlaces(cell.experiment)
    logits, _ = read_logits(places.logits("test"))
    history = json.loads(places.history.read_text())
    tuning = json.loads(places.tuning.read_text())
    shutil.rmtree(tmp_path / "exp")

    begun = kill_epochs(monkeypatch, (5, 9), lambda: run_cell(cell))  # in stage 4, in stage 5
    assert begun == [1, 2, 3, 1, 2, 2, 3, 1, 2, 2, 3]
    assert json.loads(places.tuning.read_text()) == tuning
    again, _ = read_logits(places.logits("test"))
    assert (again == logits).all()
    epochs = json.loads(places.history.read_text())
    assert [e["loss"] for e in epochs] == [e["loss"] for e in history]
    assert not list((tmp_path / "exp").rglob("checkpoint*.pt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.pretrained": "nobody/nothing"}, "no folder nobody/nothing"),
        ({"max_length": 64}, "takes 32 tokens at most"),
        ({"model": {"kind": "esim"}}, "kind=esim takes pairs of texts"),
    ],
)
def test_the_check_stops_what_cannot_be_trained(
    corpus: Path, settings: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    if "model" in change:
        settings.pop("model.pretrained")
    with pytest.raises(StageError, match=message):
        run_cell(_cell(corpus, tmp_path, {**settings, **change}, last=0))


def test_an_absent_corpus_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(StageError, match="absent does not exist: give the texts with --corpus-dir"):
        run_cell(_cell(tmp_path / "absent", tmp_path, settings, last=0))


@pytest.mark.slow
def test_texts_of_ones_own_are_labelled(
    corpus: Path, settings: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    cell = _cell(corpus, tmp_path, {**settings, "training.learning_rate": 0.01}, last=7)
    run_cell(cell)
    model = str(cell.experiment.directory)
    shutil.rmtree(cell.experiment.recipe_dir / "shared")  # the folder is whole in itself
    given = b"the film is good\nthe plot is poor\r\n"
    (tmp_path / "texts.txt").write_bytes(given)
    assert main(["classify", str(tmp_path / "texts.txt"), "--model", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["label", "1", "0"]
    assert all(0.5 <= float(line.split("\t")[1]) <= 1 for line in lines[1:])

    class Input:
        buffer = io.BytesIO(given)

    monkeypatch.setattr("sys.stdin", Input)
    target = tmp_path / "answers.jsonl"
    arguments = ["--format", "json", "--calibrated", "-o", str(target)]
    assert main(["classify", "-", "--model", model, *arguments]) == 0
    answers = [json.loads(line) for line in target.read_text().splitlines()]
    assert [answer["label"] for answer in answers] == ["1", "0"]
    assert sum(answers[0]["probs"].values()) == pytest.approx(1, abs=1e-5)
    assert answers[0]["confidence"] == answers[0]["probs"]["1"]

    for content, message in ((b"one\n\n", r"texts.txt:2: expected a text"),
                             (b"a\tb\tc\n", "expected a text, or two"),
                             (b"caf\xe9\n", "texts.txt:1: not UTF-8")):  # fmt: skip
        (tmp_path / "texts.txt").write_bytes(content)
        assert main(["classify", str(tmp_path / "texts.txt"), "--model", model]) == 1
        assert message in capsys.readouterr().err


def test_a_folder_without_a_trained_model(
    corpus: Path, settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = _cell(corpus, tmp_path, settings, last=0)
    run_cell(cell)
    (tmp_path / "texts.txt").write_text("a film\n")
    model = str(cell.experiment.directory)
    assert main(["classify", str(tmp_path / "texts.txt"), "--model", model]) == 1
    assert "holds no trained model: run its stages up to 5" in capsys.readouterr().err


def test_stages_are_numbered_as_in_other_recipes() -> None:
    assert numbered(STAGES)[0] == "0 check"
    assert TASKS["text"].stage_names[5] == "train"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["esim", "pwim"])
def test_models_of_pairs_learn_and_label(
    settings: dict[str, Any], tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_pairs(tmp_path / "pairs")
    settings.pop("model.pretrained")
    given = {"model": {"kind": kind, "dimensions": 8, "hidden": 8}, "training.learning_rate": 0.01}
    cell = _cell(corpus, tmp_path, {**settings, **given}, last=7)
    run_cell(cell)
    (experiment,) = (tmp_path / "exp" / "text").glob("bert-*")
    accuracy = {r.metric: r.value for r in read_records(experiment / "result.json")}["accuracy"]
    assert accuracy is not None
    shutil.rmtree(cell.experiment.recipe_dir / "shared")
    (tmp_path / "pairs.txt").write_text("the film is good\tthe plot is fine\n")
    command = ["classify", str(tmp_path / "pairs.txt"), "--model", str(experiment)]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert first.splitlines()[1].split("\t")[0] in ("0", "1")
    assert main(command) == 0
    assert capsys.readouterr().out == first
    (tmp_path / "pairs.txt").write_text("the film is good\n")
    assert main(command) == 1
    assert f"text 1 is a single text, and {kind} takes pairs" in capsys.readouterr().err


def test_vectors_that_are_not_there_are_named(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQUALL_DATA", str(tmp_path))
    settings.pop("model.pretrained")
    corpus = write_pairs(tmp_path / "pairs")
    change = {"model": {"kind": "esim", "vectors": "glove.txt"}}
    with pytest.raises(StageError, match=r"model\.vectors: .*glove\.txt is missing"):
        run_cell(_cell(corpus, tmp_path, {**settings, **change}, last=0))


@pytest.mark.slow
def test_an_encoder_takes_pairs(settings: dict[str, Any], tmp_path: Path) -> None:
    corpus = write_pairs(tmp_path / "pairs")
    cell = _cell(corpus, tmp_path, {**settings, "training.learning_rate": 0.01}, last=7)
    run_cell(cell)
    inputs = TextPlaces(cell.experiment).encoded / "train.npz"
    assert inputs.is_file()
    assert read_records(cell.experiment.result_path)
