"""Figures of calibration: reliability diagrams, histograms, risk against coverage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from squall.report.figures import Curve
from squall.report.levels import read_bins, read_risks
from squall.report.page import Section, figure_html
from squall.report.reliability import RELIABILITY_NOTE, reliability_svg
from squall.report.report import Run, curve_figure
from squall.scoring.reliability import ReliabilityBins

__all__ = ["CALIBRATION", "calibration_sections"]

CALIBRATION = "test.calibration.json"
"""Where the score stage keeps the levels of the test set, see `squall.report.levels`."""


def calibration_sections(
    runs: Sequence[Run], levels: Mapping[str, str], name_of: Callable[[Run], str]
) -> list[Section]:
    """Reliability diagrams and confidence histograms of the test set.

    A diagram for each system and level; the runs of one name, its seeds and folds, are put
    together. Beside it the curves of risk and coverage, one for each run.

    Args:
        runs: scored experiments. Those without a scored test set have no diagram.
        levels: those to show, in this order, and what each means.
        name_of: the name of a run.
    """
    systems: dict[str, dict[str, ReliabilityBins]] = {}
    risks: dict[str, list[Curve]] = {}
    for run in runs:
        path = run.score_dir / CALIBRATION
        if not path.is_file():
            continue
        pooled = systems.setdefault(name_of(run), {})
        for level, bins in read_bins(path).items():
            pooled[level] = pooled[level] + bins if level in pooled else bins
        for level, values in read_risks(path).items():
            points = [(100 * k / len(values), 100 * y) for k, y in enumerate(values, start=1)]
            risks.setdefault(level, []).append(Curve(run.label, points, group=run.group))
    figures = []
    for level, meaning in levels.items():
        shown = {name: found[level] for name, found in systems.items() if level in found}
        shown = {name: bins for name, bins in shown.items() if bins.samples}
        if shown:
            figures.append(
                f"<h3>{level}</h3><p>{meaning}</p>"
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
