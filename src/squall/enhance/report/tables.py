"""Tables of enhancement experiments: one metric each, a row per noise and SNR."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

from squall.enhance.estimators.registry import entry_of_system, order_of_systems
from squall.enhance.report.peers import peer_pages
from squall.report.comparison import is_comparison
from squall.report.differences import comparison_tables
from squall.report.records import Record
from squall.report.tables import UNDEFINED, Layout, Table, fixed, mean_and_spread
from squall.scoring.metrics import declared
from squall.scoring.speech_scores import SPEECH_SCORES

__all__ = ["ENHANCEMENT", "MATCH_SECONDS", "enhancement_tables"]

MATCH_SECONDS = "match_seconds:"
"""Metric, with another system behind it: seconds to reach that system's best validation error."""

_METRICS = {
    "mse": "Mask error: mean square error x 100 on the test mixtures",
    "accuracy": "Binary mask: units that are right, %",
    "hit_fa": "Binary mask: {title}, {unit}",
    "stoi": "{title}",
    "pesq_nb": "PESQ, narrow band (P.862, {unit})",
    "pesq_wb": "PESQ, wide band (P.862.2, {unit})",
    "si_sdr": "{title} in {unit}",
    "estoi": "Extended STOI",
    "sdr": "{title} of BSS-eval in {unit}",
    "seg_snr": "Segmental SNR in {unit}",
    "lsd": "Log-spectral distance in {unit}: lower is better",
    "csig": "{title}, composite of speech distortion ({unit}, 1 to 5)",
    "cbak": "{title}, composite of background ({unit}, 1 to 5)",
    "covl": "{title}, composite overall ({unit}, 1 to 5)",
    "dnsmos_ovrl": "{title}, overall by P.835 ({unit}, 1 to 5)",
    "dnsmos_sig": "{title}, speech by P.835 ({unit}, 1 to 5)",
    "dnsmos_bak": "{title}, background by P.835 ({unit}, 1 to 5)",
    "dnsmos_p808": "{title}, overall by P.808 ({unit}, 1 to 5)",
    "dev_mse": "Best validation error x 100",
    "train_seconds": "Training time in seconds, search of bandwidths included",
    "epochs": "Epochs: passes over the training frames, or over 200,000 of them",
}
_TIMES_100 = ("mse", "dev_mse")
_ONE_DECIMAL = ("accuracy",)  # of the units of a mask, which has many
_COMPARED = ("mse", "stoi", "pesq_nb", "pesq_wb")

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
    tables += [_metric_table(records, metric, title) for metric, title in _METRICS.items()]
    tables.append(_match_table(records))
    return [table for table in tables if table.rows]


def _metric_table(records: Sequence[Record], metric: str, title: str) -> Table:
    write, shown = _writer(metric), declared(metric)
    cells = _cells(records, metric)
    systems = order_of_systems(system for _, system in cells)
    conditions = sorted({condition for condition, _ in cells}, key=_condition_key)
    rows = [
        [condition, *(mean_and_spread(cells.get((condition, s), []), write) for s in systems)]
        for condition in conditions
    ]
    if len(conditions) > 1:
        means = [
            [v for c in conditions for v in cells.get((c, s), []) if not math.isnan(v)]
            for s in systems
        ]
        rows.append(["mean", *(write(statistics.fmean(m)) if m else "" for m in means)])
    named = title.format(title=shown.title, unit=shown.unit)
    return Table(named, ["condition", *systems], rows, _why_undefined(records, metric, systems))


def _why_undefined(records: Sequence[Record], metric: str, systems: Sequence[str]) -> str:
    """The reasons of a metric's missing values, each once for a system."""
    reasons = [
        f"`{system}`: {reason}."
        for system in systems
        for reason in dict.fromkeys(
            r.reason for r in records if (r.system, r.metric) == (system, metric) and r.reason
        )
    ]
    return f"Undefined: {' '.join(reasons)}" if reasons else ""


def _writer(metric: str) -> Callable[[float], str]:
    """How a value of a metric is written."""
    digits = 1 if metric in _ONE_DECIMAL else declared(metric).digits
    if metric in _TIMES_100:
        return lambda value: fixed(value, digits - 2, 100.0)
    return lambda value: fixed(value, digits)


