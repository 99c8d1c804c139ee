"""Many small pieces of work, each of whose numbers are kept in a file as soon as it is done."""

from __future__ import annotations

import math
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from squall.engine.config import Config
from squall.engine.recipe import Recipe
from squall.engine.stages import Stage, Work
from squall.files import read_json, write_json
from squall.report.records import Record, write_records
from squall.report.tables import UNDEFINED, Table, fixed
from squall.workers import map_in_processes

__all__ = [
    "Number",
    "Simulation",
    "SimulationRecipe",
    "condition_text",
    "extrapolated",
    "mean_and_error",
    "read_condition",
    "tables_by_experiment",
    "with_error",
]


@dataclass(frozen=True)
class Number:
    """A number that a simulation found, or a formula gave.

    Args:
        system: what gave it.
        condition: for what, see `condition_text`.
        metric: one of `squall.scoring.metrics`.
        value: NaN where there is none.
        n: what was counted; 0 for a formula.
        reason: why there is no value.
    """

    system: str
    condition: str
    metric: str
    value: float
    n: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Simulation:
    """A piece of work.

    Args:
        name: of its file; letters, digits, `.`, `-`, `_`.
        seed: that its numbers are recorded with.
        work: of a module's top level; gives the numbers.
        arguments: what it is called with.
    """

    name: str
    seed: int
    work: Callable[..., list[Number]]
    arguments: tuple[Any, ...]


class SimulationRecipe(Recipe[Config]):
    """The stages of a study that simulates: `train` makes the numbers, `score` the records.

    What is done stays in `train/simulations`, a file for each, so that a run that was killed goes
    on with the next.
    """

    @abstractmethod
    def simulations(self) -> list[Simulation]:
        """All of the work, the longest first."""

    def stages(self) -> list[Stage]:
        """The stages but the report."""
        numbers = self.train_dir / "numbers.json"
        return [
            self.stage("check", self.directory, self.check),
            self.stage("train", self.directory, self.train, settings=self.config.hashed(),
                       outputs=(numbers,), fingerprint=self.fingerprint,
                       set_aside=lambda: shutil.rmtree(self.train_dir, ignore_errors=True)),
            self.stage("score", self.score_dir, self.score, inputs=(numbers,),
                       outputs=(self.result_path,)),
        ]  # fmt: skip

    @property
    def processes(self) -> int:
        """How many simulations run side by side."""
        return self.options.workers or self.options.processes

    def fingerprint(self) -> Any:
        """The state of the files that simulations read, of which their names tell, too."""
        return None

    def check(self, work: Work) -> None:
        """Say how much there is to do."""
        count = len(self.simulations())
        work(1, 1, f"{count} simulations in {self.processes} processes")

    def train(self, work: Work) -> None:
        """Do what has not been done, and put the numbers of all together."""
        todo = [
            (simulation, self.train_dir / "simulations" / f"{simulation.name}.json")
            for simulation in self.simulations()
        ]
        names = [path.name for _, path in todo]
        assert len(set(names)) == len(names), "two simulations of one name"
        every = []
        for done, (simulation, path) in enumerate(map_in_processes(_do, todo, self.processes), 1):
            every += [{"seed": simulation.seed, **number} for number in _read(path)]
            work(done, len(todo), simulation.name)
        write_json(self.train_dir / "numbers.json", every, nan_as_null=True)

    def score(self, work: Work) -> None:
        """Write a record for each number."""
        template = self.blank_record
        records = []
        for found in read_json(self.train_dir / "numbers.json", null_as_nan=True):
            seed, reason = found.pop("seed"), found.pop("reason")
            metric, value = found.pop("metric"), found.pop("value")
            cell = replace(template, seed=seed, **found)
            records.append(cell.measured(metric, value, otherwise=reason))
        write_records(self.result_path, records)
        work(1, 1, f"{len(records)} numbers")


def _do(item: tuple[Simulation, Path]) -> tuple[Simulation, Path]:
    simulation, path = item
    if not _is_done(path):
        numbers = [asdict(number) for number in simulation.work(*simulation.arguments)]
        write_json(path, {"numbers": numbers}, nan_as_null=True, sealed=True)
    return item


