"""How far work on files is: a bar with the time left on a terminal, and lines beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["display"]


@contextmanager
def display(
    total: float, *, bar: bool = True
) -> Iterator[tuple[Callable[[str], None], Callable[[float, str], None]]]:
    """What prints a line, and what shows how much is done of what; both on standard error.

    Args:
        total: of the work.
        bar: whether to show one; there is none where standard error is no terminal.
    """
    if bar:
        from rich.console import Console  # not earlier: it takes a while

        console = Console(stderr=True)
    if not (bar and console.is_terminal):
        yield lambda text: print(text, file=sys.stderr, flush=True), lambda done, name: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}", markup=False), BarColumn(),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=total)

        def say(text: str) -> None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

        def show(done: float, name: str) -> None:
            progress.update(task, completed=done, description=name)

        yield say, show
