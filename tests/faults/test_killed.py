"""Runs that are killed at random moments end with the same numbers, and leave nothing behind."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from killed_runs import WAYS, Run, wait_for_all
from squall.engine.runner import run_cell
from tiny_tasks import TASKS, numbers

KILLS = int(os.environ.get("SQUALL_KILLS", "20"))


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
        wait_for_all(run.process.pid)
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
            wait_for_all(run.process.pid)
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
        wait_for_all(run.process.pid)
    assert numbers(tmp_path) == numbers(tmp_path / "whole")
