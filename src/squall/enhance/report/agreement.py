"""Whether less mask error means more intelligible speech, as the source of the method claims."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from squall.enhance.estimators.registry import entry_of_system
from squall.enhance.report.comparison import Values, are_rivals, read_mixture_scores
from squall.report.page import table_html
from squall.report.report import Run, Section

__all__ = ["agreement_section"]

_FEWEST = 3

_Pairs = dict[tuple[str, str], tuple[float, float]]
"""Mask error and STOI of each mixture, by condition and utterance."""


def agreement_section(runs: Sequence[Run]) -> Section:
    """Correlations of mask error with STOI: of one system over mixtures, and of two on the same.

    Over the mixtures of a condition they tell whether a mixture whose mask is worse is less
    intelligible, which the voice and the words decide too; the mean over conditions is shown.
    Between two systems on the same mixture all that is the same, and what is left is the mask.

    Args:
        runs: what the report read of each experiment; each is compared with the baselines of its
            own. Those whose scores by mixture were not kept are left out.
    """
    pairs = {
        number: found
        for number, run in enumerate(runs)
        if (run.score_dir / "mixtures.csv").is_file() and (found := _pairs(run))
    }
    rows = [
        [runs[number].label, str(len(own)), _written(_within_conditions(own))]
        for number, own in pairs.items()
    ]
    for number, own in pairs.items():
        for other, theirs in pairs.items():
            if _is_baseline_of(runs[other], runs[number]):
                differences = [
                    (own[place][0] - theirs[place][0], own[place][1] - theirs[place][1])
                    for place in own.keys() & theirs.keys()
                ]
                label = f"{runs[number].label} less {runs[other].label}"
                rows.append([label, str(len(differences)), _written(_correlation(differences))])
    head = ["", "mixtures", "correlation of mask error and STOI"]
    title = "Does less mask error mean more STOI?"
    return Section(title, table_html(head, rows) if rows else "")


def _pairs(run: Run) -> _Pairs:
    values = read_mixture_scores(run).values
    errors: Values = values["mse"]
    stoi: Values = values["stoi"]
    both = errors.keys() & stoi.keys()
    return {
        place: (errors[place], stoi[place])
        for place in sorted(both)
        if math.isfinite(errors[place]) and math.isfinite(stoi[place])
    }


def _within_conditions(pairs: _Pairs) -> float:
    """The mean over conditions of the correlation over the mixtures of each."""
    conditions = sorted({condition for condition, _ in pairs})
    found = [
        _correlation([pair for (condition, _), pair in pairs.items() if condition == one])
        for one in conditions
    ]
    defined = [value for value in found if math.isfinite(value)]
    return float(np.mean(defined)) if defined else math.nan


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Pearson's; NaN of fewer than three pairs, or where one side does not vary."""
    values = np.array(pairs)
    if len(values) < _FEWEST or not np.ptp(values, axis=0).all():
        return math.nan
    return float(np.corrcoef(values.T)[0, 1])


def _written(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _is_baseline_of(one: Run, other: Run) -> bool:
    first, second = one.records[0], other.records[0]
    alone = entry_of_system(first.system).baseline and not entry_of_system(second.system).baseline
    return alone and are_rivals(first, second)
