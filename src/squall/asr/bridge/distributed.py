"""A training in several processes, each with a GPU of its own, on one machine or on several.

Each process runs ESPnet's training in PyTorch's `DistributedDataParallel`. The processes are
started here and not by ESPnet, whose own launcher is for GPUs alone and tells of a failed process
no more than its exit code.

What stays the same. ESPnet makes the same batches as for one process and gives every process a
share of each. A process's loss counts as much as its share has utterances, so that the gradient is
that of the whole batch, up to rounding; seeds, learning rates, `accum_grad` and the losses of an
epoch keep their meaning. Hence the number of processes is no setting of an experiment and is not in
its hash, and a training may be continued by another number.

What changes:

- `loss.normalize=token`: each process divides by the tokens of its own share, and these means are
  weighted by utterances, so that a token weighs more in a share of short utterances.
- Batch normalisation, as in conformers, takes means over a process's share; the running ones of
  the first process are kept.
- Dropout, SpecAugment and speed perturbation draw from the same seed in every process, for other
  utterances than in one process.
- An utterance is filled up to the longest of its share and not of the batch, and ESPnet's features
  of its last frames depend on that a little.
- A batch has at least one utterance for each process: batches of fewer are merged by ESPnet
  (`batch_type` `numel`, `length`, `folded`) or refused by it.
- In the reports, accuracies are means over shares too; and where `accum_grad` is above 1, ESPnet
  divides the training loss that it shows by it in one process alone.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import ProcessContext, ProcessException, start_processes

from squall.asr.bridge.running import (
    espnet_task,
    language_model_task,
    parse_espnet_settings,
    read_espnet_settings,
    run_espnet,
    run_parsed,
)
from squall.engine.launch import Board, Launch
from squall.engine.stages import log_to
from squall.workers import OnProgress, clear_of_semaphores, end_with

__all__ = ["join_trainings", "run_training"]

_POLL_S = 0.5
_SETTLE_S = 2.0  # in which the other machines tell of a failure that was theirs

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """What a process needs to know to take part in a training; all machines get the same.

    Args:
        task: name of the task's class.
        config: the file of ESPnet's settings.
        processes: how many each command starts.
        commands: how many commands there are.
        threads: CPU threads of a process.
        address: where the processes meet, `tcp://host:port`.
    """

    task: str
    config: str
    processes: int
    commands: int
    threads: int
    address: str


def run_training(
    task: Any,
    settings: dict[str, Any],
    config_path: Path,
    *,
    processes: int,
    threads: int,
    on_progress: OnProgress,
) -> None:
    """Run an ESPnet training in this process, or in several if that is asked for.

    Args:
        task: `SquallTask` or `SquallLMTask`.
        settings, config_path: as in `run_espnet`; `ngpu` is that of one process, 0 or 1.
        processes: how many train together on this machine, or of each command where `torchrun` has
            started several (`squall.engine.launch`).
        threads: CPU threads of a process.
        on_progress: told (epochs done, epochs in all, message), by the first process.

    Raises:
        ValueError: a setting does not exist, or does not fit.
        RuntimeError: a process was ended from outside, or a training failed on another machine.
        Exception: what the training raises in a process.
    """
    launch = Launch.from_environment()
    if processes * launch.size == 1:
        torch.set_num_threads(threads)
        task.trainer.on_progress = staticmethod(on_progress)
        run_espnet(task, settings, config_path)
        return
    parse_espnet_settings(task, settings, config_path)
    address = f"tcp://{launch.address}:{_free_port()}"
    job = _Job(task.__name__, str(config_path), processes, launch.size, threads, address)
    on_progress(0, 1, f"starting {processes * launch.size} processes")
    if launch.size == 1:
        _run_processes(job, launch, on_progress)
        return
    board = Board(launch)
    _run_processes(job, launch, on_progress, board=board, number=board.announce(asdict(job)))


def join_trainings(launch: Launch) -> None:
    """Take part in every training that the leading command begins, until it ends.

    Raises:
        RuntimeError: the leading command has gone.
    """
    board = Board(launch)
    number = 1
    while announced := board.wait_for(number):
        job = _Job(**announced)
        with log_to(Path(job.config).with_name(f"rank{launch.rank}.log")):
            try:
                _run_processes(job, launch, lambda *_: None, board=board, number=number)
            except Exception:  # noqa: BLE001 - the leading command has it and decides what is next
                _log.exception("training %s failed", job.config)
        number += 1
    board.leave()


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("", 0))
        return int(tried.getsockname()[1])


def _run_processes(
    job: _Job,
    launch: Launch,
    on_progress: OnProgress,
    *,
    board: Board | None = None,
    number: int = 0,
) -> None:
    """Start this command's processes of a training and stay until all have ended."""
    with clear_of_semaphores():
        messages = get_context("spawn").SimpleQueue()
    failures: list[Exception] = []
    arguments = (job, launch, os.getpid(), messages)
    children = start_processes(  # type: ignore[no-untyped-call]
        _train, arguments, nprocs=job.processes, join=False
    )
    try:
        while not children.join(timeout=_POLL_S):
            _read(messages, on_progress, failures)
            if board is not None and (told := board.failures(number)):
                raise RuntimeError("; ".join(told))
        _read(messages, on_progress, failures)
    except ProcessException as error:
        _read(messages, on_progress, failures)
        cause = _cause(children, failures)
        if board is not None:
            board.fail(number, f"rank {launch.rank}: {cause}")
            time.sleep(_SETTLE_S)
            if len(told := board.failures(number)) > 1:
                raise RuntimeError("; ".join(told)) from error
        raise cause from error
    except KeyboardInterrupt:
        if board is not None:
            board.fail(number, f"rank {launch.rank}: stopped")
        raise
    finally:
        for process in children.processes:
            process.kill()
            process.join()


