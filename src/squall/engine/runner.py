"""Running the experiments of a recipe, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from squall.engine.config import ExperimentConfig
from squall.engine.experiment import Experiment, RunOptions
from squall.engine.stages import OnStage, Stage, run_stages
from squall.engine.tasks import config_from_json, task_of
from squall.files import atomic_write, json_text
from squall.workers import end_with

__all__ = ["Cell", "CellStatus", "run_cell", "run_cells", "run_told"]

_STATUS_INTERVAL_S = 0.5


@dataclass(frozen=True)
class CellStatus:
    """Where an experiment stands.

    Args:
        stage: number and name of the stage.
        done, total: progress within it.
        message: a few words on it.
        failed: whether it ended with an error, which `message` then holds.
    """

    stage: str
    done: int
    total: int
    message: str
    failed: bool = False


@dataclass(frozen=True)
class Cell:
    """One experiment of a run, with the range of stages to go through."""

    config: ExperimentConfig
    options: RunOptions
    first: int = 0
    last: int = 99
    force: bool = False
    dry_run: bool = False

    @property
    def experiment(self) -> Experiment[ExperimentConfig]:
        """The experiment's place on disk."""
        return Experiment(self.config, self.options)

    def to_json(self) -> str:
        """The cell as text, to hand it to another process."""
        settings = {"config": self.config.model_dump(mode="json"), "options": asdict(self.options)}
        plain = {key: getattr(self, key) for key in ("first", "last", "force", "dry_run")}
        return json_text({**settings, **plain})

    @classmethod
    def from_json(cls, text: str) -> Cell:
        """The cell that `to_json` wrote."""
        record = json.loads(text)
        config = config_from_json(record.pop("config"))
        return cls(config, RunOptions(**record.pop("options")), **record)


def run_cell(cell: Cell, on_stage: OnStage = lambda *_: None) -> None:
    """Run the stages of one experiment in this process.

    Args:
        cell: the experiment.
        on_stage: told how far they are.
    """
    experiment = cell.experiment
    if not cell.dry_run:
        experiment.write_settings()
    run_stages(
        task_of(cell.config).list_stages(experiment),
        log_dir=experiment.log_dir,
        first=cell.first,
        last=cell.last,
        force=cell.force,
        dry_run=cell.dry_run,
        on_stage=on_stage,
    )


def run_told(cell: Cell, statuses: IO[str]) -> bool:
    """Run the stages of one experiment in this process, and tell its state to another one.

    Args:
        cell: the experiment.
        statuses: receives a `CellStatus` as JSON on each line; where it fails, the last one has the
            reason.

    Returns:
        Whether all went well.
    """
    writer = _StatusWriter(statuses)
    try:
        run_cell(cell, writer)
    except Exception as error:  # noqa: BLE001 - any failure becomes a message
        message = f"{type(error).__name__}: {error}\nlogs: {cell.experiment.log_dir}"
        writer.tell(CellStatus(writer.stage, 0, 1, message, failed=True))
        return False
    return True


def run_cells(
    cells: Sequence[Cell], *, jobs: int, on_status: Callable[[Cell, CellStatus], None]
) -> list[Cell]:
    """Run experiments in parallel processes; a failed one does not stop the others.

    Args:
        cells: the experiments.
        jobs: how many at a time.
        on_status: told the state of each experiment as it changes, from several threads.

    Returns:
        The experiments that failed.
    """
    running: set[subprocess.Popen[bytes]] = set()
    stopped = threading.Event()
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        try:
            watched = pool.map(lambda cell: _watch(cell, on_status, running, stopped), cells)
            succeeded = list(watched)
        except BaseException:  # stopped by the user: without this, leaving would wait for them
            stopped.set()
            for process in list(running):
                process.kill()
            raise
    return [cell for cell, good in zip(cells, succeeded, strict=True) if not good]


def _watch(
    cell: Cell,
    on_status: Callable[[Cell, CellStatus], None],
    running: set[subprocess.Popen[bytes]],
    stopped: threading.Event,
) -> bool:
    log_dir = cell.experiment.log_dir
    cell_path, log_path = log_dir / "cell.json", log_dir / "cell.log"
    with atomic_write(cell_path) as file:
        file.write(cell.to_json())
    reader, writer = os.pipe()
    own = (str(writer), str(os.getpid()))
    command = [sys.executable, "-m", "squall.engine.runner", str(cell_path), *own]
    last = CellStatus("start", 0, 1, "")
    with log_path.open("w") as log, os.fdopen(reader) as statuses:
        process = subprocess.Popen(
            command,
            env={**os.environ, **_thread_limits(cell.options.threads)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
        )
        running.add(process)
        os.close(writer)
        try:
            for line in statuses:
                last = CellStatus(**json.loads(line))
                on_status(cell, last)
        finally:
            if sys.exc_info()[0] is not None:
                process.kill()
            process.wait()
            running.discard(process)
    if process.returncode != 0 and not last.failed and not stopped.is_set():
        message = f"{_ending(process.returncode, log_path)} (see {log_path.parent})"
        on_status(cell, CellStatus(last.stage, 0, 1, message, failed=True))
    return process.returncode == 0


def _ending(exit_code: int, log_path: Path) -> str:
    if exit_code < 0:
        reason = ", most often because the memory was full" if exit_code == -signal.SIGKILL else ""
        return f"ended by signal {-exit_code} ({signal.strsignal(-exit_code)}){reason}"
    last_line = log_path.read_text(errors="replace").strip().rpartition("\n")[2]
    return f"ended with exit code {exit_code}: {last_line or 'no output'}"


class _StatusWriter:
    """Tells the state of a cell to the process that runs it, one JSON line at a time.

    Progress within a stage is told no more often than a person can read it.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._told_at = 0.0
        self.stage = "start"

    def __call__(self, stage: Stage, done: int, total: int, message: str) -> None:
        now = time.monotonic()
        within = stage.title == self.stage and 0 < done < total
        self.stage = stage.title
        if within and now - self._told_at < _STATUS_INTERVAL_S:
            return
        self._told_at = now
        self.tell(CellStatus(stage.title, done, total, message))

    def tell(self, status: CellStatus) -> None:
        self._file.write(json_text(asdict(status)) + "\n")
        self._file.flush()


def _thread_limits(threads: int) -> dict[str, str]:
    return dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)
    )


def _main(cell_path: str, status_descriptor: str, parent: str) -> int:
    """Run the cell of a file; the exit code and the last status tell how it went."""
    end_with(int(parent))
    cell = Cell.from_json(Path(cell_path).read_text(encoding="utf-8"))
    with os.fdopen(int(status_descriptor), "w") as file:
        return 0 if run_told(cell, file) else 1


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
