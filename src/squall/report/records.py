"""Results: one record per number, kept in `results.json`, from which alone the tables are made.

The file is strict JSON. What the numbers of a run have in common stands once, and each number has a
line of its own, so that a diff shows what changed:

    {
    "format": 2,
    "runs": {
    "5ac5c9b1": {"recipe": "an4", "experiment": "conformer", "dataset": "an4", "commit": "e63ab23",
                 "command": "squall run an4", "hardware": "..."}
    },
    "columns": ["run", "system", "condition", "seed", "metric", "value", "unit", "n", "seconds",
                "reason"],
    "records": [
    ["5ac5c9b1", "ce", "test", 1, "wer", 8.93, "%", 773, 812.4, ""]
    ]
    }

(here with two lines broken). A run is named by a digest of its content. A value that does not
exist is null, and `reason` says why. The form of earlier versions is read too, and written anew
when records are merged: a list of objects, in which the bare word NaN stands for such a value.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from squall.files import atomic_write, json_text
from squall.scoring.metrics import declared

__all__ = [
    "Record",
    "merge_records",
    "read_records",
    "short_commit",
    "write_records",
]

FORMAT = 2
_OF_RUN = ("recipe", "experiment", "dataset", "commit", "command", "hardware")
_OF_NUMBER = (
    "system",
    "condition",
    "seed",
    "metric",
    "value",
    "unit",
    "n",
    "seconds",
    "reason",
)
_NOT_RECORDED = "undefined; why was not recorded"


@dataclass(frozen=True)
class Record:
    """One measured number with everything that is needed to trust it.

    Args:
        recipe, experiment, dataset: where it comes from.
        system: the loss or estimator, with the parameters that the settings give it.
        condition: the split or the test condition.
        seed: seed of the run.
        metric: a name that `squall.scoring.metrics` declares (`wer`, `rtf`, ...).
        value: the number; None where it does not exist.
        unit: its unit.
        n: what was counted (words, characters, utterances, epochs).
        commit: of the code that measured it; ends in `+` where files had been changed.
        command: the command line.
        hardware: the machine.
        seconds: training time of the run.
        reason: why there is no value; empty where there is one.

    Raises:
        ValueError: the value is not finite, or None without a reason, or has a reason.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    recipe: str
    experiment: str
    dataset: str
    system: str
    condition: str
    seed: int
    metric: str
    value: float | None
    unit: str
    n: int
    commit: str
    command: str
    hardware: str
    seconds: float
    reason: str = ""

    def __post_init__(self) -> None:
        problem = ""
        if self.value is None and not self.reason:
            problem = "has no value, and no reason why"
        elif self.value is not None and not math.isfinite(self.value):
            problem = f"is {self.value}; a number that does not exist is None, with a reason"
        elif self.value is not None and self.reason:
            problem = f"has a value, and a reason for having none: {self.reason}"
        if problem:
            named = f"{self.recipe} {self.experiment}, {self.dataset} {self.condition}"
            raise ValueError(
                f"{self.metric} of {self.system}, seed {self.seed} ({named}) {problem}"
            )

    @property
    def key(self) -> tuple[str | int, ...]:
        """What a newer record must share to take the place of an older one."""
        return (self.recipe, self.experiment, self.dataset, self.system, self.condition, self.seed,
                self.metric)  # fmt: skip

    @property
    def number(self) -> float:
        """The value to compute with: NaN where there is none."""
        return math.nan if self.value is None else self.value

    def measured(self, metric: str, value: float, *, otherwise: str = "", **changes: Any) -> Record:
        """This record with a number of a metric, in the unit that the metric is declared with.

        Args:
            metric: its name.
            value: the number; one that is not finite is left out.
            otherwise: the reason in that case.
            changes: other fields.

        Raises:
            ValueError: no such metric is declared.
        """
        finite = math.isfinite(value)
        return replace(
            self,
            metric=metric,
            value=float(value) if finite else None,
            unit=declared(metric).unit,
            reason="" if finite else otherwise or f"undefined: it came out as {value}",
            **changes,
        )


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records, one number per line; the module tells the form.

    Raises:
        ValueError: a metric is not declared in `squall.scoring.metrics`, or has another unit.
    """
    runs: dict[str, tuple[str, ...]] = {}
    names: dict[tuple[str, ...], str] = {}
    rows = []
    of_run, of_number = attrgetter(*_OF_RUN), attrgetter(*_OF_NUMBER)
    for record in records:
        unit = declared(record.metric).unit
        if record.unit != unit:
            raise ValueError(
                f"{path}: {record.metric} of {record.system} is in {record.unit!r}, and is "
                f"declared in {unit!r}"
            )
        run = of_run(record)
        if run not in names:
            names[run] = _name(run, runs)
            runs[names[run]] = run
        rows.append(json_text([names[run], *of_number(record)], ensure_ascii=False))
    described = [
        f"{json_text(name)}: " + json_text(dict(zip(_OF_RUN, run, strict=True)), ensure_ascii=False)
        for name, run in runs.items()
    ]
    with atomic_write(path) as file:
        file.write(
            f'{{\n"format": {FORMAT},\n"runs": {{\n{_lines(described)}}},\n"columns": '
            f'{json_text(["run", *_OF_NUMBER])},\n"records": [\n{_lines(rows)}]\n}}\n'
        )


def _name(run: tuple[str, ...], taken: dict[str, tuple[str, ...]]) -> str:
    """The same name for the same run in every file, so that a diff leaves its records alone."""
    digest = hashlib.sha256("\0".join(run).encode("utf-8", "surrogatepass")).hexdigest()
    return next(name for length in range(8, 65) if (name := digest[:length]) not in taken)


def _lines(parts: Sequence[str]) -> str:
    return ",\n".join(parts) + "\n" if parts else ""


def read_records(path: Path) -> list[Record]:
    """Read records, of this form or of the one before.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not hold records; the message has the file and the place in it.
    """
    try:
        text = path.read_bytes()
        content = json.loads(text)
        if isinstance(content, dict):
            content = list(_flat(_FILE.validate_json(text)))
        records = _RECORDS.validate_json(json_text(_without_nan(content)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise _damaged(path, f"{place}: {first['msg']}") from error
    except _MisplacedError as error:
        raise _damaged(path, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"the file: {error}") from error
    return [_as_now(record) for record in records]


class _MisplacedError(ValueError):
    """A row of a file does not fit the rest of it; the message begins with its place."""


def _damaged(path: Path, problem: str) -> ValueError:
    return ValueError(
        f"{path} is not a list of records: {problem}. It is written by the program: restore it "
        "from version control, or remove it and report again"
    )


@dataclass(frozen=True)
class _File:
    """The content of a file in this form."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    format: Literal[2]
    runs: dict[str, dict[str, Any]]
    columns: list[str]
    records: list[list[Any]]


