"""What the sources report of these corpora, beside what comes out here."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from squall.report.records import Record
from squall.report.tables import Table, fixed, mean_and_spread
from squall.scoring.metrics import declared

__all__ = ["SOURCE", "Reported", "source_tables"]


class Reported(NamedTuple):
    """Accuracy of the next character and ECE, both in percent."""

    accuracy: float
    ece: float


SOURCE = {
    "text8": {
        "ce": Reported(72.8, 5.8),
        "squentropy": Reported(71.5, 3.9),
        "square": Reported(73.2, 57.6),
    },
    "enwik8": {
        "ce": Reported(77.5, 9.3),
        "squentropy": Reported(77.0, 4.8),
        "square": Reported(76.7, 64.5),
    },
    "enwik8, a subset": {
        "ce": Reported(48.6, 18.9),
        "squentropy": Reported(48.9, 10.7),
        "square": Reported(47.3, 70.6),
    },
}
"""By corpus and loss; Transformer-XL, Hui 2023 (thesis) and Hui, Belkin and Wright 2023.

The sources do not say which part of enwik8 the subset is.
"""

_BASELINE = "ce"
_TEST = "test"


def source_tables(records: Sequence[Record]) -> list[Table]:
    """The sources' values beside ours, and whether the losses differ in the same direction.

    Args:
        records: of the test part; those of pieces are left out, which the sources do not predict.
    """
    own = [r for r in records if r.condition == _TEST and r.metric in Reported._fields]
    experiments = sorted({(r.dataset, r.experiment) for r in own if r.dataset in SOURCE})
    if not experiments:
        return []
    names = [name for _, name in experiments]
    values = [
        _values([r for r in own if (r.dataset, r.experiment) == place]) for place in experiments
    ]
    rows, claims = [], []
    for title, losses in SOURCE.items():
        here = [
            found if title.partition(",")[0] == dataset else {}
            for (dataset, _), found in zip(experiments, values, strict=True)
        ]
        if any(here):
            for loss, reported in losses.items():
                cells = [_cell(found.get(loss)) for found in here]
                rows.append([title, loss, _cell(([reported.accuracy], [reported.ece])), *cells])
            claims += list(_claims(title, here))
    return [
        Table("The sources' accuracy (ECE) %, and ours", ["set", "loss", "sources", *names], rows),
        Table(
            f"Differences to {_BASELINE} in percentage points, and whether ours have the sources' "
            "sign",
            ["set", "loss", "metric", "sources", *names],
            claims,
        ),
    ]


Values = dict[str, tuple[list[float], list[float]]]


def _values(records: Sequence[Record]) -> Values:
    """Accuracies and ECEs of each system, one for each seed."""
    found: Values = {}
    for system in dict.fromkeys(r.system for r in records):
        by_metric = [
            {r.seed: r.number for r in records if (r.system, r.metric) == (system, metric)}
            for metric in Reported._fields
        ]
        found[system] = (list(by_metric[0].values()), list(by_metric[1].values()))
    return found


def _cell(values: tuple[list[float], list[float]] | None) -> str:
    if values is None:
        return ""
    accuracy, ece = (mean_and_spread(one, lambda percent: fixed(percent, 1)) for one in values)
    return f"{accuracy} ({ece})"


def _claims(title: str, here: Sequence[Values]) -> Iterator[list[str]]:
    """A row for each loss and metric."""
    for loss in SOURCE[title]:
        if loss == _BASELINE:
            continue
        for place, metric in enumerate(Reported._fields):
            source = SOURCE[title][loss][place] - SOURCE[title][_BASELINE][place]
            cells = []
            for found in here:
                if loss not in found or _BASELINE not in found:
                    cells.append("")
                    continue
                ours = statistics.fmean(found[loss][place]) - statistics.fmean(
                    found[_BASELINE][place]
                )
                agrees = (ours > 0) == (source > 0)
                cells.append(f"{ours:+.1f}, {'agrees' if agrees else 'differs'}")
            yield [title, loss, declared(metric).title, f"{source:+.1f}", *cells]
