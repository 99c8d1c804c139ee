"""What `squall run` trains on: the CPU, or GPUs of one machine or of several."""

from __future__ import annotations

import argparse
from collections.abc import Collection

from squall.engine.launch import Launch
from squall.settings import ConfigError

__all__ = ["check_launch", "device_of", "gpus_of"]

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


def check_launch(options: argparse.Namespace, launch: Launch, *, tasks: Collection[str]) -> None:
    """Whether the command was started as its options say, and can make use of that.

    Raises:
        ConfigError: it was started on another number of machines than `--nodes`, a cluster's queue
            is to start it too, or an experiment is of a task that trains in one process.
    """
    if options.nodes is not None and options.nodes != launch.nodes:
        line = _TORCHRUN.format(nodes=options.nodes, recipe=options.recipe)
        raise ConfigError(
            f"--nodes {options.nodes}: the command was started on {launch.nodes}. Start it on each "
            f"machine, with one folder for all, HOST being one of them: {line}"
        )
    if options.cluster and launch.size > 1:
        raise ConfigError("--cluster starts the experiments itself: leave torchrun out")
    if tasks != {"recognition"} and (launch.size > 1 or (options.gpus or 1) > 1):
        raise ConfigError("only recognition trains on several GPUs or machines: leave --gpus out")
