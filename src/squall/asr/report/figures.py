"""Figures of recognition experiments: reliability of confidences, curves along the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

from squall.asr.calibration import LEVELS, read_bins, read_risks
from squall.report.figures import Curve
from squall.report.page import Section, figure_html
from squall.report.reliability import RELIABILITY_NOTE, reliability_svg
from squall.report.report import Run, curve_figure
from squall.scoring.reliability import ReliabilityBins

__all__ = ["calibration_sections", "training_figures"]

_SHOWN_LEVELS = ("token", "token-clipped", "token-scaled", "word", "sequence")
_CURVES = {
    ("valid", "acc"): "token accuracy on dev (teacher-forced)",
    ("valid", "cer_ctc"): "greedy CTC character error rate on dev",
    ("train", "loss"): "training loss (CTC and attention, each loss on its own scale)",
    ("valid", "output_norm"): "norm of the last layer's weights (Frobenius)",
}
_AGAINST_TIME = (("valid", "acc"), ("valid", "cer_ctc"))


def training_figures(runs: Sequence[Run]) -> list[str]:
    """Curves against epochs, and those of the development set against time too.

    Args:
        runs: with the history that ESPnet's trainer wrote.
    """
    figures = []
    for key, title in _CURVES.items():
        figures.append(_curves(runs, key, title, "epoch", _epochs))
        if key in _AGAINST_TIME:
            figures.append(_curves(runs, key, title, "minutes of training", _minutes))
    return figures


def _curves(
    runs: Sequence[Run],
    key: tuple[str, str],
    title: str,
    x_label: str,
    times: Callable[[Run], list[float]],
) -> str:
    phase, name = key
    curves = []
    for run in runs:
        places = zip(times(run), run.history, strict=True)
        points = [(x, epoch[phase][name]) for x, epoch in places if name in epoch.get(phase, {})]
        curves.append(Curve(run.label, points, group=run.group))
    return curve_figure(curves, title, x_label)


def _epochs(run: Run) -> list[float]:
    return [float(epoch["epoch"]) for epoch in run.history]


def _minutes(run: Run) -> list[float]:
    """Minutes at the end of each epoch, the development set included."""
    seconds = (
        math.fsum(epoch[phase].get("time", 0.0) for phase in ("train", "valid") if phase in epoch)
        for epoch in run.history
    )
    return [total / 60 for total in accumulate(seconds)]


def calibration_sections(runs: Sequence[Run]) -> list[Section]:
    """Reliability diagrams and confidence histograms of the test set.

    A diagram for each system and level; the seeds and folds of a system are put together. Beside it
    the curves of risk and coverage, one for each run.

    Args:
        runs: scored experiments. Those without a scored test set have no diagram.
    """
    systems: dict[str, dict[str, ReliabilityBins]] = {}
    risks: dict[str, list[Curve]] = {}
    for run in runs:
        path = run.score_dir / "test.calibration.json"
        if not path.is_file():
            continue
        name = f"{run.experiment.partition(' fold ')[0]} {run.system}"
        pooled = systems.setdefault(name, {})
        for level, bins in read_bins(path).items():
            pooled[level] = pooled[level] + bins if level in pooled else bins
        for level, values in read_risks(path).items():
            points = [(100 * k / len(values), 100 * y) for k, y in enumerate(values, start=1)]
            risks.setdefault(level, []).append(Curve(run.label, points, group=run.group))
    figures = []
    for level in _SHOWN_LEVELS:
        shown = {name: levels[level] for name, levels in systems.items() if level in levels}
        shown = {name: bins for name, bins in shown.items() if bins.samples}
        if shown:
            figures.append(
                f"<h3>{level}</h3><p>{LEVELS[level]}</p>"
                + figure_html(reliability_svg(shown, level), label=f"calibration, {level}")
                + curve_figure(
                    risks.get(level, []),
                    f"errors among the most confident, {level}, %",
                    "coverage: share that is kept, %",
                )
            )
    if not figures:
        return []
    explained = (
        f"<p>{RELIABILITY_NOTE} The curves tell what confidence is worth when only the most "
        "certain is kept: the lower, the better it sorts right from wrong; at 100 % stands the "
        "error rate.</p>"
    )
    return [Section("Calibration", explained + "".join(figures))]
