"""Kill a recipe at random moments for hours, and compare its numbers with those of a run in peace.

    python tests/soak.py --hours 2 --out DIR an4 --preset calibration --grid loss.name=ce ...

The recipe with its arguments runs once undisturbed, in DIR/peace, then again and again in
DIR/killed, each time from nothing, and is killed on the way: the whole run, the command alone or
one of its processes, by SIGKILL, SIGTERM or Ctrl-C. Given again, the command goes on. Whenever it
ends, each number has to be the one of the undisturbed run to the last digit, and nothing half
written may lie about; after each kill no process may outlive it. DIR/watched.csv has memory and
open files of every process each two seconds; how much both grew from the first to the last quarter
of a process's life is told at the end. A run in peace that is complete is not repeated.

Not part of the suite: it takes as long as it is told to, and the recordings of the recipe.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import random
import shutil
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

from killed_runs import WAYS, Run, members, wait_for_all
from tiny_tasks import numbers_of

LOOK_EVERY_S = 2.0
LIVED_S = 120.0  # growth is told of processes that live as long
ENDS_WITHIN_S = 120.0


@dataclass
class Watch:
    """Memory and open files of the processes of runs, in a table and in memory.

    Args:
        path: the table: time in s, process, resident MB, open files.
    """

    path: Path
    seen: dict[int, list[tuple[float, float, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def look(self, group: int) -> None:
        now = time.monotonic()
        with self.path.open("a", newline="") as file:
            for pid in members(group):
                with contextlib.suppress(OSError):
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
                    handles = len(os.listdir(f"/proc/{pid}/fd"))
                    self.seen[pid].append((now, megabytes, handles))
                    csv.writer(file).writerow([f"{now:.1f}", pid, f"{megabytes:.1f}", handles])

    def growth(self) -> str:
        """The largest growth of one process, of those that lived long."""
        lives = [rows for rows in self.seen.values() if rows[-1][0] - rows[0][0] >= LIVED_S]
        if not lives:
            return f"no process lived for {LIVED_S:g} s"
        peak = max(row[1] for rows in lives for row in rows)
        told = [f"{len(lives)} processes of {LIVED_S:g} s or more; largest {peak:.0f} MB"]
        for column, unit in ((1, "MB"), (2, "open files")):
            grown = []
            for rows in lives:
                quarter = max(1, len(rows) // 4)
                # Starting up is no growth: the first quarter begins when a quarter has passed.
                early = statistics.median(row[column] for row in rows[quarter : 2 * quarter])
                late = statistics.median(row[column] for row in rows[-quarter:])
                grown.append(late - early)
            told.append(f"largest growth {max(grown):.0f} {unit}")
        return ", ".join(told)


def numbers(exp: Path) -> dict[tuple[object, ...], str]:
    """Every record of every experiment, to its last digit, but those of time."""
    return {
        (path.parent.name, *key): value
        for path in exp.glob("*/*/result.json")
        for key, value in numbers_of(path).items()
    }


def wait(run: Run, watch: Watch, until: float) -> bool:
    """Whether the run has ended by then."""
    while run.process.poll() is None:
        if time.monotonic() >= until:
            return False
        watch.look(run.process.pid)
        time.sleep(min(LOOK_EVERY_S, max(0.0, until - time.monotonic())))
    return True


def check(run: Run, exp: Path, expected: dict[tuple[object, ...], str]) -> None:
    """That a run which ended did so well."""
    if run.process.returncode != 0:
        sys.exit(f"soak: the run ended with {run.process.returncode}; see {run.output}")
    wait_for_all(run.process.pid)
    if left := [str(path) for path in exp.rglob("*.part")]:
        sys.exit(f"soak: half-written files are left: {', '.join(left)}")
    found = numbers(exp)
    differing = [key for key in expected.keys() | found if expected.get(key) != found.get(key)]
    if differing:
        key = min(differing, key=str)
        sys.exit(
            f"soak: {len(differing)} of {len(expected)} numbers differ, such as {key}: "
            f"{expected.get(key)} undisturbed, {found.get(key)} when killed; see {exp}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--hours", type=float, default=6.0, help="for how long to kill (%(default)s)"
    )
    parser.add_argument("--kills", type=int, default=1000, help="at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for both runs")
    parser.add_argument("recipe")
    options, arguments = parser.parse_known_args()
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    watch = Watch(out / "watched.csv")
    draws = random.Random(options.seed)

    def start(where: str) -> Run:
        results = ["--results-dir", str(out / f"{where}-results")]
        return Run(options.recipe, out / where, *results, *arguments, output=f"{where}.txt")

    began = time.monotonic()
    run = start("peace")
    wait(run, watch, until=float("inf"))
    expected = numbers(out / "peace")
    check(run, out / "peace", expected)
    whole_s = time.monotonic() - began
    print(f"undisturbed: {len(expected)} numbers in {whole_s:.0f} s; {watch.growth()}", flush=True)

    deadline = time.monotonic() + 3600 * options.hours
    ways: dict[str, int] = dict.fromkeys(WAYS, 0)
    runs = 0
    shutil.rmtree(out / "killed", ignore_errors=True)
    began = time.monotonic()
    while sum(ways.values()) < options.kills and time.monotonic() < deadline:
        run = start("killed")
        # Now soon, before anything is under way, now late.
        moment = time.monotonic() + draws.choice([0.02, 0.1, 0.3]) * draws.random() * whole_s + 1
        if wait(run, watch, until=min(moment, deadline)):
            if run.process.returncode == 0:
                check(run, out / "killed", expected)
                runs += 1
                print(f"run {runs}: the same numbers after {sum(ways.values())} kills", flush=True)
                shutil.rmtree(out / "killed")
                continue
            sys.exit(f"soak: the run ended with {run.process.returncode}; see {run.output}")
        way = draws.choice(list(WAYS))
        with contextlib.suppress(ProcessLookupError):  # it ended just now
            WAYS[way](run)
        if not wait(run, watch, until=time.monotonic() + ENDS_WITHIN_S):
            # A command that lost a child alone may end well or not, in its own time.
            if WAYS[way].__name__ != "_kill_child":
                sys.exit(f"soak: {way}: still there after {ENDS_WITHIN_S:g} s")
            run.end()
        wait_for_all(run.process.pid)
        ways[way] += 1
        told = f"[{time.monotonic() - began:6.0f} s] {sum(ways.values())} kills: {way}"
        print(told, flush=True)
    run = start("killed")
    wait(run, watch, until=float("inf"))
    check(run, out / "killed", expected)
    print(f"run {runs + 1}: the same numbers")
    print(f"{sum(ways.values())} kills in {time.monotonic() - began:.0f} s: {ways}")
    print(watch.growth())


if __name__ == "__main__":
    main()
