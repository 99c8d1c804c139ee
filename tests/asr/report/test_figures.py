"""Figures of recognition experiments: what is drawn, of which runs, against what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

from squall.asr.report.figures import training_figures
from squall.asr.report.sections import _calibration
from squall.engine.experiment import Experiment
from squall.engine.scored import read_run
from squall.report.figures import Curve
from squall.report.report import Run


def _run(folder: Path, system: str = "ce", seed: int = 1, *, history: Any = ()) -> Run:
    score_dir = folder / f"{system}-{seed}"
    score_dir.mkdir(exist_ok=True)
    return Run(score_dir, "small", score_dir, system, seed, (), tuple(history), {})


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
    (section,) = _calibration([run])
    assert "token-clipped" in section.body


def test_the_norm_is_that_of_the_checkpoint(trained: Experiment[Any]) -> None:
    import torch

    history = json.loads((trained.directory / "train" / "history.json").read_text())
    weights = torch.load(trained.directory / "train" / "checkpoint.pth", weights_only=False)
    layer = weights["model"]["decoder.output_layer.weight"]
    assert history[-1]["valid"]["output_norm"] == pytest.approx(float(layer.norm()))
