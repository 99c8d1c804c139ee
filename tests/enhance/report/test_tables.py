"""Tables of enhancement experiments, from records written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from squall.enhance.estimators.registry import order_of_systems
from squall.enhance.report.tables import (
    ENHANCEMENT,
    MATCH_SECONDS,
    enhancement_tables,
)
from squall.report.records import Record
from squall.report.tables import Table

COMPARISON = "Kernel machines against networks: in how many conditions"
MATCH = "Seconds until the other's best validation error is reached"


def _record(metric: str, system: str, value: float | None, **changes: Any) -> Record:
    plain = {
        "recipe": "toy", "experiment": "small", "dataset": "manifest", "condition": "babble/0dB",
        "seed": 1, "unit": "", "n": 4, "commit": "c", "command": "squall run", "hardware": "h",
        "seconds": 1.0,
    }  # fmt: skip
    return Record(**{**plain, "metric": metric, "system": system, "value": value, **changes})


def _tables(*records: Record) -> dict[str, Table]:
    return {table.title: table for table in enhancement_tables(records)}


def test_there_is_a_table_only_for_what_was_measured() -> None:
    assert list(_tables(_record("stoi", "noisy", 0.7))) == ["STOI"]
    assert _tables() == {}


def test_systems_stand_in_the_order_of_what_they_can_do() -> None:
    systems = ["oracle", "kernel-4", "noisy", "kernel-1", "dnn-dropout0.5", "dnn"]
    ordered = ["noisy", "dnn", "dnn-dropout0.5", "kernel-1", "kernel-4", "oracle"]
    assert order_of_systems([*systems, "dnn"]) == ordered
    table = _tables(*(_record("stoi", system, 0.5) for system in systems))["STOI"]
    assert list(table.head) == ["condition", *ordered]


def test_conditions_are_sorted_by_noise_and_number_and_all_comes_last() -> None:
    names = ["all", "ssn/-5dB", "babble/10dB", "babble/5dB", "babble/-5dB", "babble/-2.5dB"]
    table = _tables(*(_record("epochs", "dnn", 1, condition=name) for name in names))
    rows = table["Epochs: passes over the training frames, or over 200,000 of them"].rows
    assert [row[0] for row in rows] == [
        "babble/-5dB", "babble/-2.5dB", "babble/5dB", "babble/10dB", "ssn/-5dB", "all", "mean",
    ]  # fmt: skip


def test_a_cell_is_the_value_in_the_units_of_the_title() -> None:
    tables = _tables(
        _record("mse", "dnn", 0.01234), _record("stoi", "dnn", 0.7654),
        _record("pesq_nb", "dnn", 2.345), _record("si_sdr", "dnn", -3.14),
        _record("train_seconds", "dnn", 61.4), _record("dev_mse", "dnn", 0.0123456),
    )  # fmt: skip
    found = {title: table.rows[0][1] for title, table in tables.items()}
    assert found == {
        "Mask error: mean square error x 100 on the test mixtures": "1.23",
        "STOI": "0.765",
        "PESQ, narrow band (P.862, MOS-LQO)": "2.35",
        "SI-SDR in dB": "-3.1",
        "Best validation error x 100": "1.235",
        "Training time in seconds, search of bandwidths included": "61",
    }


def test_seeds_are_averaged_with_their_spread() -> None:
    records = [_record("stoi", "dnn", value, seed=s) for s, value in enumerate((0.6, 0.7, 0.8))]
    assert _tables(*records)["STOI"].rows == [["babble/0dB", "0.700 ± 0.100"]]


def test_the_last_row_is_the_mean_over_conditions() -> None:
    table = _tables(
        _record("stoi", "dnn", 0.5), _record("stoi", "dnn", 0.7, condition="babble/5dB"),
        _record("stoi", "noisy", 0.4),
    )["STOI"]  # fmt: skip
    assert table.rows == [
        ["babble/0dB", "0.400", "0.500"],
        ["babble/5dB", "", "0.700"],
        ["mean", "0.400", "0.600"],
    ]


def test_an_undefined_value_is_said_to_be_and_left_out_of_the_mean() -> None:
    table = _tables(
        _record("stoi", "dnn", None, reason="silent"),
        _record("stoi", "dnn", 0.7, condition="babble/5dB"),
    )["STOI"]  # fmt: skip
    assert [row[1] for row in table.rows] == ["undefined", "0.700", "0.700"]


def test_hit_minus_fa_is_of_the_same_run() -> None:
    records = [
        _record("hit", "dnn", 80.0), _record("fa", "dnn", 15.0),
        _record("hit", "dnn", 90.0, seed=2), _record("fa", "dnn", 5.0, seed=2),
        _record("hit", "kernel-4", 70.0),
    ]  # fmt: skip
    table = _tables(*records)["Binary mask: HIT - FA, %"]
    assert table.rows == [["babble/0dB", "75.0 ± 14.1"]]
    assert list(table.head) == ["condition", "dnn"]


def _trained(system: str, seconds: float, **changes: Any) -> Record:
    return _record("train_seconds", system, seconds, **changes)


def test_the_comparison_counts_conditions_that_are_better() -> None:
    records = []
    values = {"babble/0dB": (0.02, 0.01), "babble/5dB": (0.02, 0.015), "ssn/0dB": (0.02, 0.02)}
    for condition, (network, kernel) in values.items():
        for system, value in (("dnn", network), ("kernel-4", kernel)):
            records += [
                _record("mse", system, value, condition=condition),
                _record("stoi", system, value, condition=condition),
            ]
    records += [
        _record("stoi", "kernel-4", 0.9, condition="city/0dB"),  # the network has none there
        _trained("dnn", 10.0), _trained("kernel-4", 2.0),
        _trained("dnn", 10.0, condition="babble/5dB"),
        _trained("kernel-4", 5.0, condition="babble/5dB"),
        _trained("dnn", 10.0, condition="ssn/0dB"),
        _trained("kernel-4", 30.0, condition="ssn/0dB"),
    ]  # fmt: skip
    (row,) = _tables(*records)[COMPARISON].rows
    assert row == [
        "kernel-4 against dnn", "2 of 3", "0 of 3", "", "", "0.50 (0.20 to 3.00)"
    ]  # fmt: skip


def test_the_comparison_pairs_runs_of_the_same_seed() -> None:
    records = [_trained("dnn", 1.0), _trained("kernel-4", 1.0)]
    records += [_record("stoi", "dnn", value, seed=s) for s, value in ((1, 0.5), (2, 0.7))]
    records += [_record("stoi", "kernel-4", value, seed=s) for s, value in ((1, 0.6), (3, 0.9))]
    (row,) = _tables(*records)[COMPARISON].rows
    assert row[2] == "1 of 1"


def test_every_kernel_machine_is_compared_with_every_network() -> None:
    systems = ["kernel-1", "dnn", "kernel-4", "dnn-dropout0.5"]
    rows = _tables(*(_trained(system, 1.0) for system in systems))[COMPARISON].rows
    assert [row[0] for row in rows] == [
        "kernel-1 against dnn", "kernel-1 against dnn-dropout0.5",
        "kernel-4 against dnn", "kernel-4 against dnn-dropout0.5",
    ]  # fmt: skip


def test_an_error_that_is_not_reached_is_never() -> None:
    tables = _tables(
        _record(MATCH_SECONDS + "dnn", "kernel-4", 3.2),
        _record(MATCH_SECONDS + "kernel-4", "dnn", None, reason="never"),
        _record(MATCH_SECONDS + "kernel-4", "dnn", 8.0, condition="all"),
    )
    table = tables[MATCH]
    assert list(table.head) == ["condition", "dnn to reach kernel-4", "kernel-4 to reach dnn"]
    assert table.rows == [["babble/0dB", "never", "3"], ["all", "8", ""]]


@pytest.mark.parametrize("change", [{"experiment": "large"}, {"dataset": "timit"}])
def test_experiments_are_not_averaged_together(change: dict[str, str]) -> None:
    """The same system is another one in another experiment: its masks, features or use differ."""
    records = [_record("stoi", "dnn", 0.5), _record("stoi", "dnn", 0.7, **change)]
    tables = _tables(*records)
    assert {table.rows[0][1] for table in tables.values()} == {"0.500", "0.700"}
    (other,) = change.values()
    assert any(other in title and title.endswith(": STOI") for title in tables)


def test_how_it_was_measured_is_said() -> None:
    assert "not in training" in ENHANCEMENT.notes
    assert ENHANCEMENT.tables([_record("stoi", "dnn", 0.5)])[0].title == "STOI"


def test_gains_over_the_mixture_are_counted_by_metric() -> None:
    records = []
    for condition, noisy, enhanced in (("a/0dB", 0.5, 0.6), ("b/0dB", 0.5, 0.5)):
        records += [
            _record("stoi", "noisy", noisy, condition=condition),
            _record("stoi", "dnn", enhanced, condition=condition),
            _record("pesq_nb", "noisy", 1.0, condition=condition),
            _record("pesq_nb", "dnn", 2.0, condition=condition),
            _record("train_seconds", "dnn", 1.0, condition=condition),
        ]
    table = _tables(*records)["Enhanced speech against the mixture: in how many conditions"]
    assert table.head[1:3] == ["higher STOI", "higher PESQ nb"]
    assert table.rows == [["dnn", "1 of 2", "2 of 2"]]


def test_enhancers_off_the_shelf_are_compared_with_the_mixture_and_named() -> None:
    gains = "Enhanced speech against the mixture: in how many conditions"
    absent = {"reason": "not installed: pip install it"}
    tables = _tables(
        _record("stoi", "noisy", 0.7), _record("stoi", "kernel-1", 0.8),
        _record("stoi", "oracle", 0.9), _record("stoi", "rnnoise", 0.6),
        _record("stoi", "gtcrn", None, **absent),
        _record("stoi", "gtcrn", None, condition="babble/5dB", **absent),
    )  # fmt: skip
    assert [row[:2] for row in tables[gains].rows] == [
        ["kernel-1", "1 of 1"],
        ["rnnoise", "0 of 1"],
    ]
    assert tables[gains].note == "Off the shelf, trained on other data if at all: `rnnoise`."
    stoi = tables["STOI"]
    assert list(stoi.head) == ["condition", "noisy", "kernel-1", "rnnoise", "gtcrn", "oracle"]
    assert [row[4] for row in stoi.rows] == ["undefined", "undefined", ""]
    assert stoi.note == "Undefined: `gtcrn`: not installed: pip install it."
