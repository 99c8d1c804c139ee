"""Records, and results.json as it is written, read and merged."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a_record import RECORD, a_record
from squall.asr.report.tables import ERROR_RATES
from squall.report.records import Record, merge_records, read_records, short_commit, write_records
from squall.report.tables import write_results
from squall.scoring.metrics import METRICS, declared

RUN = ("recipe", "experiment", "dataset", "commit", "command", "hardware")
COLUMNS = ["run", "system", "condition", "seed", "metric", "value", "unit", "n", "seconds"]
COLUMNS += ["reason"]


NAMES = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
OUTCOMES = st.one_of(
    st.tuples(NUMBERS, st.just("")), st.tuples(st.none(), NAMES.filter(lambda text: text))
)
METRIC_NAMES = st.sampled_from(
    [*METRICS, "wer_difference", "stoi_difference_seeds_low", "per_mapsswe_p", "match_seconds:dnn"]
)


@st.composite
def _records(draw: st.DrawFn) -> Record:
    metric = draw(METRIC_NAMES)
    value, reason = draw(OUTCOMES)
    return Record(
        recipe=draw(st.sampled_from(["an4", "timit"])),
        experiment=draw(NAMES),
        dataset=draw(NAMES),
        system=draw(NAMES),
        condition=draw(NAMES),
        seed=draw(st.integers(-1, 2**40)),
        metric=metric,
        value=value,
        unit=declared(metric).unit,
        n=draw(st.integers(0, 2**60)),
        commit=draw(NAMES),
        command=draw(NAMES),
        hardware=draw(NAMES),
        seconds=draw(NUMBERS),
        reason=reason,
    )


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


@pytest.mark.slow
@given(st.lists(_records(), max_size=6))
def test_records_come_back_as_written(records: list[Record]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        write_records(path, records)
        assert read_records(path) == records
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    assert len(content["records"]) == len(records)
    assert len(content["runs"]) == len({run_of(record) for record in records})


def run_of(record: Record) -> tuple[str, ...]:
    return (record.recipe, record.experiment, record.dataset, record.commit, record.command,
            record.hardware)  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused_and_the_record_named(value: float) -> None:
    message = r"wer of ce, seed 1 \(an4 conformer, an4 test\) is (nan|inf|-inf); .* None, with"
    with pytest.raises(ValueError, match=message):
        a_record(value=value)


def test_what_has_no_value_has_a_reason_and_what_has_one_has_none() -> None:
    with pytest.raises(ValueError, match=r"wer of ce, .* has no value, and no reason why"):
        a_record(value=None)
    with pytest.raises(ValueError, match="a reason for having none: silent"):
        a_record(reason="silent")
    assert math.isnan(a_record(value=None, reason="silent").number)
    assert RECORD.number == RECORD.value


def test_a_number_is_measured_in_its_metrics_unit() -> None:
    found = RECORD.measured("pesq_wb", 3.1, n=4)
    assert (found.metric, found.value, found.unit, found.n) == ("pesq_wb", 3.1, "MOS-LQO", 4)
    none = found.measured("si_sdr", math.nan, otherwise="silent")
    assert (none.value, none.unit, none.reason) == (None, "dB", "silent")
    assert none.measured("stoi", 0.7).reason == ""
    assert RECORD.measured("rtf", math.inf).reason == "undefined: it came out as inf"
    with pytest.raises(ValueError, match="'wre' is no metric"):
        RECORD.measured("wre", 1.0)


def test_a_unit_that_is_not_the_metrics_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"results\.json: wer of ce is in 'score', and .* '%'"):
        write_records(tmp_path / "results.json", [a_record(unit="score")])
    assert not list(tmp_path.iterdir())


def test_one_record_is_one_line_and_a_run_stands_once(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_records(path, [RECORD, a_record(seed=2), a_record(seed=3, command="again")])
    lines = path.read_text().splitlines()
    assert sum(line.startswith("[") for line in lines) == 3
    assert path.read_text().count('"squall run an4"') == 1
    assert path.read_text().count('"again"') == 1


def test_a_further_run_leaves_the_lines_of_the_others_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    records = [a_record(seed=seed) for seed in range(3)]
    write_records(path, records)
    before = path.read_text().splitlines()
    write_records(path, merge_records(records, [a_record(experiment="baseline", commit="f" * 40)]))
    after = path.read_text().splitlines()
    assert {line.rstrip(",") for line in before} < {line.rstrip(",") for line in after}
    assert len(after) == len(before) + 2


def _old_form(*records: Record) -> str:
    """The list of objects of earlier versions, with NaN for what has no value."""
    content = [{**asdict(record), "value": record.number} for record in records]
    for record in content:
        del record["reason"]
    return "[\n" + ",\n".join(map(json.dumps, content)) + "\n]\n"


def test_the_list_of_earlier_versions_is_read_and_written_anew_by_merging(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    undefined = a_record(seed=2, value=None, reason="undefined; why was not recorded")
    path.write_text(_old_form(RECORD, undefined))
    assert "NaN" in path.read_text()
    assert read_records(path) == [RECORD, undefined]
    newer = a_record(value=7.0)
    write_results(tmp_path, [newer], title="Results", layout=ERROR_RATES)
    assert read_records(path) == [newer, undefined]
    assert json.loads(path.read_text(), parse_constant=_refuse)["format"] == 2


@pytest.mark.parametrize(
    ("metric", "unit", "now"),
    [
        ("pesq_nb_difference", "", "MOS-LQO"),
        ("pesq_wb_difference_speakers_low", "", "MOS-LQO"),
        ("rtf", "", "ratio"),
        ("rtf", "ratio", "ratio"),
        ("of_another_version", "x", "x"),
    ],
)
def test_units_of_earlier_versions_have_the_name_of_now(
    tmp_path: Path, metric: str, unit: str, now: str
) -> None:
    (tmp_path / "result.json").write_text(_old_form(a_record(metric=metric, unit=unit)))
    assert read_records(tmp_path / "result.json")[0].unit == now


def test_no_records_are_a_valid_file(tmp_path: Path) -> None:
    write_records(tmp_path / "results.json", [])
    assert read_records(tmp_path / "results.json") == []


def test_a_newer_record_takes_the_place_of_the_one_with_its_key() -> None:
    other = a_record(seed=2)
    newer = a_record(value=7.0, commit="f" * 16, command="squall run an4 --force")
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
    assert len(merge_records([RECORD], [a_record(**change)])) == 2


def test_merged_records_are_sorted_with_seeds_as_numbers() -> None:
    seeds = [record.seed for record in merge_records([], [a_record(seed=s) for s in (10, 2, 1)])]
    assert seeds == [1, 2, 10]


def _without(key: str) -> str:
    record = json.loads(json.dumps(RECORD.__dict__))
    del record[key]
    return json.dumps([record])


def _file(**changes: Any) -> str:
    """A file of the form of now, with changes."""
    content = {
        "format": 2,
        "runs": {"a": dict.fromkeys(RUN, "x")},
        "columns": COLUMNS,
        "records": [["a", "ce", "test", 1, "wer", 8.93, "%", 773, 60.0, ""]],
    }
    return json.dumps(content | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file: "),
        ("[{", "the file: "),
        ("{}", "format: "),
        (_file(format=3), "format: "),
        (_file(records=[["a"]]), "records.0: 1 values in 10 columns"),
        (_file(runs={}), "records.0.run: there is no run 'a'"),
        (_file(columns=[*COLUMNS[:-1], "wer"]), "0.wer: "),
        (_file().replace("60.0", "NaN"), "the file: 0.seconds is nan"),
        (_file().replace("8.93", "null"), "0: Value error, wer of ce, seed 1 "),
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
        write_results(tmp_path, [RECORD], title="Results", layout=ERROR_RATES)
    assert str(caught.value).startswith(f"{path} is not a list of records: {message}")
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"results\.json is not a list of records"):
        read_records(tmp_path / "results.json")


def test_a_commit_is_cut_before_its_mark() -> None:
    assert short_commit("c" * 40) == "c" * 12
    assert short_commit("c" * 40 + "+") == "c" * 12 + "+"
    assert short_commit("unknown+") == "unknown+"
