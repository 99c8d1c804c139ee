"""Records, results.json and the tables made from it."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from squall.report.records import Record, merge_records, read_records, write_records
from squall.report.tables import markdown_table, results_table, write_results

RECORD = Record(
    recipe="an4",
    experiment="conformer",
    dataset="an4",
    system="ce",
    condition="test",
    seed=1,
    metric="wer",
    value=8.93,
    unit="%",
    n=773,
    commit="0123456789abcdef",
    command="squall run an4",
    hardware="a machine",
    seconds=60.0,
)


def _record(**changes: Any) -> Record:
    return replace(RECORD, **changes)


def test_records_come_back_as_written(tmp_path: Path) -> None:
    records = [RECORD, _record(metric="cer", value=3, command="squall run 'é'")]
    write_records(tmp_path / "results.json", records)
    assert read_records(tmp_path / "results.json") == records


def test_an_undefined_value_comes_back_undefined(tmp_path: Path) -> None:
    write_records(tmp_path / "results.json", [_record(value=math.nan)])
    assert math.isnan(read_records(tmp_path / "results.json")[0].value)


def test_one_record_is_one_line(tmp_path: Path) -> None:
    write_records(tmp_path / "results.json", [RECORD, _record(seed=2)])
    lines = (tmp_path / "results.json").read_text().splitlines()
    assert [line[:1] for line in lines] == ["[", "{", "{", "]"]


def test_no_records_are_a_valid_file(tmp_path: Path) -> None:
    write_records(tmp_path / "results.json", [])
    assert read_records(tmp_path / "results.json") == []


def test_a_newer_record_takes_the_place_of_the_one_with_its_key() -> None:
    other = _record(seed=2)
    newer = _record(value=7.0, commit="f" * 16, command="squall run an4 --force")
    assert merge_records([RECORD, other], [newer]) == [newer, other]


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "wsj"},
        {"experiment": "other"},
        {"dataset": "wsj"},
        {"system": "square"},
        {"condition": "dev"},
        {"seed": 2},
        {"metric": "cer"},
    ],
)
def test_records_of_different_key_stay_side_by_side(change: dict[str, Any]) -> None:
    assert len(merge_records([RECORD], [_record(**change)])) == 2


def test_merged_records_are_sorted_with_seeds_as_numbers() -> None:
    seeds = [record.seed for record in merge_records([], [_record(seed=s) for s in (10, 2, 1)])]
    assert seeds == [1, 2, 10]


def _without(key: str) -> str:
    record = json.loads(json.dumps(RECORD.__dict__))
    del record[key]
    return json.dumps([record])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file: "),
        ("[{", "the file: "),
        ("{}", "the file: "),
        ("null", "the file: "),
        ("[1]", "0: "),
        (_without("seed"), "0.seed: "),
        (json.dumps([RECORD.__dict__, {**RECORD.__dict__, "wer": 3}]), "1.wer: "),
        (json.dumps([{**RECORD.__dict__, "value": "8.9"}]), "0.value: "),
    ],
)
def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a list of records") as caught:
        write_results(tmp_path, [RECORD], title="Results")
    assert str(caught.value).startswith(f"{path} is not a list of records: {message}")
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"results\.json is not a list of records"):
        read_records(tmp_path / "results.json")


def test_the_page_follows_from_the_file_alone(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write_results(here, [RECORD], title="Results")
    page = write_results(here, [_record(system="square", value=10.5)], title="Results")
    there.mkdir()
    (there / "results.json").write_bytes((here / "results.json").read_bytes())
    assert write_results(there, [], title="Results").read_text() == page.read_text()


def test_the_page_shows_what_is_needed_to_trust_a_number(tmp_path: Path) -> None:
    dev = _record(condition="dev", command="squall run an4 --seed 1")
    text = write_results(tmp_path, [RECORD, dev], title="Results").read_text()
    assert text.startswith("# Results\n")
    assert "| conformer | ce | 1 | 8.93 (of 773) |" in text
    assert text.index("## an4, test") < text.index("## an4, dev")
    for needed in ("```\nsquall run an4\n```", "--seed 1", "`0123456789ab`", "on a machine"):
        assert needed in text


def test_table_has_mean_and_standard_deviation_over_seeds() -> None:
    values = [8.0, 9.0, 13.0]
    records = [_record(seed=seed, value=value) for seed, value in enumerate(values)]
    head, rows = results_table(records, "test")
    assert head == ["experiment", "system", "seed", "WER %"]
    assert [row[3] for row in rows[:3]] == ["8.00 (of 773)", "9.00 (of 773)", "13.00 (of 773)"]
    assert statistics.stdev(values) == pytest.approx(math.sqrt(7))
    assert rows[3] == ["conformer", "ce", "mean ± sd of 3", "10.00 ± 2.65"]


def test_one_seed_has_no_mean() -> None:
    assert len(results_table([RECORD], "test")[1]) == 1


def test_means_are_in_the_unit_of_the_values() -> None:
    records = [
        _record(seed=seed, metric=metric, value=value, unit=unit)
        for seed, values in enumerate([(600.0, 30), (1200.0, 31)])
        for (metric, unit), value in zip(
            [("train_seconds", "s"), ("epochs", "epochs")], values, strict=True
        )
    ]
    head, rows = results_table(records, "test")
    assert head[3:] == ["epochs", "training"]
    assert [row[3:] for row in rows] == [
        ["30", "10.0 min"],
        ["31", "20.0 min"],
        ["30.5 ± 0.7", "15.0 ± 7.1 min"],
    ]


@pytest.mark.parametrize("metric", ["wer", "train_seconds", "epochs"])
def test_what_is_not_a_number_is_undefined_and_so_is_its_mean(metric: str) -> None:
    records = [_record(metric=metric, seed=1, value=math.nan), _record(metric=metric, seed=2)]
    rows = results_table(records, "test")[1]
    assert rows[0][3] == "undefined"
    assert rows[2][3] == "undefined"


def test_table_keeps_systems_and_conditions_apart() -> None:
    records = [RECORD, _record(system="square", value=9.0), _record(condition="dev", value=1.0)]
    rows = results_table(records, "test")[1]
    assert [row[1] for row in rows] == ["ce", "square"]


def test_a_number_that_a_run_lacks_is_left_empty() -> None:
    records = [RECORD, _record(seed=2), _record(seed=2, metric="cer", value=3.0)]
    rows = results_table(records, "test")[1]
    assert [row[4] for row in rows] == ["", "3.00 (of 773)", ""]


def test_markdown_table() -> None:
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
