"""The error rate of each speaker by system, as a table of the report."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from squall.files import read_json
from squall.report.page import table_html
from squall.report.report import Run
from squall.report.tables import fixed, mean_and_spread
from squall.scoring.alignment import ErrorCounts

__all__ = ["speakers_html"]

Speakers = dict[str, list[ErrorCounts]]
"""By speaker, the counts of each run."""


def speakers_html(runs: Sequence[Run]) -> str:
    """A table for each corpus and metric, the test speakers below each other.

    Args:
        runs: scored experiments; those that differ in their seeds alone have one column, with the
            mean and the standard deviation over them. Folds have one too: each speaker is tested in
            one of them.

    Returns:
        HTML; empty where there are not two speakers to tell apart.

    Raises:
        ValueError: a file of the scores is damaged; the message names it.
    """
    tables: dict[tuple[str, str], dict[str, Speakers]] = {}
    for run in runs:
        path = run.score_dir / "test.summary.json"
        if path.is_file() and run.records:
            metric, speakers = _read(path)
            systems = tables.setdefault((run.records[0].dataset, metric), {})
            system = systems.setdefault(_system(run), {})
            for speaker, counts in speakers.items():
                system.setdefault(speaker, []).append(counts)
    return "".join(
        _table(f"{dataset}, test, {metric.upper()} %", systems)
        for (dataset, metric), systems in tables.items()
    )


def _read(path: Path) -> tuple[str, dict[str, ErrorCounts]]:
    """The first metric of a summary, and the counts of each speaker."""
    try:
        summary: dict[str, Any] = read_json(path)
        metric, found = next(iter(summary.items()))
        return metric, {name: ErrorCounts(**counts) for name, counts in found["speakers"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); score again with "
            "--stage 7 --force"
        ) from error


def _system(run: Run) -> str:
    """The system without the fold."""
    return f"{run.settings.get('experiment', run.experiment)} {run.system}"


def _table(title: str, systems: Mapping[str, Speakers]) -> str:
    names = sorted({name for speakers in systems.values() for name in speakers})
    if len(names) < 2:
        return ""
    rows = []
    for name in names:
        counts = [speakers.get(name, []) for speakers in systems.values()]
        size = next(of_system[0].reference for of_system in counts if of_system)
        rows.append([name, str(size), *map(_rate, counts)])
    head = ["speaker", "counted", *systems]
    return f"<h3>{html.escape(title)}</h3>{table_html(head, rows, label=title)}"


def _rate(counts: Sequence[ErrorCounts]) -> str:
    """The mean over runs and the spread, in percent; empty without runs."""
    return mean_and_spread([one.percent for one in counts], lambda rate: fixed(rate, 2))
