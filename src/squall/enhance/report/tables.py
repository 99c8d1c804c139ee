"""Tables of enhancement experiments: one metric each, a row per noise and SNR."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import replace

from squall.enhance.estimators.registry import entry_of_system, order_of_systems
from squall.report.comparison import comparison_tables, is_comparison
from squall.report.records import Record
from squall.report.tables import Layout, Table

__all__ = ["ENHANCEMENT", "MATCH_SECONDS", "enhancement_tables"]

MATCH_SECONDS = "match_seconds:"
"""Metric, with another system behind it: seconds to reach that system's best validation error."""

_METRICS = {
    "mse": ("Mask error: mean square error x 100 on the test mixtures", 100.0, 2),
    "accuracy": ("Binary mask: units that are right, %", 1.0, 1),
    "hit_fa": ("Binary mask: HIT - FA, %", 1.0, 1),
    "stoi": ("STOI", 1.0, 3),
    "pesq_nb": ("PESQ, narrow band (P.862, MOS-LQO)", 1.0, 2),
    "pesq_wb": ("PESQ, wide band (P.862.2, MOS-LQO)", 1.0, 2),
    "si_sdr": ("SI-SDR in dB", 1.0, 1),
}
_TRAINING = {
    "dev_mse": ("Best validation error x 100", 100.0, 3),
    "train_seconds": ("Training time in seconds, search of bandwidths included", 1.0, 0),
    "epochs": ("Passes over the training frames", 1.0, 0),
}
_QUALITY = {"stoi": "STOI", "pesq_nb": "PESQ nb", "pesq_wb": "PESQ wb", "si_sdr": "SI-SDR"}
_LOWER_IS_BETTER = ("mse",)

Cells = dict[tuple[str, str], list[float]]


def enhancement_tables(records: Sequence[Record]) -> list[Table]:
    """The tables of the records: kernel machines with networks first, intervals last.

    A value is the mean over the mixtures of a condition; with several seeds it is the mean over
    seeds and its standard deviation. Each experiment has tables of its own: a system of the same
    name is another one there.
    """
    compared = [record for record in records if is_comparison(record)]
    records = [record for record in records if not is_comparison(record)]
    experiments = sorted({(record.dataset, record.experiment) for record in records})
    tables = []
    for dataset, experiment in experiments:
        own = [r for r in records if (r.dataset, r.experiment) == (dataset, experiment)]
        for table in _tables(own):
            named = f"{dataset}, {experiment}: {table.title}"
            tables.append(replace(table, title=named) if len(experiments) > 1 else table)
    return tables + comparison_tables(compared)


def _tables(records: Sequence[Record]) -> list[Table]:
    """The tables of one experiment."""
    records = [*records, *_hit_minus_fa(records)]
    tables = [*_comparisons(records), _gains(records)]
    for metric, (title, factor, digits) in (_METRICS | _TRAINING).items():
        tables.append(_metric_table(records, metric, title, factor, digits))
    tables.append(_match_table(records))
    return [table for table in tables if table.rows]


def _metric_table(
    records: Sequence[Record], metric: str, title: str, factor: float, digits: int
) -> Table:
    cells = _cells(records, metric)
    systems = order_of_systems(system for _, system in cells)
    conditions = sorted({condition for condition, _ in cells}, key=_condition_key)
    rows = [
        [condition, *(_shown(cells.get((condition, s), []), factor, digits) for s in systems)]
        for condition in conditions
    ]
    if len(conditions) > 1:
        means = [
            [v for c in conditions for v in cells.get((c, s), []) if not math.isnan(v)]
            for s in systems
        ]
        rows.append(
            ["mean", *(_shown([statistics.fmean(m)], factor, digits) if m else "" for m in means)]
        )
    return Table(title, ["condition", *systems], rows)


def _match_table(records: Sequence[Record]) -> Table:
    found = [r for r in records if r.metric.startswith(MATCH_SECONDS)]
    head = sorted({(r.system, r.metric.removeprefix(MATCH_SECONDS)) for r in found})
    conditions = sorted({r.condition for r in found}, key=_condition_key)
    rows = []
    for condition in conditions:
        row = [condition]
        for system, other in head:
            values = [
                r.value
                for r in found
                if (r.condition, r.system, r.metric) == (condition, system, MATCH_SECONDS + other)
            ]
            row.append(_shown(values, 1.0, 0).replace("undefined", "never"))
        rows.append(row)
    titles = [f"{system} to reach {other}" for system, other in head]
    return Table(
        "Seconds until the other's best validation error is reached", ["condition", *titles], rows
    )


