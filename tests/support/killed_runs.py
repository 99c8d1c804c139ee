"""A recipe in a process of its own that a test can kill, and the moments to do so."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 120


class Run:
    """`squall run RECIPE` in a process group of its own, on one thread.

    Args:
        recipe: its name.
        exp_dir: where experiments go; the output is kept beside it.
        arguments: further ones of the command.
        output: name of the file with the output.
    """

    def __init__(
        self, recipe: str, exp_dir: Path, *arguments: str, output: str = "output.txt"
    ) -> None:
        self.exp_dir = exp_dir
        self.output = exp_dir.with_name(output)
        places = ["--exp-dir", str(exp_dir)]
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "squall", "run", recipe, *places, *arguments],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self, text: str) -> bool:
        return text in self.output.read_text()

    def writes(self, pattern: str) -> bool:
        return any(self.exp_dir.rglob(pattern))

    def wait_until(self, reached: Callable[[Run], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not reached(self):
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.005)

    def kill(self, *, whole_group: bool) -> None:
        """Kill the command, alone or with the experiment that it runs, and wait for the latter."""
        (os.killpg if whole_group else os.kill)(self.process.pid, signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL
        deadline = time.monotonic() + PATIENCE_S
        while self._group_lives():
            assert time.monotonic() < deadline, "the experiment outlives the command"
            time.sleep(0.05)

    def _group_lives(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self) -> None:
        if self._group_lives():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def members(group: int) -> list[int]:
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
    children = [pid for pid in members(run.process.pid) if pid != run.process.pid]
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


def wait_for_all(group: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while alive := members(group):
        assert time.monotonic() < deadline, f"orphans: {alive}"
        time.sleep(0.02)


@dataclass(frozen=True)
class Moment:
    """When to kill.

    Args:
        reached: tells that it has come.
        unfinished: the stage that the kill interrupts, where it cannot have ended meanwhile.
        whole_group: whether the experiment is killed too, or left to notice.
    """

    reached: Callable[[Run], bool]
    unfinished: str | None
    whole_group: bool = True
