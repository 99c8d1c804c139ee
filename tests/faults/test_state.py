"""Every file that an experiment keeps may be damaged: never are there other numbers.

The files that a stage wrote are damaged one by one before the stages after it run. What comes out
are the same numbers, or an error that names the file.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from squall.engine.runner import Cell, run_cell
from squall.engine.tasks import task_of
from tiny_tasks import TASKS, numbers

OF_NO_STAGE = {"logs", ".lock", "tensorboard", "environment.json", "options.json"}
"""What tells people how an experiment went, and is not read again."""


def _flip(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :] if content else b"\0"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "flipped": _flip,
}


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not OF_NO_STAGE & {*path.relative_to(folder).parts}
    }


def _restore(folder: Path, kept: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(kept, folder, symlinks=True)


def _damaged(
    cell: Cell, folder: Path, kept: Path, path: str, damage: Callable[[bytes], bytes]
) -> str:
    """What comes out: `same`, the error, or in capitals what must not be."""
    _restore(folder, kept)
    target = folder / path
    target.write_bytes(damage(target.read_bytes()))
    try:
        run_cell(cell)
    except Exception as error:  # noqa: BLE001 - its message is judged
        told = f"{type(error).__name__}: {error}"
        return "named" if target.name in told or target.parent.name in told else f"NOT NAMED {told}"
    return "same"


@pytest.mark.fault(
    "State",
    "every file of an experiment cut off, emptied or with one bit flipped, before the stages after "
    "the one that wrote it",
    "the same numbers, or an error that names the file",
)
@pytest.mark.parametrize(
    "task",
    [
        pytest.param(name, marks=() if name == "theory" else pytest.mark.nightly)
        for name in TASKS
    ],
)  # fmt: skip
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_damaged_file_never_gives_other_numbers(
    task: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chosen = TASKS[task]
    for package in chosen.packages:
        pytest.importorskip(package)
    exp = tmp_path / "exp"
    cell = chosen.cell(tmp_path / "data", exp)
    names = task_of(cell.config).stage_names
    kept: dict[int, Path] = {}
    new: dict[int, list[str]] = {}
    before: dict[str, bytes] = {}
    for number in sorted(names):
        if number > 7:
            break
        run_cell(chosen.cell(tmp_path / "data", exp, last=number))
        now = _files(exp)
        new[number] = [path for path, content in now.items() if before.get(path) != content]
        kept[number] = shutil.copytree(exp, tmp_path / "kept" / str(number), symlinks=True)
        before = now
    expected = numbers(tmp_path)
    assert expected

    found: dict[str, list[str]] = {}
    for number, paths in new.items():
        for path in paths:
            for kind, damage in DAMAGES.items():
                what = _damaged(cell, exp, kept[number], path, damage)
                if what == "same" and numbers(tmp_path) != expected:
                    what = "OTHER NUMBERS"
                found.setdefault(what, []).append(f"{kind} {path} after stage {number}")
    total = sum(map(len, found.values()))
    told = [f"{len(found.get(key, []))} {key}" for key in ("same", "named")]
    record_property("outcome", f"{task}: of {total} {', '.join(told)}")
    bad = {what: cases for what, cases in found.items() if what not in ("same", "named")}
    assert not bad
