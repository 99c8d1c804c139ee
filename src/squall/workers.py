"""Work in several processes: many items with results in order, and no process left behind.

Also how far they are: what is told of it, and a thread that does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

__all__ = ["OnProgress", "clear_of_semaphores", "end_with", "map_in_processes", "repeatedly"]

OnProgress = Callable[[int, int, str], None]
"""Told how far a piece of work is: what is done, what there is to do, a few words."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """Apply a function to every item.

    Args:
        function: of a module's top level.
        items: what it is given; sent to the processes.
        workers: processes; with 1, or one item, the work is done in this one.

    Returns:
        The results, in the order of the items, each as soon as it and those before it are there.

    Raises:
        Exception: what the function raises; what has not begun by then is not done.
        RuntimeError: one of the processes was killed, or there can be no more than one.
    """
    if workers <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    # A forked child would inherit locks of this process's threads in whatever state they are.
    context = get_context("spawn")
    count = min(workers, len(items))
    with clear_of_semaphores():
        executor = ProcessPoolExecutor(
            count, mp_context=context, initializer=end_with, initargs=(os.getpid(),)
        )
    with executor as pool:
        try:
            yield from pool.map(function, items)
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"one of {count} processes was killed, most often because the memory was full: "
                "start fewer of them (--jobs, --workers)"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def clear_of_semaphores() -> Iterator[None]:
    """Say what is lacking where processes that talk to each other cannot be started.

    Raises:
        RuntimeError: the machine gives no semaphores.
    """
    try:
        yield
    except OSError as error:
        raise RuntimeError(
            f"several processes need semaphores, which this machine does not give ({error}): let "
            "/dev/shm be written to, or work in one process (--workers 1, --jobs 1)"
        ) from error


def end_with(parent: int) -> None:
    """Let this process end when the one that started it has gone, killed or not.

    Args:
        parent: the process id of the one that started it.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def repeatedly(action: Callable[[], object], seconds: float) -> Iterator[None]:
    """Do something every so many seconds, in a thread of its own, while the block runs."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
