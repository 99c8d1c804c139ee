"""Runs that are killed at random moments end with the same numbers, and leave nothing behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from killed_runs import Run
from squall.engine.runner import run_cell
from tiny_tasks import TASKS, numbers

KILLS = int(os.environ.get("SQUALL_KILLS", "20"))


def _members(group: int) -> list[int]:
    """The processes of a group that live, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = stat.read_text().rpartition(") ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _, of_group = rest.split()[:3]
        if int(of_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def _kill_whole(run: Run) -> None:
    os.killpg(run.process.pid, signal.SIGKILL)


def _kill_parent(run: Run) -> None:
    run.process.kill()


def _kill_child(run: Run) -> None:
    """One of the processes that the command has started, which then fails, or the command."""
    children = [pid for pid in _members(run.process.pid) if pid != run.process.pid]
    os.kill(random.choice(children or [run.process.pid]), signal.SIGKILL)


def _terminate(run: Run) -> None:
    run.process.terminate()


def _interrupt(run: Run) -> None:
    """As Ctrl-C does, which reaches the whole group."""
    os.killpg(run.process.pid, signal.SIGINT)


WAYS: dict[str, Callable[[Run], None]] = {
    "the whole run by SIGKILL": _kill_whole,
    "the command alone by SIGKILL": _kill_parent,
    "one of its children by SIGKILL": _kill_child,
    "the command by SIGTERM": _terminate,
    "the whole run by Ctrl-C": _interrupt,
}


def _wait_for_all(group: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while alive := _members(group):
        assert time.monotonic() < deadline, f"orphans: {alive}"
        time.sleep(0.02)


@pytest.mark.fault(
    "Killed",
    "every kind of task killed at random moments, the whole run, the command alone or one child, "
    "by SIGKILL, SIGTERM and Ctrl-C",
    "the same numbers to the last digit, no orphans, no lock that stays",
)
@pytest.mark.parametrize(
    ("task", "kills"),
    [
        ("theory", 2),
        *(pytest.param(name, KILLS, marks=pytest.mark.nightly) for name in TASKS),
    ],
)
@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_run_killed_at_random_moments_ends_with_the_same_numbers(
    task: str, kills: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chosen = TASKS[task]
    for package in chosen.packages:
        pytest.importorskip(package)
    run_cell(chosen.cell(tmp_path / "data", tmp_path / "whole" / "exp"))
    expected = numbers(tmp_path / "whole")

    folder = tmp_path / "killed, it's"
    folder.mkdir()
    exp, arguments = folder / "exp", chosen.arguments(tmp_path / "data", folder)
    draws = random.Random(task)

    def start() -> Run:
        return Run(chosen.recipe, exp, *arguments)

    def finish(run: Run) -> None:
        assert run.process.wait(600) == 0, run.output.read_text()
        _wait_for_all(run.process.pid)
        assert numbers(folder) == expected
        assert not list(folder.rglob("*.part"))

    began = time.monotonic()
    finish(start())
    whole_s = time.monotonic() - began
    shutil.rmtree(exp)
    done, runs = 0, 1
    while done < kills:
        run = start()
        way = draws.choice(list(WAYS))
        time.sleep(draws.uniform(0.2, 1.0) * whole_s)
        if run.process.poll() is None:
            WAYS[way](run)
            run.process.wait(60)
            _wait_for_all(run.process.pid)
            done += 1
        else:  # what was left took no longer
            finish(run)
            shutil.rmtree(exp)
            runs += 1
    finish(start())
    record_property("outcome", f"{task}: {done} kills, {runs + 1} whole runs, the same numbers")


@pytest.mark.fault(
    "Killed", "the same command twice at once; with --force beside a run that goes on",
    "both end well, with the same numbers",
)  # fmt: skip
@pytest.mark.parametrize("further", [(), ("--force",)], ids=["twice", "force"])
@pytest.mark.parametrize(
    "task", [pytest.param(n, marks=() if n == "theory" else pytest.mark.nightly) for n in TASKS]
)
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_runs_at_once_end_with_the_same_numbers(
    task: str, further: tuple[str, ...], tmp_path: Path
) -> None:
    chosen = TASKS[task]
    for package in chosen.packages:
        pytest.importorskip(package)
    run_cell(chosen.cell(tmp_path / "data", tmp_path / "whole" / "exp"))
    arguments = chosen.arguments(tmp_path / "data", tmp_path)
    first = Run(chosen.recipe, tmp_path / "exp", *arguments)
    first.wait_until(lambda run: run.said(": "))
    second = Run(chosen.recipe, tmp_path / "exp", *arguments, *further, output="second.txt")
    for run in (first, second):
        assert run.process.wait(600) == 0, run.output.read_text()
        _wait_for_all(run.process.pid)
    assert numbers(tmp_path) == numbers(tmp_path / "whole")
