"""Cells in processes of their own: failures, statuses, and what happens when a process is killed.

The cells fail in their first stage, because their corpus is missing, or run a stage that a stand-in
for ESPnet's recipe gives them; either way no ESPnet is needed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from squall.asr.settings import RecognitionConfig
from squall.engine.experiment import RunOptions
from squall.engine.grid import expand_grid
from squall.engine.runner import Cell, CellStatus, run_cells


def _cell(tmp_path: Path, *, corpus_dir: str | None = None, **settings: Any) -> Cell:
    config = RecognitionConfig.model_validate(
        {
            "recipe": "toy",
            "experiment": "small",
            "corpus": {"name": "manifest"},
            "espnet": {"decoder": "rnn"},
        }
        | settings
    )
    options = RunOptions(
        exp_dir=str(tmp_path / "exp"), corpus_dir=corpus_dir or str(tmp_path / "no-corpus")
    )
    return Cell(config, options, last=0)


class Listener:
    """Keeps every status that it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Cell, CellStatus]] = []

    def __call__(self, cell: Cell, status: CellStatus) -> None:
        self.told.append((cell, status))

    def failures(self) -> dict[int, str]:
        return {cell.config.seed: status.message for cell, status in self.told if status.failed}


def test_a_grid_gives_all_combinations() -> None:
    assert expand_grid({"a": [1, 2], "b": ["x", "y"]}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_an_empty_grid_is_one_experiment() -> None:
    assert expand_grid({}) == [{}]


def test_a_cell_survives_json(tmp_path: Path) -> None:
    cell = _cell(tmp_path, loss={"name": "squentropy", "alpha": 0.1}, variant="beam_size=1")
    assert Cell.from_json(cell.to_json()) == cell


@pytest.mark.slow
def test_a_failed_cell_is_reported_and_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    good = [_cell(tmp_path, seed=seed, corpus_dir=str(tmp_path / "corpus")) for seed in (1, 3)]
    bad = [
        _cell(tmp_path, seed=2),
        _cell(tmp_path, seed=4, loss={"name": "ce", "alpha": 1}, corpus_dir=str(tmp_path)),
    ]
    listener = Listener()
    failed = run_cells([good[0], *bad, good[1]], jobs=2, on_status=listener)
    assert failed == bad
    failures = listener.failures()
    assert failures.keys() == {2, 4}
    assert f"{tmp_path / 'no-corpus'} does not exist" in failures[2]
    assert "ce has no parameter 'alpha'" in failures[4]
    assert str(bad[0].experiment.log_dir) in failures[2]
    stages = {status.stage for _, status in listener.told}
    assert stages == {"0 check"}


@pytest.mark.slow
def test_statuses_arrive_while_the_cell_works(tmp_path: Path, stand_in: Path) -> None:
    stand_in.write_text(
        "report(1, 3, 'one')\nimport time; time.sleep(0.6)\nreport(2, 3, 'two')\nprint('printed')\n"
    )
    listener = Listener()
    cell = _cell(tmp_path)
    assert run_cells([cell], jobs=1, on_status=listener) == []
    messages = [(status.done, status.message) for _, status in listener.told]
    assert messages[0] == (0, "runs every time")
    assert (2, "two") in messages
    assert messages[-1][1].startswith("done in")
    assert "printed" in (cell.experiment.log_dir / "0-toy.log").read_text()


@pytest.mark.slow
def test_variants_of_one_model_run_side_by_side(tmp_path: Path, stand_in: Path) -> None:
    stand_in.write_text("report(1, 1, 'I am ' + experiment.config.variant)\n")
    cells = [_cell(tmp_path, variant=f"beam_size={size}") for size in (1, 2, 3)]
    listener = Listener()
    assert run_cells(cells, jobs=3, on_status=listener) == []
    told = {(cell.config.variant, s.message) for cell, s in listener.told if "I am" in s.message}
    assert told == {(cell.config.variant, f"I am {cell.config.variant}") for cell in cells}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9 (Killed), most often"),
        ("import os; os._exit(3)", "ended with exit code 3: no output"),
        ("raise SystemExit('bad option')", "ended with exit code 1: bad option"),
        ("raise ValueError('two\\nlines')", "ValueError: two\nlines\nlogs: "),
    ],
)
def test_every_way_to_end_badly_has_a_message(
    tmp_path: Path, stand_in: Path, code: str, message: str
) -> None:
    stand_in.write_text(code)
    listener = Listener()
    cell = _cell(tmp_path)
    assert run_cells([cell], jobs=1, on_status=listener) == [cell]
    assert message in listener.failures()[1]


def _wait(condition: Any, seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # Where nothing reaps orphans, a process that has ended stays as a zombie.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_cell_ends_when_the_process_that_runs_it_is_killed(
    tmp_path: Path, stand_in: Path, kill: signal.Signals
) -> None:
    pid_file = tmp_path / "pid"
    stand_in.write_text(
        f"import os, time\nopen({str(pid_file)!r}, 'w').write(f'{{os.getpid()}}\\n')\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "cell.json").write_text(_cell(tmp_path).to_json())
    code = (
        "import sys; from pathlib import Path; from squall.engine.runner import Cell, run_cells\n"
        "cell = Cell.from_json(Path(sys.argv[1]).read_text())\n"
        "run_cells([cell], jobs=1, on_status=lambda *_: None)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cell.json")]
    parent = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        # A shell's background job hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert _wait(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
        child = int(pid_file.read_text())
        assert not _gone(child)
        parent.send_signal(kill)
        parent.wait(timeout=30)
        assert _wait(lambda: _gone(child))
    finally:
        parent.kill()
        parent.wait()
