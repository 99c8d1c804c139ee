"""`squall run` and `squall report`: experiments with their progress, then the table."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from squall.config import ConfigError, load_config, parse_assignment, split_values
from squall.experiment import Experiment, RunOptions, repository_root
from squall.report import Report, collect
from squall.runner import Cell, CellStatus, expand_grid, run_cells

__all__ = ["report_experiments", "run_recipe"]

REPORT_STAGE = 8


def run_recipe(options: argparse.Namespace) -> int:
    """Run the experiments of a recipe and, unless the range ends before it, the report stage."""
    cells = _cells(options)
    if options.dry_run:
        for cell in cells:
            print(f"{cell.experiment.directory}")
            _dry_run(cell)
        return 0
    failed: list[Cell] = []
    if options.stage < REPORT_STAGE:
        jobs = options.jobs or _default_jobs(options, len(cells))
        with _display(cells) as on_status:
            failed = run_cells(cells, jobs=jobs, on_status=on_status)
    if options.stop_stage >= REPORT_STAGE:
        done = [cell.experiment for cell in cells if cell not in failed]
        if done:
            _publish(cells[0], done, options)
    for cell in failed:
        print(f"failed: {_label(cell)} ({cell.experiment.directory})", file=sys.stderr)
    return 1 if failed else 0


def report_experiments(options: argparse.Namespace) -> int:
    """Make one page from experiment directories."""
    report = collect([Experiment.open(directory) for directory in options.experiments])
    _print_table(report)
    report.write_html(options.output)
    print(f"report: {options.output.absolute()}")
    return 0


def _cells(options: argparse.Namespace) -> list[Cell]:
    path = _config_path(options)
    overrides = dict(parse_assignment(text) for text in options.set)
    if options.seed is not None:
        overrides["seed"] = options.seed
    grid = split_values(options.grid) if options.grid else load_config(path, overrides).grid
    grid = {key: values for key, values in grid.items() if key not in overrides}
    run = RunOptions(
        exp_dir=str(Path(options.exp_dir or repository_root() / "exp").absolute()),
        corpus_dir=str(Path(options.corpus_dir).absolute()) if options.corpus_dir else None,
        download=options.download,
        skip_bad=options.skip_bad,
        device=options.device,
        threads=options.threads,
        command=options.command_line,
    )
    cells = {}
    for values in expand_grid(grid):
        config = load_config(path, {**overrides, **values})
        cells[config.directory_name, config.variant] = Cell(
            config, run, options.stage, min(options.stop_stage, REPORT_STAGE - 1),
            options.force, options.dry_run,
        )  # fmt: skip
    return list(cells.values())


def _config_path(options: argparse.Namespace) -> Path:
    folder = repository_root() / "conf" / str(options.recipe)
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if not names:
        recipes = sorted(path.name for path in folder.parent.iterdir() if path.is_dir())
        raise ConfigError(f"no recipe {options.recipe!r}; there are {', '.join(recipes)}")
    return folder / f"{options.experiment or names[0]}.yaml"


def _default_jobs(options: argparse.Namespace, cells: int) -> int:
    if options.device == "cuda":
        return 1
    return max(1, min(cells, (os.cpu_count() or 1) // int(options.threads)))


def _label(cell: Cell) -> str:
    config = cell.config
    return " ".join(filter(None, [config.experiment, config.system, config.variant])) + (
        f" seed {config.seed}"
    )


def _dry_run(cell: Cell) -> None:
    from squall.asr.recipe import recognition_stages
    from squall.stages import run_stages

    run_stages(
        recognition_stages(cell.experiment),
        log_dir=cell.experiment.log_dir,
        first=cell.first,
        last=cell.last,
        force=cell.force,
        dry_run=True,
        report=lambda stage, done, total, message: print(f"  {stage.title:<10} {message}"),
    )


@contextmanager
def _display(cells: Sequence[Cell]) -> Iterator[Any]:
    """Progress bars on a terminal, one line per event elsewhere."""
    lock = threading.Lock()
    if not sys.stdout.isatty():
        seen: dict[str, str] = {}

        def line(cell: Cell, status: CellStatus) -> None:
            with lock:
                text = f"[{_label(cell)}] {status.stage}: {status.message}"
                if seen.get(_label(cell)) != text:
                    print(text, file=sys.stderr if status.failed else sys.stdout, flush=True)
                seen[_label(cell)] = text

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
               TextColumn("{task.fields[message]}"))  # fmt: skip
    with Progress(*columns) as progress:
        tasks: dict[str, TaskID] = {
            _label(cell): progress.add_task(_label(cell), message="", total=1) for cell in cells
        }

        def bar(cell: Cell, status: CellStatus) -> None:
            with lock:
                if status.failed:
                    progress.console.print(f"[red]{_label(cell)}[/red]: {status.message}")
                progress.update(
                    tasks[_label(cell)],
                    completed=status.done,
                    total=max(1, status.total),
                    message=f"{status.stage}: {status.message.splitlines()[0]}",
                )

        yield bar


def _publish(first: Cell, experiments: Sequence[Experiment], options: argparse.Namespace) -> None:
    report = collect(experiments)
    recipe_dir = first.experiment.recipe_dir
    _print_table(report)
    report.write_html(recipe_dir / "report.html")
    results_dir = options.results_dir or first.config.results_dir
    title = f"Results of the {first.config.recipe} recipe"
    if results_dir:
        path = report.write_results(repository_root() / results_dir, title=title)
        print(f"results: {path}")
    else:
        report.write_results(recipe_dir, title=title)
    for row in report.runs:
        print(f"model: {row.system} seed {row.seed}: {row.directory}")
    print(f"report: {recipe_dir / 'report.html'}")


def _print_table(report: Report) -> None:
    console = Console()
    for condition in report.conditions:
        head, rows = report.table(condition)
        table = Table(title=condition, title_justify="left")
        for name in head:
            table.add_column(name)
        for row in rows:
            table.add_row(*row)
        if console.is_terminal:
            console.print(table)
        else:
            Console(width=160).print(table)
