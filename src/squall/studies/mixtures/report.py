"""What the report of the study of mixtures shows: verdicts, and descent's path to each loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from squall.engine.experiment import Experiment
from squall.engine.scored import read_run
from squall.report.figures import SERIES, figure_svg
from squall.report.page import figure_html
from squall.report.records import Record
from squall.report.report import Report, Run, Section
from squall.report.tables import Layout, Table, fixed
from squall.studies.mixtures.lemmas import LEMMAS
from squall.studies.mixtures.paths import LOSSES
from squall.studies.simulations import (
    mean_and_error,
    read_condition,
    tables_by_experiment,
    with_error,
)
from squall.studies.verdicts import Claim, summary

__all__ = ["MIXTURES", "collect", "mixtures_tables"]

_Key = tuple[str, str, str]  # system, metric, condition


def collect(experiments: Sequence[Experiment[Any]]) -> Report:
    """Read finished experiments.

    Raises:
        FileNotFoundError: an experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    return Report(tuple(map(read_run, experiments)), MIXTURES, _sections)


def mixtures_tables(records: Sequence[Record]) -> list[Table]:
    """The tables of every experiment."""
    return tables_by_experiment(records, lambda own: _tables(_numbers(own)))


def _numbers(records: Sequence[Record]) -> dict[_Key, dict[int, float]]:
    """Seed to number."""
    found: dict[_Key, dict[int, float]] = {}
    for r in records:
        found.setdefault((r.system, r.metric, r.condition), {})[r.seed] = r.number
    return found


def _tables(numbers: dict[_Key, dict[int, float]]) -> Iterator[Table]:
    topics: dict[str, list[str]] = {}
    for _, metric, condition in numbers:
        if metric == "equation":
            places = topics.setdefault(read_condition(condition)[0], [])
            if condition not in places:
                places.append(condition)
    yield Table(
        "lemmas as printed",
        ["lemma", "checks", "as printed", "correction", "corrected", "verdict"],
        [_lemma_row(numbers, name, topics[name]) for name in LEMMAS if name in topics],
        "Population losses in closed form, minimised numerically (L-BFGS) or sampled; a check is a "
        "mixture, a draw of its centres and a weight. A value agrees to 1e-6 of what is measured; "
        "a bound where it is not exceeded by three standard errors of what is sampled.",
    )
    mixtures = sorted(c for s, metric, c in numbers if (s, metric) == ("ce", "train_steps"))
    yield Table(
        "training time against test accuracy",
        ["mixture", *(f"{loss}: {what}" for loss in LOSSES for what in ("steps", "accuracy %")),
         "known centres %"],
        [_path_row(numbers, mixture) for mixture in mixtures],
        "Steps of gradient descent until the training accuracy stays near its last, and accuracy "
        "on new samples at the end, of linear classifiers without bias; ± is the standard error "
        "over seeds.",
    )  # fmt: skip
    yield Table(
        "losses that are easier to train generalise better",
        ["losses", "pairs", "faster one better %", "verdict"],
        [row for pair in [*combinations(LOSSES, 2), LOSSES]
         if (row := _claim_row(numbers, mixtures, pair))],
        "Over mixtures and seeds, of the pairs of losses that differ in both: in how many the one "
        "that trains in fewer steps has the higher accuracy. Chance is 50 %.",
    )  # fmt: skip


def _lemma_row(
    numbers: dict[_Key, dict[int, float]], name: str, conditions: Sequence[str]
) -> list[str]:
    lemma = LEMMAS[name]
    claims = [
        Claim(
            numbers["printed", "equation", condition][seed],
            numbers["corrected", "equation", condition][seed],
            [measured],
            bound=lemma.bound,
            relative=max(lemma.relative, _relative(numbers, condition, seed, measured)),
        )
        for condition in conditions
        for seed, measured in numbers["measured", "equation", condition].items()
    ]
    verdict, printed, corrected = summary(claims)
    return [name, str(len(claims)), printed, lemma.correction, corrected, verdict]


def _relative(
    numbers: dict[_Key, dict[int, float]], condition: str, seed: int, measured: float
) -> float:
    """Three standard errors of what was sampled, as a share of it."""
    error = numbers["error", "equation", condition][seed]
    return 3 * error / abs(measured) if measured else 0.0


