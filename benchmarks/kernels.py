"""Time and error of the kernel machines: beside an earlier build, beside peers, and as they grow.

Four tables: (1) the whole fit, search included, with one subband and four, beside the same of
another checkout (`--before`) and the DNN; (2) the same kernel by others, each until the error that
all of them reach: float32 Cholesky, scikit-learn's `KernelRidge` on the same matrix, block
conjugate gradients of rlaopt and xRFM (`pip install '.[bench]'`; what is not installed is a row
that says so), whose ridge is found outside the measured time; (3) time and peak memory against the
number of samples, all of them centres and `--centres` of them; (4) what the parts cost. In every
round each entrant runs once, in an order drawn anew, so that a busy machine slows all of them
alike; ratios are taken within a round.

    python benchmarks/kernels.py --threads 1 -N 5000              # drawn data
    python benchmarks/kernels.py --threads 1 -N 20000 --rounds 5 --before ../other/src \\
        --frames exp/enhance_timit/shared/features-*/ --condition babble/0dB
    python benchmarks/kernels.py --figure curves.png --json kernels.json
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.kernel_ridge import KernelRidge

from squall.kernels import (
    EigenProRegressor,
    ExponentialPowerKernel,
    SubbandKernelMachine,
    squared_distances,
)
from squall.kernels.functions import Points, fill_squared_distances

if TYPE_CHECKING:
    from squall.audio.features import Normalizer

Array = NDArray[np.float32]
ONE, FOUR = "kernel, 1 subband", "kernel, 4 subbands"
RIDGES = (1e-3, 1e-2, 1e-1, 0.3, 1.0)
GROWTH_EPOCHS = 3
CONTEXT = 2  # frames on each side of a window
MMAP_THRESHOLD = -3  # the number that malloc.h gives it
# Errors that are no further apart count as equal in the second table.
EQUAL = 1.002

# Run with the other checkout's src first on the path.
BEFORE = """
import json, sys, time
import numpy as np, torch
from squall.kernels import SubbandKernelMachine
data, subbands, threads, memory, seed = sys.argv[1], *map(float, sys.argv[2:])
torch.set_num_threads(int(threads))
with np.load(data) as file:
    x, y, x_dev, y_dev = (file[name] for name in ("x", "y", "x_dev", "y_dev"))
