"""Tables made from records, and RESULTS.md."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from squall.files import atomic_write
from squall.report.records import Record, merge_records, read_records, short_commit, write_records
from squall.scoring.metrics import declared

__all__ = [
    "UNDEFINED",
    "Layout",
    "Table",
    "fixed",
    "markdown_page",
    "markdown_table",
    "mean_and_spread",
    "results_table",
    "write_results",
]

UNDEFINED = "undefined"
"""What stands in a table for a number that does not exist."""


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Args:
        title: what stands above it.
        head: names of the columns.
        rows: the cells, as many in each row as there are columns.
        note: what is to be said below it, or nothing.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Layout:
    """How the numbers of a task are shown.

    Args:
        tables: makes the tables from records.
        notes: how the numbers were measured, in a paragraph.
        pages: further pages of Markdown from the same records, by the names of their files.
    """

    tables: Callable[[Sequence[Record]], list[Table]]
    notes: str
    pages: Callable[[Sequence[Record]], Mapping[str, str]] = lambda records: {}


def write_results(directory: Path, new: Sequence[Record], *, title: str, layout: Layout) -> Path:
    """Merge records into `results.json` and make `RESULTS.md` and further pages from that file.

    Args:
        directory: the folder of the files.
        new: records that take the place of those with the same key.
        title: first heading of `RESULTS.md`.
        layout: how the numbers are shown.

    Returns:
        The path of `RESULTS.md`.

    Raises:
        ValueError: the `results.json` that is there is damaged; it is left as it is.
    """
    path = directory / "results.json"
    records = merge_records(read_records(path) if path.exists() else [], new)
    write_records(path, records)
    with atomic_write(directory / "RESULTS.md") as file:
        file.write(_markdown(title, records, layout))
    for name, text in layout.pages(records).items():
        with atomic_write(directory / name) as file:
            file.write(text)
    return directory / "RESULTS.md"


def results_table(
    records: Sequence[Record], condition: str, columns: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of one condition: a row per run, then means over seeds.

    Rates carry what was counted: `8.93 (of 773)`; times of training are in minutes. A value that
    does not exist is `undefined`, and so is the mean of seeds one of which is.

    Args:
        records: numbers of one or several conditions.
        condition: the condition to show.
        columns: the metrics to show, in order, and what stands above each; those that no record
            has are left out. Before the name of a metric may stand a word of the task's and a
            space, as in `token ece`.
    """
    here = [record for record in records if record.condition == condition]
    metrics = [metric for metric in columns if any(r.metric == metric for r in here)]
    head = ["experiment", "system", "seed", *(columns[metric] for metric in metrics)]
    rows = []
    for experiment, system in sorted({(r.experiment, r.system) for r in here}):
        runs = [r for r in here if (r.experiment, r.system) == (experiment, system)]
        seeds = sorted({r.seed for r in runs})
        for seed in seeds:
            cells = {r.metric: _cell(r) for r in runs if r.seed == seed}
            rows.append([experiment, system, str(seed), *(cells.get(m, "") for m in metrics)])
        if len(seeds) > 1:
            spread = [_spread([r for r in runs if r.metric == m]) for m in metrics]
            rows.append([experiment, system, f"mean ± sd of {len(seeds)}", *spread])
    return head, rows


def mean_and_spread(values: Sequence[float], write: Callable[[float], str]) -> str:
    """The mean and the standard deviation of values, as `8.93 ± 0.21`; of one value itself.

    Args:
        values: NaN makes both undefined; without any the text is empty.
        write: makes text from a number.
    """
    if not values:
        return ""
    if any(map(math.isnan, values)):
        return UNDEFINED
    mean = write(statistics.fmean(values))
    return f"{mean} ± {write(statistics.stdev(values))}" if len(values) > 1 else mean


def fixed(value: float, digits: int, factor: float = 1.0) -> str:
    """A number, times a factor, with so many decimals; never as -0.0."""
    return f"{round(factor * value, digits) + 0.0:.{digits}f}"


def _cell(record: Record) -> str:
    if record.value is None:
        return UNDEFINED
    write, unit = _written(record.metric)
    counted = f" (of {record.n})" if record.unit == "%" else unit
    return write(record.value) + counted


def _spread(records: Sequence[Record]) -> str:
    if len(records) < 2:
        return ""
    write, unit = _written(records[0].metric)
    text = mean_and_spread([record.number for record in records], write)
    return text if text == UNDEFINED else text + unit


def _written(metric: str) -> tuple[Callable[[float], str], str]:
    """How a value of a metric is written, and the unit behind it."""
    found = declared(metric.rpartition(" ")[2])
    if found.unit == "s":
        return lambda seconds: f"{seconds / 60:.1f}", " min"
    if found.unit == "epochs":
        return lambda epochs: f"{round(epochs, 1):g}", ""
    return lambda value: fixed(value, found.digits), ""


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Args:
        head: the names of the columns.
        rows: the cells, as many in each row as there are columns.
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown_page(title: str, opening: str, tables: Sequence[Table]) -> str:
    """A page of Markdown that says what it is made from.

    Args:
        title: its heading.
        opening: a paragraph below it, or nothing.
        tables: each with a heading of its own.
    """
    parts = [f"# {title}", "Made from results.json by the report stage; not edited by hand."]
    parts.append(opening)
    for table in tables:
        parts += [f"## {table.title}", markdown_table(table.head, table.rows), table.note]
    return "\n\n".join(filter(None, parts)) + "\n"


def _markdown(title: str, records: Sequence[Record], layout: Layout) -> str:
    parts = [markdown_page(title, "", layout.tables(records)).rstrip("\n")]
    parts.append("## How it was measured")
    parts.append(layout.notes)
    for command in sorted({record.command for record in records}):
        runs = [record for record in records if record.command == command]
        commits = ", ".join(sorted({f"`{short_commit(record.commit)}`" for record in runs}))
        machines = "; ".join(sorted({record.hardware for record in runs}))
        parts.append(f"```\n{command}\n```\n\ncommit {commits}, on {machines}")
    return "\n\n".join(parts) + "\n"
