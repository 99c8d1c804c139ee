"""`squall run` and `squall report`: experiments with their progress, then the table."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from squall.cli.devices import check_launch, check_options, device_of, gpus_of
from squall.engine.config import ExperimentConfig
from squall.engine.experiment import Experiment, RunOptions, repository_root
from squall.engine.grid import find_config, grid_configs, plan_cells
from squall.engine.launch import Launch, leading
from squall.engine.runner import Cell, CellStatus, run_cells
from squall.engine.tasks import TASKS, open_variants, task_of
from squall.report.records import Record, read_records
from squall.report.report import Report
from squall.settings import ConfigError, differences, parse_assignment, split_values

__all__ = ["report_experiments", "run_recipe"]

REPORT_STAGE = 8


def run_recipe(options: argparse.Namespace) -> int:
    """Run the experiments of a recipe and, unless the range ends before it, the report stage.

    Returns:
        1 when an experiment failed, else 0.

    Raises:
        ConfigError: the recipe, a setting or the range of stages does not exist.
    """
    if options.stop_stage < options.stage:
        raise ConfigError(
            f"--stop-stage {options.stop_stage} lies before --stage {options.stage}: nothing to run"
        )
    launch = Launch.from_environment()
    cells = _cells(options, launch)
    check_launch(options, launch)
    if options.dry_run:
        problems = list(filter(None, map(_dry_run, cells)))
        for problem in dict.fromkeys(problems):  # often that of every cell
            print(f"squall: {problem}", file=sys.stderr)
        return 1 if problems else 0
    failed: list[Cell] = []
    if launch.rank > 0:
        return _join(options, launch)
    _check_place("--exp-dir", cells[0].experiment.recipe_dir)
    if options.stop_stage >= REPORT_STAGE:
        _check_place("--results-dir", _results_dir(cells[0], options))
    if options.stage < REPORT_STAGE:
        jobs = _jobs(options) if launch.size == 1 else 1  # others join one training at a time
        with leading(launch), _display(cells) as on_status:
            failed = _run_cells(cells, options, jobs, on_status)
    if options.stop_stage >= REPORT_STAGE:
        done = [cell.experiment for cell in cells if cell not in failed]
        if done:
            _publish(cells[0], done, options)
    for cell in failed:
        print(f"failed: {_label(cell)} ({cell.experiment.directory})", file=sys.stderr)
    return 1 if failed else 0


def _check_place(option: str, folder: Path) -> None:
    """Raise ConfigError where a folder can be neither made nor written to; hours later is late."""
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise ConfigError(f"{there} is a file, not a folder: give another place with {option}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{there} cannot be written to: give another place with {option}")


def _join(options: argparse.Namespace, launch: Launch) -> int:
    from squall.asr.bridge.distributed import join_trainings

    if options.stage < REPORT_STAGE:
        join_trainings(launch)
    return 0


def _run_cells(
    cells: Sequence[Cell],
    options: argparse.Namespace,
    jobs: int,
    on_status: Callable[[Cell, CellStatus], None],
) -> list[Cell]:
    if not options.cluster:
        return run_cells(cells, jobs=jobs, on_status=on_status)
    from squall.engine.cluster import run_cells_on_cluster

    name, *assignments = options.cluster
    parameters = dict(parse_assignment(text) for text in assignments)
    return run_cells_on_cluster(cells, cluster=name, parameters=parameters, on_status=on_status)


def report_experiments(options: argparse.Namespace) -> int:
    """Make one page from experiment directories, with every scored variant of each.

    Raises:
        ConfigError: two experiments have results of the same name, as where only a setting differs
            that names no system.
    """
    _check_place("-o", options.output.absolute().parent)
    # A directory given twice is one run: as two of one seed they would have a spread of 0.
    directories = {directory.resolve(): directory for directory in options.experiments}.values()
    variants = [open_variants(directory) for directory in directories]
    scored = [[e for e in found if e.result_path.is_file()] or found[:1] for found in variants]
    every = [one for found in scored for one in found]
    _refuse_namesakes(every)
    report = _collect(every, options.baseline)
    _print_table(report)
    report.write_html(options.output)
    print(f"report: {options.output.absolute()}")
    return 0


def _refuse_namesakes(experiments: Sequence[Experiment[ExperimentConfig]]) -> None:
    """A table has one row for what records call by one name; the other numbers would be lost.

    What several experiments put beside their own system, with the same numbers, is one row.
    """
    owners: dict[tuple[str | int, ...], tuple[Experiment[ExperimentConfig], Record]] = {}
    for experiment in experiments:
        records = read_records(experiment.result_path) if experiment.result_path.is_file() else []
        for record in records:
            owner, known = owners.setdefault(record.key, (experiment, record))
            if owner.directory.resolve() == experiment.directory.resolve():
                continue
            if record.system != experiment.config.system and record.value == known.value:
                continue
            changed = differences(owner.config.hashed(), experiment.config.hashed())
            raise ConfigError(
                f"{owner.directory} and {experiment.directory} both have {record.experiment} "
                f"{record.system} seed {record.seed} of {record.dataset}, so that a table cannot "
                f"tell them apart ({'; '.join(changed[:3]) or 'their settings are the same'}): "
                "report on each alone"
            )


def _cells(options: argparse.Namespace, launch: Launch) -> list[Cell]:
    corpus_dirs = [Path(folder).expanduser() for folder in options.corpus_dir or ()]
    path, why = find_config(options.recipe, options.experiment, corpus_dirs)
    if why:
        print(why)
    overrides = dict(parse_assignment(text) for text in options.set)
    if options.seed is not None:
        overrides["seed"] = options.seed
    if options.subset is not None:
        overrides["corpus.options.subset"] = options.subset
    grid = split_values(options.grid) if options.grid else None
    configs = grid_configs(path, overrides, grid)
    check_options(options, launch, {config.task for config in configs})
    run = RunOptions(
        exp_dir=str(Path(options.exp_dir or repository_root() / "exp").absolute()),
        corpus_dir=_folders(corpus_dirs),
        noise_dir=str(Path(options.noise_dir).absolute()) if options.noise_dir else None,
        download=options.download,
        skip_bad=options.skip_bad,
        device=device_of(options),
        gpus=gpus_of(options, launch),
        threads=options.threads,
        workers=options.workers,
        command=options.command_line,
    )
    last = min(options.stop_stage, REPORT_STAGE - 1)
    whole = Cell(configs[0], run, options.stage, last, options.force, options.dry_run)
    return plan_cells(configs, whole, _jobs(options))


def _folders(corpus_dirs: Sequence[Path]) -> str | tuple[str, ...] | None:
    """Absolute paths of the folders; one is given as such, as it has always been kept."""
    paths = tuple(str(folder.absolute()) for folder in corpus_dirs)
    return paths if len(paths) > 1 else next(iter(paths), None)


def _jobs(options: argparse.Namespace) -> int:
    if options.jobs or device_of(options) == "cuda":
        return int(options.jobs or 1)
    return max(1, (os.cpu_count() or 1) // int(options.threads))


def _label(cell: Cell) -> str:
    config = cell.config
    return f"{config.named(config.experiment, config.system)} seed {config.seed}"


def _place(cell: Cell) -> Path:
    """What tells two cells apart whose labels are the same: grids may vary any setting."""
    return cell.experiment.result_path


def _dry_run(cell: Cell) -> str | None:
    """Tell what would run; returns what the check would stop with."""
    from squall.engine.stages import run_stages

    print(f"{cell.experiment.directory}")
    try:
        run_stages(
            task_of(cell.config).list_stages(cell.experiment),
            log_dir=cell.experiment.log_dir,
            first=cell.first,
            last=cell.last,
            force=cell.force,
            dry_run=True,
            on_stage=lambda stage, done, total, message: print(f"  {stage.title:<10} {message}"),
        )
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        return str(error)
    return None


@contextmanager
def _display(cells: Sequence[Cell]) -> Iterator[Any]:
    """Progress bars on a terminal, one line per event elsewhere."""
    lock = threading.Lock()
    if not sys.stdout.isatty():
        seen: dict[Path, str] = {}

        def line(cell: Cell, status: CellStatus) -> None:
            with lock:
                text = f"[{_label(cell)}] {status.stage}: {status.message}"
                if seen.get(_place(cell)) != text:
                    print(text, file=sys.stderr if status.failed else sys.stdout, flush=True)
                seen[_place(cell)] = text

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
               TextColumn("{task.fields[message]}", markup=False))  # fmt: skip
    with Progress(*columns) as progress:
        tasks: dict[Path, TaskID] = {
            _place(cell): progress.add_task(_label(cell), message="", total=1) for cell in cells
        }

        def bar(cell: Cell, status: CellStatus) -> None:
            first_line = status.message.partition("\n")[0]
            with lock:
                if status.failed:
                    text = f"{_label(cell)}: {status.message}"
                    progress.console.print(text, style="red", markup=False, highlight=False)
                progress.update(
                    tasks[_place(cell)],
                    completed=status.done,
                    total=max(1, status.total),
                    message=f"{status.stage}: {first_line}",
                )

        yield bar


def _collect(experiments: Sequence[Experiment[ExperimentConfig]], baseline: str | None) -> Report:
    """The report of experiments of one task, whose systems are compared with the baseline.

    Raises:
        ConfigError: they are of several tasks, whose numbers do not stand in one table.
    """
    tasks = sorted({experiment.config.task for experiment in experiments})
    if len(tasks) > 1:
        raise ConfigError(f"{' and '.join(tasks)} experiments go into reports of their own")
    return replace(TASKS[tasks[0]].collect(experiments), baseline=baseline)


def _publish(
    first: Cell, experiments: Sequence[Experiment[ExperimentConfig]], options: argparse.Namespace
) -> None:
    report = _collect(experiments, options.baseline)
    recipe_dir = first.experiment.recipe_dir
    _print_table(report)
    report.write_html(recipe_dir / "report.html")
    title = f"Results of the {first.config.recipe} recipe"
    path = report.write_results(_results_dir(first, options), title=title)
    print(f"results: {path}")
    for row in report.runs:
        print(f"model: {row.system} seed {row.seed}: {row.directory}")
    print(f"report: {recipe_dir / 'report.html'}")


def _results_dir(first: Cell, options: argparse.Namespace) -> Path:
    if options.results_dir:
        return Path(options.results_dir).absolute()
    if first.config.results_dir:
        return repository_root() / first.config.results_dir
    return first.experiment.recipe_dir


def _print_table(report: Report) -> None:
    console = Console()
    for shown in report.tables:
        table = Table(title=shown.title, title_justify="left")
        for name in shown.head:
            table.add_column(name)
        for row in shown.rows:
            table.add_row(*row)
        wide = console if console.is_terminal else Console(width=160)
        wide.print(table)
        if shown.note:
            wide.print(shown.note, markup=False, highlight=False)
