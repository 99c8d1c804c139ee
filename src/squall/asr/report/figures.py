"""Figures of recognition experiments: curves along the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

from squall.report.figures import Curve
from squall.report.report import Run, curve_figure

__all__ = ["training_figures"]

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
