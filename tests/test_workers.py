"""Work in several processes: order, errors, and what is left when somebody is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from squall.workers import map_in_processes, repeatedly

PATIENCE_S = 60


def _square(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (number % 3 == 0))
    return number**2, os.getpid()


def _fail_at_two(number: int) -> int:
    if number == 2:
        raise ValueError("item 2 is bad")
    return number


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder whose modules the processes can import."""
    (tmp_path / "worker_functions.py").write_text(
        "import os, time\n"
        "def square(number):\n"
        "    time.sleep(0.02 * (number % 3 == 0))\n"
        "    return number ** 2, os.getpid()\n"
        "def fail_at_two(number):\n"
        "    if number == 2:\n"
        "        raise ValueError('item 2 is bad')\n"
        "    return number\n"
        "def nap(number):\n"
        "    time.sleep(0.2)\n"
        "    return os.getpid()\n"
        "def killed_at_two(number):\n"
        "    if number == 2:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return number\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


@pytest.mark.parametrize("workers", [1, 0])
def test_one_worker_is_this_process(workers: int) -> None:
    found = list(map_in_processes(_square, range(7), workers))
    assert found == [(number**2, os.getpid()) for number in range(7)]


def test_results_come_in_order_from_other_processes(importable: Path) -> None:
    from worker_functions import square  # type: ignore[import-not-found]

    found = list(map_in_processes(square, range(12), 2))
    assert [value for value, _ in found] == [number**2 for number in range(12)]
    assert os.getpid() not in {process for _, process in found}


def test_nothing_to_do_is_no_error() -> None:
    assert list(map_in_processes(_square, [], 2)) == []


def test_an_error_reaches_the_caller_after_what_came_before(importable: Path) -> None:
    from worker_functions import fail_at_two

    for function, workers in ((_fail_at_two, 1), (fail_at_two, 2)):
        results = map_in_processes(function, range(40), workers)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="item 2 is bad"):
            next(results)


def test_a_process_that_is_killed_is_told_of_with_what_to_do(importable: Path) -> None:
    from worker_functions import killed_at_two

    with pytest.raises(RuntimeError, match=r"one of 2 processes was killed.*memory.*--jobs"):
        list(map_in_processes(killed_at_two, range(4), 2))


def _alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def napping(importable: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process with two workers that take naps, and the ids of these."""
    code = (
        "from squall.workers import map_in_processes\n"
        "from worker_functions import nap\n"
        "if __name__ == '__main__':\n"
        "    for process in map_in_processes(nap, range(1000), 2):\n"
        "        print(process, flush=True)\n"
    )
    (importable / "parent.py").write_text(code)
    parent = subprocess.Popen(
        [sys.executable, str(importable / "parent.py")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    workers: set[int] = set()
    deadline = time.monotonic() + PATIENCE_S
    while len(workers) < 2 and time.monotonic() < deadline:
        workers.add(int(parent.stdout.readline()))
    yield parent, sorted(workers)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for worker in workers:
        if _alive(worker):
            os.kill(worker, 9)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_workers_end_when_their_parent_is_killed(
    napping: tuple[subprocess.Popen[str], list[int]],
) -> None:
    parent, workers = napping
    assert len(workers) == 2
    assert all(map(_alive, workers))
    parent.kill()
    deadline = time.monotonic() + PATIENCE_S
    while any(map(_alive, workers)):
        assert time.monotonic() < deadline, "the workers outlive their parent"
        time.sleep(0.1)


def test_something_is_done_again_and_again_until_the_block_ends() -> None:
    calls: list[float] = []
    with repeatedly(lambda: calls.append(time.monotonic()), 0.01):
        deadline = time.monotonic() + PATIENCE_S
        while len(calls) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    ended = len(calls)
    time.sleep(0.05)
    assert len(calls) == ended
