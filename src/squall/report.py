"""From experiment directories to tables and one self-contained HTML page."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squall.experiment import Experiment
from squall.figures import Curve, curves_svg
from squall.files import atomic_write
from squall.results import Layout, Record, Table, read_records, write_results

__all__ = ["Report", "Run", "Section", "curve_figure", "read_json", "read_run", "table_html"]


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
    """

    directory: Path
    experiment: str
    score_dir: Path
    system: str
    seed: int
    records: tuple[Record, ...]
    history: tuple[dict[str, Any], ...]
    environment: dict[str, Any]

    @property
    def label(self) -> str:
        """What a legend calls it."""
        return f"{self.experiment} {self.system}, seed {self.seed}"


@dataclass(frozen=True)
class Section:
    """A part of the page: its heading and its HTML."""

    title: str
    body: str


@dataclass(frozen=True)
class Report:
    """The numbers of some experiments, and how their task shows them.

    Args:
        runs: the experiments.
        layout: the tables.
        sections: makes what else the page shows, below the tables.
    """

    runs: tuple[Run, ...]
    layout: Layout
    sections: Callable[[Sequence[Run]], list[Section]]

    @property
    def records(self) -> list[Record]:
        """The numbers of all runs."""
        return [record for run in self.runs for record in run.records]

    @property
    def tables(self) -> list[Table]:
        """The tables of all runs."""
        return self.layout.tables(self.records)

    def write_results(self, directory: Path, *, title: str) -> Path:
        """Merge the numbers into `results.json` and `RESULTS.md` of a folder."""
        return write_results(directory, self.records, title=title, layout=self.layout)

    def write_html(self, path: Path) -> None:
        """Write the page: one file, no script, nothing loaded from anywhere.

        Raises:
            ImportError: matplotlib, which draws the curves, is not installed.
        """
        page = _page(self)
        with atomic_write(path) as file:
            file.write(page)


def read_run(experiment: Experiment[Any], history: Sequence[dict[str, Any]] = ()) -> Run:
    """The numbers and the environment of a scored experiment.

    Args:
        experiment: the experiment.
        history: its epochs, in the form that its task's figures take.

    Raises:
        FileNotFoundError: the experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    directory = experiment.directory
    if not experiment.result_path.is_file():
        raise FileNotFoundError(
            f"{experiment.result_path} is missing: run the stages up to 7 (score) first"
        )
    return Run(
        directory=directory,
        experiment=experiment.config.experiment,
        score_dir=experiment.score_dir,
        system=experiment.config.named(experiment.config.system),
        seed=experiment.config.seed,
        records=tuple(read_records(experiment.result_path)),
        history=tuple(history),
        environment=read_json(directory / "environment.json"),
    )


def read_json(path: Path) -> Any:
    """Read a JSON file of an experiment.

    Raises:
        ValueError: it is damaged; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; run its stage again with --force") from error


def _page(report: Report) -> str:
    sections = [
        *(Section(table.title, table_html(table.head, table.rows)) for table in report.tables),
        *report.sections(report.runs),
        Section("How it was run", _runs_table(report.runs)),
    ]
    title = f"squall: {html.escape(report.records[0].recipe)}" if report.records else "squall"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{title}</h1>{''.join(map(_section, sections))}</main></body></html>\n"
    )


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --line: #c9d1da; --wrong: #b3261e }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --paper: #14181f; --line: #3a4350; --wrong: #ff8a80 } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0;
  color: var(--ink); background: var(--paper) }
main { max-width: 70rem; margin: 0 auto; padding: 1rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; border-bottom: 1px solid var(--line) }
pre { font: 13px/1.4 ui-monospace, monospace; overflow-x: auto }
figure { margin: 0 0 1rem; max-width: 46rem } figure svg { width: 100%; height: auto }
figure svg text { fill: var(--ink) }
details { margin: .5rem 0 } summary { cursor: pointer }
mark { background: none; color: var(--wrong); font-weight: 600 }
"""


def _section(section: Section) -> str:
    return f"<section><h2>{html.escape(section.title)}</h2>{section.body}</section>"


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as HTML, its text escaped."""

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells("th", head)}</tr>{body}</table></div>'


def curve_figure(curves: Sequence[Curve], title: str, x_label: str) -> str:
    """A line chart as an HTML figure; empty where there is nothing to draw."""
    shown = [curve for curve in curves if curve.points]
    return f"<figure>{curves_svg(shown, title=title, x_label=x_label)}</figure>" if shown else ""


def _runs_table(runs: Sequence[Run]) -> str:
    rows = [
        [
            run.label,
            str(run.directory.name),
            run.environment["commit"][:12] + ("+" if run.environment["dirty"] else ""),
            run.environment["hardware"],
            run.environment["command"],
        ]
        for run in runs
    ]
    return table_html(["system", "directory", "commit", "hardware", "command"], rows)
