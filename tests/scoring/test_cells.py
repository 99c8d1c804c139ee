"""Cells that no spreadsheet runs."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from squall.scoring.cells import cell_text, text_cell
from squall.scoring.error_rates import score_texts, write_csv

_KIND = "Hostile input"


@pytest.mark.fault(
    _KIND, "a text, id or name that a spreadsheet would run", "shown as text; read back as it was"
)
@given(st.text(alphabet="'=+-@\t\r1a "))
@example("=cmd|' /C calc'!A0")
@example("@SUM(A1)")
def test_a_cell_is_no_formula_and_comes_back(text: str) -> None:
    cell = text_cell(text)
    assert cell_text(cell) == text
    if cell[:1] in "=+-@\t\r" and len(cell) > 1:
        float(cell)


@pytest.mark.parametrize("text", ["", "-", "+", "-3.5", "+1", "-inf", "a=b", "'tis", "''"])
def test_other_cells_stay(text: str) -> None:
    assert text_cell(text) == text == cell_text(text)


def test_the_table_of_utterances_has_no_formula() -> None:
    bad = "=1+1"
    report = score_texts(
        references={bad: bad}, hypotheses={bad: bad}, speakers={bad: bad}, unit="word"
    )
    file = io.StringIO()
    write_csv(file, [report])
    _, row = csv.reader(io.StringIO(file.getvalue()))
    assert row[:4] == ["'=1+1"] * 4
