"""A record, and copies of it with changes, for tests of files and tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from squall.report.records import Record

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


def a_record(**changes: Any) -> Record:
    """`RECORD` with other fields."""
    return replace(RECORD, **changes)
