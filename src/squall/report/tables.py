"""Tables made from records, and RESULTS.md."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from squall.files import atomic_write
from squall.report.records import Record, merge_records, read_records, write_records

__all__ = [
    "ERROR_RATES",
    "Layout",
    "Table",
    "error_rate_tables",
    "markdown_table",
    "results_table",
    "write_results",
]


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
    """

    tables: Callable[[Sequence[Record]], list[Table]]
    notes: str


def write_results(
    directory: Path, new: Sequence[Record], *, title: str, layout: Layout | None = None
) -> Path:
    """Merge records into `results.json` and make `RESULTS.md` from that file.

    Args:
        directory: the folder of the two files.
        new: records that take the place of those with the same key.
        title: first heading of `RESULTS.md`.
        layout: how the numbers are shown; error rates by default.

    Returns:
        The path of `RESULTS.md`.

    Raises:
        ValueError: the `results.json` that is there is damaged; it is left as it is.
    """
    path = directory / "results.json"
    records = merge_records(read_records(path) if path.exists() else [], new)
    write_records(path, records)
    with atomic_write(directory / "RESULTS.md") as file:
        file.write(_markdown(title, records, layout or ERROR_RATES))
    return directory / "RESULTS.md"


_COLUMNS = {
    "wer": "WER %", "cer": "CER %", "ter": "TER %", "per": "PER %", "ser": "SER %",
    "rtf": "RTF", "epochs": "epochs", "train_seconds": "training",
}  # fmt: skip


def results_table(
    records: Sequence[Record],
    condition: str,
    digits: int = 2,
    columns: Mapping[str, str] = _COLUMNS,
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of one condition: a row per run, then means over seeds.

    Rates carry what was counted: `8.93 (of 773)`. A value that is not a number is `undefined`, and
    so is the mean of seeds one of which is.

    Args:
        records: numbers of one or several conditions.
        condition: the condition to show.
        digits: decimals of a rate.
        columns: the metrics to show, in order, and what stands above each; those that no record
            has are left out.
    """
    here = [record for record in records if record.condition == condition]
    metrics = [metric for metric in columns if any(r.metric == metric for r in here)]
    head = ["experiment", "system", "seed", *(columns[metric] for metric in metrics)]
    rows = []
    for experiment, system in sorted({(r.experiment, r.system) for r in here}):
        runs = [r for r in here if (r.experiment, r.system) == (experiment, system)]
        seeds = sorted({r.seed for r in runs})
        for seed in seeds:
            cells = {r.metric: _cell(r, digits) for r in runs if r.seed == seed}
            rows.append([experiment, system, str(seed), *(cells.get(m, "") for m in metrics)])
        if len(seeds) > 1:
            spread = [_spread([r for r in runs if r.metric == m], digits) for m in metrics]
            rows.append([experiment, system, f"mean ± sd of {len(seeds)}", *spread])
    return head, rows


def _cell(record: Record, digits: int) -> str:
    if math.isnan(record.value):
        return "undefined"
    number, unit = _shown(record.metric, digits)
    counted = f" (of {record.n})" if record.unit == "%" else unit
    return number(record.value) + counted


def _spread(records: Sequence[Record], digits: int) -> str:
    values = [record.value for record in records]
    if len(values) < 2:
        return ""
    if any(map(math.isnan, values)):
        return "undefined"
    number, unit = _shown(records[0].metric, digits)
    return f"{number(statistics.mean(values))} ± {number(statistics.stdev(values))}{unit}"


def _shown(metric: str, digits: int) -> tuple[Callable[[float], str], str]:
    """How a value of a metric is written, and the unit behind it."""
    if metric == "train_seconds":
        return lambda seconds: f"{seconds / 60:.1f}", " min"
    if metric == "epochs":
        return lambda epochs: f"{round(epochs, 1):g}", ""
    return lambda value: f"{value:.{digits}f}", ""


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Args:
        head: the names of the columns.
        rows: the cells, as many in each row as there are columns.
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def error_rate_tables(records: Sequence[Record]) -> list[Table]:
    """A table for each corpus and split, `test` first."""
    tables = []
    for dataset in sorted({record.dataset for record in records}):
        chosen = [record for record in records if record.dataset == dataset]
        found = {record.condition for record in chosen}
        for condition in sorted(found, key=lambda name: (name != "test", name)):
            tables.append(Table(f"{dataset}, {condition}", *results_table(chosen, condition)))
    return tables


ERROR_RATES = Layout(
    error_rate_tables,
    "Error rates: (substitutions + deletions + insertions) / reference length; the number "
    "counted stands beside each. SER: share of utterances with an error. RTF: seconds of "
    "decoding per second of audio. Training: time of all epochs, development set included.",
)
"""The layout of recognition experiments."""


def _markdown(title: str, records: Sequence[Record], layout: Layout) -> str:
    parts = [f"# {title}", "Made from results.json by the report stage; not edited by hand."]
    for table in layout.tables(records):
        parts.append(f"## {table.title}")
        parts.append(markdown_table(table.head, table.rows))
        if table.note:
            parts.append(table.note)
    parts.append("## How it was measured")
    parts.append(layout.notes)
    for command in sorted({record.command for record in records}):
        runs = [record for record in records if record.command == command]
        commits = ", ".join(sorted({f"`{record.commit[:12]}`" for record in runs}))
        machines = "; ".join(sorted({record.hardware for record in runs}))
        parts.append(f"```\n{command}\n```\n\ncommit {commits}, on {machines}")
    return "\n\n".join(parts) + "\n"
