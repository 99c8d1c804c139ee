"""What the choices of a kernel machine cost: the search against a full grid, and the metrics.

For every condition whose frames `enhance_timit` has written (or drawn data), with one subband:

1. `--grid`: the validation error of every gamma and bandwidth of a grid, each trained to its best
   epoch, and how much above the least of them the one is that the search chooses; the share of the
   fit that the search takes.
2. `--metrics`: error and time with each metric, beside the Euclidean one.

    python benchmarks/kernel_choices.py --threads 1 --grid --metrics
    python benchmarks/kernel_choices.py --frames exp/enhance_timit/shared/features-*/ --grid
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kernels import Data, draw, fit, read
from squall.kernels import SubbandKernelMachine
from squall.kernels.bandwidth import BANDWIDTHS, GAMMAS

METRICS: dict[str, dict[str, Any]] = {
    "euclidean": {},
    "principal": {"metric": "principal"},
    "diagonal": {"metric": "diagonal"},
    "diagonal, 3 rounds": {"metric": "diagonal", "metric_rounds": 3},
    "learned": {"metric": "learned"},
    "learned, 3 rounds": {"metric": "learned", "metric_rounds": 3},
}
# Kernels that are trained at once, each as a subband of its own of targets that are repeated.
AT_ONCE = 8


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=Path, help="what enhance_timit's stage 3 has written")
    parser.add_argument("--conditions", nargs="*", help="of the frames; default: all, and together")
    parser.add_argument("-N", type=int, default=20000, help="frames (default: %(default)s)")
    parser.add_argument("-D", type=int, default=100, help="features that are drawn")
    parser.add_argument("--grid", action="store_true", help="with the first table")
    parser.add_argument("--metrics", action="store_true", help="with the second table")
    parser.add_argument("--gammas", type=float, nargs="+", default=GAMMAS)
    parser.add_argument("--bandwidths", type=float, nargs="+", default=BANDWIDTHS[3:11])
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument("--memory-gb", type=float, default=8.0)
    parser.add_argument("--json", type=Path, help="every number; conditions in it are kept")
    return parser.parse_args()


def fit_one(
    data: Data, args: argparse.Namespace, **parameters: Any
) -> tuple[Any, dict[str, float]]:
    """A machine with one subband and its error and seconds."""
    machine = SubbandKernelMachine(subbands=1, memory_gb=args.memory_gb, **parameters)
    seconds = fit(machine, data).seconds
    (band,) = machine.subbands_
    return machine, {"mse": band.validation_mse, "seconds": seconds, "epoch": band.epoch}


def search_grid(data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """Errors of all kernels of the grid, and of the one that the search chooses."""
    pairs = [(gamma, bandwidth) for gamma in args.gammas for bandwidth in args.bandwidths]
    errors = []
    for start in range(0, len(pairs), AT_ONCE):
        some = pairs[start : start + AT_ONCE]
        machine = SubbandKernelMachine(
            subbands=len(some),
            gamma=[gamma for gamma, _ in some],
            bandwidth=[bandwidth for _, bandwidth in some],
            memory_gb=args.memory_gb,
        )
        y, y_dev = (np.tile(part, len(some)) for part in (data.y, data.y_dev))
        machine.fit(data.x, y, validation=(data.x_dev, y_dev))
        errors += [band.validation_mse for band in machine.subbands_]
    found, whole = fit_one(data, args)
    (chosen,) = found.subbands_
    return {
        "grid": [(*pair, error) for pair, error in zip(pairs, errors, strict=True)],
        "chosen": (chosen.gamma, chosen.bandwidth, whole["mse"]),
        "tried": len(found.search_.candidates),
        "share": found.search_.seconds / whole["seconds"],
    }


def print_grid(found: dict[str, dict[str, Any]]) -> None:
    print("\n| condition | best of the grid | MSE | chosen | MSE | above it, % | tried | time, % |")
    print("|---|---|---|---|---|---|---|---|")
    losses = []
    for name, one in found.items():
        best = min(one["grid"], key=lambda row: row[2])
        chosen = one["chosen"]
        losses.append(100 * (chosen[2] / best[2] - 1))
        print(
            f"| {name} | {best[0]:g}, {best[1]:.3g} | {best[2]:.5f} | {chosen[0]:g}, "
            f"{chosen[1]:.3g} | {chosen[2]:.5f} | {losses[-1]:.2f} | {one['tried']} "
            f"| {100 * one['share']:.0f} |"
        )
    print(f"\nabove the grid's best at most {max(losses):.2f} %, mean {np.mean(losses):.2f} %")


def print_metrics(found: dict[str, dict[str, dict[str, float]]]) -> None:
    names = list(METRICS)
    print("\nmean squared error, of the Euclidean one's, %; in brackets seconds, of its own")
    print(f"\n| condition | MSE | {' | '.join(names[1:])} |")
    print("|---|---|" + "---|" * (len(names) - 1))
    changes, times = [], []
    for condition, runs in found.items():
        first, others = runs[names[0]], [runs[name] for name in names[1:]]
        changes.append([100 * (other["mse"] / first["mse"] - 1) for other in others])
        times.append([other["seconds"] / first["seconds"] for other in others])
        cells = _cells(changes[-1], times[-1])
        print(f"| {condition} | {first['mse']:.5f} | {cells} |")
    means = _cells(np.mean(changes, axis=0), np.median(times, axis=0))
    print(f"| mean (median) | | {means} |")


def _cells(changes: Iterable[float], times: Iterable[float]) -> str:
    pairs = zip(changes, times, strict=True)
    return " | ".join(f"{change:+.1f} ({ratio:.1f})" for change, ratio in pairs)


def main() -> int:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    conditions: list[str] = args.conditions or ["drawn"]
    if args.frames and not args.conditions:
        train = args.frames / "train"
        conditions = ["all", *(str(one.relative_to(train)) for one in sorted(train.glob("*/*")))]
    results: dict[str, Any] = {"command": sys.argv[1:], "grid": {}, "metrics": {}}
    if args.json and args.json.exists():
        results |= json.loads(args.json.read_text())
    for condition in conditions:
        data = read(args.frames, condition, args.N) if args.frames else draw(args.N, args.D)
        if args.grid and condition not in results["grid"]:
            results["grid"][condition] = search_grid(data, args)
        if args.metrics and condition not in results["metrics"]:
            results["metrics"][condition] = {
                name: fit_one(data, args, **parameters)[1] for name, parameters in METRICS.items()
            }
        print(f"{condition}: {len(data.x)} frames", file=sys.stderr)
        if args.json:
            args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if results["grid"]:
        print_grid(results["grid"])
    if results["metrics"]:
        print_metrics(results["metrics"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
