"""Running the experiments of a grid on a Slurm cluster, through submitit."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from squall.engine.runner import Cell, CellStatus, run_told
from squall.settings import ConfigError

__all__ = ["run_cells_on_cluster"]

_POLL_S = 2.0


def run_cells_on_cluster(
    cells: Sequence[Cell],
    *,
    cluster: str,
    parameters: Mapping[str, Any],
    on_status: Callable[[Cell, CellStatus], None],
) -> list[Cell]:
    """Submit every experiment as a job and follow the jobs to their end.

    The nodes need the checkout, its environment, the corpus and the experiment folder under the
    same paths, as on a shared file system. A job that the cluster ends for its time limit goes back
    into the queue and continues its training. When this process is stopped the jobs are cancelled,
    so that the same command can be given again; what they had written is gone on with.

    Args:
        cells: the experiments.
        cluster: `slurm`, or `local` for processes of this machine.
        parameters: what submitit's `AutoExecutor.update_parameters` takes, e.g. `timeout_min`,
            `slurm_partition`, `gpus_per_node`, `mem_gb`.
        on_status: told the state of each experiment as it changes.

    Returns:
        The experiments that failed.

    Raises:
        ConfigError: there is no such cluster here, or submitit does not know a parameter.
        ImportError: submitit is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise ImportError(
            f"--cluster needs submitit ({error}): pip install 'squall[cluster]'"
        ) from error
    folder = cells[0].experiment.recipe_dir / "cluster"
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**{"name": cells[0].config.recipe, **parameters})
    except (ValueError, RuntimeError, NameError, TypeError, AssertionError) as error:
        raise ConfigError(f"--cluster {cluster}: {error}") from error
    for cell in cells:
        _statuses(cell).unlink(missing_ok=True)  # of an earlier run
    with _interruptible():
        jobs = executor.map_array(_Job(), [cell.to_json() for cell in cells])
    try:
        return _follow(list(zip(cells, jobs, strict=True)), on_status)
    except BaseException:  # stopped by the user: two jobs must not train in one folder later
        for job in jobs:
            job.cancel(check=False)
        raise


@contextmanager
def _interruptible() -> Iterator[None]:
    """Processes that the block starts can be interrupted, even if this one ignores SIGINT.

    A command that a script starts in the background ignores it, and what it starts inherits that.
    submitit cancels its local jobs by SIGINT (findings/submitit_cancel_ignored_sigint.sh).
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Job:
    """What a node runs; submitit calls `checkpoint` before a job is put back into the queue."""

    def __call__(self, cell_json: str) -> bool:
        cell = Cell.from_json(cell_json)
        path = _statuses(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            return run_told(cell, file)

    def checkpoint(self, cell_json: str) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, cell_json)


def _statuses(cell: Cell) -> Path:
    return cell.experiment.log_dir / "status.jsonl"


def _follow(
    pairs: Sequence[tuple[Cell, Any]], on_status: Callable[[Cell, CellStatus], None]
) -> list[Cell]:
    told: dict[int, CellStatus] = {}
    failed: list[Cell] = []
    waiting = dict(enumerate(pairs))
    while waiting:
        for number, (cell, job) in list(waiting.items()):
            ended = job.done()
            status = _last_status(cell) or CellStatus("queue", 0, 1, f"job {job.job_id}")
            if ended:
                del waiting[number]
                status = _outcome(job, status)
            if status != told.get(number):
                on_status(cell, status)
                told[number] = status
            if ended and status.failed:
                failed.append(cell)
        if waiting:
            time.sleep(_POLL_S)
    return failed


def _last_status(cell: Cell) -> CellStatus | None:
    path = _statuses(cell)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    try:
        return CellStatus(**json.loads(lines[-1])) if lines else None
    except ValueError:  # half a line: it is being written
        return None


def _outcome(job: Any, last: CellStatus) -> CellStatus:
    """The last state of a job that has ended: one that was killed has told no failure itself."""
    error = job.exception()
    if last.failed or (error is None and job.result()):
        return last
    reason = str(error).strip().rpartition("\n")[2]
    message = f"job {job.job_id} ended: {reason} (see {job.paths.stderr})"
    return CellStatus(last.stage, 0, 1, message, failed=True)
