"""Tables of the tabular study: which loss is better on how many sets, and if that is chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from squall.report.records import Record
from squall.report.tables import UNDEFINED, Table, fixed
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
from squall.studies.tabular.source import (
    Agreement,
    Count,
    agreements,
    claims_of_source,
    correlation,
    on_shared_sets,
    read_source,
)

__all__ = ["NOTES", "tabular_tables"]

_TITLES = tuple(declared(metric).title for metric in METRICS)

NOTES = (
    "Accuracy and expected calibration error in percent, of the softmax of the logits for every "
    "loss, on the test parts of the collection's four folds where an experiment's name says "
    "nothing else; a value of a set is the mean over folds and seeds, and ± the standard "
    "deviation over seeds of the mean over folds. The losses of a set have the same folds, "
    "initial weights and order of samples. Means, counts and tests are over sets, all with the "
    "same weight. A loss with which a network diverged on a set is the worst one there in "
    "counts, ranks and tests; means leave the set out, for every loss. A network is untrained if "
    "it diverged, or ended with a training loss of at least 95 % of that of the best answer that "
    "is the same for every sample. The folds are not those of a cross-validation: they are four "
    "independent draws that overlap. Of the rows of a set 40 to 75 % are ever tested, some of "
    "them several times, and in 49 of 118 sets test rows have copies in training (all of those "
    "of titanic). So ± is over initial weights alone and says nothing on other rows; intervals "
    "and tests take the sets as drawn and their folds as given, and where rows are repeated a "
    "set measures what was learnt by heart. `test=disjoint` has folds of a cross-validation "
    "without copies. The source is Hui 2023 (thesis), section 4.3.3 and tables C.2 to C.4."
)


def tabular_tables(records: Sequence[Record], source: StudyScores | None = None) -> list[Table]:
    """The tables: claims, losses, pairs and sets of the largest experiment, then the choices.

    Args:
        records: the numbers.
        source: what the source has; None reads the recipe's table of it.
    """
    every = study_scores(records)
    if not every:
        return []
    source = read_source() if source is None else source
    widest = every[0]
    pairs = [pair for metric in METRICS for pair in compare_losses(widest, metric)]
    tables = [
        _claims(widest, source, pairs),
        _losses(widest),
        _pairs(pairs),
        _beside_source(widest, source),
        _choices(every),
        _choices_beside_source(every, source),
        _untrained(widest),
        _sets(widest, source),
    ]
    return [table for table in tables if table.rows]


def _claims(scores: StudyScores, source: StudyScores, pairs: Sequence[Comparison]) -> Table:
    shared = len(on_shared_sets(scores, source)[0].sets)
    here = shared or len(scores.sets)
    rows = [
        [
            claim.text,
            _counted(claim.source, len(source.sets)),
            _counted(claim.source_shared, shared) if claim.source_shared else "",
            _counted(claim.here, here),
            f"{claim.here_exact.ahead} + {claim.here_exact.tied}",
        ]
        for claim in claims_of_source(scores, source)
    ]
    notes = [
        "Sets on which squentropy is ahead + sets on which it ties, which the source counts as "
        "wins, of means at one decimal as the source has them."
    ]
    tests = "; ".join(
        f"{c.loss} against {c.other}, {declared(c.metric).title}: {c.verdict}"
        for c in pairs
        if c.loss == "squentropy"
    )
    if tests:
        notes.append(
            f"Over all {len(scores.sets)} sets here, not rounded, by Wilcoxon's test at the 5 % "
            f"level: {tests}."
        )
    head = [
        "number of sets",
        f"source, of {len(source.sets)}",
        f"source, of the {shared} that are here",
        f"here, of {here}",
        "here, not rounded",
    ]
    return Table("The source's claims", head, rows, " ".join(notes))


def _counted(count: Count, sets: int) -> str:
    share = 100 * count.with_ties / sets
    return f"{count.ahead} + {count.tied} = {count.with_ties} ({share:.0f} %)"


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
            spreads = sound.deviations(metric)
            cells += [
                _mean(values[:, number]),
                _mean(spreads[:, number]),
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
        "Differences in points; p values corrected for the pairs of a metric (Holm). The intervals "
        "are over sets, each with its overlapping folds as they are.",
    )


def _beside_source(scores: StudyScores, source: StudyScores) -> Table:
    """The losses, and the differences between them, here and in the source."""
    found = [agreements(scores, source, metric) for metric in METRICS]
    rows = [
        [of_metric[0].what, *(cell for one in of_metric for cell in _agreement(one))]
        for of_metric in zip(*found, strict=True)
    ]
    head = ["loss"]
    for name in _TITLES:
        head += [
            f"{name} %, here",
            f"{name} %, source",
            f"{name}: here - source",
            f"{name}: 95 %, other sets",
            f"{name}: correlation",
        ]
    sets = len(on_shared_sets(scores.sound, source)[0].sets)
    return Table(
        f"Beside the source's values, on {sets} sets",
        head,
        rows,
        "Means over the sets that both have and on which no network diverged here. The "
        "correlation is Pearson's over sets; that of a difference between two losses tells "
        "whether it lies on the same sets here and there.",
    )


def _agreement(found: Agreement) -> list[str]:
    return [
        fixed(found.here, 2),
        fixed(found.source, 2),
        f"{found.difference:+.2f}",
        "" if np.isnan(found.low) else f"{found.low:+.2f} to {found.high:+.2f}",
        _r(found.correlation),
    ]


def _choices_beside_source(every: Sequence[StudyScores], source: StudyScores) -> Table:
    """One row per experiment; nothing where there is one only."""
    losses = [loss for loss in source.losses if loss in every[0].losses]
    head = ["experiment", "sets"]
    for name in _TITLES:
        head += [f"{name} {loss}: here - source" for loss in losses]
        head += [f"{name}: correlation"]
    rows = []
    for scores in every:
        here, same = on_shared_sets(scores.sound, source)
        if not here.sets:
            continue
        cells = [scores.experiment, str(len(here.sets))]
        for metric in METRICS:
            own, its = (dict(zip(x.losses, x.means(metric).T, strict=True)) for x in (here, same))
            cells += [f"{(own[x] - its[x]).mean():+.2f}" if x in own else "" for x in losses]
            both = [np.mean([one[x] for x in losses if x in own], axis=0) for one in (own, its)]
            cells += [_r(correlation(*both))]
        rows.append(cells)
    return Table(
        "Other choices beside the source's values",
        head,
        rows if len(every) > 1 else [],
        "Means over the sets that both have and on which no network diverged here; the "
        "correlation is that of the means over losses, over sets.",
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
            cells += [_mean(means[loss]) if loss in means else "" for loss in losses]
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
    if any("epoch=best_test" in one.experiment or "test=fifths" in one.experiment for one in every):
        note += (
            " `epoch=best_test` and `test=fifths` are what not to do, measured to see whether they "
            "explain the source's accuracies."
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


def _sets(scores: StudyScores, source: StudyScores) -> Table:
    """Every set; beside each value that of the source, where it has any of the sets."""
    its = dict(zip(source.sets, range(len(source.sets)), strict=True))
    beside = any(name in its for name in scores.sets)
    head = ["set", "tested"]
    for name in _TITLES:
        for loss in scores.losses:
            head += [f"{name} {loss}"]
            head += [f"{name} {loss}, source"] if beside and loss in source.losses else []
    rows = []
    cells = {m: (scores.means(m), scores.deviations(m), source.means(m)) for m in METRICS}
    for row, name in enumerate(scores.sets):
        line = [name, str(scores.rows[row])]
        for metric, (means, deviations, sources) in cells.items():
            better = gains(means[row], metric)
            best = better >= np.nanmax(better) - EQUAL if np.isfinite(better).any() else better > 0
            for column, loss in enumerate(scores.losses):
                mean, sd = means[row, column], deviations[row, column]
                star = " *" if best[column] else ""
                line += [UNDEFINED if np.isnan(mean) else f"{mean:.2f} ± {sd:.2f}{star}"]
                if beside and loss in source.losses:
                    value = sources[its[name], source.losses.index(loss)] if name in its else None
                    line += ["" if value is None else f"{value:.1f}"]
        rows.append(line)
    notes = [
        "Percent; * marks the best of a set here; `tested` counts the rows of all test parts, one "
        "that is in several as often."
    ]
    if beside:
        further = len(set(source.sets) - set(scores.sets))
        notes.append(
            "The source's values are those of its tables C.2 to C.4"
            + (f", which have {further} more sets." if further else ".")
        )
    return Table(f"Every set of {scores.experiment}", head, rows, " ".join(notes))


def _mean(values: NDArray[np.float64]) -> str:
    """Of the sets; there may be none without a diverged network."""
    return f"{values.mean():.2f}" if len(values) else UNDEFINED


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _r(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"
