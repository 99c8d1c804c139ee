"""Time and error of the kernel machines, beside exact and low-rank peers and the DNN.

Three tables: (1) one subband, four subbands, scikit-learn's `KernelRidge` (exact) and `Nystroem`
with `Ridge`, and `squall.enhance.estimators.dnn` where it exists (`--no-dnn` leaves it out):
seconds of `fit`, seconds until a target error, error on the other data; (2) how time grows with the
number of frames; (3) what the parts cost. The kernel machines search their bandwidths within their
seconds, the peers get theirs for nothing. In every round each estimator runs once, in an order
drawn anew, so that a busy machine slows all of them alike; ratios are taken within a round.

    python benchmarks/kernels.py --threads 1                     # drawn data, 5,000 frames
    python benchmarks/kernels.py --data mixtures.npz -N 20000    # arrays X, Y, X_dev, Y_dev
    python benchmarks/kernels.py --max-ratio 1.6                 # exit with 1 above it
"""

from __future__ import annotations

import argparse
import importlib
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.kernel_approximation import Nystroem
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from squall.kernels import (
    ExponentialPowerKernel,
    SubbandKernelMachine,
    median_distance,
    search_bandwidths,
    squared_distances,
)
from squall.kernels.preconditioner import choose_preconditioner
from squall.kernels.subbands import split_channels

Array = NDArray[np.float32]
ONE, FOUR = "kernel, 1 subband", "kernel, 4 subbands"


@dataclass(frozen=True)
class Data:
    """Training frames and others, features normalised and targets in [0, 1]."""

    x: Array
    y: Array
    x_dev: Array
    y_dev: Array

    def first(self, n: int) -> Data:
        """The same with n training frames."""
        return Data(self.x[:n], self.y[:n], self.x_dev, self.y_dev)

    def error(self, predicted: Array) -> float:
        """Mean squared error on the other frames."""
        return float(np.mean((predicted - self.y_dev) ** 2))


