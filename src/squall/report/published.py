"""What sources publish, beside what comes out here: values, differences with verdicts, counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from squall.report.comparison import AGAINST, OVER_SEEDS
from squall.report.records import Record
from squall.report.tables import Table, fixed, mean_and_spread
from squall.scoring.metrics import declared
from squall.scoring.significance import SIGNIFICANT

__all__ = ["Published", "published_tables"]

_BASELINE = "ce"
_TEST = "test"
_COMPARED = f"{_TEST}{AGAINST}{_BASELINE}"
_METRICS = ("accuracy", "f1", "ece", "nll_refinement", "nll_calibration")
"""Those whose differences are told; sources have no parts of the likelihood."""


@dataclass(frozen=True)
class Published:
    """What a source publishes of one model on one set.

    Args:
        title: the set and the model, for people.
        datasets: what records call the set, or the parts of it that are at hand.
        values: by system, as tables call it, and metric, in its unit; with `ce`.
        experiments: those with a model of the same kind; None for all.
    """

    title: str
    datasets: tuple[str, ...]
    values: Mapping[str, Mapping[str, float]]
    experiments: tuple[str, ...] | None = None

    def has(self, record: Record) -> bool:
        """Whether a record is of the same set and kind of model."""
        kind = self.experiments is None or record.experiment in self.experiments
        return kind and record.dataset in self.datasets


@dataclass(frozen=True)
class _Claim:
    """The difference of a system to the baseline, in the source and here.

    Args:
        place: title of the source's entry, experiment, dataset.
        system, metric: of what.
        source: the difference in the source; NaN where it has none.
        ours: the difference of means over seeds.
        p_value: of `ours`, corrected for the number of systems; NaN where nothing was tested.
    """

    place: tuple[str, str, str]
    system: str
    metric: str
    source: float
    ours: float
    p_value: float

    @property
    def told_apart(self) -> bool:
        return self.p_value < SIGNIFICANT

    @property
    def source_is_better(self) -> int:
        """1 where the source has the system ahead of the baseline, -1 where behind, 0 for a tie."""
        return _sign(self.source) * self._direction

    @property
    def is_better(self) -> int:
        """The same of ours, chance or not."""
        return _sign(self.ours) * self._direction

    @property
    def _direction(self) -> int:
        return -1 if declared(self.metric).lower_is_better else 1

    @property
    def verdict(self) -> str:
        found = self.is_better if self.told_apart else 0
        if not math.isnan(self.source) and found == self.source_is_better:
            return "agrees"
        if not found:
            return "not told apart"
        if math.isnan(self.source):
            return "better" if found > 0 else "worse"
        return "differs"

    def written(self, side: Literal["source", "ours"]) -> str:
        """A difference with its sign, the source's with the one decimal that it has."""
        value: float = getattr(self, side)
        if math.isnan(value):
            return ""
        size = abs(value)
        amount = declared(self.metric).difference(size) if side == "ours" else fixed(size, 1)
        return amount if float(amount) == 0 else ("-" if value < 0 else "+") + amount


def published_tables(published: Sequence[Published], records: Sequence[Record]) -> list[Table]:
    """Three tables of what is published and measured of the same sets; none where nothing is.

    Values side by side; differences to cross-entropy with a verdict, which is `not told apart`
    where the interval over items and seeds cannot exclude chance; on how many sets a loss is ahead.

    Args:
        published: what there is to compare with.
        records: of any experiments, with their differences to cross-entropy.
    """
    values, claims = [], []
    for entry in published:
        here = [r for r in records if entry.has(r)]
        for experiment, dataset in sorted({(r.experiment, r.dataset) for r in here}):
            place = (entry.title, experiment, dataset)
            own = [r for r in here if (r.experiment, r.dataset) == place[1:]]
            values += list(_values(entry, place, own))
            claims += list(_claims(entry, place, own))
    tables = []
    if values:
        head = ["source", "experiment", "set", "system", "sources", "here"]
        tables.append(Table("The sources' accuracy (ECE) %, and ours", head, values))
    if claims:
        head = ["source", "experiment", "set", "system", "metric", "sources", "here", "verdict"]
        rows = [
            [*one.place, one.system, declared(one.metric).title, one.written("source"),
             one.written("ours"), one.verdict]
            for one in claims
        ]  # fmt: skip
        title = f"Differences to {_BASELINE}, in the sources and here"
        tables += [Table(title, head, rows, _NOTE), _counts(claims)]
    return tables


def _values(
    entry: Published, place: tuple[str, str, str], records: Sequence[Record]
) -> Iterator[list[str]]:
    for system, source in entry.values.items():
        of_system = [r for r in records if r.system == system and r.condition == _TEST]
        ours = {m: [r.number for r in of_system if r.metric == m] for m in ("accuracy", "ece")}
        if ours["accuracy"]:
            theirs = {metric: [source[metric]] for metric in ours if metric in source}
            yield [*place, system, _cell(theirs), _cell(ours)]


def _cell(values: Mapping[str, Sequence[float]]) -> str:
    parts = {m: mean_and_spread(found, lambda v: fixed(v, 1)) for m, found in values.items()}
    return parts["accuracy"] + (f" ({parts['ece']})" if "ece" in parts else "")


def _claims(
    entry: Published, place: tuple[str, str, str], records: Sequence[Record]
) -> Iterator[_Claim]:
    found = {
        (r.system, r.metric): r.number
        for r in records
        if r.condition == _COMPARED and r.seed == OVER_SEEDS
    }
    base = entry.values[_BASELINE]
    for system, source in entry.values.items():
        for metric in _METRICS:
            name = f"{metric}_difference"
            if (system, name) in found:
                theirs = source.get(metric, math.nan) - base.get(metric, math.nan)
                p_value = found.get((system, f"{name}_p_holm"), math.nan)
                yield _Claim(place, system, metric, theirs, found[system, name], p_value)


def _counts(claims: Sequence[_Claim]) -> Table:
    rows = []
    for system in dict.fromkeys(one.system for one in claims):
        for metric in _METRICS:
            here = [one for one in claims if (one.system, one.metric) == (system, metric)]
            if not here:
                continue
            sourced = [one.source_is_better for one in here if not math.isnan(one.source)]
            ours = [(one.is_better, one.told_apart) for one in here]
            rows.append([
                system, declared(metric).title,
                f"{sourced.count(1)} of {len(sourced)}, {sourced.count(0)} ties" if sourced else "",
                f"{sum(sign > 0 for sign, _ in ours)} of {len(ours)}",
                str(ours.count((1, True))),
                str(ours.count((-1, True))),
            ])  # fmt: skip
    title = f"On how many of these sets a loss is better than {_BASELINE}"
    head = ["system", "metric", "sources", "here", "told apart: better", "told apart: worse"]
    return Table(title, head, rows)


def _sign(difference: float) -> int:
    """Of a difference of values with one decimal, whose rounding is not to decide."""
    return 0 if abs(difference) < 1e-9 else int(math.copysign(1, difference))


_NOTE = (
    "Percentage points, for the parts of the likelihood nats. A difference is told apart where it "
    "is more than chance at the 5 % level, for other items and other seeds, corrected for the "
    "number of systems; it agrees with a tie in the source where it is not told apart. Of what the "
    "sources do not have, the verdict is whether the loss is better than cross-entropy."
)
