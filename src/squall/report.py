"""From experiment directories to tables and one self-contained HTML page."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squall.experiment import Experiment
from squall.files import atomic_write
from squall.results import Record, read_records, results_table, write_results

__all__ = ["Report", "Run", "collect"]

_CURVES = {
    ("valid", "acc"): "token accuracy on dev (teacher-forced)",
    ("valid", "cer_ctc"): "greedy CTC character error rate on dev",
    ("train", "loss"): "training loss (CTC and attention, each loss on its own scale)",
}


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
class Report:
    """The numbers, curves and alignments of some experiments."""

    runs: tuple[Run, ...]

    @property
    def records(self) -> list[Record]:
        """The numbers of all runs."""
        return [record for run in self.runs for record in run.records]

    @property
    def conditions(self) -> list[str]:
        """The splits, `test` first."""
        found = {record.condition for record in self.records}
        return sorted(found, key=lambda name: (name != "test", name))

    def table(self, condition: str) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the table of one condition, as `results_table` gives them."""
        return results_table(self.records, condition)

    def write_results(self, directory: Path, *, title: str) -> Path:
        """Merge the numbers into `results.json` and `RESULTS.md` of a folder."""
        return write_results(directory, self.records, title=title)

    def write_html(self, path: Path) -> None:
        """Write the page: one file, no script, nothing loaded from anywhere.

        Raises:
            ImportError: matplotlib, which draws the curves, is not installed.
        """
        page = _page(self)
        with atomic_write(path) as file:
            file.write(page)


def collect(experiments: Sequence[Experiment]) -> Report:
    """Read finished experiments.

    Raises:
        FileNotFoundError: an experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    return Report(tuple(_run(experiment) for experiment in experiments))


def _run(experiment: Experiment) -> Run:
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
        history=tuple(_json(directory / "train" / "history.json")),
        environment=_json(directory / "environment.json"),
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; run its stage again with --force") from error


def _page(report: Report) -> str:
    sections = [
        *(_section(name, _table(*report.table(name))) for name in report.conditions),
        _section("Learning curves", "".join(_figures(report.runs))),
        *(_section(f"Alignments: {run.label}", _alignments(run)) for run in report.runs),
        _section("How it was run", _runs_table(report.runs)),
    ]
    title = f"squall: {html.escape(report.records[0].recipe)}" if report.records else "squall"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{title}</h1>{''.join(sections)}</main></body></html>\n"
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


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(f"<{tag}>{html.escape(value)}</{tag}>" for value in values)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells("th", head)}</tr>{body}</table></div>'


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
    return _table(["system", "directory", "commit", "hardware", "command"], rows)


def _figures(runs: Sequence[Run]) -> list[str]:
    figures = []
    for (phase, key), title in _CURVES.items():
        curves = [
            (
                run.label,
                [
                    (epoch["epoch"], epoch[phase][key])
                    for epoch in run.history
                    if key in epoch.get(phase, {})
                ],
            )
            for run in runs
        ]
        curves = [(label, points) for label, points in curves if points]
        if curves:
            figures.append(f"<figure>{_curve_svg(curves, title)}</figure>")
    return figures


def _curve_svg(curves: Sequence[tuple[str, Sequence[tuple[int, float]]]], title: str) -> str:
    """A line chart as SVG whose text stays text and takes the page's colour."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"the report's figures need matplotlib ({error}): pip install 'squall[report]'"
        ) from error

    with matplotlib.rc_context({"svg.fonttype": "none", "axes.edgecolor": "#808890"}):
        figure = Figure(figsize=(7.2, 3.6))
        axes = figure.subplots()
        for label, points in curves:
            axes.plot(*zip(*points, strict=True), label=label)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, bbox_inches="tight")
    svg = written.getvalue()
    return svg[svg.index("<svg") :]


def _alignments(run: Run) -> str:
    path = run.score_dir / "test.csv"
    if not path.is_file():
        return "<p>not decoded</p>"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [row for row in rows if row["reference"] != row["hypothesis"]]
    text = (run.score_dir / "test.alignments.txt").read_text(encoding="utf-8")
    return (
        f"<details><summary>{len(wrong)} of {len(rows)} test utterances have an error</summary>"
        f"<pre>{_marked(text)}</pre></details>"
    )


def _marked(text: str) -> str:
    """Alignment lines with the evaluation line of each block in colour."""
    mark: Callable[[str], str] = lambda line: f"<mark>{line}</mark>"  # noqa: E731
    lines = (html.escape(line) for line in text.splitlines())
    return "\n".join(mark(line) if line.lstrip().startswith("EVAL") else line for line in lines)
