"""From experiment directories to tables and one self-contained HTML page."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from squall.files import atomic_write
from squall.report.comparison import ScoredRun, compare_systems
from squall.report.figures import Curve, curves_svg
from squall.report.page import (
    Html,
    Section,
    details_html,
    figure_html,
    page_html,
    prose_html,
    table_html,
)
from squall.report.records import Record, short_commit
from squall.report.tables import Layout, Table, write_results
from squall.settings import flatten

__all__ = ["Report", "Run", "Section", "curve_figure", "table_html"]


@dataclass(frozen=True)
class Run:
    """One experiment in a report.

    Args:
        directory: the experiment directory.
        experiment: its name.
        score_dir: its per-utterance scores and alignments.
        system, seed: what was run.
        records: its numbers.
        history: its epochs.
        environment: its environment stamp.
        commit: of the code, with `+` behind it where files had been changed.
        settings: its resolved settings.
        log_dir: the logs of its stages.
    """

    directory: Path
    experiment: str
    score_dir: Path
    system: str
    seed: int
    records: tuple[Record, ...]
    history: tuple[dict[str, Any], ...]
    environment: dict[str, Any]
    commit: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    log_dir: Path | None = None

    @property
    def label(self) -> str:
        """What a legend calls it."""
        return f"{self.group}, seed {self.seed}"

    @property
    def group(self) -> str:
        """What the runs have in common that differ in their seeds alone."""
        return f"{self.experiment} {self.system}"


@dataclass(frozen=True)
class Report:
    """The numbers of some experiments, and how their task shows them.

    Args:
        runs: the experiments.
        layout: the tables.
        sections: makes what else the page shows, below the tables.
        compared: gives the runs in the form that systems are compared in.
        baseline: the system that the others are compared with; by default the first.
    """

    runs: tuple[Run, ...]
    layout: Layout
    sections: Callable[[Sequence[Run]], list[Section]]
    compared: Callable[[Sequence[Run]], list[ScoredRun]] = lambda runs: []
    baseline: str | None = None

    @cached_property
    def records(self) -> list[Record]:
        """The numbers of all runs, and the differences between their systems.

        Raises:
            ValueError: there is no such baseline, or a file of the scores is damaged.
        """
        own = [record for run in self.runs for record in run.records]
        return own + compare_systems(self.compared(self.runs), baseline=self.baseline)

    @property
    def tables(self) -> list[Table]:
        """The tables of all runs."""
        return self.layout.tables(self.records)

    def write_results(self, directory: Path, *, title: str) -> Path:
        """Merge the numbers into `results.json` and `RESULTS.md` of a folder."""
        return write_results(directory, self.records, title=title, layout=self.layout)

    def write_html(self, path: Path) -> None:
        """Write the page: one file that loads nothing; its links are relative to its folder.

        Raises:
            ImportError: matplotlib, which draws the curves, is not installed.
        """
        page = _page(self, Path(path).absolute().parent)
        with atomic_write(path) as file:
            file.write(page)


def curve_figure(curves: Sequence[Curve], title: str, x_label: str) -> str:
    """A line chart as an HTML figure; empty where there is nothing to draw."""
    shown = [curve for curve in curves if curve.points]
    svg = curves_svg(shown, title=title, x_label=x_label) if shown else ""
    return figure_html(svg, label=title) if shown else ""


def _page(report: Report, folder: Path) -> str:
    """The page as it stands in a folder, which its links start from."""
    runs = report.runs
    sections = [
        *(Section(table.title, _table(table)) for table in report.tables),
        *report.sections(runs),
        Section("Settings", _settings(runs)),
        Section("How it was measured", prose_html(report.layout.notes)),
        Section("How it was run", _provenance(runs, folder)),
    ]
    title = f"squall: {report.records[0].recipe}" if report.records else "squall"
    return page_html(title, sections, summary=_summary(runs))


def _table(table: Table) -> str:
    note = prose_html(table.note) if table.note else ""
    return table_html(table.head, table.rows, label=table.title) + note


def _summary(runs: Sequence[Run]) -> str:
    systems = list(dict.fromkeys(run.system for run in runs))
    seeds = sorted({run.seed for run in runs})
    parts = [
        f"{len(runs)} run{'s' if len(runs) != 1 else ''}",
        f"{'systems' if len(systems) != 1 else 'system'} {', '.join(systems)}",
        f"{'seeds' if len(seeds) != 1 else 'seed'} {', '.join(map(str, seeds))}",
    ]
    return f'<p class="soft">{html.escape("; ".join(parts))}</p>'


_NOT_COMPARED = ("grid", "results_dir", "description", "variant")


def _settings(runs: Sequence[Run]) -> str:
    """What differs between the runs, and all settings of each."""
    whole = [
        details_html(
            f"{run.label} ({run.directory.name})",
            f"<pre>{html.escape(yaml.safe_dump(run.settings, sort_keys=False))}</pre>",
            printed=len(runs) == 1,
        )
        for run in runs
    ]
    return f"{_differences(runs)}<h3>All settings</h3>{''.join(whole)}"


def _differences(runs: Sequence[Run]) -> str:
    """A table of the settings that are not the same in all runs, its shorter side across."""
    flat = [
        flatten({key: v for key, v in run.settings.items() if key not in _NOT_COMPARED})
        for run in runs
    ]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    written = {key: [_written(settings, key) for settings in flat] for key in keys}
    differing = {key: values for key, values in written.items() if len(set(values)) > 1}
    if not differing:
        return "<p>All runs have the same settings.</p>" if len(runs) > 1 else ""
    labels = [run.label for run in runs]
    if len(differing) > len(runs):
        head, rows = ["setting", *labels], [[key, *values] for key, values in differing.items()]
    else:
        cells = zip(labels, *differing.values(), strict=True)
        head, rows = ["run", *differing], [list(row) for row in cells]
    return table_html(head, rows, label="settings that differ")


def _written(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings:
        return "\u2013"
    value = settings[key]
    return value if isinstance(value, str) else json.dumps(value)


def _provenance(runs: Sequence[Run], folder: Path) -> str:
    rows = [
        [
            run.label,
            _link(run.directory, run.directory.name, folder),
            _link(run.log_dir, "logs", folder) if run.log_dir else "",
            short_commit(run.commit),
            run.environment["date"][:10],
            run.environment["hardware"],
        ]
        for run in runs
    ]
    commands = dict.fromkeys(run.environment["command"] for run in runs)
    return table_html(
        ["run", "experiment", "logs", "commit", "date", "hardware"], rows, label="runs"
    ) + "".join(f"<pre>{html.escape(command)}</pre>" for command in commands)


def _link(target: Path, text: str, folder: Path) -> Html:
    """A link to a folder by its relative path, which a page on a disk needs; text if it is gone."""
    if not target.is_dir():
        return Html(html.escape(text))
    path = quote(os.path.relpath(target, folder))
    return Html(f'<a href="{path}/">{html.escape(text)}</a>')
