"""Figures of recognition experiments: what is drawn, of which runs, against what."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from squall.asr.calibration import LevelDetails, SplitCalibration, write_calibration
from squall.asr.report.figures import calibration_sections, training_figures
from squall.engine.experiment import Experiment
from squall.engine.scored import read_run
from squall.report.figures import Curve
from squall.report.report import Run
from squall.scoring import score_confidences


def _run(folder: Path, system: str = "ce", seed: int = 1, *, history: Any = ()) -> Run:
    score_dir = folder / f"{system}-{seed}"
    score_dir.mkdir(exist_ok=True)
    return Run(score_dir, "small", score_dir, system, seed, (), tuple(history), {})


def _scored(folder: Path, system: str, seed: int, right: float) -> Run:
    """A run whose 100 tokens all have the confidence 0.75, a share of which is right."""
    run = _run(folder, system, seed)
    correct = np.arange(100) < 100 * right
    level = score_confidences(confidences=np.full(100, 0.75), correct=correct)
    found = SplitCalibration({"token": level}, {}, np.zeros((1, 11)))
    write_calibration(run.score_dir / "test.calibration.json", found)
    return run


@pytest.mark.slow
def test_the_seeds_of_a_system_are_one_diagram(tmp_path: Path) -> None:
    runs = [_scored(tmp_path, "ce", 1, 0.25), _scored(tmp_path, "ce", 2, 0.75)]
    runs.append(_scored(tmp_path, "square", 1, 0.75))
    (section,) = calibration_sections(runs)
    assert section.title == "Calibration"
    assert section.body.count("<svg") == 1
    assert "small ce ECE 25.00 %, small square ECE 0.00 %" in section.body
    assert "teacher-forced" in section.body


def test_each_level_has_a_figure(tmp_path: Path) -> None:
    run = _run(tmp_path)
    level = score_confidences(confidences=[0.5, 0.9], correct=[True, False])
    found = SplitCalibration({"token": level, "word": level}, {}, np.zeros((1, 11)))
    write_calibration(run.score_dir / "test.calibration.json", found)
    (section,) = calibration_sections([run])
    assert re.findall("<h3>(.*?)</h3>", section.body) == ["token", "word"]
    assert section.body.count("<svg") == 2


def test_risk_and_coverage_stand_beside_the_reliability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [_scored(tmp_path, "ce", 1, 0.25), _scored(tmp_path, "square", 1, 0.75)]
    correct = np.arange(100) < 75
    level = score_confidences(confidences=np.full(100, 0.75), correct=correct)
    details = LevelDetails.of(np.linspace(1, 0.5, 100), correct, {})
    found = SplitCalibration({"token": level}, {}, np.zeros((1, 11)), {"token": details})
    write_calibration(runs[1].score_dir / "test.calibration.json", found)
    drawn: dict[str, list[Curve]] = {}

    def keep(curves: list[Curve], title: str, x_label: str) -> str:
        drawn[title] = curves
        return "<svg>risks</svg>"

    monkeypatch.setattr("squall.asr.report.figures.curve_figure", keep)
    (section,) = calibration_sections(runs)
    assert "risks" in section.body
    (curve,) = drawn["errors among the most confident, token, %"]
    assert curve.label == runs[1].label
    assert curve.points[74] == (75.0, 0.0)
    assert curve.points[-1] == (100.0, 25.0)


def test_without_scored_or_recognised_tokens_there_is_no_section(tmp_path: Path) -> None:
    assert calibration_sections([_run(tmp_path)]) == []
    run = _run(tmp_path)
    empty = score_confidences(confidences=[], correct=[])
    found = SplitCalibration({"word": empty}, {}, np.zeros((0, 11)))
    write_calibration(run.score_dir / "test.calibration.json", found)
    assert calibration_sections([run]) == []


def test_curves_are_against_epochs_and_the_time_of_both_phases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = [
        {
            "epoch": k,
            "train": {"time": 90.0, "loss": 18.0 / 2**k},
            "valid": {"time": 30.0, "acc": 0.05 * 2**k},
        }
        for k in (1, 2, 3)
    ]
    drawn = {}

    def keep(curves: list[Curve], title: str, x_label: str) -> str:
        drawn[title.split()[0], x_label] = list(curves[0].points)
        return ""

    monkeypatch.setattr("squall.asr.report.figures.curve_figure", keep)
    training_figures([_run(tmp_path, history=history)])
    assert drawn["token", "epoch"] == [(1, 0.1), (2, 0.2), (3, 0.4)]
    assert drawn["token", "minutes of training"] == [(2, 0.1), (4, 0.2), (6, 0.4)]
    assert drawn["training", "epoch"] == [(1, 9.0), (2, 4.5), (3, 2.25)]
    assert drawn["norm", "epoch"] == []


@pytest.mark.slow
def test_the_trained_recogniser_has_every_curve(trained: Experiment[Any]) -> None:
    history = json.loads((trained.directory / "train" / "history.json").read_text())
    norms = [epoch["valid"]["output_norm"] for epoch in history]
    assert len(norms) == 2
    assert all(norm > 0 for norm in norms)
    assert norms[0] != norms[1]
    run = read_run(trained, history)
    assert sum(map(bool, training_figures([run]))) == 6
    (section,) = calibration_sections([run])
    assert "token-clipped" in section.body


def test_the_norm_is_that_of_the_checkpoint(trained: Experiment[Any]) -> None:
    import torch

    history = json.loads((trained.directory / "train" / "history.json").read_text())
    weights = torch.load(trained.directory / "train" / "checkpoint.pth", weights_only=False)
    layer = weights["model"]["decoder.output_layer.weight"]
    assert history[-1]["valid"]["output_norm"] == pytest.approx(float(layer.norm()))
