"""Time of the tabular study: all networks of a set at once, and one after the other.

The networks are those of the study: three losses, four folds, five seeds. "One at a time" trains
each with torch's own modules and optimizer, without padding, stacking or anything else that a plain
training loop does not have, and with the same losses of the project (`--torch-loss` gives
cross-entropy torch's own). Of the 60, a few of each loss are timed, and their mean taken 60 times.
In every round both run on every set, in an order drawn anew, so that a busy machine slows both
alike; ratios are taken within a round. The first column of times is seconds for all epochs.

A second table (`--estimate`) gives the time of the whole collection, set by set, from the
multiply-adds of a set and the seconds per step and per multiply-add of the sets that were timed.

    python benchmarks/tabular.py --data ../shared/data/uci121            # the ten median sets
    python benchmarks/tabular.py --samples 427 --inputs 30 --classes 2   # a drawn set
    python benchmarks/tabular.py --data DIR --min-ratio 10               # exit with 1 below it
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from squall.losses import TokenLoss
from squall.networks.batches import Problem
from squall.networks.stack import NetworkSettings
from squall.networks.training import train_networks
from squall.studies.losses import build_losses
from squall.studies.tabular.collection import Split, UciSet, read_collection
from squall.studies.tabular.settings import TabularSettings
from squall.studies.tabular.study import scale_parts, set_cost

MEDIAN_SETS = 10


@dataclass(frozen=True)
class Run:
    """Seconds of an epoch of all networks of a set, each way."""

    together: float
    alone: float

    @property
    def ratio(self) -> float:
        return self.alone / self.together


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the collection (default: drawn sets)")
    parser.add_argument("--sets", nargs="*", help="names (default: the ten median ones by size)")
    parser.add_argument("--samples", type=int, default=427, help="of a drawn set")
    parser.add_argument("--inputs", type=int, default=30, help="of a drawn set")
    parser.add_argument("--classes", type=int, default=2, help="of a drawn set")
    parser.add_argument("--epochs", type=int, default=10, help="of the stack (default: 10)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument("--torch-loss", action="store_true", help="torch's own cross-entropy")
    parser.add_argument("--estimate", action="store_true", help="time of the whole collection")
    parser.add_argument("--min-ratio", type=float, help="exit with 1 if the ratio is below")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def draw(args: argparse.Namespace) -> UciSet:
    """A set with a quarter of its samples in the test part of each fold."""
    rng = np.random.default_rng(args.seed)
    total = args.samples * 4 // 3
    targets = np.arange(total) % args.classes
    inputs = rng.standard_normal((total, args.inputs)) + targets[:, None]
    orders = [rng.permutation(total) for _ in range(4)]
    folds = tuple(Split(order[: args.samples], order[args.samples :]) for order in orders)
    return UciSet("drawn", inputs, targets, folds, folds[0])


def choose(args: argparse.Namespace) -> tuple[list[UciSet], list[UciSet]]:
    """The sets to time, and all that are at hand."""
    if args.data is None:
        return [draw(args)], []
    every = list(read_collection(args.data).sets.values())
    if args.sets:
        return [data for data in every if data.name in args.sets], every
    by_size = sorted(every, key=lambda data: (len(data.folds[0].train), data.name))
    first = (len(by_size) - MEDIAN_SETS) // 2
    return by_size[first : first + MEDIAN_SETS], every


def problems_of(data: UciSet, settings: TabularSettings) -> list[Problem]:
    found = []
    for fold, split in enumerate(data.folds, 1):
        part = scale_parts(data.inputs, split, settings.scaling)
        inputs, targets = torch.from_numpy(part.train), torch.from_numpy(data.targets[split.train])
        found += [
            Problem(inputs, targets, (data.name, fold, seed))
            for seed in range(settings.initialisations)
        ]
    return found


def seconds_together(data: UciSet, settings: TabularSettings) -> float:
    """An epoch of all networks, the first of a training, which also draws them, not counted."""
    ends: list[float] = []
    train_networks(
        problems_of(data, settings),
        build_losses(settings.losses),
        settings.network,
        classes=data.classes,
        on_epoch=lambda *_: ends.append(time.perf_counter()),
    )
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def seconds_alone(
    data: UciSet, settings: TabularSettings, losses: dict[str, TokenLoss | nn.Module]
) -> float:
    """An epoch of all networks, from one network per loss."""
    problems = problems_of(data, settings)
    means = [
        statistics.fmean(time_one(problem, loss, settings.network, data.classes))
        for problem, loss in zip(problems, losses.values(), strict=False)
    ]
    return statistics.fmean(means) * len(problems) * len(losses)


def time_one(
    problem: Problem, loss: nn.Module, settings: NetworkSettings, classes: int
) -> list[float]:
    """Seconds of the epochs of one network, the first left out."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(settings.sizes(problem.inputs.shape[1], classes)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    times = []
    for _ in range(settings.epochs):
        start = time.perf_counter()
        order = torch.randperm(len(problem.inputs))
        inputs, targets = problem.inputs[order], problem.targets[order]
        size = settings.batch_size
        for x, y in zip(inputs.split(size), targets.split(size), strict=True):
            optimizer.zero_grad()
            loss(network(x), y).backward()
            optimizer.step()
        times.append(time.perf_counter() - start)
    return times[1:]


