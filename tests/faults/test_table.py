"""The table of faults says what its tests did, and fails with them."""

from __future__ import annotations

import pytest

from fault_table import collect_faults, faults_text


def _report(name: str, outcome: str, fault: tuple[str, ...], *further: str) -> pytest.TestReport:
    properties: list[tuple[str, object]] = [("fault", fault)]
    properties += [("outcome", text) for text in further]
    location = ("tests/faults/test_x.py", 1, name)
    return pytest.TestReport(
        f"tests/faults/test_x.py::{name}", location, {}, outcome, None, "call",  # type: ignore[arg-type]
        user_properties=properties,
    )  # fmt: skip


def test_the_cases_of_a_fault_are_one_row() -> None:
    cut = ("State", "a file that is cut off", "an error that names it")
    full = ("Disk", "a full disk", "an error")
    faults = collect_faults(
        [
            _report("test_cut[a]", "passed", cut, "3 of 3"),
            _report("test_cut[b]", "passed", cut, "3 of 3"),
            _report("test_full", "failed", full),
        ]
    )
    assert [fault.kind for fault in faults] == ["Disk", "State"]
    lines = faults_text(faults).splitlines()
    assert (
        "| a file that is cut off | an error that names it | OK in 2 cases; 3 of 3 | "
        "`tests/faults/test_x.py` |"
    ) in lines
    assert "| a full disk | an error | **failed in 1 of 1 cases** | `tests/faults/test_x.py` |" in (
        lines
    )
    assert lines[-1] == "2 faults, 1 of them OK."


def test_a_fault_that_was_skipped_is_not_ok() -> None:
    (fault,) = collect_faults([_report("test_x", "skipped", ("Disk", "a full disk", "an error"))])
    assert fault.verdict == "not run here"