def _read(messages: Any, on_progress: OnProgress, failures: list[Exception]) -> None:
    while not messages.empty():
        message = messages.get()
        if isinstance(message, Exception):
            failures.append(message)
        else:
            on_progress(*message)


def _cause(children: ProcessContext, failures: list[Exception]) -> Exception:
    """Why a training ended: a killed process before a raised error, which may follow from it."""
    for rank, process in enumerate(children.processes):
        code = process.exitcode or 0
        if code < 0 and code != -signal.SIGTERM:  # which those get that are left after an error
            reason = ", most often because the memory was full" if code == -signal.SIGKILL else ""
            return RuntimeError(f"training process {rank} was ended by signal {-code}{reason}")
    return failures[0] if failures else RuntimeError("a training process ended early, see the log")


def _train(index: int, job: _Job, launch: Launch, parent: int, messages: Any) -> None:
    """What a process does: ESPnet's training in its place among the others."""
    end_with(parent)
    os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)  # each training has a store of its own
    try:
        torch.set_num_threads(job.threads)
        task = {t.__name__: t for t in (espnet_task(), language_model_task())}[job.task]
        args = read_espnet_settings(task, Path(job.config))
        rank = launch.rank * job.processes + index
        if rank == 0:
            task.trainer.on_progress = staticmethod(lambda *progress: messages.put(progress))
        place = {
            "multiprocessing_distributed": False,
            "dist_launcher": None,
            "dist_backend": args.dist_backend if args.ngpu else "gloo",
            "dist_init_method": job.address,
            "dist_world_size": job.commands * job.processes,
            "dist_rank": rank,
            # 0 on a CPU: ESPnet compares it with CUDA_VISIBLE_DEVICES, which may be empty.
            "local_rank": launch.local_rank * job.processes + index if args.ngpu else 0,
        }
        run_parsed(task, args, place)
        torch.distributed.destroy_process_group()
    except Exception as error:
        messages.put(_plain(error))
        raise
    # All is written and told. Where the interpreter is left to end, a thread of torch's at times
    # takes the process down with it (SIGABRT), and the training would count as failed.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _plain(error: Exception) -> Exception:
    """The error as another process can read it: its class and text alone."""
    text = str(error)
    try:
        return type(error)(text)
    except TypeError:
        return RuntimeError(f"{type(error).__name__}: {text}")
