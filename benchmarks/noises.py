"""What an enhancer needs to hear: mask error against frames and noises of the training.

From the frames that `enhance_timit --preset many` has written (stages 0 to 3), a kernel machine and
a DNN are trained on some of the noises and frames, and their masks compared with the ideal ones of
test mixtures, in noises that were trained on and in noises that no training has:

1. all noises, with each number of frames of `--many-frames`;
2. `-N` frames, of each number of noises of `--noises`, which are drawn and hold the smaller ones.

    python benchmarks/noises.py --threads 1 --frames exp/enhance_timit/shared/features-*/
    python benchmarks/noises.py --frames FRAMES --figure noises.png --json noises.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kernels import draw_windows, fit_normalizer
from squall.enhance.estimators.dnn import DnnEstimator
from squall.enhance.estimators.kernel import KernelEstimator

DEV_FRAMES, TEST_FRAMES = 5000, 300  # in all; of each noise and SNR
ESTIMATORS = {
    "kernel": lambda: KernelEstimator(subbands=1, memory_gb=8, metric="principal"),
    "dnn": lambda: DnnEstimator(
        optimizer="adagrad_momentum", learning_rate=0.003, decay=0.3, patience=6
    ),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=Path, required=True, help="folder of the frames")
    parser.add_argument("--many-frames", type=int, nargs="*", default=[5000, 20000, 80000])
    parser.add_argument("--noises", type=int, nargs="*", default=[2, 4, 7])
    parser.add_argument("-N", type=int, default=20000, help="frames (default: %(default)s)")
    parser.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=list(ESTIMATORS))
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own)")
    parser.add_argument("--seed", type=int, default=0, help="of the noises that are drawn")
    parser.add_argument("--figure", type=Path, help="error against frames and noises")
    parser.add_argument("--json", type=Path, help="every number; runs in it are kept")
    return parser.parse_args()


def folders_of(split: Path, noises: Sequence[str]) -> list[Path]:
    """Those of all SNRs."""
    return [path for noise in noises for path in sorted((split / noise).iterdir())]


def measure(frames: Path, noises: Sequence[str], limit: int, name: str) -> dict[str, Any]:
    """Train on some frames of some noises; errors on the validation and the test mixtures."""
    x, y = draw_windows(folders_of(frames / "train", noises), limit)
    x_dev, y_dev = draw_windows(folders_of(frames / "dev", noises), DEV_FRAMES)
    normalizer = fit_normalizer(x)
    estimator = ESTIMATORS[name]()
    start = time.perf_counter()
    estimator.fit(normalizer.apply(x), y, dev_features=normalizer.apply(x_dev), dev_masks=y_dev)
    seconds = time.perf_counter() - start
    errors: dict[str, float] = {}
    for noise in sorted(path.name for path in (frames / "test").iterdir()):
        folders = folders_of(frames / "test", [noise])
        x_test, y_test = draw_windows(folders, TEST_FRAMES * len(folders))
        masks = estimator.predict(normalizer.apply(x_test))
        errors[noise] = float(np.mean((masks - y_test) ** 2))
    trained_on = {path.name for path in (frames / "train").iterdir()}
    return {
        "estimator": name,
        "frames": len(x),
        "noises": list(noises),
        "seconds": seconds,
        "dev": min(entry["dev_mse"] for entry in estimator.history_),
        "seen": float(np.mean([errors[noise] for noise in noises])),
        "unseen": float(np.mean([errors[n] for n in errors if n not in trained_on])),
        "test": errors,
    }


def print_row(run: dict[str, Any]) -> None:
    print(
        f"| {run['estimator']} | {len(run['noises'])} | {run['frames']} | {run['seconds']:.0f} "
        f"| {100 * run['dev']:.2f} | {100 * run['seen']:.2f} | {100 * run['unseen']:.2f} |",
        flush=True,
    )


def write_figure(path: Path, runs: Sequence[dict[str, Any]], N: int) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    most = max(len(run["noises"]) for run in runs)
    of_frames = [run for run in runs if len(run["noises"]) == most]
    of_noises = [run for run in runs if run["frames"] == N]
    for axis, some, quantity, label in (
        (axes[0], of_frames, lambda run: run["frames"], f"frames of {most} noises"),
        (axes[1], of_noises, lambda run: len(run["noises"]), f"noises, {N} frames"),
    ):
        for name, colour in zip(ESTIMATORS, ("C0", "C1"), strict=True):
            own = sorted((r for r in some if r["estimator"] == name), key=quantity)
            for kind, line in (("unseen", "-"), ("seen", ":")):
                values = [100 * run[kind] for run in own]
                style = {"color": colour, "linestyle": line, "marker": "o"}
                axis.plot([quantity(run) for run in own], values, label=f"{name}, {kind}", **style)
        axis.set_xscale("log", base=2)
        axis.set_xticks([quantity(r) for r in some], [f"{quantity(r):,}" for r in some])
        axis.minorticks_off()
        axis.set_xlabel(label)
    axes[0].set_ylabel("mask MSE x 100")
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main() -> int:
    args = parse_arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    every = sorted(path.name for path in (args.frames / "train").iterdir())
    order = [every[place] for place in np.random.default_rng(args.seed).permutation(len(every))]
    wanted = [(every, n) for n in args.many_frames]
    wanted += [(sorted(order[:number]), args.N) for number in args.noises]
    runs = json.loads(args.json.read_text())["runs"] if args.json and args.json.exists() else []
    print("| estimator | noises | frames | fit s | validation | seen noises | unseen noises |")
    print("|---|---|---|---|---|---|---|")
    for run in runs:
        print_row(run)
    done = {(run["estimator"], tuple(run["noises"]), run["frames"]) for run in runs}
    for noises, n in wanted:
        for name in args.estimators:
            if (name, tuple(noises), n) in done:
                continue
            runs.append(measure(args.frames, noises, n, name))
            print_row(runs[-1])
            if args.json:
                text = json.dumps({"command": sys.argv[1:], "runs": runs}, indent=1)
                args.json.write_text(text + "\n", encoding="utf-8")
    if args.figure:
        write_figure(args.figure, runs, args.N)
    return 0


if __name__ == "__main__":
    sys.exit(main())
