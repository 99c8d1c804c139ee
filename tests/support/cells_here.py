"""The experiments of a command in the test's own process: nothing is imported anew for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import torch

from squall.engine.runner import Cell, CellStatus, run_told


class _Told:
    """Takes the place of the pipe to the command: hands each line on as a status."""

    def __init__(self, on_status: Callable[[CellStatus], None]) -> None:
        self._on_status = on_status

    def write(self, text: str) -> None:
        for line in text.splitlines():
            self._on_status(CellStatus(**json.loads(line)))

    def flush(self) -> None:
        pass


def run_cells_here(
    cells: Sequence[Cell], *, jobs: int, on_status: Callable[[Cell, CellStatus], None]
) -> list[Cell]:
    """Stands for `squall.engine.runner.run_cells`, one experiment after the other.

    They go through their JSON as in a process of their own, and tell what they would tell there.
    """
    threads = torch.get_num_threads()
    failed = []
    for cell in cells:
        torch.set_num_threads(cell.options.threads)
        told = _Told(lambda status, cell=cell: on_status(cell, status))
        if not run_told(Cell.from_json(cell.to_json()), told):
            failed.append(cell)
    torch.set_num_threads(threads)
    return failed