def _is_done(path: Path) -> bool:
    try:
        return path.is_file() and bool(_read(path))
    except (ValueError, TypeError, KeyError):  # damaged
        return False


def _read(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_json(path, null_as_nan=True, sealed=True)["numbers"]
    return found


def condition_text(values: Mapping[str, float | str], topic: str = "") -> str:
    """A condition in words that `read_condition` understands.

    >>> condition_text({"k": 10, "beta": 0.2}, "accuracy")
    'accuracy: k 10, beta 0.2'
    """
    words = (f"{k} {v if isinstance(v, str) else format(v, 'g')}" for k, v in values.items())
    return f"{topic}: {', '.join(words)}" if topic else ", ".join(words)


def read_condition(text: str) -> tuple[str, dict[str, str]]:
    """The topic of a condition and its values, as text.

    >>> read_condition("accuracy: k 10, beta 0.2")
    ('accuracy', {'k': '10', 'beta': '0.2'})
    """
    topic, colon, rest = text.rpartition(": ")
    values = {}
    for part in rest.split(", "):
        name, value = part.rsplit(" ", 1)
        values[name] = value
    return (topic if colon else ""), values


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean over seeds and its standard error, which is NaN for one seed; NaN counts as none.

    >>> mean_and_error([1.0, 3.0])
    (2.0, 1.0)
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return math.nan, math.nan
    mean = math.fsum(known) / len(known)
    if len(known) == 1:
        return mean, math.nan
    squares = math.fsum((value - mean) ** 2 for value in known)
    return mean, math.sqrt(squares / (len(known) - 1) / len(known))


def with_error(mean: float, error: float, digits: int = 2) -> str:
    """A mean over seeds and its standard error, as text with so many decimals.

    >>> with_error(12.3, 0.456)
    '12.30 ± 0.46'
    """
    if math.isnan(mean):
        return UNDEFINED
    text = fixed(mean, digits)
    return text if math.isnan(error) else f"{text} ± {fixed(error, digits)}"


def tables_by_experiment(
    records: Sequence[Record], make: Callable[[Sequence[Record]], Iterable[Table]]
) -> list[Table]:
    """The tables that `make` gives of each experiment's records, with its name before their
    titles; those without rows are left out."""
    return [
        Table(f"{experiment}: {table.title}", table.head, table.rows, table.note)
        for experiment in sorted({record.experiment for record in records})
        for table in make([record for record in records if record.experiment == experiment])
        if table.rows
    ]


def extrapolated(sizes: Mapping[float, Sequence[float]]) -> tuple[float, float]:
    """The limit for large sizes of means that go to it as 1 / size, and its standard error.

    Weighted least squares of a line over 1 / size; of one size its mean and standard error.

    Args:
        sizes: size to the values of its seeds.
    """
    points = [(1 / size, *mean_and_error(values)) for size, values in sizes.items()]
    points = [point for point in points if not math.isnan(point[1])]
    if not points:
        return math.nan, math.nan
    if len(points) == 1:
        return points[0][1:]
    if any(math.isnan(error) for _, _, error in points):  # one seed: no weights are known
        points = [(x, mean, 1.0) for x, mean, _ in points]
        unknown = True
    else:
        # Seeds that agree to rounding have some weight still.
        points = [(x, mean, max(error, 1e-9)) for x, mean, error in points]
        unknown = False
    weights = [error**-2 for _, _, error in points]
    total = math.fsum(weights)
    centre = math.fsum(w * x for w, (x, _, _) in zip(weights, points, strict=True)) / total
    mean = math.fsum(w * y for w, (_, y, _) in zip(weights, points, strict=True)) / total
    square = math.fsum(w * (x - centre) ** 2 for w, (x, _, _) in zip(weights, points, strict=True))
    slope = (
        math.fsum(w * (x - centre) * y for w, (x, y, _) in zip(weights, points, strict=True))
        / square
    )
    error = math.nan if unknown else math.sqrt(1 / total + centre**2 / square)
    return mean - slope * centre, error
