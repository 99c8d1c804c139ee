"""A recipe that is killed in one stage after the other ends as one that was not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import tiny
from killed_runs import PATIENCE_S, Moment, Run

pytest.importorskip("espnet2")

from squall.experiment import Experiment
from squall.results import read_records

SETTINGS = {"espnet__max_epoch": 20, "loss__name": "squentropy"}


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
    chosen = {**tiny.SETTINGS, **{k.replace("__", "."): v for k, v in SETTINGS.items()}}
    assignments = [part for k, v in chosen.items() for part in ("--set", f"{k}={v}")]

    def start() -> Run:
        corpus = ("--corpus-dir", str(demo_corpus))
        runs.append(Run("demo", tmp_path / "exp", *corpus, *assignments))
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
