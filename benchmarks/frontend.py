"""Speed of the front end, in times real time on one core: energies, masks, resynthesis, features.

In every round each step runs once, in an order drawn anew, so that a busy machine slows all of
them alike; the chain (features, resynthesis) is the sum within its round. Without files
the signal is noise that comes and goes at the pace of syllables.

    OMP_NUM_THREADS=1 python benchmarks/frontend.py
    OMP_NUM_THREADS=1 python benchmarks/frontend.py --front-end stft --seconds 30
    OMP_NUM_THREADS=1 python benchmarks/frontend.py --min-speed 20 speech/*.wav
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy

from squall.audio.frontend import FRONT_ENDS, FrontEnd, build_front_end
from squall.audio.masks import ideal_binary_mask, ideal_ratio_mask
from squall.audio.reading import read_audio

SAMPLE_RATE_HZ = 16000
# What enhancing a file takes, apart from the estimator.
CHAIN = ("features", "resynthesis")

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

Step = Callable[[], object]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="speech (default: synthetic)")
    parser.add_argument("--front-end", default="gammatone", choices=list(FRONT_ENDS))
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of the synthetic signal (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=21, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--warmup", type=int, default=3, help="rounds before (default: %(default)s)"
    )
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="cpu leaves out what other processes took (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--min-speed", type=float, help="exit with 1 if the chain is slower, in times real time"
    )
    return parser.parse_args()


def read_signals(args: argparse.Namespace) -> list[np.ndarray]:
    """The files, or one synthetic signal."""
    if args.files:
        return [read_audio(path, sample_rate_hz=SAMPLE_RATE_HZ).samples for path in args.files]
    samples = round(args.seconds * SAMPLE_RATE_HZ)
    syllables = np.sin(2 * np.pi * 4 * np.arange(samples) / SAMPLE_RATE_HZ) ** 2
    noise = np.random.default_rng(args.seed).standard_normal(samples)
    return [(0.1 * syllables * noise).astype(np.float32)]


def build_steps(front_end: FrontEnd, signals: list[np.ndarray]) -> dict[str, Step]:
    """Each step over all signals, its input ready."""
    energies = [front_end.energies(signal) for signal in signals]
    masks = [ideal_ratio_mask(speech=e, noise=e[::-1]) for e in energies]
    masked = list(zip(signals, masks, strict=True))
    steps: dict[str, Step] = {
        "analysis": lambda: [front_end.energies(signal) for signal in signals],
        "ratio mask": lambda: [ideal_ratio_mask(speech=e, noise=e[::-1]) for e in energies],
        "binary mask": lambda: [
            ideal_binary_mask(speech=e, noise=e[::-1], local_criterion_db=-5.0) for e in energies
        ],
        "resynthesis": lambda: [front_end.apply_mask(signal, mask) for signal, mask in masked],
    }
    try:
        from squall.audio.features import extract
    except ImportError as error:
        print(f"without features: {error}\n")
    else:
        steps["features"] = lambda: [extract(signal) for signal in signals]
    return steps


def measure(
    steps: dict[str, Step], clock: Callable[[], float], *, rounds: int, seed: int
) -> dict[str, list[float]]:
    """Seconds of every step in every round."""
    order = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name in order.sample(list(steps), len(steps)):
            start = clock()
            steps[name]()
            seconds[name].append(clock() - start)
    return seconds


def main() -> int:
    args = parse_arguments()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        print("OMP_NUM_THREADS is not 1: these are not the figures of one core\n")
    signals = read_signals(args)
    audio_s = sum(len(signal) for signal in signals) / SAMPLE_RATE_HZ
    start = time.perf_counter()
    steps = build_steps(build_front_end(args.front_end), signals)
    first_s = time.perf_counter() - start

    measure(steps, CLOCKS[args.clock], rounds=args.warmup, seed=args.seed)
    seconds = measure(steps, CLOCKS[args.clock], rounds=args.repeats, seed=args.seed + 1)
    parts = [seconds[name] for name in CHAIN if name in seconds]
    seconds["chain"] = [sum(times) for times in zip(*parts, strict=True)]

    print(
        f"{args.front_end}, {len(signals)} signal(s), {audio_s:.1f} s of audio, numpy "
        f"{np.__version__}, scipy {scipy.__version__}, {args.repeats} rounds, {args.clock} clock; "
        f"chain is {' + '.join(name for name in CHAIN if name in seconds)}; "
        f"{1e3 * first_s:.0f} ms to set up\n"
    )
    print("| step | median ms | quartiles ms | times real time |")
    print("|---|---|---|---|")
    speeds = {}
    for name, times in seconds.items():
        low, middle, high = statistics.quantiles([1e3 * t for t in times], n=4)
        speeds[name] = 1e3 * audio_s / middle
        print(f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} | {speeds[name]:.0f} |")
    if args.min_speed is not None and speeds["chain"] < args.min_speed:
        print(f"\nchain: {speeds['chain']:.1f} times real time is below {args.min_speed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
