"""Scored mixtures as they are compared: by mixture, seen and unseen noises apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import tiny_enhancement
from squall.engine.experiment import Experiment, RunOptions
from squall.enhance.report.comparison import scored_runs
from squall.report.comparison import compare_systems
from squall.report.records import Record
from squall.report.report import Run

HEAD = "condition,utterance,speaker,samples,stoi,pesq_nb,mse,accuracy,hit,fa,reason\n"


def _run(
    tmp_path: Path, system: str, rows: dict[tuple[str, str], tuple[object, object]]
) -> tuple[Experiment[Any], Run]:
    """A run with a STOI and a mask error for each (condition, utterance)."""
    config = tiny_enhancement.config(tmp_path, noise__seen=["hum", "ssn"], noise__unseen=["city"])
    experiment = Experiment(config, RunOptions(exp_dir=str(tmp_path)))
    record = Record("toy", "small", "manifest", system, "hum/0dB", 1, "stoi", 0.5, "", 2, "c",
                    "run", "h", 1.0)  # fmt: skip
    score_dir = tmp_path / system
    score_dir.mkdir()
    lines = [
        f"{condition},{utterance},s{int(utterance[1:]) // 2},16000,{stoi},,{mse},,,,\n"
        for (condition, utterance), (stoi, mse) in rows.items()
    ]
    (score_dir / "mixtures.csv").write_text(HEAD + "".join(lines))
    return experiment, Run(tmp_path, "small", score_dir, system, 1, (record,), (), {})


def _rows(stoi: float, mse: object = "") -> dict[tuple[str, str], tuple[object, object]]:
    return {
        (condition, f"u{k}"): (stoi + 0.01 * k, mse)
        for condition in ("hum/0dB", "ssn/-5dB", "city/0dB")
        for k in range(4)
    }


def _scored(*runs: tuple[Experiment[Any], Run]) -> list[Any]:
    return scored_runs([experiment for experiment, _ in runs], [run for _, run in runs])


def test_networks_are_the_baseline_and_noises_are_apart(tmp_path: Path) -> None:
    found = _scored(
        _run(tmp_path, "noisy", _rows(0.5)),
        _run(tmp_path, "kernel-4", _rows(0.7, 0.1)),
        _run(tmp_path, "dnn", _rows(0.6, 0.2)),
    )
    assert [one.record.system for one in found[:2]] == ["dnn", "dnn"]
    assert {one.record.condition for one in found} == {"seen noises", "unseen noises"}
    records = compare_systems(found)
    assert {record.condition for record in records} == {
        "seen noises/vs dnn",
        "unseen noises/vs dnn",
    }
    values = {(r.system, r.condition, r.metric): r for r in records}
    seen = values["kernel-4", "seen noises/vs dnn", "stoi_difference"]
    assert (seen.value, seen.n) == (pytest.approx(0.1), 4)
    assert values["noisy", "unseen noises/vs dnn", "stoi_difference"].n == 4
    assert values["kernel-4", "seen noises/vs dnn", "mse_difference"].value == pytest.approx(-0.1)
    assert ("noisy", "seen noises/vs dnn", "mse_difference") not in values


def test_intervals_are_over_clean_utterances_and_their_speakers(tmp_path: Path) -> None:
    found = _scored(_run(tmp_path, "dnn", _rows(0.6, 0.2)))
    (stoi, mse) = found[0].scores
    assert (stoi.metric, mse.metric) == ("stoi", "mse")
    assert stoi.ids == ("u0", "u1", "u2", "u3")
    assert stoi.groups == ("s0", "s0", "s1", "s1")
    assert stoi.sums.tolist() == [[pytest.approx(1.2 + 0.02 * k), 2.0] for k in range(4)]


def test_scores_of_before_there_was_a_speaker_have_no_interval_over_them(tmp_path: Path) -> None:
    runs = [_run(tmp_path, "dnn", _rows(0.6)), _run(tmp_path, "kernel-4", _rows(0.7))]
    for _, run in runs:
        path = run.score_dir / "mixtures.csv"
        rows = [line.split(",") for line in path.read_text().splitlines()]
        path.write_text("".join(",".join(row[:2] + row[3:]) + "\n" for row in rows))
    names = {record.metric for record in compare_systems(_scored(*runs))}
    assert "stoi_difference_utterances_low" in names
    assert "stoi_difference_speakers_low" not in names


def test_a_mixture_without_a_score_in_one_run_is_left_out_of_all(tmp_path: Path) -> None:
    damaged = _rows(0.7, 0.1) | {("hum/0dB", "u1"): (math.nan, 0.1)}
    found = _scored(_run(tmp_path, "dnn", _rows(0.6, 0.2)), _run(tmp_path, "kernel-4", damaged))
    of_stoi = [one.scores[0] for one in found if one.record.condition == "seen noises"]
    assert [scores.sums[1, 1] for scores in of_stoi] == [1, 1]
    assert found[0].scores[1].sums[1, 1] == 2


def test_mixtures_of_one_utterance_give_no_interval(tmp_path: Path) -> None:
    def only_one(stoi: float) -> dict[tuple[str, str], tuple[object, object]]:
        return {place: values for place, values in _rows(stoi).items() if place[1] == "u0"}

    found = _scored(_run(tmp_path, "dnn", only_one(0.6)), _run(tmp_path, "kernel-4", only_one(0.7)))
    records = {(r.condition, r.metric): r for r in compare_systems(found)}
    assert records["seen noises/vs dnn", "stoi_difference"].value == pytest.approx(0.1)
    low = records["seen noises/vs dnn", "stoi_difference_utterances_low"]
    assert (low.value, low.reason) == (
        None,
        "only one utterance: there is nothing to tell its spread from",
    )
