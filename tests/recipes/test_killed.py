"""A grid that is killed in one stage after the other ends as one that was not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tiny
from killed_runs import PATIENCE_S, Moment, Run

pytest.importorskip("espnet2")

from squall.report.records import read_records

EPOCHS = 8
SETTINGS = {**tiny.SETTINGS, "espnet.max_epoch": EPOCHS}
GRID = ("--grid", "loss.name=squentropy,square", "--jobs", "1")

MOMENTS = (
    Moment(lambda run: run.said("1 prepare: not done yet"), "1-prepare"),
    Moment(lambda run: run.said("3 stats: reading all audio"), "3-stats", whole_group=False),
    Moment(lambda run: run.said("5 train: epoch 1"), "5-train"),
    Moment(lambda run: run.writes("train/3epoch.pth"), "5-train"),
    Moment(lambda run: run.writes(".hypotheses.jsonl.*.part"), "6-decode"),
    Moment(lambda run: run.said("6 decode: done"), None),
    Moment(lambda run: run.said("square seed 1] 5 train: epoch 1"), None),
)

Start = Callable[[str], Run]


@pytest.fixture
def start(demo_corpus: Path, tmp_path: Path) -> Iterator[Start]:
    runs: list[Run] = []
    assignments = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]

    def start(place: str) -> Run:
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        places = ("--corpus-dir", str(demo_corpus), "--results-dir", str(folder))
        runs.append(Run("demo", folder / "exp", *places, *assignments, *GRID))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


def _table(folder: Path) -> dict[tuple[str | int, ...], str]:
    """The values to their last digit, as text, in which NaN equals NaN."""
    measured = ("rtf", "train_seconds")
    found = read_records(folder / "results.json")
    return {r.key: repr(r.value) for r in found if r.metric not in measured}


def _hypotheses(folder: Path) -> dict[str, str]:
    found = folder.rglob("test/hypotheses.jsonl")
    return {str(path.relative_to(folder)): path.read_text() for path in found}


@pytest.mark.slow
def test_a_grid_killed_in_any_stage_ends_with_the_same_table(start: Start, tmp_path: Path) -> None:
    for moment in MOMENTS:
        run = start("killed")
        run.wait_until(moment.reached)
        run.kill(whole_group=moment.whole_group)
        if moment.unfinished:
            assert not run.writes(f"{moment.unfinished}.json")
        assert not (tmp_path / "killed" / "results.json").exists()
    for place in ("killed", "whole"):
        run = start(place)
        assert run.process.wait(2 * PATIENCE_S) == 0, run.output.read_text()
        skipped = "squentropy seed 1] 5 train: done before, skipped"
        assert run.said(skipped) == (place == "killed")

    killed, whole = _table(tmp_path / "killed"), _table(tmp_path / "whole")
    assert killed == whole
    epochs = [float(value) for (*_, metric), value in whole.items() if metric == "epochs"]
    assert epochs == [EPOCHS] * 2
    assert any(metric == "wer_difference" for *_, metric in whole)
    hypotheses = _hypotheses(tmp_path / "whole")
    assert len(hypotheses) == 2
    assert _hypotheses(tmp_path / "killed") == hypotheses
    assert not list((tmp_path / "killed").rglob("train.before-1"))
