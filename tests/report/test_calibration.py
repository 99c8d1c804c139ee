"""Diagrams of calibration: whose runs they put together, and at which levels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from squall.report.calibration import CALIBRATION, calibration_sections
from squall.report.figures import Curve
from squall.report.levels import write_levels
from squall.report.report import Run
from squall.scoring import score_confidences
from squall.scoring.levels import LevelDetails

LEVELS = {"token": "true tokens", "word": "recognised words"}


def _name(run: Run) -> str:
    return run.group


def _run(folder: Path, system: str = "ce", seed: int = 1) -> Run:
    score_dir = folder / f"{system}-{seed}"
    score_dir.mkdir(exist_ok=True)
    return Run(score_dir, "small", score_dir, system, seed, (), (), {})


def _scored(folder: Path, system: str, seed: int, right: float) -> Run:
    """A run whose 100 tokens all have the confidence 0.75, a share of which is right."""
    run = _run(folder, system, seed)
    correct = np.arange(100) < 100 * right
    level = score_confidences(confidences=np.full(100, 0.75), correct=correct)
    write_levels(run.score_dir / CALIBRATION, {"token": level}, {}, {})
    return run


@pytest.mark.slow
def test_the_seeds_of_a_system_are_one_diagram(tmp_path: Path) -> None:
    runs = [_scored(tmp_path, "ce", 1, 0.25), _scored(tmp_path, "ce", 2, 0.75)]
    runs.append(_scored(tmp_path, "square", 1, 0.75))
    (section,) = calibration_sections(runs, LEVELS, _name)
    assert section.title == "Calibration"
    assert section.body.count("<svg") == 1
    assert "small ce ECE 25.00 %, small square ECE 0.00 %" in section.body
    assert "true tokens" in section.body


def test_each_level_has_a_figure(tmp_path: Path) -> None:
    run = _run(tmp_path)
    level = score_confidences(confidences=[0.5, 0.9], correct=[True, False])
    write_levels(run.score_dir / CALIBRATION, {"token": level, "word": level}, {}, {})
    (section,) = calibration_sections([run], LEVELS, _name)
    assert re.findall("<h3>(.*?)</h3>", section.body) == ["token", "word"]
    assert section.body.count("<svg") == 2


def test_risk_and_coverage_stand_beside_the_reliability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [_scored(tmp_path, "ce", 1, 0.25), _scored(tmp_path, "square", 1, 0.75)]
    correct = np.arange(100) < 75
    level = score_confidences(confidences=np.full(100, 0.75), correct=correct)
    details = LevelDetails.of(np.linspace(1, 0.5, 100), correct, {})
    write_levels(runs[1].score_dir / CALIBRATION, {"token": level}, {"token": details}, {})
    drawn: dict[str, list[Curve]] = {}

    def keep(curves: list[Curve], title: str, x_label: str) -> str:
        drawn[title] = curves
        return "<svg>risks</svg>"

    monkeypatch.setattr("squall.report.calibration.curve_figure", keep)
    (section,) = calibration_sections(runs, LEVELS, _name)
    assert "risks" in section.body
    (curve,) = drawn["errors among the most confident, token, %"]
    assert curve.label == runs[1].label
    assert curve.points[74] == (75.0, 0.0)
    assert curve.points[-1] == (100.0, 25.0)


def test_without_scored_or_recognised_tokens_there_is_no_section(tmp_path: Path) -> None:
    assert calibration_sections([_run(tmp_path)], LEVELS, _name) == []
    run = _run(tmp_path)
    empty = score_confidences(confidences=[], correct=[])
    write_levels(run.score_dir / CALIBRATION, {"word": empty}, {}, {})
    assert calibration_sections([run], LEVELS, _name) == []