def _match_table(records: Sequence[Record]) -> Table:
    found = [r for r in records if r.metric.startswith(MATCH_SECONDS)]
    head = sorted({(r.system, r.metric.removeprefix(MATCH_SECONDS)) for r in found})
    conditions = sorted({r.condition for r in found}, key=_condition_key)
    rows = []
    for condition in conditions:
        row = [condition]
        for system, other in head:
            values = [
                r.number
                for r in found
                if (r.condition, r.system, r.metric) == (condition, system, MATCH_SECONDS + other)
            ]
            text = mean_and_spread(values, _writer(MATCH_SECONDS))
            row.append(text.replace(UNDEFINED, "never"))
        rows.append(row)
    titles = [f"{system} to reach {other}" for system, other in head]
    return Table(
        "Seconds until the other's best validation error is reached", ["condition", *titles], rows
    )


def _comparisons(records: Sequence[Record]) -> list[Table]:
    """Each kind of estimator against the baselines, over all conditions and seeds."""
    systems = order_of_systems(r.system for r in records if r.metric == "train_seconds")
    baselines = [s for s in systems if entry_of_system(s).baseline]
    head = ["", *map(_better, _COMPARED), "time / time, median (range)"]
    rows: dict[str, list[list[str]]] = {}
    for system in systems:
        if system in baselines:
            continue
        for baseline in baselines:
            kinds = [entry_of_system(one).plural for one in (system, baseline)]
            row = [f"{system} against {baseline}"]
            row += [_wins(records, metric, system, baseline) for metric in _COMPARED]
            row.append(_ratio(records, "train_seconds", system, baseline))
            rows.setdefault(" against ".join(kinds), []).append(row)
    return [
        Table(f"{title[:1].upper()}{title[1:]}: in how many conditions", head, mine)
        for title, mine in rows.items()
    ]


def _gains(records: Sequence[Record]) -> Table:
    """What estimators do for the mixture, over all conditions and seeds."""
    found = {r.system for r in records}
    systems = order_of_systems(s for s in found if entry_of_system(s).timed)
    computed = {record.metric for record in records}
    quality = [name for name in SPEECH_SCORES if name in computed]
    rows = [
        [system, *(_wins(records, metric, system, "noisy") for metric in quality)]
        for system in systems
        if _pairs(records, "stoi", system, "noisy")
    ]
    head = ["", *map(_better, quality)]
    peers = [f"`{row[0]}`" for row in rows if entry_of_system(row[0]).peer]
    note = f"Off the shelf, trained on other data if at all: {', '.join(peers)}." if peers else ""
    return Table("Enhanced speech against the mixture: in how many conditions", head, rows, note)


def _better(metric: str) -> str:
    return f"{declared(metric).better} {declared(metric).title}"


def _wins(records: Sequence[Record], metric: str, one: str, other: str) -> str:
    sign = -1 if declared(metric).lower_is_better else 1
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
    """Values of two systems in the same conditions with the same seeds, where both have one."""
    values = {
        (r.system, r.condition, r.seed): r.value
        for r in records
        if r.metric == metric and r.value is not None
    }
    return [
        (value, values[other, condition, seed])
        for (system, condition, seed), value in values.items()
        if system == one and (other, condition, seed) in values
    ]


def _hit_minus_fa(records: Sequence[Record]) -> list[Record]:
    false_alarms = {_place(r): r for r in records if r.metric == "fa"}
    return [
        r.measured(
            "hit_fa",
            r.number - false_alarms[_place(r)].number,
            otherwise=r.reason or false_alarms[_place(r)].reason,
        )
        for r in records
        if r.metric == "hit" and _place(r) in false_alarms
    ]


def _place(record: Record) -> tuple[str, str, str, int]:
    return record.experiment, record.system, record.condition, record.seed


def _cells(records: Sequence[Record], metric: str) -> Cells:
    cells: Cells = {}
    for record in records:
        if record.metric == metric:
            cells.setdefault((record.condition, record.system), []).append(record.number)
    return cells


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
    peer_pages,
)
"""The layout of enhancement experiments."""