_RECORDS = TypeAdapter(list[Record])
_FILE = TypeAdapter(_File)


def _flat(file: _File) -> Iterator[dict[str, Any]]:
    """The records of this form as those of the one before, an object each."""
    for number, row in enumerate(file.records):
        if len(row) != len(file.columns):
            raise _MisplacedError(
                f"records.{number}: {len(row)} values in {len(file.columns)} columns"
            )
        record = dict(zip(file.columns, row, strict=True))
        run = record.pop("run", None)
        if not isinstance(run, str) or run not in file.runs:
            raise _MisplacedError(f"records.{number}.run: there is no run {run!r}")
        yield file.runs[run] | record


def _without_nan(records: Any) -> Any:
    """Records of an earlier version with None for NaN, and that no reason is known."""
    if not isinstance(records, list):
        return records
    return [
        {**record, "value": None, "reason": _NOT_RECORDED}
        if isinstance(record, dict)
        and isinstance(value := record.get("value"), float)
        and not math.isfinite(value)
        else record
        for record in records
    ]


def _as_now(record: Record) -> Record:
    """A record with the unit that its metric is declared with, if it had an earlier name for it."""
    try:
        metric = declared(record.metric)
    except ValueError:
        return record
    return replace(record, unit=metric.unit) if record.unit in metric.former_units else record


def short_commit(commit: str) -> str:
    """The beginning of a commit, with the `+` that marks changed files.

    >>> short_commit("05f0d2cccdfed20f4ab51344216af7e635604634+")
    '05f0d2cccdfe+'
    """
    return commit.removesuffix("+")[:12] + ("+" if commit.endswith("+") else "")


def merge_records(old: Iterable[Record], new: Iterable[Record]) -> list[Record]:
    """All records, the new in place of the old that have the same key, sorted."""
    merged = {record.key: record for record in [*old, *new]}
    return [merged[key] for key in sorted(merged)]
