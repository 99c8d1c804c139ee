"""The sources' values beside ours."""

from __future__ import annotations

from a_record import a_record
from squall.report.records import Record
from squall.studies.charlm.source import SOURCE, source_tables

OURS = {
    ("text8", "text8_small", "ce", 1): (60.0, 1.0),
    ("text8", "text8_small", "ce", 2): (62.0, 2.0),
    ("text8", "text8_small", "square", 1): (60.5, 40.0),
    ("text8", "text8_small", "5-gram", 0): (55.0, 0.5),
    ("enwik8", "enwik8_small", "squentropy", 1): (58.0, 3.0),
}


def _records() -> list[Record]:
    return [
        a_record(
            dataset=dataset, experiment=experiment, system=system, seed=seed, metric=metric,
            value=value, condition=condition,
        )
        for (dataset, experiment, system, seed), values in OURS.items()
        for metric, value in zip(("accuracy", "ece"), values, strict=True)
        for condition in ("test", "test/scaled")
    ]  # fmt: skip


def test_rows_of_a_corpus_have_its_experiments_beside_them() -> None:
    table, _ = source_tables(_records())
    assert table.head == ["set", "loss", "sources", "enwik8_small", "text8_small"]
    rows = {tuple(row[:2]): row[2:] for row in table.rows}
    assert len(rows) == 9
    assert rows["text8", "ce"] == ["72.8 (5.8)", "", "61.0 ± 1.4 (1.5 ± 0.7)"]
    assert rows["text8", "square"] == ["73.2 (57.6)", "", "60.5 (40.0)"]
    assert rows["text8", "squentropy"] == ["71.5 (3.9)", "", ""]
    assert rows["enwik8, a subset", "squentropy"] == ["48.9 (10.7)", "58.0 (3.0)", ""]


def test_differences_to_cross_entropy_have_a_verdict() -> None:
    _, claims = source_tables(_records())
    rows = {tuple(row[:3]): row[3:] for row in claims.rows}
    assert rows["text8", "square", "accuracy"] == ["+0.4", "", "-0.5, differs"]
    assert rows["text8", "square", "ECE"] == ["+51.8", "", "+38.5, agrees"]
    assert rows["text8", "squentropy", "ECE"] == ["-1.9", "", ""]
    assert rows["enwik8", "squentropy", "accuracy"] == ["-0.5", "", ""]  # no ce to compare with


def test_other_corpora_have_no_source() -> None:
    assert source_tables([a_record(dataset="mine", metric="accuracy", value=5.0)]) == []
    pieces = a_record(dataset="text8", metric="accuracy", value=5.0, condition="test in pieces")
    assert source_tables([pieces]) == []


def test_the_sources_values_are_of_three_losses() -> None:
    assert {tuple(losses) for losses in SOURCE.values()} == {("ce", "squentropy", "square")}
