"""What differences between systems say: a table for each condition, and which are not chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from squall.report.comparison import AGAINST, OVER_SEEDS
from squall.report.records import Record
from squall.report.tables import UNDEFINED, Table
from squall.scoring.metrics import declared
from squall.scoring.significance import SIGNIFICANT

__all__ = ["comparison_tables"]

_POPULATIONS = ("utterances", "speakers", "seeds")
"""What an interval speaks about, from the narrowest claim to the widest."""

_TESTS = {"mapsswe": "MAPSSWE", "mcnemar": "McNemar"}
"""The tests of the models of one seed."""


def comparison_tables(records: Iterable[Record], *, items: str = "utterances") -> list[Table]:
    """A table of differences for each corpus, condition and baseline.

    Args:
        records: those of `compare_systems`.
        items: what was scored one by one.
    """
    places: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        places.setdefault((record.dataset, record.condition), []).append(record)
    return [
        _table(f"{dataset}, {condition}", found, items)
        for (dataset, condition), found in places.items()
    ]


@dataclass(frozen=True)
class _Difference:
    """What is recorded of a system and a metric in one condition.

    Args:
        main: the difference.
        values: by the names of metrics, what was found over all seeds.
        tests: p values of the tests of a seed's two models, by the test, one for each seed.
        items: what was scored one by one.
    """

    main: Record
    values: Mapping[str, float]
    tests: Mapping[str, Sequence[float]]
    items: str

    @classmethod
    def of(cls, main: Record, records: Sequence[Record], items: str) -> _Difference:
        metric = main.metric.removesuffix("_difference")
        mine = [r for r in records if (r.experiment, r.system) == (main.experiment, main.system)]
        return cls(
            main,
            {r.metric: r.number for r in mine if r.seed == OVER_SEEDS},
            {test: [r.number for r in mine if r.metric == f"{metric}_{test}_p"] for test in _TESTS},
            items,
        )

    @property
    def title(self) -> str:
        """The metric's name for people."""
        return declared(self.main.metric).title

    @property
    def p_value(self) -> float:
        return self.values[f"{self.main.metric}_p"]

    @property
    def p_corrected(self) -> float:
        """NaN where there was nothing to test."""
        return self.values.get(f"{self.main.metric}_p_holm", math.nan)

    @property
    def populations(self) -> list[str]:
        """Those that it has an interval for, from the narrowest to the widest."""
        ends = {p: self.values.get(f"{self.main.metric}_{p}_low", math.nan) for p in _POPULATIONS}
        return [population for population, low in ends.items() if not math.isnan(low)]

    def named(self, population: str) -> str:
        """What an interval speaks about, in words."""
        if population != "seeds":
            return f"other {self.items if population == 'utterances' else population}"
        return f"other {'speakers' if 'speakers' in self.populations else self.items} and seeds"

    def interval(self, population: str) -> str:
        if population not in self.populations:
            return ""
        low, high = (self.values[f"{self.main.metric}_{population}_{e}"] for e in ("low", "high"))
        return f"{self.signed(low)} to {self.signed(high)}"

    def signed(self, value: float) -> str:
        if math.isnan(value):
            return UNDEFINED
        text = declared(self.main.metric).difference(abs(value))
        return text if float(text) == 0 else ("-" if value < 0 else "+") + text

    @property
    def verdict(self) -> str:
        """`WER 1.20 points lower`."""
        if self.main.value is None:
            return f"{self.title} {UNDEFINED}"
        metric = declared(self.main.metric)
        amount = metric.difference(abs(self.main.value))
        points = " points" if metric.unit == "%" else ""
        return f"{self.title} {amount}{points} {'lower' if self.main.value < 0 else 'higher'}"


def _table(title: str, records: Sequence[Record], items: str) -> Table:
    """The differences of one condition to one baseline."""
    split, _, baseline = title.partition(AGAINST)
    differences = [
        _Difference.of(record, records, items)
        for record in records
        if record.metric.endswith("_difference")
    ]
    tests = [test for test in _TESTS if any(one.tests[test] for one in differences)]
    of_population = {
        p: one.named(p) for p in _POPULATIONS for one in differences if p in one.populations
    }
    populations = list(of_population)
    head = [
        "experiment",
        "system",
        "metric",
        "difference",
        *(f"95 %: {named}" for named in of_population.values()),
        *(["p", "p, corrected"] if populations else []),
        *(f"{_TESTS[test]} p < 0.05: seeds" for test in tests),
    ]
    rows = [
        [
            one.main.experiment,
            one.main.system,
            one.title,
            one.signed(one.main.number),
            *map(one.interval, populations),
            *([_p(one.p_value), _p(one.p_corrected)] if populations else []),
            *(_below(one.tests[test]) for test in tests),
        ]
        for one in differences
    ]
    note = _note(differences, baseline, populations[-1]) if populations else ""
    for reason in dict.fromkeys(record.reason for record in records if record.reason):
        note += f" Intervals and p values that are left out could not be had ({reason})."
    note = note.strip()
    return Table(f"{split}: differences to {baseline}", head, rows, note)


def _note(differences: Sequence[_Difference], baseline: str, population: str) -> str:
    """Which differences are more than chance."""
    several = len({one.main.experiment for one in differences}) > 1
    named = next(one.named(population) for one in differences if population in one.populations)
    verdicts: dict[bool, list[str]] = {True: [], False: []}
    for one in differences:
        if not one.populations:
            continue
        place = f" ({one.main.experiment})" if several else ""
        if one.populations[-1] != population:
            place += f" (for {one.named(one.populations[-1])} only)"
        text = f"{one.main.system}{place}: {one.verdict}"
        verdicts[one.p_corrected < SIGNIFICANT].append(text)
    return (
        f"Told apart from {baseline} at the 5 % level, corrected for the number of systems, for "
        f"{named}: {_listed(verdicts[True])} "
        f"Not told apart from chance: {_listed(verdicts[False])}"
    )


def _listed(verdicts: Sequence[str]) -> str:
    return "; ".join(verdicts) + "." if verdicts else "none."


def _below(tests: Sequence[float]) -> str:
    """How many of the tests, one for each seed, find a difference."""
    return f"{sum(p < SIGNIFICANT for p in tests)} of {len(tests)}" if tests else ""


def _p(value: float) -> str:
    if math.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