@dataclass(frozen=True)
class Run:
    """One fit: its seconds, its error, and (seconds, error) after each epoch."""

    seconds: float
    error: float
    path: tuple[tuple[float, float], ...] = ()

    def seconds_to(self, error: float) -> float:
        """When the error was first this low; NaN if never, all seconds if epochs are unknown."""
        if not self.path:
            return self.seconds if self.error <= error else float("nan")
        return next((at for at, reached in self.path if reached <= error), float("nan"))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", help=".npz with X, Y, X_dev, Y_dev (default: drawn)")
    parser.add_argument("-N", type=int, default=5000, help="frames (default: %(default)s)")
    parser.add_argument("-D", type=int, default=1230, help="features that are drawn")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--growth",
        type=int,
        nargs="*",
        default=[5000, 10000, 20000, 40000],
        help="numbers of frames of the second table (default: %(default)s)",
    )
    parser.add_argument("--target", type=float, help="error of 'seconds to' (default: see below)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory-gb", type=float, default=8.0)
    parser.add_argument("--no-peers", action="store_true", help="kernel machines and DNN only")
    parser.add_argument("--dnn", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-ratio", type=float, help="exit with 1 if 4 subbands / 1 is above")
    return parser.parse_args()


def draw(n: int, dimensions: int, *, outputs: int = 64, dev: int = 2000, seed: int = 0) -> Data:
    """Features of 40 latent directions with decaying strength, and noisy smooth targets."""
    rng = np.random.default_rng(seed)
    latent = 40
    strength = 1 / np.sqrt(1 + np.arange(latent))
    mixing = rng.standard_normal((latent, dimensions)) * strength[:, None]
    centres = np.linspace(0, latent - 1, outputs)
    weights = rng.standard_normal((latent, outputs)) * np.exp(
        -((np.arange(latent)[:, None] - centres) ** 2) / 200
    )
    z = rng.standard_normal((n + dev, latent))
    x = z @ mixing + 0.3 * rng.standard_normal((n + dev, dimensions))
    y = np.sin(z @ weights / 2) * 2 + 0.7 * rng.standard_normal((n + dev, outputs))
    x, y = ((x - x.mean(0)) / x.std(0)).astype("f4"), (1 / (1 + np.exp(-y))).astype("f4")
    return Data(x[:n], y[:n], x[n:], y[n:])


def read(path: str) -> Data:
    with np.load(path, allow_pickle=False) as file:
        return Data(*(file[name].astype("f4") for name in ("X", "Y", "X_dev", "Y_dev")))


def fit_kernel(data: Data, subbands: int, args: argparse.Namespace) -> Run:
    model = SubbandKernelMachine(
        subbands=subbands,
        memory_gb=args.memory_gb,
        device=args.device,
        random_state=args.seed,
    )
    start = time.perf_counter()
    model.fit(data.x, data.y, validation=(data.x_dev, data.y_dev))
    seconds = time.perf_counter() - start
    path = tuple((entry["seconds"], entry["validation_mse"]) for entry in model.history_)
    return Run(seconds, data.error(model.predict(data.x_dev)), path)


def fit_peer(data: Data, make: Callable[[float], Any]) -> Run:
    """A scikit-learn estimator; make takes the rbf gamma, found outside the measured time."""
    model, mean = make(best_gaussian(data)), data.y.mean(0)
    start = time.perf_counter()
    model.fit(data.x, data.y - mean)
    return Run(time.perf_counter() - start, data.error(model.predict(data.x_dev) + mean))


def best_gaussian(data: Data) -> float:
    """1 / sigma of the best Gaussian kernel on a subsample."""
    x, y = torch.from_numpy(data.x[:2000]), torch.from_numpy(data.y[:2000])
    median = median_distance(squared_distances(x))
    mean = y.mean(0)
    search = search_bandwidths(
        x,
        y - mean,
        validation=(torch.from_numpy(data.x_dev[::2]), torch.from_numpy(data.y_dev[::2]) - mean),
        groups=[slice(0, y.shape[1])],
        gammas=(2.0,),
    )
    return 1 / (search.best[0].bandwidth * median**2)


def fit_dnn(data: Data, args: argparse.Namespace) -> Run:
    model = importlib.import_module("squall.enhance.estimators.dnn").DnnEstimator()
    start = time.perf_counter()
    model.fit(data.x, data.y, dev_features=data.x_dev, dev_masks=data.y_dev)
    seconds = time.perf_counter() - start
    path = tuple((entry["seconds"], entry["dev_mse"]) for entry in model.history_)
    return Run(seconds, data.error(model.predict(data.x_dev)), path)


def contestants(args: argparse.Namespace) -> dict[str, Callable[[Data], Run]]:
    """All that run, by name."""
    found: dict[str, Callable[[Data], Run]] = {
        ONE: lambda data: fit_kernel(data, 1, args),
        FOUR: lambda data: fit_kernel(data, 4, args),
    }
    if not args.no_peers:
        found["KernelRidge, Gaussian, exact"] = lambda data: fit_peer(
            data, lambda gamma: KernelRidge(kernel="rbf", gamma=gamma, alpha=1e-2)
        )
        found["Nystroem 1,000 + Ridge"] = lambda data: fit_peer(
            data,
            lambda gamma: make_pipeline(
                Nystroem(gamma=gamma, n_components=1000, random_state=args.seed), Ridge(alpha=1e-2)
            ),
        )
    try:
        importlib.import_module("squall.enhance.estimators.dnn")
    except ModuleNotFoundError:
        return found
    if args.dnn:
        found["DNN"] = lambda data: fit_dnn(data, args)
    return found


def measure(
    entrants: dict[str, Callable[[Data], Run]], data: Data, *, rounds: int, seed: int
) -> dict[str, list[Run]]:
    """Every estimator in every round."""
    order = random.Random(seed)
    runs: dict[str, list[Run]] = {name: [] for name in entrants}
    for number in range(rounds):
        for name in order.sample(list(entrants), len(entrants)):
            print(f"round {number + 1}: {name}", file=sys.stderr)
            runs[name].append(entrants[name](data))
    return runs


def print_comparison(runs: dict[str, list[Run]], target: float) -> float:
    """First table; gives the median ratio of four subbands to one."""
    print(f"| estimator | fit s | seconds to MSE {target:.5f} | MSE | ratio | range of the ratio |")
    print("|---|---|---|---|---|---|")
    medians = {}
    for name, mine in runs.items():
        ratios = [a.seconds / b.seconds for a, b in zip(mine, runs[ONE], strict=True)]
        medians[name] = statistics.median(ratios)
        print(
            f"| {name} | {statistics.median(run.seconds for run in mine):.2f} "
            f"| {statistics.median(run.seconds_to(target) for run in mine):.2f} "
            f"| {statistics.median(run.error for run in mine):.5f} "
            f"| {medians[name]:.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
        )
    return medians[FOUR]


def print_growth(data: Data, sizes: list[int], args: argparse.Namespace) -> None:
    """Second table: fit of the kernel machines against the number of frames."""
    print("\n| frames | 1 subband s | epochs | MSE | 4 subbands s | epochs | MSE |")
    print("|---|---|---|---|---|---|---|")
    for n in sizes:
        cells = []
        for subbands in (1, 4):
            run = fit_kernel(data.first(n), subbands, args)
            cells.append(f"{run.seconds:.1f} | {len(run.path)} | {run.error:.5f}")
        print(f"| {n} | {' | '.join(cells)} |", flush=True)


def print_parts(data: Data, args: argparse.Namespace) -> None:
    """Third table: seconds of the steps of a fit."""
    device = torch.device(args.device)
    x, y = torch.from_numpy(data.x).to(device), torch.from_numpy(data.y).to(device)
    held = torch.from_numpy(data.x_dev).to(device), torch.from_numpy(data.y_dev).to(device)
    squared, alpha = torch.zeros(len(x), len(x), device=device), torch.zeros_like(y)
    kernel = ExponentialPowerKernel(0.7, 2 * median_distance(squared_distances(x[:1000])) ** 0.7)
    subsample = kernel(squared_distances(x[:2000]))
    s, mean = slice(0, 2000), y.mean(0)
    parts: dict[str, Callable[[], object]] = {
        "search, 1 subband": lambda: search_bandwidths(
            x[s], y[s] - mean, validation=(held[0][s], held[1][s] - mean), groups=[slice(0, 64)]
        ),
        "search, 4 subbands": lambda: search_bandwidths(
            x[s],
            y[s] - mean,
            validation=(held[0][s], held[1][s] - mean),
            groups=split_channels(y.shape[1], 4),
        ),
        "distances": lambda: squared_distances(x, out=squared),
        "preconditioner": lambda: choose_preconditioner(subsample, batch_size=512),
        "kernel values": lambda: kernel(squared, out=squared),
        "products of an epoch": lambda: squared @ alpha,
    }
    print(f"\n| part, N = {len(x)}, D = {x.shape[1]}, F = {y.shape[1]} | s |\n|---|---|")
    for name, part in parts.items():
        times = []
        for _ in range(3):
            start = time.perf_counter()
            part()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        print(f"| {name} | {statistics.median(times):.2f} |")


def main() -> int:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    most = max([args.N, *args.growth])
    everything = read(args.data) if args.data else draw(most, args.D, seed=args.seed)
    data = everything.first(args.N)
    print(
        f"N = {len(data.x)}, D = {data.x.shape[1]}, F = {data.y.shape[1]}, "
        f"{len(data.x_dev)} other frames, {args.data or 'drawn data'}, {args.device}, "
        f"{torch.get_num_threads()} thread(s), torch {torch.__version__}, {args.rounds} rounds\n"
    )
    runs = measure(contestants(args), data, rounds=args.rounds, seed=args.seed)
    # By default what both kernel machines reach: 1 % above the worse of them.
    reached = max(run.error for name in (ONE, FOUR) for run in runs[name])
    ratio = print_comparison(runs, args.target or 1.01 * reached)
    print_growth(everything, [n for n in args.growth if n <= len(everything.x)], args)
    print_parts(data, args)
    if args.max_ratio is not None and ratio > args.max_ratio:
        print(f"\n4 subbands: {ratio:.2f} is above {args.max_ratio}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