def _comparisons(records: Sequence[Record]) -> list[Table]:
    """Each kind of estimator against the baselines, over all conditions and seeds."""
    systems = order_of_systems(r.system for r in records if r.metric == "train_seconds")
    baselines = [s for s in systems if entry_of_system(s).baseline]
    head = ["", "lower MSE", "higher STOI", "higher PESQ nb", "higher PESQ wb",
            "time / time, median (range)"]  # fmt: skip
    rows: dict[str, list[list[str]]] = {}
    for system in systems:
        if system in baselines:
            continue
        for baseline in baselines:
            kinds = [entry_of_system(one).plural for one in (system, baseline)]
            row = [f"{system} against {baseline}"]
            for metric in ("mse", "stoi", "pesq_nb", "pesq_wb"):
                row.append(_wins(records, metric, system, baseline))
            row.append(_ratio(records, "train_seconds", system, baseline))
            rows.setdefault(" against ".join(kinds), []).append(row)
    return [
        Table(f"{title[:1].upper()}{title[1:]}: in how many conditions", head, mine)
        for title, mine in rows.items()
    ]


def _gains(records: Sequence[Record]) -> Table:
    """What estimators do for the mixture, over all conditions and seeds."""
    trained = order_of_systems(r.system for r in records if r.metric == "train_seconds")
    rows = [
        [system, *(_wins(records, metric, system, "noisy") for metric in _QUALITY)]
        for system in trained
        if _pairs(records, "stoi", system, "noisy")
    ]
    head = ["", *(f"higher {name}" for name in _QUALITY.values())]
    return Table("Enhanced speech against the mixture: in how many conditions", head, rows)


def _wins(records: Sequence[Record], metric: str, one: str, other: str) -> str:
    sign = -1 if metric in _LOWER_IS_BETTER else 1
    pairs = _pairs(records, metric, one, other)
    return f"{sum(sign * (a - b) > 0 for a, b in pairs)} of {len(pairs)}" if pairs else ""


def _ratio(records: Sequence[Record], metric: str, one: str, other: str) -> str:
    ratios = [a / b for a, b in _pairs(records, metric, one, other) if b > 0]
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _pairs(
    records: Sequence[Record], metric: str, one: str, other: str
) -> list[tuple[float, float]]:
    """Values of two systems in the same conditions with the same seeds."""
    values = {(r.system, r.condition, r.seed): r.value for r in records if r.metric == metric}
    return [
        (value, values[other, condition, seed])
        for (system, condition, seed), value in values.items()
        if system == one and (other, condition, seed) in values
    ]


def _hit_minus_fa(records: Sequence[Record]) -> list[Record]:
    false_alarms = {_place(r): r.value for r in records if r.metric == "fa"}
    return [
        replace(r, metric="hit_fa", value=r.value - false_alarms[_place(r)])
        for r in records
        if r.metric == "hit" and _place(r) in false_alarms
    ]


def _place(record: Record) -> tuple[str, str, str, int]:
    return record.experiment, record.system, record.condition, record.seed


def _cells(records: Sequence[Record], metric: str) -> Cells:
    cells: Cells = {}
    for record in records:
        if record.metric == metric:
            cells.setdefault((record.condition, record.system), []).append(record.value)
    return cells


def _shown(values: Sequence[float], factor: float, digits: int) -> str:
    if not values:
        return ""
    if any(map(math.isnan, values)):
        return "undefined"
    mean = f"{round(factor * statistics.fmean(values), digits) + 0.0:.{digits}f}"  # not -0.0
    if len(values) == 1:
        return mean
    return f"{mean} ± {factor * statistics.stdev(values):.{digits}f}"


def _condition_key(condition: str) -> tuple[str, float]:
    """Noises by name, SNRs by number; `all` comes last."""
    noise, _, snr = condition.partition("/")
    number = re.match(r"-?\d+(\.\d+)?", snr)
    return ("~" if noise == "all" else noise, float(number.group()) if number else 0.0)


ENHANCEMENT = Layout(
    enhancement_tables,
    "A condition is a noise at an SNR, measured over the whole utterance. `noisy` is the mixture "
    "as it is, `oracle` the ideal mask. Scores are means over the test mixtures of a condition, "
    "whose speakers are not in training; the noise is from the half of each recording that "
    "training did not use, and where there is no model of a condition (a noise that training has "
    "not seen) the model of all conditions is used. Time: of the fit on the wall clock, on as many "
    "threads for each system, beside another experiment on the other core where several run at a "
    "time. Per mixture: score/default/mixtures.csv in the experiment folders.",
)
"""The layout of enhancement experiments."""