model = SubbandKernelMachine(subbands=int(subbands), memory_gb=memory, random_state=int(seed))
start = time.perf_counter()
model.fit(x, y, validation=(x_dev, y_dev))
seconds = time.perf_counter() - start
path = [(entry["seconds"], entry["validation_mse"]) for entry in model.history_]
error = float(((model.predict(x_dev) - y_dev) ** 2).mean())
print(json.dumps({"seconds": seconds, "error": error, "path": path}))
"""


@dataclass(frozen=True)
class Data:
    """Training frames and others, features normalised and targets in [0, 1]."""

    x: Array
    y: Array
    x_dev: Array
    y_dev: Array

    def first(self, n: int) -> Data:
        """The same with the first n training frames."""
        return Data(self.x[:n], self.y[:n], self.x_dev, self.y_dev)

    def spread(self, n: int) -> Data:
        """The same with n training frames from everywhere."""
        rows = np.linspace(0, len(self.x) - 1, n).astype(int)
        return Data(self.x[rows], self.y[rows], self.x_dev, self.y_dev)

    def error(self, predicted: Array) -> float:
        """Mean squared error on the other frames."""
        return float(np.mean((predicted - self.y_dev) ** 2))


@dataclass(frozen=True)
class Run:
    """One fit: its seconds, its error, and (seconds, error) after each epoch or iteration."""

    seconds: float
    error: float
    path: list[tuple[float, float]] = field(default_factory=list)

    def seconds_to(self, error: float) -> float:
        """When the error was first this low; NaN if never, all seconds if epochs are unknown."""
        if not self.path:
            return self.seconds if self.error <= error else float("nan")
        return next((at for at, reached in self.path if reached <= error), float("nan"))


Entrants = dict[str, Callable[[Data], Run]]
Runs = dict[str, list[Run]]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--frames", help="folder of frames that enhance_timit's stage 3 has written"
    )
    parser.add_argument("--condition", default="babble/0dB", help="of the frames (%(default)s)")
    parser.add_argument("-N", type=int, default=5000, help="frames (default: %(default)s)")
    parser.add_argument("-D", type=int, default=1230, help="features that are drawn")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument("--before", type=Path, metavar="SRC", help="src of another checkout")
    parser.add_argument("--dnn", action="store_true", help="with the DNN in the first table")
    parser.add_argument("--peers", type=int, nargs="*", default=[], help="N of the second table")
    parser.add_argument("--growth", type=int, nargs="*", default=[], help="N of the third table")
    parser.add_argument("--centres", type=int, default=5000, help="of the third table")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory-gb", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="error against time of the second table")
    parser.add_argument("--json", type=Path, help="every run")
    parser.add_argument("--max-ratio", type=float, help="exit with 1 if ratios to before are above")
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


def draw_windows(folders: Sequence[Path], limit: int) -> tuple[Array, Array]:
    """Windows of frames that enhance_timit has written, not yet normalised, and of masks."""
    from squall.enhance.frames import FrameSet, draw_frames

    sets = [FrameSet.read(folder) for folder in folders]
    return draw_frames(sets, context=CONTEXT, mask_context=CONTEXT, limit=limit, seed=1)


def fit_normalizer(x: Array) -> Normalizer:
    """Of windows (N, D): one mean and scale for all places, from the middle one."""
    from squall.audio.features import Normalizer

    places = 2 * CONTEXT + 1
    return Normalizer.fit([np.array_split(x, places, axis=1)[CONTEXT]]).repeat(places)


def read(frames: Path, condition: str, n: int) -> Data:
    """Frames of a condition as a model of enhance_timit sees them; `all` for every condition."""
    drawn = []
    for split, limit in (("train", n), ("dev", 5000)):
        names = sorted((frames / split).glob("*/*" if condition == "all" else condition))
        if not names:
            raise SystemExit(f"--frames {frames}: there is no {split}/{condition}")
        drawn.append(draw_windows(names, limit))
    (x, y), (x_dev, y_dev) = drawn
    normalizer = fit_normalizer(x)
    return Data(normalizer.apply(x), y, normalizer.apply(x_dev), y_dev)


def fit(model: Any, data: Data) -> Run:
    start = time.perf_counter()
    model.fit(data.x, data.y, validation=(data.x_dev, data.y_dev))
    seconds = time.perf_counter() - start
    path = [(entry["seconds"], entry["validation_mse"]) for entry in model.history_]
    return Run(seconds, data.error(model.predict(data.x_dev)), path)


def fit_subbands(data: Data, subbands: int, args: argparse.Namespace) -> Run:
    options = {"memory_gb": args.memory_gb, "device": args.device, "random_state": args.seed}
    return fit(SubbandKernelMachine(subbands=subbands, **options), data)


def fit_before(data: Data, subbands: int, args: argparse.Namespace) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, **vars(data))
        numbers = (subbands, torch.get_num_threads(), args.memory_gb, args.seed)
        done = subprocess.run(
            [sys.executable, "-c", BEFORE, str(path), *map(str, numbers)],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(args.before), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )
    if done.returncode:
        raise SystemExit(f"--before {args.before}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Run(found["seconds"], found["error"], [tuple(pair) for pair in found["path"]])


def fit_dnn(data: Data) -> Run:
    model = importlib.import_module("squall.enhance.estimators.dnn").DnnEstimator()
    start = time.perf_counter()
    model.fit(data.x, data.y, dev_features=data.x_dev, dev_masks=data.y_dev)
    seconds = time.perf_counter() - start
    path = [(entry["seconds"], entry["dev_mse"]) for entry in model.history_]
    return Run(seconds, data.error(model.predict(data.x_dev)), path)


def measure(entrants: Entrants, data: Data, *, rounds: int, seed: int) -> Runs:
    """Every entrant in every round."""
    order = random.Random(seed)
    runs: Runs = {name: [] for name in entrants}
    for number in range(rounds):
        for name in order.sample(list(entrants), len(entrants)):
            print(f"round {number + 1}: {name}", file=sys.stderr)
            runs[name].append(entrants[name](data))
    return runs


def quartiles(values: list[float]) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.2f} | {low:.2f} to {high:.2f}"


def print_fits(runs: Runs) -> float:
    """First table; gives the larger of the median ratios to before."""
    print("| estimator | fit s | epochs | MSE | ratio of time to before | quartiles | of MSE |")
    print("|---|---|---|---|---|---|---|")
    worst = float("nan")
    for name, mine in runs.items():
        seconds = statistics.median(run.seconds for run in mine)
        error = statistics.median(run.error for run in mine)
        cells = "| | |"
        if (before := runs.get(f"{name}, before")) is not None:
            times = [a.seconds / b.seconds for a, b in zip(mine, before, strict=True)]
            of_error = error / statistics.median(run.error for run in before)
            cells = f"{quartiles(times)} | {of_error:.4f} |"
            worst = max(statistics.median(times), 0 if np.isnan(worst) else worst)
        print(f"| {name} | {seconds:.2f} | {len(mine[0].path)} | {error:.5f} | {cells}")
    return worst


class Peers:
    """The same kernel by other means, each with targets less their mean.

    Args:
        data: frames.
        kernel: of all of them.
        ridge: of all but EigenPro, which stops early instead.
    """

    def __init__(self, data: Data, kernel: ExponentialPowerKernel, ridge: float) -> None:
        self.kernel, self.ridge = kernel, ridge
        self.x, self.x_dev = torch.from_numpy(data.x), torch.from_numpy(data.x_dev)
        self.mean = torch.from_numpy(data.y.mean(0))
        self.y, self.y_dev = torch.from_numpy(data.y) - self.mean, torch.from_numpy(data.y_dev)

    def matrices(self) -> tuple[torch.Tensor, torch.Tensor]:
        points, others = Points.of(self.x), Points.of(self.x_dev)
        among = fill_squared_distances(
            points, out=self.x.new_empty(len(self.x), len(self.x)), kernel=self.kernel
        )
        across = self.x.new_empty(len(self.x_dev), len(self.x))
        return among, fill_squared_distances(others, points, out=across, kernel=self.kernel)

    def error(self, predicted: torch.Tensor) -> float:
        return float((predicted + self.mean - self.y_dev).square().mean())

    def cholesky(self, _: Data) -> Run:
        start = time.perf_counter()
        among, across = self.matrices()
        among.diagonal().add_(self.ridge)
        alpha = torch.cholesky_solve(self.y, torch.linalg.cholesky(among))
        error = self.error(across @ alpha)
        return Run(time.perf_counter() - start, error)

    def kernel_ridge(self, _: Data) -> Run:
        start = time.perf_counter()
        among, across = (part.numpy() for part in self.matrices())
        model = KernelRidge(kernel="precomputed", alpha=self.ridge).fit(among, self.y.numpy())
        error = self.error(torch.from_numpy(model.predict(across)).float())
        return Run(time.perf_counter() - start, error)

    def conjugate_gradients(self, _: Data) -> Run:
        from rlaopt.linalg import LinSys, NystromConfig
        from rlaopt.solvers import PCG, PCGConfig

        start, path = time.perf_counter(), []
        among, across = self.matrices()
        nystrom = NystromConfig(rank_init=200, base_damping=self.ridge)
        system = LinSys(among, self.y, reg=self.ridge)
        solver = PCG(system, PCGConfig(preconditioner_config=nystrom))
        alpha = torch.zeros_like(self.y)
        with torch.no_grad():
            state = solver.init_state(alpha)
            for _iteration in range(20):
                alpha, state = solver.step(alpha, state)
                path.append((time.perf_counter() - start, self.error(across @ alpha)))
        return Run(path[-1][0], path[-1][1], path)

    def xrfm(self, _: Data) -> Run:
        from xrfm.rfm_src import RFM

        start = time.perf_counter()
        model = RFM(
            kernel="l2_high_dim",
            bandwidth=self.kernel.sigma ** (1 / self.kernel.gamma),
            exponent=self.kernel.gamma,
            iters=0,
            device="cpu",
            verbose=False,
        )
        held = self.x_dev, self.y_dev - self.mean
        model.fit((self.x, self.y), held, reg=self.ridge, iters=0, verbose=False)
        error = self.error(torch.as_tensor(model.predict(self.x_dev)).float())
        return Run(time.perf_counter() - start, error)


def compare_peers(data: Data, args: argparse.Namespace) -> tuple[Runs, list[str]]:
    """Runs of the second table, and what is not installed."""
    model = EigenProRegressor(gamma="auto", bandwidth="auto", random_state=args.seed)
    model.fit(data.x, data.y, validation=(data.x_dev, data.y_dev))
    kernel = ExponentialPowerKernel(model.gamma_, model.sigma_)
    options: dict[str, Any] = {"memory_gb": args.memory_gb, "random_state": args.seed}
    few = data.first(min(len(data.x), 10000))
    errors = {ridge: Peers(few, kernel, ridge).cholesky(few).error for ridge in RIDGES}
    ridge = min(errors, key=lambda one: errors[one])
    print(f"\ngamma {kernel.gamma}, sigma {kernel.sigma:.4g}, ridge {ridge}, N = {len(data.x)}")
    peers = Peers(data, kernel, ridge)
    entrants: Entrants = {
        "EigenProRegressor": lambda data: fit(
            EigenProRegressor(gamma=kernel.gamma, sigma=kernel.sigma, **options), data
        ),
        "EigenProRegressor, search included": lambda data: fit(
            EigenProRegressor(gamma="auto", bandwidth="auto", **options), data
        ),
        "Cholesky, float32": peers.cholesky,
        "KernelRidge, precomputed": peers.kernel_ridge,
        "conjugate gradients (rlaopt)": peers.conjugate_gradients,
        "xRFM, no metric": peers.xrfm,
    }
    absent = []
    for name, module in (("conjugate gradients (rlaopt)", "rlaopt"), ("xRFM, no metric", "xrfm")):
        if importlib.util.find_spec(module) is None:
            del entrants[name]
            absent.append(f"| {name} | not installed: pip install '.[bench]' | | | |")
    return measure(entrants, data, rounds=args.rounds, seed=args.seed), absent


def print_peers(runs: Runs, absent: list[str]) -> None:
    """Second table."""
    best = {name: min([r.error for r in mine] + [e for r in mine for _, e in r.path])
            for name, mine in runs.items()}  # fmt: skip
    target = EQUAL * max(best.values())
    print(f"| solver | s to MSE {target:.5f} | quartiles | best MSE | ours / its |")
    print("|---|---|---|---|---|")
    ours = [run.seconds_to(target) for run in runs["EigenProRegressor"]]
    for name, mine in runs.items():
        times = [run.seconds_to(target) for run in mine]
        ratio = statistics.median(a / b for a, b in zip(ours, times, strict=True))
        print(f"| {name} | {quartiles(times)} | {best[name]:.5f} | {ratio:.2f} |")
    print("\n".join(absent))


def draw_figure(path: Path, runs: dict[int, Runs]) -> None:
    """Error against time, one panel for each N."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(5.5 * len(runs), 4), layout="constrained")
    for place, (n, mine) in enumerate(runs.items(), 1):
        axes = figure.add_subplot(1, len(runs), place)
        for name, several in mine.items():
            run = sorted(several, key=lambda one: one.seconds)[len(several) // 2]
            points = run.path or [(run.seconds, run.error)]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        axes.set(xscale="log", xlabel="seconds", ylabel="MSE of other frames", title=f"{n} frames")
        least = min(run.error for s in mine.values() for run in s)
        axes.set_ylim(0.99 * least, 1.05 * least)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path)


