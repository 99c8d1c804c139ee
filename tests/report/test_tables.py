"""Tables made from records, and RESULTS.md."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a_record import RECORD, a_record
from squall.asr.report.tables import ERROR_RATES
from squall.report.tables import (
    fixed,
    markdown_table,
    mean_and_spread,
    results_table,
    write_results,
)

COLUMNS = {"wer": "WER %", "cer": "CER %", "epochs": "epochs", "train_seconds": "training"}


def test_the_page_follows_from_the_file_alone(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write_results(here, [RECORD], title="Results", layout=ERROR_RATES)
    page = write_results(
        here, [a_record(system="square", value=10.5)], title="Results", layout=ERROR_RATES
    )
    there.mkdir()
    (there / "results.json").write_bytes((here / "results.json").read_bytes())
    assert (
        write_results(there, [], title="Results", layout=ERROR_RATES).read_text()
        == page.read_text()
    )


def test_the_page_shows_what_is_needed_to_trust_a_number(tmp_path: Path) -> None:
    dev = a_record(condition="dev", command="squall run an4 --seed 1")
    text = write_results(tmp_path, [RECORD, dev], title="Results", layout=ERROR_RATES).read_text()
    assert text.startswith("# Results\n")
    assert "| conformer | ce | 1 | 8.93 (of 773) |" in text
    assert text.index("## an4, test") < text.index("## an4, dev")
    for needed in ("```\nsquall run an4\n```", "--seed 1", "`0123456789ab`", "on a machine"):
        assert needed in text


def test_table_has_mean_and_standard_deviation_over_seeds() -> None:
    values = [8.0, 9.0, 13.0]
    records = [a_record(seed=seed, value=value) for seed, value in enumerate(values)]
    head, rows = results_table(records, "test", COLUMNS)
    assert head == ["experiment", "system", "seed", "WER %"]
    assert [row[3] for row in rows[:3]] == ["8.00 (of 773)", "9.00 (of 773)", "13.00 (of 773)"]
    assert statistics.stdev(values) == pytest.approx(math.sqrt(7))
    assert rows[3] == ["conformer", "ce", "mean ± sd of 3", "10.00 ± 2.65"]


def test_one_seed_has_no_mean() -> None:
    assert len(results_table([RECORD], "test", COLUMNS)[1]) == 1


def test_means_are_in_the_unit_of_the_values() -> None:
    records = [
        a_record(seed=seed, metric=metric, value=value, unit=unit)
        for seed, values in enumerate([(600.0, 30), (1200.0, 31)])
        for (metric, unit), value in zip(
            [("train_seconds", "s"), ("epochs", "epochs")], values, strict=True
        )
    ]
    head, rows = results_table(records, "test", COLUMNS)
    assert head[3:] == ["epochs", "training"]
    assert [row[3:] for row in rows] == [
        ["30", "10.0 min"],
        ["31", "20.0 min"],
        ["30.5 ± 0.7", "15.0 ± 7.1 min"],
    ]


@pytest.mark.parametrize("metric", ["wer", "train_seconds", "epochs"])
def test_what_is_not_a_number_is_undefined_and_so_is_its_mean(metric: str) -> None:
    records = [
        a_record(metric=metric, seed=1, value=None, reason="none"),
        a_record(metric=metric, seed=2),
    ]
    rows = results_table(records, "test", COLUMNS)[1]
    assert rows[0][3] == "undefined"
    assert rows[2][3] == "undefined"


def test_table_keeps_systems_and_conditions_apart() -> None:
    records = [RECORD, a_record(system="square", value=9.0), a_record(condition="dev", value=1.0)]
    rows = results_table(records, "test", COLUMNS)[1]
    assert [row[1] for row in rows] == ["ce", "square"]


def test_a_number_that_a_run_lacks_is_left_empty() -> None:
    records = [RECORD, a_record(seed=2), a_record(seed=2, metric="cer", value=3.0)]
    rows = results_table(records, "test", COLUMNS)[1]
    assert [row[4] for row in rows] == ["", "3.00 (of 773)", ""]


def test_markdown_table() -> None:
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_page_marks_a_commit_with_changed_files(tmp_path: Path) -> None:
    marked = a_record(commit="0123456789abcdef" * 2 + "+")
    text = write_results(tmp_path, [marked], title="Results", layout=ERROR_RATES).read_text()
    assert "commit `0123456789ab+`, on" in text


def test_mean_and_spread() -> None:
    def write(value: float) -> str:
        return fixed(value, 1)

    assert mean_and_spread([], write) == ""
    assert mean_and_spread([2.04], write) == "2.0"
    assert mean_and_spread([1.0, 3.0], write) == "2.0 ± 1.4"
    assert mean_and_spread([1.0, math.nan], write) == "undefined"


@given(st.floats(-1e6, 1e6), st.integers(0, 5))
def test_a_number_is_rounded_as_python_does_and_has_no_negative_zero(
    value: float, digits: int
) -> None:
    text = fixed(value, digits)
    assert not text.startswith("-") or float(text) < 0
    assert float(text) == float(f"{value:.{digits}f}")
