"""The recipes of the smaller studies run all their stages on small data."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from squall.engine.experiment import RunOptions, repository_root
from squall.engine.runner import Cell, run_cell
from squall.engine.tasks import load_config
from squall.networks import training
from squall.report.records import Record, read_records
from tiny_tables import write_uci_set

pytest.importorskip("matplotlib")

Squall = Callable[..., tuple[int, str, str]]

LOSSES = ["ce", "squentropy", "rescaled_square"]
SETS = {"big": 48, "little": 24}
FAST = {
    "study.network.epochs": 3,
    "study.network.hidden": [4],
    "study.initialisations": 2,
    "seed": 5,
}


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    for name, samples in SETS.items():
        write_uci_set(tmp_path / "uci", name, samples=samples)
    return tmp_path / "uci"


@pytest.fixture
def study(squall: Squall) -> Squall:
    """`squall run RECIPE` on small settings: exit code, standard output and error."""

    def run(
        recipe: str, settings: dict[str, Any], *arguments: object, processes: bool = False
    ) -> tuple[int, str, str]:
        alone = ("--workers", 1) if recipe == "tabular" else ()
        return squall(recipe, *alone, *arguments, settings=settings, processes=processes)

    return run


def _experiment(tmp_path: Path, recipe: str) -> Path:
    (found,) = (path.parent for path in (tmp_path / "exp" / recipe).glob("*/result.json"))
    return found


def _by_key(records: list[Record]) -> dict[tuple[str, str, int, str], Record]:
    return {(r.condition, r.system, r.seed, r.metric): r for r in records}


@pytest.mark.slow
def test_tabular(study: Squall, collection: Path, tmp_path: Path) -> None:
    code, out, err = study("tabular", FAST, "--corpus-dir", collection, processes=True)
    assert code == 0, err
    assert "2 sets of 72 samples; about" in out
    experiment = _experiment(tmp_path, "tabular")
    records = _by_key(read_records(tmp_path / "results" / "results.json"))
    assert {key[0] for key in records} == set(SETS)
    assert {key[1] for key in records} == set(LOSSES)
    assert {key[2] for key in records} == {5, 6}
    assert {key[3] for key in records} == {"accuracy", "ece", "untrained"}
    with (experiment / "score" / "default" / "networks.csv").open(newline="") as file:
        networks = list(csv.DictReader(file))
    assert len(networks) == 2 * 3 * 4 * 2
    for (name, loss, seed, metric), record in records.items():
        own = [
            100 * float(network[metric])
            for network in networks
            if (network["set"], network["loss"], int(network["seed"])) == (name, loss, seed)
        ]
        assert len(own) == 4
        if metric == "untrained":
            assert (record.value, record.unit, record.n) == (sum(own) / 100, "networks", 4)
        else:
            assert record.value == pytest.approx(statistics.fmean(own))
            assert (record.unit, record.n) == ("%", SETS[name])
        assert record.experiment == "collection hidden=(4,) epochs=3"
    text = (tmp_path / "results" / "RESULTS.md").read_text()
    assert "| squentropy better than ce in accuracy | 82 + 12 = 94 (78 %) |" in text
    assert "## Every set of collection" in text
    page = (tmp_path / "exp" / "tabular" / "report.html").read_text()
    assert page.count("<svg") == 4  # two scatter plots, two of ranks


def _cell(collection: Path, tmp_path: Path, *, epochs: int) -> Cell:
    """The experiment on the set `big`, to be trained in this process."""
    path = repository_root() / "conf" / "tabular" / "collection.yaml"
    settings = {**FAST, "study.network.epochs": epochs, "sets": ["big"], "results_dir": "."}
    options = RunOptions(str(tmp_path / "exp"), str(collection), workers=1)
    return Cell(load_config(path, settings), options, first=5)


@pytest.mark.slow
def test_progress_within_a_set_is_told(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("squall.studies.tabular.recipe._TELL_EVERY_S", 0.01)
    told: list[tuple[int, int, str]] = []
    run_cell(_cell(collection, tmp_path, epochs=400), lambda _, *progress: told.append(progress))
    within = [(done / total, text) for done, total, text in told if "big epoch" in text]
    shares = [share for share, _ in within]
    assert len(set(shares)) > 3
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1


def test_a_set_goes_on_from_its_checkpoint_to_the_same_scores(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("squall.studies.tabular.recipe._SAVE_EVERY_S", 0.0)
    cell = _cell(collection, tmp_path, epochs=5)
    train = cell.experiment.directory / "train"
    run_cell(cell)
    assert not list(train.rglob("*.pt"))
    whole = json.loads((train / "sets" / "big.json").read_text())
    shutil.rmtree(tmp_path / "exp")

    begun: list[int] = []

    def epoch(*arguments: Any) -> Any:
        begun.append(len(begun))
        if len(begun) == 3:
            raise RuntimeError("killed")
        return plain_epoch(*arguments)

    plain_epoch = training._epoch
    monkeypatch.setattr(training, "_epoch", epoch)
    with pytest.raises(RuntimeError, match="killed"):
        run_cell(cell)
    assert (train / "unfinished" / "big.pt").is_file()
    run_cell(cell)
    assert len(begun) == 3 + 3  # two epochs, one killed; then the third to the fifth
    again = json.loads((train / "sets" / "big.json").read_text())
    assert again["networks"] == whole["networks"]
    assert not list(train.rglob("*.pt"))


@pytest.mark.slow
def test_tabular_goes_on_where_it_was_and_trains_what_has_changed(
    study: Squall, collection: Path, tmp_path: Path
) -> None:
    arguments = ("tabular", FAST, "--corpus-dir", collection)
    assert study(*arguments)[0] == 0
    sets = _experiment(tmp_path, "tabular") / "train" / "sets"
    before = {name: (sets / f"{name}.json").stat().st_mtime_ns for name in SETS}
    _, out, _ = study(*arguments)
    assert "5 train: done before, skipped" in out
    (sets / "little.json").unlink()
    (sets.parent / "left_out.json").unlink()  # as if it had been killed
    assert study(*arguments)[0] == 0
    assert (sets / "big.json").stat().st_mtime_ns == before["big"]
    assert (sets / "little.json").stat().st_mtime_ns != before["little"]
    again = json.loads((sets / "little.json").read_text())
    path = collection / "little" / "little_R.dat"
    path.write_text(path.read_text().replace("0.", "10.", 1))
    code, out, err = study(*arguments)
    assert code == 0, err
    assert "5 train: fingerprint.bytes was" in out
    assert (sets / "big.json").stat().st_mtime_ns == before["big"]
    assert json.loads((sets / "little.json").read_text())["data"] != again["data"]


@pytest.mark.slow
def test_damaged_sets_are_named_and_the_others_run(
    study: Squall, collection: Path, tmp_path: Path
) -> None:
    for name in ("flat", "holes", "lacking", "lonely", "narrow"):
        write_uci_set(collection, name, samples=20)
    path = collection / "lacking" / "conxuntos_kfold.dat"
    path.write_text("0 2 4 6\n1 3\n" + "\n".join(path.read_text().splitlines()[2:]) + "\n")
    path = collection / "lonely" / "lonely_R.dat"
    path.write_text(path.read_text().rstrip()[:-1] + "2\n")
    path = collection / "holes" / "holes_R.dat"
    path.write_text(path.read_text().replace("\t1\n", "\tnan\n", 1))
    path = collection / "narrow" / "narrow_R.dat"
    path.write_text(path.read_text().replace("\n3\t", "\n3\t9\t", 1))
    lines = (collection / "flat" / "flat_R.dat").read_text().splitlines()
    constant = [
        lines[0],
        *("\t".join([*line.split("\t")[:3], "7", line[-1]]) for line in lines[1:]),
    ]
    (collection / "flat" / "flat_R.dat").write_text("\n".join(constant) + "\n")
    code, out, err = study("tabular", FAST, "--corpus-dir", collection)
    assert code == 0, err
    told = [
        "flat: input 3 is 7 in all rows of flat_R.dat; leave the column out",
        "holes: holes_R.dat, line 3, column 5 is nan; it must be a finite number",
        "lacking: class 1 is missing in the training part of fold 1 (conxuntos_kfold.dat, line 1)",
        "lonely: class 2 has one sample in lonely_R.dat; it needs two at least",
        "narrow: narrow_R.dat, line 4 has 6 columns; the header makes it 5",
    ]
    results = (tmp_path / "results" / "RESULTS.md").read_text()
    for problem in told:
        assert f"0 check: left out: {problem}" in out
        assert problem in results
    records = read_records(tmp_path / "results" / "results.json")
    assert {record.condition for record in records} == set(SETS)


def test_nothing_but_damage_is_an_error(study: Squall, tmp_path: Path) -> None:
    folder = write_uci_set(tmp_path / "uci", "only", samples=20)
    (folder / "conxuntos_kfold.dat").write_text("0 1\n")
    code, _, err = study("tabular", FAST, "--corpus-dir", folder.parent)
    assert code == 1
    assert "no set can be used: only: conxuntos_kfold.dat has 1 lines of rows, not 8" in err


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "0 check: the folds are draws that overlap: they test "),
        ({"study.test": "fifths"}, "0 check: test=fifths: numbers on parts of one's own compare"),
        ({"study.epoch": "best_test"}, "0 check: epoch=best_test: the test part chooses the epoch"),
    ],
    ids=["folds", "fifths", "best_test"],
)
def test_what_the_test_parts_are_is_told(
    study: Squall, collection: Path, settings: dict[str, str], told: str
) -> None:
    arguments = ("--corpus-dir", collection, "--stop-stage", 0)
    code, out, err = study("tabular", FAST | settings, *arguments)
    assert code == 0, err
    assert told in out


@pytest.mark.slow
def test_a_set_that_has_no_disjoint_folds_is_named_and_the_others_run(
    study: Squall, collection: Path, tmp_path: Path
) -> None:
    path = collection / "little" / "little_R.dat"
    head, *lines = path.read_text().splitlines()
    rows = [f"{row}\t{row % 2}\t{row % 2}\t1\t{row % 2}" for row in range(1, len(lines) + 1)]
    rows[0] = rows[0].replace("\t1\t1\t1\t1", "\t1\t1\t0\t1")
    path.write_text("\n".join([head, *rows]) + "\n")
    settings = FAST | {"study.test": "disjoint"}
    code, out, err = study("tabular", settings, "--corpus-dir", collection)
    assert code == 0, err
    told = "little: class 0 has too few rows with different inputs for 4 disjoint folds"
    assert f"0 check: left out: {told}" in out
    assert told in (tmp_path / "results" / "RESULTS.md").read_text()
    records = read_records(tmp_path / "results" / "results.json")
    assert {record.condition for record in records} == {"big"}
    assert {r.n for r in records if r.metric == "accuracy"} == {SETS["big"]}  # each row once


def test_one_set_of_many(study: Squall, collection: Path, tmp_path: Path) -> None:
    settings = FAST | {"sets": ["little"], "study.losses": {"ce": {}}}
    assert study("tabular", settings, "--corpus-dir", collection)[0] == 0
    records = read_records(tmp_path / "results" / "results.json")
    assert {record.condition for record in records} == {"little"}
    assert {record.system for record in records} == {"ce"}
    code, _, err = study("tabular", FAST | {"sets": ["lost"]}, "--corpus-dir", collection)
    assert code == 1
    assert "has no data of the set 'lost'" in err


@pytest.mark.slow
def test_other_choices_have_rows_of_their_own(
    study: Squall, collection: Path, tmp_path: Path
) -> None:
    grid = ("--grid", "study.scaling=training,published")
    assert study("tabular", FAST, "--corpus-dir", collection, *grid)[0] == 0
    found = {r.experiment for r in read_records(tmp_path / "results" / "results.json")}
    usual = "collection hidden=(4,) epochs=3"
    assert found == {usual, f"{usual} scaling=published"}
    text = (tmp_path / "results" / "RESULTS.md").read_text()
    rows = text.partition("## Other choices")[2].partition("## Every set")[0].splitlines()
    assert sum(row.startswith("| collection hidden") for row in rows) == 2


@pytest.mark.slow
def test_spiral(study: Squall, tmp_path: Path) -> None:
    settings = {"study.samples": 40, "study.epochs": [1, 3], "study.grid": 5}
    code, out, err = study("spiral", settings, "--grid", "seed=1,2", processes=True)
    assert code == 0, err
    assert "3 networks, 40 samples, 3 epochs" in out
    records = _by_key(read_records(tmp_path / "results" / "results.json"))
    expected = {
        (f"{epoch} epochs", loss, seed, metric)
        for epoch in (1, 3)
        for loss in LOSSES
        for seed in (1, 2)
        for metric in ("accuracy", "ece")
    }
    assert records.keys() == expected
    for record in records.values():
        assert 0 <= record.value <= 100
        assert record.value is not None
    table = (tmp_path / "results" / "RESULTS.md").read_text()
    assert "## spirals: accuracy %, 2 seeds" in table
    values = [records["3 epochs", "ce", seed, "accuracy"].value for seed in (1, 2)]
    cell = f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"
    assert f"| {cell} |" in next(row for row in table.splitlines() if row.startswith("| ce |"))
    page = (tmp_path / "exp" / "spiral" / "report.html").read_text()
    assert page.count("<svg") == 2