class PeakMemory:
    """The most memory in 10^9 bytes beyond what there was before, without pages of files."""

    def __enter__(self) -> PeakMemory:
        _return_what_is_freed()
        self._ended, self._before, self._peak = threading.Event(), _anonymous_gb(), 0.0
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()
        self.gb = max(self._peak, _anonymous_gb()) - self._before

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self._peak = max(self._peak, _anonymous_gb())


def _return_what_is_freed() -> None:
    """Have glibc give arrays back at once: what its heap keeps depends on the order of events."""
    if sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(MMAP_THRESHOLD, 128 * 1024)


def _anonymous_gb() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(one for one in status.read_text().splitlines() if one.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e9


def print_growth(data: Data, args: argparse.Namespace) -> list[dict[str, float]]:
    """Third table: three epochs over n samples with all of them, and with fewer, as centres."""
    print("\n| samples | centres | s of an epoch | MSE after one | fit s | MSE | peak GB |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for n in args.growth:
        for centres in (args.centres, n):
            if centres == n and 4e-9 * n * (n + len(data.x_dev)) > args.memory_gb:
                continue
            model = EigenProRegressor(
                gamma=0.7,
                bandwidth=2.83,
                epochs=GROWTH_EPOCHS,
                patience=None,
                centres=centres,
                memory_gb=args.memory_gb,
                random_state=args.seed,
                device=args.device,
            )
            some = data.spread(n)
            with PeakMemory() as memory:
                run = fit(model, some)
            epoch = run.path[-1][0] - run.path[-2][0]
            row = {"samples": n, "centres": centres, "epoch_s": epoch, "peak_gb": memory.gb}
            rows.append({**row, **asdict(run)})
            print(
                f"| {n} | {centres} | {epoch:.2f} | {run.path[-GROWTH_EPOCHS][1]:.5f} "
                f"| {run.seconds:.1f} | {run.error:.5f} | {memory.gb:.2f} |",
                flush=True,
            )
    apart = [row for row in rows if row["centres"] != row["samples"]]
    if len(apart) > 1:
        samples, seconds = (np.log([row[name] for row in apart]) for name in ("samples", "epoch_s"))
        print(f"\nexponent of an epoch's time: {np.polyfit(samples, seconds, 1)[0]:.2f}")
    return rows


def print_parts(data: Data, args: argparse.Namespace) -> None:
    """Fourth table: seconds of the parts of a fit."""
    from squall.kernels.bandwidth import Trial, search
    from squall.kernels.machine import BATCH_ROWS
    from squall.kernels.preconditioner import choose_preconditioner
    from squall.kernels.windows import find_layout

    device = torch.device(args.device)
    x, y = torch.from_numpy(data.x).to(device), torch.from_numpy(data.y).to(device)
    x_dev, y_dev = torch.from_numpy(data.x_dev).to(device), torch.from_numpy(data.y_dev).to(device)
    mean, s = y.mean(0), slice(0, 2000)
    groups = [slice(0, y.shape[1])]
    trial = Trial.of(x[s], y[s] - mean, (x_dev[s], y_dev[s] - mean))
    median = float(squared_distances(x[:1000]).median().sqrt())
    kernel = ExponentialPowerKernel(0.7, 2.83 * median**0.7)
    components = trial.find_components(kernel, groups)
    points, out = Points.of(x), x.new_empty(len(x), len(x))
    windows = Points.of(x, find_layout(data.x))
    alpha = x.new_zeros(len(x), components.count)
    parts: dict[str, Callable[[], object]] = {
        "search": lambda: search(trial, components, median=median),
        f"components ({components.count} of {y.shape[1]})": lambda: trial.find_components(
            kernel, groups
        ),
        "kernel matrix, of rows": lambda: fill_squared_distances(points, out=out, kernel=kernel),
        "kernel matrix, of windows": lambda: fill_squared_distances(
            windows, out=out, kernel=kernel
        ),
        "preconditioner": lambda: choose_preconditioner(
            out[s, s].clone(), batch_size=BATCH_ROWS[device.type]
        ),
        "products of an epoch": lambda: out @ alpha,
    }
    if windows.windows is None:
        del parts["kernel matrix, of windows"]
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
    most = max([args.N, *args.peers, *args.growth])
    if args.frames:
        everything = read(Path(args.frames), args.condition, most)
    else:
        everything = draw(most, args.D, seed=args.seed)
    data = everything.first(args.N)
    print(
        f"N = {len(data.x)}, D = {data.x.shape[1]}, F = {data.y.shape[1]}, "
        f"{len(data.x_dev)} other frames, {args.condition if args.frames else 'drawn data'}, "
        f"{args.device}, {torch.get_num_threads()} thread(s), torch {torch.__version__}, "
        f"{args.rounds} rounds\n"
    )
    entrants: Entrants = {
        ONE: lambda data: fit_subbands(data, 1, args),
        FOUR: lambda data: fit_subbands(data, 4, args),
    }
    if args.before:
        entrants[f"{ONE}, before"] = lambda data: fit_before(data, 1, args)
        entrants[f"{FOUR}, before"] = lambda data: fit_before(data, 4, args)
    if args.dnn:
        entrants["DNN"] = fit_dnn
    runs = measure(entrants, data, rounds=args.rounds, seed=args.seed)
    ratio = print_fits(runs)
    peers = {}
    for n in args.peers:
        peers[n], absent = compare_peers(everything.first(n), args)
        print_peers(peers[n], absent)
    if args.figure and peers:
        draw_figure(args.figure, peers)
    growth = print_growth(everything, args) if args.growth else []
    print_parts(data, args)
    if args.json:
        found = {
            "command": sys.argv[1:],
            "fits": {name: [asdict(run) for run in mine] for name, mine in runs.items()},
            "peers": {
                str(n): {name: [asdict(run) for run in several] for name, several in mine.items()}
                for n, mine in peers.items()
            },
            "growth": growth,
        }
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if args.max_ratio is not None and not ratio <= args.max_ratio:
        print(f"\n{ratio:.2f} times the time of before is above {args.max_ratio}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
