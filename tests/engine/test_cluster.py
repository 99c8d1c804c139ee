"""Cells as jobs of a cluster, which is this machine's processes here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("submitit")

from squall.asr.settings import RecognitionConfig
from squall.cli import main
from squall.engine.cluster import _interruptible, run_cells_on_cluster
from squall.engine.experiment import RunOptions
from squall.engine.runner import Cell, CellStatus
from squall.settings import ConfigError


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the following of jobs, and of submitit for the result of a job that has left none."""
    monkeypatch.setattr("squall.engine.cluster._POLL_S", 0.05)
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 1)


@pytest.fixture
def _interrupts_are_heard() -> Iterator[None]:
    """A shell's background job hands down an ignored SIGINT, with which submitit ends its jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _cell(tmp_path: Path, seed: int) -> Cell:
    config = RecognitionConfig.model_validate(
        {
            "recipe": "toy",
            "experiment": "small",
            "corpus": {"name": "manifest"},
            "espnet": {"decoder": "rnn"},
            "seed": seed,
        }
    )
    return Cell(config, RunOptions(exp_dir=str(tmp_path / "exp"), corpus_dir=str(tmp_path)), last=0)


def _run(cells: list[Cell], **parameters: Any) -> tuple[list[Cell], list[tuple[int, CellStatus]]]:
    told: list[tuple[int, CellStatus]] = []
    failed = run_cells_on_cluster(
        cells,
        cluster="local",
        parameters=parameters,
        on_status=lambda cell, status: told.append((cell.config.seed, status)),
    )
    return failed, told


@pytest.mark.slow
def test_every_cell_runs_and_tells_its_state(tmp_path: Path, stand_in: Path) -> None:
    stand_in.write_text("report(1, 1, f'seed {experiment.config.seed}')\n")
    failed, told = _run([_cell(tmp_path, seed) for seed in (1, 2)])
    assert failed == []
    assert {seed: status.message for seed, status in told}.keys() == {1, 2}
    for seed in (1, 2):
        last = [status for told_seed, status in told if told_seed == seed][-1]
        assert last.message.startswith("done in")
        assert not last.failed


@pytest.mark.slow
def test_a_failed_job_does_not_stop_the_others(tmp_path: Path, stand_in: Path) -> None:
    stand_in.write_text("if experiment.config.seed == 1: raise RuntimeError('no luck')\n")
    cells = [_cell(tmp_path, seed) for seed in (1, 2)]
    failed, told = _run(cells)
    assert failed == cells[:1]
    messages = [status.message for seed, status in told if seed == 1 and status.failed]
    assert len(messages) == 1
    assert "RuntimeError: no luck" in messages[0]


@pytest.mark.slow
def test_a_job_that_is_killed_is_a_failure_with_its_log(tmp_path: Path, stand_in: Path) -> None:
    stand_in.write_text("import os; os._exit(3)\n")
    cell = _cell(tmp_path, 1)
    failed, told = _run([cell])
    assert failed == [cell]
    status = told[-1][1]
    assert status.failed
    assert status.stage == "0 toy"
    assert str(cell.experiment.recipe_dir / "cluster") in status.message


@pytest.mark.slow
def test_states_of_an_earlier_run_are_not_told(tmp_path: Path, stand_in: Path) -> None:
    cell = _cell(tmp_path, 1)
    stand_in.write_text("raise ValueError('before')\n")
    assert _run([cell])[0] == [cell]
    stand_in.write_text("report(1, 1, 'now')\n")
    failed, told = _run([cell])
    assert failed == []
    assert not any("before" in status.message for _, status in told)


@pytest.mark.slow
@pytest.mark.usefixtures("_interrupts_are_heard")
def test_jobs_are_cancelled_when_the_user_stops(tmp_path: Path, stand_in: Path) -> None:
    pid_file = tmp_path / "pid"
    stand_in.write_text(
        f"import os, time\nopen({str(pid_file)!r}, 'w').write(f'{{os.getpid()}}\\n')\n"
        "time.sleep(60)\n"
    )

    def stop(cell: Cell, status: CellStatus) -> None:
        _wait(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells_on_cluster([_cell(tmp_path, 1)], cluster="local", parameters={}, on_status=stop)
    pid = int(pid_file.read_text())
    _wait(lambda: _ended(pid))
    assert _ended(pid)


def _wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not condition():
        time.sleep(0.1)


def _ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@pytest.mark.parametrize(
    ("cluster", "parameters"),
    [("nowhere", {}), ("local", {"minutes": 3}), ("local", {"timeout_min": "long"})],
    ids=["cluster", "parameter", "value"],
)
def test_what_submitit_does_not_know_is_a_clear_error(
    tmp_path: Path, cluster: str, parameters: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=f"--cluster {cluster}: "):
        run_cells_on_cluster(
            [_cell(tmp_path, 1)], cluster=cluster, parameters=parameters, on_status=print
        )


def test_without_submitit_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ImportError, match=r"pip install 'squall\[cluster\]'"):
        _run([_cell(tmp_path, 1)])


@pytest.mark.slow
def test_the_command_line_sends_a_grid_to_the_cluster(
    tmp_path: Path,
    stand_in: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "checkout" / "conf" / "toy"
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text("corpus: {name: manifest}\nespnet: {max_epoch: 1}\n")
    monkeypatch.setenv("SQUALL_ROOT", str(tmp_path / "checkout"))
    stand_in.write_text("report(1, 1, 'worked')\n")
    command = ["run", "toy", "--grid", "seed=1,2", "--stop-stage", "0"]
    assert main([*command, "--cluster", "local", "timeout_min=5"]) == 0
    out = capsys.readouterr().out
    assert "[small ce seed 1] 0 toy: done in" in out
    assert "[small ce seed 2] 0 toy: done in" in out


def test_what_is_started_in_the_background_can_be_cancelled() -> None:
    """Also where this process ignores SIGINT, as one that a script starts with `&` does."""
    ask = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert _started(ask) == "True"
        with _interruptible():
            assert _started(ask) == "False"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def _started(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
