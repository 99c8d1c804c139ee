"""Tables of recognition experiments: folds are averaged, calibration has tables of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from a_record import a_record
from squall.asr.calibration import LEVELS
from squall.asr.report.tables import RECOGNITION, error_rate_tables, recognition_tables
from squall.losses import BASELINE_LOSSES
from squall.report.records import Record

RECORD = a_record(
    recipe="timit",
    experiment="sample",
    dataset="timit",
    metric="per",
    value=50.0,
    n=1000,
    commit="c" * 40,
    command="squall run timit",
)


def _record(**changes: Any) -> Record:
    return replace(RECORD, **changes)


def _folds(split: str = "test", **changes: Any) -> list[Record]:
    values = ((0, 40.0, 1000), (1, 50.0, 3000), (3, 63.0, 1500))
    return [
        _record(condition=f"{split}/fold{fold}", value=value, n=n, **changes)
        for fold, value, n in values
    ]


def test_without_folds_the_tables_are_those_of_error_rates() -> None:
    records = [_record(), _record(condition="dev"), _record(dataset="an4", metric="wer")]
    assert recognition_tables(records) == error_rate_tables(records)


def test_baselines_are_marked() -> None:
    systems = ["ce", "squentropy-a0.1", "focal", "ce-ls0.1", "dual_focal-g5", "square-scale-ce"]
    for metric in ("wer", "cer"):
        table, *_ = recognition_tables([_record(system=name, metric=metric) for name in systems])
        assert table.note == (
            "Baselines, which others propose for calibration: ce-ls0.1, dual_focal-g5, focal."
        )
    assert {"focal", "dual_focal"} < BASELINE_LOSSES.keys()


def test_the_mean_over_folds_stands_beside_the_phones_of_all() -> None:
    mean, each = recognition_tables(_folds())
    assert mean.title == "timit, test, mean over folds"
    assert mean.head == ["experiment", "system", "seed", "PER %"]
    assert mean.rows == [["sample, 3 folds", "ce", "1", "51.00 (of 5500)"]]
    assert each.title == "timit, test, PER % of each fold"
    assert each.head == ["experiment", "system", "seed", "fold 0", "fold 1", "fold 3"]
    rates = ["40.00 (of 1000)", "50.00 (of 3000)", "63.00 (of 1500)"]
    assert each.rows == [["sample", "ce", "1", *rates]]


def test_a_run_of_fewer_folds_says_so() -> None:
    tables = recognition_tables([*_folds(), *_folds(system="square")[:1]])
    assert [row[0] for row in tables[0].rows] == ["sample, 1 fold", "sample, 3 folds"]
    assert [row[1] for row in tables[0].rows] == ["square", "ce"]
    assert tables[1].rows[1] == ["sample", "square", "1", "40.00 (of 1000)", "", ""]


def test_seeds_are_averaged_over_the_means() -> None:
    other = [replace(record, seed=2, value=record.value + 2) for record in _folds()]
    rows = recognition_tables([*_folds(), *other])[0].rows
    assert [row[2] for row in rows] == ["1", "2", "mean ± sd of 2"]
    assert rows[2][3] == "52.00 ± 1.41"


def test_times_are_those_of_one_fold() -> None:
    seconds = [
        replace(record, metric="train_seconds", unit="s", value=60.0 * (1 + k), n=20)
        for k, record in enumerate(_folds())
    ]
    (table,) = recognition_tables(seconds)
    assert table.rows == [["sample, 3 folds", "ce", "1", "2.0 min"]]


def test_an_undefined_fold_makes_the_mean_undefined() -> None:
    records = _folds()
    mean, each = recognition_tables(
        [replace(records[0], value=None, reason="no phones"), *records[1:]]
    )
    assert mean.rows[0][3] == "undefined"
    assert each.rows[0][3:5] == ["undefined", "50.00 (of 3000)"]


def test_the_test_set_comes_first_and_corpora_without_folds_before_it() -> None:
    records = [*_folds("dev"), *_folds(), _record(), _record(dataset="wsj", metric="wer")]
    assert [table.title for table in recognition_tables(records)] == [
        "timit, test",
        "wsj, test",
        "timit, test, mean over folds",
        "timit, test, PER % of each fold",
        "timit, dev, mean over folds",
        "timit, dev, PER % of each fold",
    ]


def test_the_notes_say_what_a_mean_over_folds_is() -> None:
    assert "A mean over folds is that of their values" in RECOGNITION.notes


def _levels(**changes: Any) -> list[Record]:
    """A token and a word level of the test set."""
    return [
        _record(condition="test/token", metric="ece", value=4.0, **changes),
        _record(condition="test/token", metric="brier", value=0.25, unit="score", **changes),
        _record(condition="test/token-scaled", metric="temperature", value=1.5, **changes),
        _record(condition="test/word", metric="ece", value=9.0, **changes),
        _record(condition="test/word", metric="nll", value=0.5, unit="nats", **changes),
    ]


def test_calibration_has_a_table_of_the_truth_and_one_of_the_hypotheses() -> None:
    rates, forced, recognised = recognition_tables([*_levels(), _record()])
    assert rates.title == "timit, test"
    assert rates.head == ["experiment", "system", "seed", "PER %"]
    assert forced.title == "timit, test, calibration of true tokens (teacher-forced)"
    assert forced.head == ["experiment", "system", "seed", "ECE %", "Brier", "temperature"]
    assert forced.rows == [["sample", "ce", "1", "4.00", "0.25", "1.50"]]
    assert recognised.title == "timit, test, calibration of what was recognised"
    assert recognised.head == ["experiment", "system", "seed", "ECE % of words"]
    assert recognised.rows == [["sample", "ce", "1", "9.00"]]


def test_calibration_is_averaged_over_seeds() -> None:
    other = [replace(record, seed=2, value=record.value + 2) for record in _levels()]
    forced, _ = recognition_tables([*_levels(), *other])
    assert [row[2] for row in forced.rows] == ["1", "2", "mean ± sd of 2"]
    assert forced.rows[2][3] == "5.00 ± 1.41"


def test_calibration_is_averaged_over_folds() -> None:
    records = [
        replace(record, condition=f"{record.condition}/fold{fold}", value=record.value + fold)
        for fold in (0, 1)
        for record in _levels()
    ]
    forced, _ = recognition_tables(records)
    assert forced.title == "timit, test, calibration of true tokens (teacher-forced)"
    assert forced.rows == [["sample, 2 folds", "ce", "1", "4.50", "0.75", "2.00"]]


def _refined(level: str) -> list[Record]:
    """The likelihood of a level in its parts."""
    values = {"nll": 0.75, "nll_refinement": 0.7525, "nll_calibration": -0.0025, "aurc": 3.0}
    return [
        _record(condition=f"test/{level}", metric=metric, value=value, unit="")
        for metric, value in values.items()
    ]


def test_refinement_and_calibration_error_have_tables_of_their_own() -> None:
    tables = recognition_tables([*_levels(), *_refined("token"), *_refined("word")])
    assert [table.title for table in tables] == [
        "timit, test, calibration of true tokens (teacher-forced)",
        "timit, test, calibration of what was recognised",
        "timit, test, refinement and calibration error of true tokens",
        "timit, test, refinement and calibration error of recognised words",
    ]
    head = ["experiment", "system", "seed", "NLL nats", "NLL refinement nats"]
    assert tables[2].head == [*head, "NLL calibration error nats", "Brier", "AURC %"]
    assert tables[2].rows == [["sample", "ce", "1", "0.75", "0.752", "-0.003", "0.25", "3.00"]]


def test_tokens_are_shown_where_the_recogniser_writes_no_words() -> None:
    assert recognition_tables(_refined("hypothesis"))[-1].title.endswith("of recognised tokens")
    both = recognition_tables([*_refined("hypothesis"), *_refined("word")])
    assert [t.title for t in both if "refinement" in t.title] == [
        "timit, test, refinement and calibration error of recognised words"
    ]


def test_the_notes_name_every_level() -> None:
    assert all(f"`{level}`: " in RECOGNITION.notes for level in LEVELS)
