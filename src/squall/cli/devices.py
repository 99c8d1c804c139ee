"""What `squall run` trains on: the CPU, or GPUs of one machine or of several."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from squall.engine.launch import Launch
from squall.engine.tasks import OPTIONS, TASKS
from squall.settings import ConfigError

__all__ = ["check_launch", "check_options", "device_of", "gpus_of"]

_TORCHRUN = (
    "torchrun --nnodes {nodes} --nproc-per-node 1 --rdzv-backend c10d "
    "--rdzv-endpoint HOST:29500 --no-python ./run.sh {recipe} ... --nodes {nodes}"
)


def device_of(options: argparse.Namespace) -> str:
    """`--device`; without it `cuda` where `--gpus` is given, else `cpu`.

    Raises:
        ConfigError: GPUs are asked for and the CPU too.
    """
    if options.gpus and options.device == "cpu":
        raise ConfigError(f"--gpus {options.gpus} and --device cpu exclude each other: leave one")
    return str(options.device or ("cuda" if options.gpus else "cpu"))


def gpus_of(options: argparse.Namespace, launch: Launch) -> int:
    """GPUs on which this command trains an experiment: its part of those of `--gpus`.

    Raises:
        ConfigError: fewer are there, or they cannot be shared by the commands of a machine.
    """
    if device_of(options) == "cpu":
        return 0
    gpus = int(options.gpus or launch.local_size)
    if gpus % launch.local_size:
        raise ConfigError(
            f"--gpus {gpus} is not a multiple of the {launch.local_size} commands that torchrun "
            f"starts on each machine: give --nproc-per-node 1, or {gpus}"
        )
    if gpus > 1 and not options.cluster:
        import torch

        found = torch.cuda.device_count()
        if found < gpus:
            raise ConfigError(
                f"--gpus {gpus}: PyTorch sees {found} CUDA devices here. Give as many as there "
                "are, or free some with CUDA_VISIBLE_DEVICES; --gpus counts those of one machine"
            )
    return gpus // launch.local_size


def check_options(options: argparse.Namespace, launch: Launch, tasks: Collection[str]) -> None:
    """Whether every task of the run can honour the options that were given.

    Raises:
        ConfigError: one cannot; the message says which can.
    """
    given = {name for name in OPTIONS if getattr(options, name, None) not in (None, False, "cpu")}
    if options.gpus == 1:  # the same as `--device cuda`
        given = given - {"gpus"} | {"device"}
    if launch.size > 1:
        given |= {"nodes"}
    elif options.nodes == 1:
        given -= {"nodes"}
    for task in sorted(tasks):
        for name in sorted(given - TASKS[task].supports):
            able = ", ".join(other for other, one in TASKS.items() if name in one.supports)
            raise ConfigError(
                f"--{name.replace('_', '-')}: {task} is no task that {OPTIONS[name]} "
                f"(only: {able}); leave it out"
            )


def check_launch(options: argparse.Namespace, launch: Launch) -> None:
    """Whether the command was started as its options say, and can make use of that.

    Raises:
        ConfigError: it was started on another number of machines than `--nodes`, or by torchrun
            although a cluster's queue is to start it; or `--jobs` is given where it counts nothing.
    """
    if options.nodes is not None and options.nodes != launch.nodes:
        line = _TORCHRUN.format(nodes=options.nodes, recipe=options.recipe)
        raise ConfigError(
            f"--nodes {options.nodes}: the command was started on {launch.nodes}. Start it on each "
            f"machine, with one folder for all, HOST being one of them: {line}"
        )
    if options.cluster and launch.size > 1:
        raise ConfigError("--cluster starts the experiments itself: leave torchrun out")
    if options.jobs and launch.size > 1:
        raise ConfigError(
            f"--jobs {options.jobs}: under torchrun one experiment trains at a time; leave it out"
        )
    if options.jobs and options.cluster:
        raise ConfigError(
            f"--jobs {options.jobs}: the queue of --cluster decides how many experiments run at a "
            "time; leave it out, or give submitit slurm_array_parallelism=N"
        )
