"""Tables of the tabular study: which loss is better on how many sets, and if that is chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from squall.report.records import Record
from squall.report.tables import UNDEFINED, Table
from squall.scoring.metrics import declared
from squall.scoring.ranks import nemenyi_critical_difference
from squall.studies.tabular.scores import (
    EQUAL,
    METRICS,
    Comparison,
    StudyScores,
    compare_losses,
    gains,
    leads,
    rank_losses,
    study_scores,
)
from squall.studies.tabular.source import SOURCE_SETS, claims_of_source

__all__ = ["NOTES", "tabular_tables"]

_TITLES = tuple(declared(metric).title for metric in METRICS)

NOTES = (
    "Accuracy and expected calibration error in percent, of the softmax of the logits for every "
    "loss, on the test parts of the collection's four folds; a value of a set is the mean over "
    "folds and seeds, and ± the standard deviation over seeds of the mean over folds. The losses "
    "of a set have the same folds, initial weights and order of samples. Means, counts and tests "
    "are over sets, all with the same weight. A loss with which a network diverged on a set is "
    "the worst one there in counts, ranks and tests; means leave the set out, for every loss. A "
    "network is untrained if it diverged, or ended with a training loss of at least 95 % of that "
    "of the best answer that is the same for every sample. The source is Hui 2023 (thesis), "
    "section 4.3.3."
)


def tabular_tables(records: Sequence[Record]) -> list[Table]:
    """The tables: claims, losses, pairs and sets of the largest experiment, then the choices."""
    every = study_scores(records)
    if not every:
        return []
    widest = every[0]
    pairs = [pair for metric in METRICS for pair in compare_losses(widest, metric)]
    tables = [
        _claims(widest, pairs),
        _losses(widest),
        _pairs(pairs),
        _choices(every),
        _untrained(widest),
        _sets(widest),
    ]
    return [table for table in tables if table.rows]


def _claims(scores: StudyScores, pairs: Sequence[Comparison]) -> Table:
    rows = [
        [
            claim.text,
            f"{claim.source} ({100 * claim.source / SOURCE_SETS:.0f} %)",
            f"{claim.here} ({100 * claim.here / claim.sets:.0f} %)",
            str(claim.ties),
        ]
        for claim in claims_of_source(scores)
    ]
    note = "; ".join(
        f"{c.loss} against {c.other}, {declared(c.metric).title}: {c.verdict}"
        for c in pairs
        if c.loss == "squentropy"
    )
    note = f"Over these sets, by Wilcoxon's test at the 5 % level: {note}." if note else ""
    head = [
        "number of sets",
        f"source, of {SOURCE_SETS}",
        f"here, of {len(scores.sets)}",
        "tied here",
    ]
    return Table("The source's claims", head, rows, note)


def _losses(scores: StudyScores) -> Table:
    sound = scores.sound
    rows = []
    ranks = {metric: rank_losses(scores, metric) for metric in METRICS}
    for number, loss in enumerate(sound.losses):
        cells = [loss]
        for metric, found in ranks.items():
            values = sound.means(metric)
            others = [one for one in sound.losses if one != loss]
            lead = leads(scores, metric, loss, others) if others else np.ones(len(scores.sets))
            spread = sound.deviations(metric)[:, number].mean() if sound.sets else np.nan
            cells += [
                f"{values[:, number].mean():.2f}",
                f"{spread:.2f}",
                str(int((lead > 0).sum())),
                f"{found.average_ranks[number]:.2f}" if found else "",
            ]
        cells.append(str(int(np.isnan(scores.means("accuracy")[:, number]).sum())))
        cells.append(f"{scores.untrained[:, number].sum()} of {scores.networks.sum()}")
        rows.append(cells)
    head = ["loss"]
    for name in _TITLES:
        head += [f"{name} %", f"{name}: sd over seeds", f"{name}: best alone on", f"{name}: rank"]
    head += ["sets with a diverged network", "untrained networks"]
    notes = []
    for metric, found in ranks.items():
        if found and len(scores.losses) <= 10:
            distance = nemenyi_critical_difference(
                systems=len(scores.losses), data_sets=len(scores.sets)
            )
            notes.append(
                f"{declared(metric).title}: Friedman's test (Iman and Davenport's F) "
                f"{_p(found.f_p_value)}; ranks differ beyond chance from {distance:.2f} on "
                "(Nemenyi, 5 %)"
            )
    title = f"Means over {len(sound.sets)} sets, counts and ranks over {len(scores.sets)}"
    return Table(title, head, rows, "; ".join(notes) + "." if notes else "")


def _pairs(pairs: Sequence[Comparison]) -> Table:
    head = [
        "loss",
        "against",
        "metric",
        "better on",
        "equal on",
        "worse on",
        "mean difference",
        "95 %: other sets",
        "Wilcoxon p",
        "p, corrected",
    ]
    rows = [
        [
            c.loss,
            c.other,
            declared(c.metric).title,
            str(c.better),
            str(c.equal),
            str(c.worse),
            f"{c.difference:+.2f}",
            f"{c.low:+.2f} to {c.high:+.2f}",
            _p(c.p_value).removeprefix("p = "),
            _p(c.p_corrected).removeprefix("p = "),
        ]
        for c in pairs
    ]
    return Table(
        "Pairs of losses",
        head,
        rows,
        "Differences in points; p values corrected for the pairs of a metric (Holm).",
    )


def _choices(every: Sequence[StudyScores]) -> Table:
    """One row per experiment; nothing where there is one only."""
    if len(every) < 2:
        return Table("", [], [])
    losses = every[0].losses
    head = ["experiment", "sets", "without a diverged network"]
    for name in _TITLES:
        head += [f"{name} {loss}" for loss in losses]
        head += [f"{name}: squentropy against ce", "p"]
    head += [f"untrained {loss}" for loss in losses]
    rows = []
    for scores in every:
        cells = [scores.experiment, str(len(scores.sets)), str(len(scores.sound.sets))]
        for metric in METRICS:
            means = dict(zip(scores.losses, scores.sound.means(metric).T, strict=True))
            cells += [f"{means[loss].mean():.2f}" if loss in means else "" for loss in losses]
            pair = next(
                (
                    c
                    for c in compare_losses(scores, metric)
                    if (c.loss, c.other) == ("squentropy", "ce")
                ),
                None,
            )
            cells += (
                [f"{pair.better} / {pair.equal} / {pair.worse}", _p(pair.p_value)]
                if pair
                else ["", ""]
            )
        untrained = dict(zip(scores.losses, scores.untrained.sum(axis=0), strict=True))
        cells += [str(untrained.get(loss, "")) for loss in losses]
        rows.append(cells)
    note = (
        "What the source leaves open, chosen otherwise; `squentropy against ce` counts sets on "
        "which it is better / equal / worse, and p is Wilcoxon's, not corrected."
    )
    return Table("Other choices", head, rows, note)


def _untrained(scores: StudyScores) -> Table:
    """The sets on which networks have learnt nothing."""
    return Table(
        "Sets with untrained networks",
        ["set", "networks of each loss", *scores.losses],
        [
            [name, str(networks), *map(str, untrained)]
            for name, networks, untrained in zip(
                scores.sets, scores.networks, scores.untrained, strict=True
            )
            if untrained.any()
        ],
        "How many of a loss's networks are untrained; their answers are in the means of a set.",
    )


def _sets(scores: StudyScores) -> Table:
    head = ["set", "tested"]
    for name in _TITLES:
        head += [f"{name} {loss}" for loss in scores.losses]
    rows = []
    cells = {m: (scores.means(m), scores.deviations(m)) for m in METRICS}
    for row, name in enumerate(scores.sets):
        line = [name, str(scores.rows[row])]
        for metric, (means, deviations) in cells.items():
            better = gains(means[row], metric)
            best = better >= np.nanmax(better) - EQUAL if np.isfinite(better).any() else better > 0
            line += [
                UNDEFINED if np.isnan(mean) else f"{mean:.2f} ± {sd:.2f}{' *' if top else ''}"
                for mean, sd, top in zip(means[row], deviations[row], best, strict=True)
            ]
        rows.append(line)
    return Table(
        f"Every set of {scores.experiment}",
        head,
        rows,
        "Percent; * marks the best of a set. The source's values of single sets (its tables C.2 to "
        "C.4) are not at hand.",
    )


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