def _path_row(numbers: dict[_Key, dict[int, float]], mixture: str) -> list[str]:
    row = [mixture]
    for loss in LOSSES:
        row += [
            with_error(*mean_and_error(list(numbers[loss, "train_steps", mixture].values())), 0),
            with_error(*mean_and_error(list(numbers[loss, "accuracy", mixture].values()))),
        ]
    known = list(numbers["centres", "accuracy", mixture].values())
    return [*row, with_error(*mean_and_error(known))]


def _claim_row(
    numbers: dict[_Key, dict[int, float]], mixtures: Sequence[str], losses: Sequence[str]
) -> list[str]:
    won = []
    for mixture in mixtures:
        for one, other in combinations(losses, 2):
            for seed, steps in numbers[one, "train_steps", mixture].items():
                faster = numbers[other, "train_steps", mixture][seed] - steps
                better = (
                    numbers[one, "accuracy", mixture][seed]
                    - numbers[other, "accuracy", mixture][seed]
                )
                if faster and better:
                    won.append(100.0 * (faster * better > 0))
    if not won:
        return []
    share, error = mean_and_error(won)
    verdict = "does not hold"
    if share - 3 * error > 50:
        verdict = "holds" if share > 95 else "holds for more than half"
    return [", ".join(losses), str(len(won)), fixed(share, 1), verdict]


MIXTURES = Layout(
    mixtures_tables,
    "K classes around unit centres in d dimensions, `correlation` the product of every two centres "
    "or `random` for centres uniform on the sphere, s the noise's deviation in each direction. "
    "g is (1 - the largest product) / 3. `squall.theory.mixtures` and `.mixture_entropy` derive "
    "the corrected formulas.",
)
"""The layout of the study."""


def _sections(runs: Sequence[Run]) -> list[Section]:
    sections = []
    for run in runs:
        title = f"{run.experiment}: paths of gradient descent"
        svg = _paths_svg(_numbers(run.records))
        sections.append(Section(title, figure_html(svg, label=title)))
    return sections


def _paths_svg(numbers: dict[_Key, dict[int, float]]) -> str:
    """A row per mixture: test error against steps, and against training error."""
    paths: dict[str, dict[str, list[tuple[float, float, float, float]]]] = {}
    for (system, metric, condition), values in numbers.items():
        _, read = read_condition(condition)
        if metric != "accuracy" or "step" not in read:
            continue
        mean, error = mean_and_error(list(values.values()))
        training, _ = mean_and_error(list(numbers[system, "train_accuracy", condition].values()))
        mixture = condition.rpartition(", ")[0]
        point = (float(read["step"]), 100 - training, 100 - mean, 0 if math.isnan(error) else error)
        paths.setdefault(mixture, {}).setdefault(system, []).append(point)
    rows = max(1, len(paths))
    name = "test error in percent along gradient descent, for each loss"
    with figure_svg(width=8.4, height=2.8 * rows, name=name) as (figure, written):
        every = figure.subplots(rows, 2, squeeze=False)
        for axes, (mixture, of_losses) in zip(every, paths.items(), strict=False):
            best = 100 - mean_and_error(list(numbers["centres", "accuracy", mixture].values()))[0]
            for number, (loss, points) in enumerate(of_losses.items()):
                steps, training, test, errors = np.array(sorted(points)).T
                look = {"color": SERIES[number], "linestyle": ("-", "--", "-.")[number]}
                axes[0].errorbar(steps, test, yerr=errors, label=loss, linewidth=1.3, **look)
                axes[1].plot(training, test, marker=".", markersize=3, linewidth=1, **look)
            for one, label in zip(axes, ("steps", "training error %"), strict=True):
                one.axhline(best, color=SERIES[5], linewidth=0.8, linestyle=":")
                one.set_xlabel(label)
                one.grid(alpha=0.3)
                one.spines[["top", "right"]].set_visible(False)
            axes[0].set_xscale("log")
            axes[0].set_title(mixture, fontsize=9)
            axes[0].set_ylabel("test error %")
            axes[0].legend(frameon=False, fontsize=8)
        figure.tight_layout()
    return written[0]
