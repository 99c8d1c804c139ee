"""A user without rights."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

NOBODY = 65534


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder that other users may enter, as they may not enter those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


Result = TypeVar("Result")


def as_nobody(function: Callable[[], Result]) -> Result:
    """What a function gives in a forked process of the user nobody, who has no home.

    That user may be unable to read the environment, so the function must import nothing new.
    """
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(function, sender))
    process.start()
    sender.close()
    try:
        result: Result = receiver.recv()
    except EOFError:
        pytest.fail("the process of another user ended without a result")
    finally:
        process.join()
    return result


def _work(function: Callable[[], Any], sender: Any) -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.environ.pop("HOME", None)
    sender.send(function())
