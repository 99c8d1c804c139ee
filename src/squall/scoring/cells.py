"""Texts as cells of tables that a spreadsheet may open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["cell_text", "row_texts", "text_cell"]

_FORMULA = re.compile(r"'*[=+\-@\t\r].", re.DOTALL)


def text_cell(text: str) -> str:
    """A text that a spreadsheet shows as it is, whoever wrote it.

    One that begins with `=`, `+`, `-`, `@`, a tab or a carriage return, which a spreadsheet would
    run as a formula, gets an apostrophe before it. Numbers and single characters stay.

    >>> text_cell("=1+1"), text_cell("-3.5"), text_cell("o'clock")
    ("'=1+1", '-3.5', "o'clock")
    """
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def cell_text(cell: str) -> str:
    """The text of which `text_cell` made a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def row_texts(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row that `csv.DictReader` gave, its cells as the texts that they were."""
    return {name: cell_text(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
