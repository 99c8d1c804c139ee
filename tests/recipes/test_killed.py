"""A grid that is killed in one stage after the other ends as one that was not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tiny
from killed_runs import PATIENCE_S, Moment, Run

pytest.importorskip("espnet2")

from squall.report.records import read_records

Squall = Callable[..., tuple[int, str, str]]

EPOCHS = 8
SETTINGS = {**tiny.SETTINGS, "espnet.max_epoch": EPOCHS}
GRID = ("--grid", "loss.name=squentropy,square", "--jobs", "1")

MOMENTS = {
    "prepare": Moment(lambda run: run.said("1 prepare: not done yet"), "1-prepare"),
    "stats": Moment(
        # The experiment outlives the command by up to a second, which may be enough for it.
        lambda run: run.said("3 stats: reading all audio"),
        None,
        whole_group=False,
    ),
    "first epoch": Moment(lambda run: run.said("5 train: epoch 1"), "5-train"),
    "later epoch": Moment(lambda run: run.writes("train/3epoch.pth"), "5-train"),
    "decode": Moment(lambda run: run.said("6 decode: not done yet"), "6-decode"),
    "decoded": Moment(lambda run: run.said("6 decode: done"), None),
    "other": Moment(lambda run: run.said("square seed 1] 5 train: epoch 1"), None),
}
FEW = ("stats", "later epoch", "decode")

Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the recipe in a folder of its own."""
    runs: list[Run] = []
    folder = tmp_path / "killed"
    folder.mkdir()

    def start(*arguments: str) -> Run:
        runs.append(Run("demo", folder / "exp", "--results-dir", str(folder), *arguments))
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
@pytest.mark.parametrize(
    "names",
    [FEW, pytest.param(tuple(MOMENTS), marks=pytest.mark.nightly)],
    ids=["few kills", "all kills"],
)
def test_a_grid_killed_in_any_stage_ends_with_the_same_table(
    start: Start,
    squall: Squall,
    demo_corpus: Path,
    tmp_path: Path,
    names: tuple[str, ...],
) -> None:
    """Nightly in all stages; else in the statistics, between two epochs and while it decodes."""
    assignments = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    arguments = ("--corpus-dir", str(demo_corpus), *assignments, *GRID)
    for moment in map(MOMENTS.__getitem__, names):
        run = start(*arguments)
        run.wait_until(moment.reached)
        run.kill(whole_group=moment.whole_group)
        if moment.unfinished:
            assert not run.writes(f"{moment.unfinished}.json")
        assert not (tmp_path / "killed" / "results.json").exists()
    run = start(*arguments)
    code, out, err = squall("demo", *arguments)
    assert code == 0, err
    assert run.process.wait(2 * PATIENCE_S) == 0, run.output.read_text()
    skipped = "squentropy seed 1] 5 train: done before, skipped"
    assert run.said(skipped)
    assert skipped not in out

    killed, whole = _table(tmp_path / "killed"), _table(tmp_path / "results")
    assert killed == whole
    trained = [float(value) for (*_, metric), value in whole.items() if metric == "epochs"]
    assert trained == [EPOCHS] * 2
    assert any(metric == "wer_difference" for *_, metric in whole)
    hypotheses = _hypotheses(tmp_path / "exp")
    assert len(hypotheses) == 2
    assert _hypotheses(run.exp_dir) == hypotheses
    assert not list(run.exp_dir.rglob("train.before-1"))
