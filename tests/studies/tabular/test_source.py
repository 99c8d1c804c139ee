"""The source's values beside ours: counted alike, on the same sets."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from squall.report.records import Record
from squall.studies.tabular.report import _sections, source_svg
from squall.studies.tabular.scores import StudyScores, study_scores
from squall.studies.tabular.source import (
    Count,
    agreements,
    claims_of_source,
    on_shared_sets,
    read_source,
)
from squall.studies.tabular.tables import tabular_tables

LOSSES = ("ce", "squentropy", "rescaled_square")
# Set to accuracy and ECE of each loss.
HERE = {
    "a": ((80.04, 80.01, 70.0), (5.0, 4.0, 9.0)),  # a tie at one decimal, a loss without rounding
    "b": ((70.0, 70.2, 75.0), (6.04, 6.01, 3.0)),
    "c": ((90.0, 90.0, 85.0), (8.0, 2.0, 4.0)),
    "only here": ((50.0, 55.0, 55.0), (20.0, 10.0, 11.0)),
}
THERE = {
    "c": ((92.0, 92.0, 91.0), (8.0, 8.1, 4.0)),
    "a": ((88.0, 90.0, 90.0), (5.0, 4.0, 9.0)),
    "b": ((71.0, 70.0, 70.0), (6.0, 6.0, 9.0)),
    "only there": ((1.0, 2.0, 1.0), (2.0, 1.0, 3.0)),
}


def write_source(path: Path, values: dict[str, tuple[tuple[float, ...], ...]] = THERE) -> Path:
    columns = [f"{loss}_{metric}" for metric in ("accuracy", "ece") for loss in LOSSES]
    lines = ["# made up", "\t".join(["set", *columns])]
    for name, (accuracy, ece) in values.items():
        lines.append("\t".join([name, *map(str, (*accuracy, *ece))]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def source(tmp_path: Path) -> StudyScores:
    return read_source(write_source(tmp_path / "source.tsv"))


def make_records(experiment: str = "collection") -> list[Record]:
    return [
        Record(
            "tabular", experiment, "uci121", loss, name, seed, metric, value + seed - 0.5,
            "%", 40, "c0ffee", "./run.sh tabular", "2 cores", 1.0,
        )
        for name, both in HERE.items()
        for metric, values in zip(("accuracy", "ece"), both, strict=True)
        for loss, value in zip(LOSSES, values, strict=True)
        for seed in (0, 1)
    ]  # fmt: skip


@pytest.fixture
def here() -> StudyScores:
    return study_scores(make_records())[0]


def test_the_counts_that_the_source_prints_are_those_of_its_values_with_ties_as_wins() -> None:
    source = read_source()
    assert len(source.sets) == 121
    assert source.losses == LOSSES
    claims = {claim.text: claim.source for claim in claims_of_source(source, source)}
    assert claims == {
        "squentropy best of the three in accuracy": Count(60, 11),
        "squentropy better than ce in accuracy": Count(82, 12),
        "squentropy best of the three in ECE": Count(54, 6),
        "squentropy better than ce in ECE": Count(77, 6),
    }
    assert [count.with_ties for count in claims.values()] == [71, 94, 60, 83]
    np.testing.assert_allclose(source.means("accuracy").mean(0), [85.2, 85.6, 85.5], atol=0.05)
    np.testing.assert_allclose(source.means("ece").mean(0), [13.2, 11.6, 15.7], atol=0.05)


@pytest.mark.corpus
def test_the_recipes_table_of_the_source_is_that_of_the_thesis(real_data: Path) -> None:
    with (real_data / "thesis" / "tabular.tsv").open(newline="") as file:
        rows = {row["set"]: row for row in csv.DictReader(file, delimiter="\t")}
    rows["chess-krvkp"] = rows.pop("chess-krvvp")
    source = read_source()
    assert set(source.sets) == rows.keys()
    for metric in ("accuracy", "ece"):
        expected = [[float(rows[s][f"{loss}_{metric}"]) for loss in LOSSES] for s in source.sets]
        np.testing.assert_array_equal(source.means(metric), expected)


def test_ours_are_counted_as_the_source_counts_on_the_same_sets(
    here: StudyScores, source: StudyScores
) -> None:
    claims = {claim.text: claim for claim in claims_of_source(here, source)}
    accuracy = claims["squentropy better than ce in accuracy"]
    assert accuracy.source == Count(2, 1)  # a and one that is not here; c
    assert accuracy.source_shared == Count(1, 1)
    assert accuracy.here == Count(1, 2)  # b; a and c
    assert accuracy.here_exact == Count(1, 1)
    ece = claims["squentropy better than ce in ECE"]
    assert ece.source_shared == Count(1, 1)  # a; b
    assert ece.here == Count(2, 1)
    assert ece.here_exact == Count(3, 0)
    assert claims["squentropy best of the three in accuracy"].here == Count(0, 2)


def test_a_diverged_loss_is_no_winner_by_a_tie_with_another_one(source: StudyScores) -> None:
    records = make_records()
    broken = [
        record.measured(record.metric, np.nan)
        if record.condition == "c" and record.system != "rescaled_square"
        else record
        for record in records
    ]
    (scores,) = study_scores(broken)
    claims = {claim.text: claim for claim in claims_of_source(scores, source)}
    assert claims["squentropy better than ce in accuracy"].here == Count(1, 1)


def test_sets_that_are_not_in_the_source_are_counted_alone(source: StudyScores) -> None:
    records = [r for r in make_records() if r.condition == "only here"]
    (scores,) = study_scores(records)
    claim = claims_of_source(scores, source)[1]
    assert claim.source_shared is None
    assert (claim.source, claim.here) == (Count(2, 1), Count(1, 0))
    assert agreements(scores, source, "accuracy") == []
    tables = {t.title: t for t in tabular_tables(records, source)}
    assert not any(title.startswith("Beside") for title in tables)
    assert "source" not in " ".join(tables["Every set of collection"].head)


def test_a_loss_less_than_the_sources_leaves_no_counts_but_the_values(source: StudyScores) -> None:
    records = [r for r in make_records() if r.system != "squentropy"]
    (scores,) = study_scores(records)
    assert claims_of_source(scores, source) == []
    assert [one.what for one in agreements(scores, source, "ece")] == ["ce", "rescaled_square"]


def test_values_are_compared_over_the_sets_that_both_have(
    here: StudyScores, source: StudyScores
) -> None:
    assert [one.sets for one in on_shared_sets(here, source)] == [("a", "b", "c")] * 2
    found = {one.what: one for one in agreements(here, source, "accuracy")}
    assert list(found) == [*LOSSES, "squentropy - ce", "squentropy - rescaled_square"]
    ours, its = [80.01, 70.2, 90.0], [90.0, 70.0, 92.0]
    own = found["squentropy"]
    assert own.here == pytest.approx(np.mean(ours))
    assert own.source == pytest.approx(np.mean(its))
    assert own.difference == pytest.approx(np.mean(ours) - np.mean(its))
    assert own.low <= own.difference <= own.high
    assert own.correlation == pytest.approx(np.corrcoef(ours, its)[0, 1])
    lead = found["squentropy - ce"]
    assert lead.here == pytest.approx(np.mean([-0.03, 0.2, 0.0]))
    assert lead.source == pytest.approx(np.mean([2.0, -1.0, 0.0]))
    assert lead.correlation == pytest.approx(np.corrcoef([-0.03, 0.2, 0.0], [2.0, -1.0, 0.0])[0, 1])


def test_one_shared_set_has_values_and_no_interval(source: StudyScores) -> None:
    records = [r for r in make_records() if r.condition == "a"]
    (table,) = (t for t in tabular_tables(records, source) if t.title.startswith("Beside"))
    assert table.title == "Beside the source's values, on 1 sets"
    assert table.rows[1][:6] == ["squentropy", "80.01", "90.00", "-9.99", "", ""]


def test_the_tables_have_the_sources_values_beside_ours(source: StudyScores) -> None:
    records = make_records() + make_records("collection scaling=published")
    tables = {t.title: t for t in tabular_tables(records, source)}
    claims = tables["The source's claims"]
    assert claims.head == [
        "number of sets",
        "source, of 4",
        "source, of the 3 that are here",
        "here, of 3",
        "here, not rounded",
    ]
    assert claims.rows[1] == [
        "squentropy better than ce in accuracy",
        "2 + 1 = 3 (75 %)",
        "1 + 1 = 2 (67 %)",
        "1 + 2 = 3 (100 %)",
        "1 + 1",
    ]
    sets = tables["Every set of collection"]
    rows = {row[0]: dict(zip(sets.head, row, strict=True)) for row in sets.rows}
    assert rows["a"]["accuracy squentropy"] == "80.01 ± 0.71"
    assert rows["a"]["accuracy squentropy, source"] == "90.0"
    assert rows["b"]["ECE ce, source"] == "6.0"
    assert rows["only here"]["accuracy ce, source"] == ""
    assert "1 more sets" in sets.note
    beside = tables["Beside the source's values, on 3 sets"]
    assert [row[0] for row in beside.rows] == [
        *LOSSES, "squentropy - ce", "squentropy - rescaled_square",
    ]  # fmt: skip
    choices = tables["Other choices beside the source's values"]
    assert [row[:2] for row in choices.rows] == [
        ["collection", "3"],
        ["collection scaling=published", "3"],
    ]
    assert choices.rows[0][3] == f"{np.mean([80.01 - 90, 0.2, -2]):+.2f}"
    ours, its = ([np.mean(values[name][0]) for name in "abc"] for values in (HERE, THERE))
    assert choices.head[5] == "accuracy: correlation"
    assert choices.rows[0][5] == f"{np.corrcoef(ours, its)[0, 1]:.2f}"


@pytest.mark.parametrize(
    ("choice", "marked"),
    [("epoch=best_test", True), ("test=fifths", True), ("test=disjoint", False), ("bins=5", False)],
)
def test_what_not_to_do_is_marked_where_its_numbers_stand(
    source: StudyScores, choice: str, marked: bool
) -> None:
    records = make_records() + make_records(f"optimistic {choice}")
    (table,) = (t for t in tabular_tables(records, source) if t.title == "Other choices")
    assert ("what not to do" in table.note) == marked


def test_the_figure_has_every_loss_of_every_shared_set_and_its_value_in_the_source(
    here: StudyScores, source: StudyScores
) -> None:
    pytest.importorskip("matplotlib")
    svg = source_svg(here, source)
    assert svg.count("<title>") == 2 * 3 * 3
    assert "<title>squentropy, a: 80.01 against 90.00</title>" in svg
    assert "against the source on 3 sets" in svg
    assert source_svg(here.of_sets(["only here"]), source) == ""


@pytest.mark.slow
def test_the_page_has_the_figure_where_a_set_is_in_the_source() -> None:
    pytest.importorskip("matplotlib")
    records = [r for r in make_records() if r.condition in "ab"]
    names = {"a": "iris", "b": "wine"}
    known = [r.measured(r.metric, r.number, condition=names[r.condition]) for r in records]
    titles = [s.title for s in _sections([_Run(known)])]
    assert "Here against the source" in titles
    assert "Here against the source" not in [s.title for s in _sections([_Run(records)])]


class _Run:
    """What the sections read of a run."""

    def __init__(self, records: list[Record]) -> None:
        self.records = records


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a\t1\t2\t3\t4\t5\t6", "has the set 'a' twice"),
        ("z\t1\t2\t3\t4\t5", "rescaled_square_ece of 'z' is None"),
        ("z\t1\t200\t3\t4\t5\t6", "squentropy_accuracy of 'z' is '200'"),
        ("z\t1\tnan\t3\t4\t5\t6", "squentropy_accuracy of 'z' is 'nan'"),
        ("z\t1\tx\t3\t4\t5\t6", "squentropy_accuracy of 'z' is 'x'"),
    ],
    ids=["twice", "short", "beyond", "nan", "word"],
)
def test_a_damaged_table_of_the_source_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write_source(tmp_path / "source.tsv")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=rf"source\.tsv.*{message}"):
        read_source(path)
