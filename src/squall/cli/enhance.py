"""`squall enhance`: noisy files to enhanced files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from squall.engine.tasks import open_experiment
from squall.enhance.settings import EnhancementConfig
from squall.files import disk_full

__all__ = ["enhance_files"]

_OnShare = Callable[[float, str], None]


def enhance_files(options: argparse.Namespace) -> int:
    """Enhance files; the exit code is 1 when one of them could not be.

    Raises:
        FileNotFoundError: the experiment has no trained model; an input does not exist, or is a
            folder without audio.
        ValueError: the experiment is of another task, there is no such model, or a result would
            overwrite an input or another result.
    """
    experiment = open_experiment(options.model, EnhancementConfig)
    import torch  # not earlier: a wrong experiment is to be told at once

    from squall.audio.reading import unread_below
    from squall.enhance.audio_files import enhance_file, plan_outputs
    from squall.enhance.enhancer import Enhancer, find_model

    torch.set_num_threads(options.threads)
    model = find_model(experiment.directory / "train", options.condition)
    jobs = plan_outputs(options.audio, options.output)
    enhancer = Enhancer.load(model, experiment.config)
    failed = 0
    with _display(len(jobs)) as (say, show):
        for folder in filter(Path.is_dir, options.audio):
            if left_out := unread_below(folder):
                say(f"{folder}: {left_out}")
        for number, job in enumerate(jobs, start=1):

            def on_progress(
                share: float, done: int = number - 1, name: str = job.source.name
            ) -> None:
                show(done + share, name)

            try:
                notes = enhance_file(enhancer, job, on_progress=on_progress)
            except (OSError, ValueError, RuntimeError, MemoryError) as error:
                if isinstance(error, OSError) and disk_full(error):
                    raise  # the next file would find it full too
                text = str(error) or "the memory is full"
                named = text.startswith((str(job.source), str(job.target)))
                say(text if named else f"{job.source}: {text}")
                failed += 1
                continue
            for note in notes:
                say(f"{job.source}: {note}")
            say(f"{number} of {len(jobs)}: {job.target}")
    if failed:
        print(f"{failed} of {len(jobs)} files could not be enhanced", file=sys.stderr)
    return 1 if failed else 0


@contextmanager
def _display(files: int) -> Iterator[tuple[Callable[[str], None], _OnShare]]:
    """What prints a line, and what shows the progress: a bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr, flush=True), lambda done, name: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=files)

        def say(text: str) -> None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

        def show(done: float, name: str) -> None:
            progress.update(task, completed=done, description=name)

        yield say, show