def measure(
    sets: list[UciSet], settings: TabularSettings, args: argparse.Namespace
) -> dict[str, list[Run]]:
    """Both ways on every set in every round."""
    order = random.Random(args.seed)
    losses: dict[str, TokenLoss | nn.Module] = {**build_losses(settings.losses)}
    if args.torch_loss:
        losses["ce"] = nn.CrossEntropyLoss()
    runs: dict[str, list[Run]] = {data.name: [] for data in sets}
    for number in range(args.rounds):
        for data in order.sample(sets, len(sets)):
            print(f"round {number + 1}: {data.name}", file=sys.stderr)
            alone = seconds_alone(data, settings, losses) if order.random() < 0.5 else None
            together = seconds_together(data, settings)
            if alone is None:
                alone = seconds_alone(data, settings, losses)
            runs[data.name].append(Run(together, alone))
    return runs


def print_comparison(sets: list[UciSet], runs: dict[str, list[Run]], epochs: int) -> float:
    """First table; gives the ratio of the sums over the sets of the median times."""
    print("| set | samples | inputs | classes | at once s | one by one s | ratio | range |")
    print("|---|---|---|---|---|---|---|---|")
    sums = [0.0, 0.0]
    for data in sets:
        mine = runs[data.name]
        together = statistics.median(run.together for run in mine)
        alone = statistics.median(run.alone for run in mine)
        sums = [sums[0] + together, sums[1] + alone]
        ratios = [run.ratio for run in mine]
        print(
            f"| {data.name} | {len(data.folds[0].train)} | {data.inputs.shape[1]} "
            f"| {data.classes} | {epochs * together:.1f} | {epochs * alone:.1f} "
            f"| {statistics.median(ratios):.1f} | {min(ratios):.1f} to {max(ratios):.1f} |"
        )
    ratio = sums[1] / sums[0]
    print(f"| all | | | | {epochs * sums[0]:.1f} | {epochs * sums[1]:.1f} | {ratio:.1f} | |")
    return ratio


def print_estimate(
    every: list[UciSet], sets: list[UciSet], runs: dict[str, list[Run]], settings: TabularSettings
) -> None:
    """Second table: seconds = a * steps + b * multiply-adds, a and b from what was timed."""

    def size(data: UciSet) -> tuple[float, float]:
        batches = -(-max(len(fold.train) for fold in data.folds) // settings.network.batch_size)
        return settings.network.epochs * batches, set_cost(data, settings)

    of_study = settings.network.epochs
    sizes = np.array([size(data) for data in sets])
    times = [of_study * statistics.median(r.together for r in runs[data.name]) for data in sets]
    # Relative errors, so that the largest set does not decide alone; no negative cost.
    weights = 1 / np.array(times)
    a, b = np.linalg.lstsq(sizes * weights[:, None], np.ones(len(times)), rcond=None)[0]
    if a < 0 or b < 0:
        a, b = 0.0, float(np.median(np.array(times) / sizes[:, 1]))
    print(f"\n{1e3 * a:.2f} ms a step and {2e-9 / b:.0f} GFLOP/s\n")
    print("| set | training samples | estimate s | share of all |\n|---|---|---|---|")
    costs = {data.name: float(np.dot(size(data), (a, b))) for data in every}
    total = sum(costs.values())
    for data in sorted(every, key=lambda one: -costs[one.name])[:20]:
        seconds = costs[data.name]
        share = 100 * seconds / total
        print(f"| {data.name} | {len(data.folds[0].train)} | {seconds:.0f} | {share:.1f} % |")
    print(f"| all {len(every)} | | {total:.0f} | |")


def main() -> int:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    sets, every = choose(args)
    network = NetworkSettings(epochs=args.epochs, batch_size=args.batch_size)
    settings = TabularSettings(network=network)
    of_study = network.model_copy(update={"epochs": NetworkSettings().epochs})
    networks = 4 * len(settings.losses) * settings.initialisations
    print(
        f"{networks} networks a set, batches of {args.batch_size}, {of_study.epochs} epochs from "
        f"{args.epochs}, {torch.get_num_threads()} thread(s), torch {torch.__version__}, "
        f"{args.rounds} rounds\n"
    )
    runs = measure(sets, settings, args)
    ratio = print_comparison(sets, runs, of_study.epochs)
    if args.estimate and every:
        print_estimate(every, sets, runs, settings.model_copy(update={"network": of_study}))
    if args.min_ratio is not None and ratio < args.min_ratio:
        print(f"\nat once is {ratio:.1f} times faster, below {args.min_ratio}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
