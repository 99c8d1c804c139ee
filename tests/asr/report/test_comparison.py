"""Scored experiments as they are compared: sums over utterances give the recorded numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from squall.asr.report.comparison import scored_runs
from squall.asr.report.sections import collect
from squall.engine.experiment import Experiment
from squall.engine.scored import read_run
from squall.report.comparison import ItemScores, compare_systems
from squall.report.report import Run
from tiny_report import write_experiment

pytestmark = pytest.mark.slow


@pytest.fixture
def run(trained: Experiment[Any]) -> Run:
    return read_run(trained)


def _value(scores: ItemScores) -> float:
    return float(scores.statistic(scores.sums.sum(axis=0)))


def _renamed(run: Run, **changes: Any) -> Run:
    return replace(run, records=tuple(replace(record, **changes) for record in run.records))


def test_sums_over_utterances_give_the_recorded_numbers(run: Run) -> None:
    found, _ = scored_runs([run, _renamed(run, system="twin")])
    assert found.record.condition == "test"
    recorded = {(r.condition, r.metric): r.value for r in run.records}
    values = {scores.metric: _value(scores) for scores in found.scores}
    assert values == {
        "wer": pytest.approx(recorded["test", "wer"]),
        "cer": pytest.approx(recorded["test", "cer"]),
        "ece": pytest.approx(recorded["test/token", "ece"], abs=1e-6),
        "nll_refinement": pytest.approx(recorded["test/token", "nll_refinement"]),
        "nll_calibration": pytest.approx(recorded["test/token", "nll_calibration"]),
    }
    for scores in found.scores:
        assert len(scores.ids) == len(scores.groups) == len(scores.sums) == 4
        assert len(set(scores.groups)) == 4


def test_alignments_are_those_of_the_words(run: Run) -> None:
    found, _ = scored_runs([run, _renamed(run, system="twin")])
    errors = sum(alignment.counts.errors for alignment in found.alignments.values())
    assert errors == found.scores[0].sums[:, 0].sum()


def test_a_system_and_its_twin_do_not_differ(run: Run) -> None:
    records = compare_systems(scored_runs([run, _renamed(run, system="twin")]))
    differences = {r.metric: r.value for r in records if r.metric.endswith("_difference")}
    metrics = ("wer", "cer", "ece", "nll_refinement", "nll_calibration")
    assert differences == {f"{metric}_difference": 0.0 for metric in metrics}
    assert {r.value for r in records if r.metric.endswith("_p")} == {1.0}


def test_folds_are_put_together(run: Run) -> None:
    folds = [
        replace(
            run,
            records=tuple(replace(r, condition=f"{r.condition}/fold{fold}") for r in run.records),
        )
        for fold in (0, 1)
    ]
    other = _renamed(run, system="other")
    together, alone = scored_runs([folds[0], other, folds[1]])
    assert together.record.system == "square"
    assert alone.record.system == "other"
    for both, one in zip(together.scores, alone.scores, strict=True):
        assert both.ids == one.ids * 2
        assert _value(both) == pytest.approx(_value(one))


def _of_an_earlier_version(run: Run, folder: Path) -> Run:
    """The run with a calibration file that has no sums of likelihoods."""
    for path in run.score_dir.glob("test.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    path = folder / "test.calibration.json"
    content = json.loads(path.read_text())
    del content["token_nlls"]
    path.write_text(json.dumps(content))
    return replace(run, score_dir=folder)


@pytest.mark.parametrize("which", ["baseline", "seed of the baseline", "system"])
def test_what_an_earlier_version_scored_is_compared_in_the_rest(
    run: Run, tmp_path: Path, which: str
) -> None:
    old = _of_an_earlier_version(run, tmp_path)
    twin, again = _renamed(run, system="twin"), _renamed(run, seed=run.seed + 1)
    runs = {
        "baseline": [old, twin],
        "seed of the baseline": [run, _renamed(old, seed=run.seed + 1), twin],
        "system": [run, again, _renamed(old, system="twin")],
    }[which]
    records = compare_systems(scored_runs(runs))
    differences = {r.metric for r in records if r.metric.endswith("_difference")}
    assert differences == {"wer_difference", "cer_difference", "ece_difference"}


def test_a_fold_of_an_earlier_version_leaves_out_what_it_lacks(run: Run, tmp_path: Path) -> None:
    folds = [
        replace(
            one,
            records=tuple(replace(r, condition=f"{r.condition}/fold{fold}") for r in one.records),
        )
        for fold, one in enumerate([run, _of_an_earlier_version(run, tmp_path)])
    ]
    for order in (folds, folds[::-1]):
        together, alone = scored_runs([*order, _renamed(run, system="other")])
        assert [scores.metric for scores in together.scores] == ["wer", "cer", "ece"]
        assert len(alone.scores) == 5


def test_files_that_do_not_belong_together_are_named(run: Run, tmp_path: Any) -> None:
    for path in run.score_dir.glob("test.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    lines = (tmp_path / "test.csv").read_text().splitlines()
    (tmp_path / "test.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"has 4 utterances, test\.csv beside it 3"):
        scored_runs([replace(run, score_dir=tmp_path), _renamed(run, system="twin")])


def test_a_system_alone_is_not_read(run: Run, tmp_path: Any) -> None:
    assert scored_runs([replace(run, score_dir=tmp_path)]) == []


def test_two_systems_on_a_single_utterance_get_a_whole_report(tmp_path: Path) -> None:
    said = {"anna_01": "GO ON TO THE NEXT LINE"}
    experiments = [
        write_experiment(tmp_path, said=said, loss={"name": name}) for name in ("ce", "square")
    ]
    report = collect(experiments)
    report.write_html(tmp_path / "report.html")
    report.write_results(tmp_path, title="one utterance")
    for name in ("report.html", "RESULTS.md"):
        assert "only one utterance: there is nothing to tell its spread from" in (
            tmp_path / name
        ).read_text(encoding="utf-8")
