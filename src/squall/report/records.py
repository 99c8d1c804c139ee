"""Results: one record per number, merged into results.json, and the tables made from it alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from squall.files import atomic_write

__all__ = [
    "Record",
    "merge_records",
    "read_records",
    "write_records",
]


@dataclass(frozen=True)
class Record:
    """One measured number with everything that is needed to trust it.

    Args:
        recipe, experiment, dataset: where it comes from.
        system: the loss or estimator, with the parameters that the settings give it.
        condition: the split or the test condition.
        seed: seed of the run.
        metric: one of DESIGN's names (`wer`, `cer`, `ser`, `rtf`, `train_seconds`, ...).
        value: the number; NaN where it is undefined.
        unit: its unit.
        n: what was counted (words, characters, utterances, epochs).
        commit: of the code that measured it; ends in `+` where files had been changed.
        command: the command line.
        hardware: the machine.
        seconds: training time of the run.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    recipe: str
    experiment: str
    dataset: str
    system: str
    condition: str
    seed: int
    metric: str
    value: float
    unit: str
    n: int
    commit: str
    command: str
    hardware: str
    seconds: float

    @property
    def key(self) -> tuple[str | int, ...]:
        """What a newer record must share to take the place of an older one."""
        return (self.recipe, self.experiment, self.dataset, self.system, self.condition, self.seed,
                self.metric)  # fmt: skip


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as a JSON list, one record per line so that a diff shows what changed."""
    lines = [json.dumps(asdict(record), ensure_ascii=False) for record in records]
    with atomic_write(path) as file:
        file.write("[\n" + ",\n".join(lines) + "\n]\n")


def read_records(path: Path) -> list[Record]:
    """Read records.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a list of records; the message has the file and the place in it.
    """
    try:
        return TypeAdapter(list[Record]).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(
            f"{path} is not a list of records: {place}: {first['msg']}. It is written by the "
            "program: restore it from version control, or remove it and report again"
        ) from error


def merge_records(old: Iterable[Record], new: Iterable[Record]) -> list[Record]:
    """All records, the new in place of the old that have the same key, sorted."""
    merged = {record.key: record for record in [*old, *new]}
    return [merged[key] for key in sorted(merged)]
