"""A recipe that is killed in one stage after the other ends as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import tiny

pytest.importorskip("espnet2")

from squall.experiment import Experiment
from squall.results import read_records

PATIENCE_S = 120
SETTINGS = {"espnet__max_epoch": 20, "loss__name": "squentropy"}


class Run:
    """`squall run demo` in a process group of its own, on one thread."""

    def __init__(self, corpus: Path, exp_dir: Path) -> None:
        self.exp_dir = exp_dir
        self.output = exp_dir.with_name("output.txt")
        chosen = {**tiny.SETTINGS, **{k.replace("__", "."): v for k, v in SETTINGS.items()}}
        assignments = [part for k, v in chosen.items() for part in ("--set", f"{k}={v}")]
        places = ["--corpus-dir", str(corpus), "--exp-dir", str(exp_dir)]
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "squall", "run", "demo", *places, *assignments],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self, text: str) -> bool:
        return text in self.output.read_text()

    def writes(self, pattern: str) -> bool:
        return any(self.exp_dir.rglob(pattern))

    def wait_until(self, reached: Callable[[Run], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not reached(self):
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.005)

    def kill(self, *, whole_group: bool) -> None:
        """Kill the command, alone or with the experiment that it runs, and wait for the latter."""
        (os.killpg if whole_group else os.kill)(self.process.pid, signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL
        deadline = time.monotonic() + PATIENCE_S
        while self._group_lives():
            assert time.monotonic() < deadline, "the experiment outlives the command"
            time.sleep(0.05)

    def _group_lives(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self) -> None:
        if self._group_lives():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True)
class Moment:
    """When to kill.

    Args:
        reached: tells that it has come.
        unfinished: the stage that the kill interrupts, where it cannot have ended meanwhile.
        whole_group: whether the experiment is killed too, or left to notice.
    """

    reached: Callable[[Run], bool]
    unfinished: str | None
    whole_group: bool = True


MOMENTS = (
    Moment(lambda run: run.said("1 prepare: not done yet"), "1-prepare"),
    Moment(lambda run: run.said("3 stats: reading all audio"), "3-stats", whole_group=False),
    Moment(lambda run: run.said("5 train: epoch 1"), "5-train"),
    Moment(lambda run: run.writes("train/3epoch.pth"), "5-train"),
    Moment(lambda run: run.writes(".hypotheses.jsonl.*.part"), "6-decode"),
    Moment(lambda run: run.said("6 decode: done"), None),
)


@pytest.fixture
def start(demo_corpus: Path, tmp_path: Path) -> Iterator[Callable[[], Run]]:
    runs: list[Run] = []

    def start() -> Run:
        runs.append(Run(demo_corpus, tmp_path / "exp"))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


def _rates(experiment: Experiment) -> dict[str, float]:
    measured = ("rtf", "train_seconds")
    records = read_records(experiment.result_path)
    return {r.metric: r.value for r in records if r.metric not in measured}


@pytest.mark.slow
def test_a_recipe_killed_in_any_stage_ends_with_the_same_result(
    start: Callable[[], Run], demo_corpus: Path, tmp_path: Path
) -> None:
    for moment in MOMENTS:
        run = start()
        run.wait_until(moment.reached)
        run.kill(whole_group=moment.whole_group)
        if moment.unfinished:
            assert not run.writes(f"{moment.unfinished}.json")
    run = start()
    assert run.process.wait(PATIENCE_S) == 0, run.output.read_text()
    assert run.said("5 train: done before, skipped")

    torch.set_num_threads(1)
    settings = tiny.config(**SETTINGS)
    whole, _ = tiny.run(settings, corpus=demo_corpus, exp_dir=tmp_path / "whole")
    killed = Experiment(settings, whole.options)
    killed.directory = tmp_path / "exp" / "demo" / whole.directory.name
    hypotheses = "test/hypotheses.jsonl"
    assert (killed.variant_dir("decode") / hypotheses).read_text() == (
        whole.variant_dir("decode") / hypotheses
    ).read_text()
    assert _rates(killed) == _rates(whole)
    assert _rates(whole)["epochs"] == SETTINGS["espnet__max_epoch"]
    assert not (killed.directory / "train.before-1").exists()
