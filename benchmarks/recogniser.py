"""Two builds of squall beside each other: training, decoding and first word of an AN4 recogniser.

Each build is a checkout and a Python with what it needs. Both work at the same time, each on a core
of its own; in every further round they change cores.

    python benchmarks/recogniser.py --corpus-dir AN4 \\
        --build before .venv/bin/python ../before --build now .venv-3.13/bin/python .

Medians over rounds, and their ratio to the first build.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Build:
    """A checkout, the Python that runs it, and where it keeps its experiments."""

    name: str
    python: Path
    checkout: Path
    exp_dir: Path

    def start(self, core: int, *arguments: str) -> subprocess.Popen[str]:
        """Run `squall` on one core."""
        paths = {"PYTHONPATH": str(self.checkout / "src"), "SQUALL_ROOT": str(self.checkout)}
        return subprocess.Popen(
            ["taskset", "-c", str(core), str(self.python), "-m", "squall", *arguments],
            cwd=self.checkout,
            env={**os.environ, **paths, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, core: int, *arguments: str) -> None:
        process = self.start(core, *arguments)
        said, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{self.name}: squall {' '.join(arguments)} failed:\n{said[-2000:]}")

    @property
    def experiment(self) -> Path:
        (found,) = self.exp_dir.glob("*/*/train")
        return found.parent


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--build", nargs=3, action="append", required=True, metavar=("NAME", "PYTHON", "CHECKOUT")
    )
    parser.add_argument("--corpus-dir", required=True, type=Path, help="AN4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of each round")
    parser.add_argument("--demo", action="store_true", help="the demo's time, too")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="for all builds")
    parser.add_argument("--json", type=Path, help="every number")
    return parser.parse_args()


def side_by_side(
    builds: Sequence[Build], turn: int, measure: Callable[[Build, int], float | list[float]]
) -> dict[str, list[float]]:
    """Measure all builds at once, each on the core of its turn."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < len(builds):
        raise SystemExit(f"{len(builds)} builds need as many cores; there are {len(cores)}")
    with ThreadPoolExecutor(len(builds)) as pool:
        running = {
            build.name: pool.submit(measure, build, cores[(place + turn) % len(builds)])
            for place, build in enumerate(builds)
        }
        found = {name: future.result() for name, future in running.items()}
    return {name: one if isinstance(one, list) else [one] for name, one in found.items()}


def main() -> None:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        builds = [
            Build(name, Path(python).absolute(), Path(checkout).resolve(), Path(folder) / name)
            for name, python, checkout in options.build
        ]
        settings = [word for setting in options.set for word in ("--set", setting)]
        corpus = str(options.corpus_dir.resolve())
        numbers: dict[str, dict[str, list[float]]] = {}

        def recipe(build: Build, core: int, *further: str) -> None:
            build.run(
                core, "run", "an4", "--corpus-dir", corpus, "--exp-dir", str(build.exp_dir),
                "--set", "loss.name=ce", *settings, *further,
            )  # fmt: skip

        def train(build: Build, core: int) -> list[float]:
            epochs = (turn + 1) * options.epochs
            recipe(build, core, "--stop-stage", "5", "--set", f"espnet.max_epoch={epochs}")
            history = json.loads((build.experiment / "train" / "history.json").read_text())
            return [one["train"]["time"] for one in history[-options.epochs :]]

        def decode(build: Build, core: int) -> float:
            (trained,) = build.exp_dir.glob("*/*/train/history.json")
            epochs = len(json.loads(trained.read_text()))
            further = ("--set", f"espnet.max_epoch={epochs}", "--set", "decode.sets=[test]")
            recipe(build, core, "--stage", "6", "--stop-stage", "6", "--force", *further)
            (told,) = build.experiment.rglob("test/decoding.json")
            return float(json.loads(told.read_text())["seconds"])

        def first_word(build: Build, core: int) -> float:
            wav = min(options.corpus_dir.rglob("wav/an4*test*/*/*.*"))
            started = time.perf_counter()
            process = build.start(core, "transcribe", str(wav), "--model", str(build.experiment))
            if process.stdout is None or not process.stdout.readline():
                raise SystemExit(f"{build.name}: squall transcribe said nothing")
            seconds = time.perf_counter() - started
            process.communicate()
            return seconds

        def demo(build: Build, core: int) -> float:
            started = time.perf_counter()
            build.run(core, "run", "demo", "--exp-dir", str(build.exp_dir / f"demo{turn}"))
            return time.perf_counter() - started

        measures: dict[str, Callable[[Build, int], float | list[float]]] = {
            "s an epoch of training": train,
            "s to decode the test set": decode,
            "s until the first word": first_word,
        }
        if options.demo:
            measures["s of the demo"] = demo
        for name, measure in measures.items():
            for turn in range(options.rounds):
                for build, seconds in side_by_side(builds, turn, measure).items():
                    numbers.setdefault(name, {}).setdefault(build, []).extend(seconds)
                    print(f"{name}, round {turn + 1}, {build}: {seconds}", file=sys.stderr)
        print_table(numbers)
        if options.json:
            options.json.write_text(json.dumps(numbers, indent=1) + "\n")


def print_table(numbers: dict[str, dict[str, list[float]]]) -> None:
    names = list(next(iter(numbers.values())))
    print("| median | " + " | ".join(names) + " | ratio |")
    print("|---" * (len(names) + 2) + "|")
    for measure, of_builds in numbers.items():
        medians: list[Any] = [statistics.median(of_builds[name]) for name in names]
        cells = [f"{median:.1f}" for median in medians]
        print(f"| {measure} | {' | '.join(cells)} | {medians[-1] / medians[0]:.2f} |")


if __name__ == "__main__":
    main()
