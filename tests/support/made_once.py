"""What takes long to make is made by one worker of a session and found by the others."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object] = lambda _: None
) -> Path:
    """A folder of the session that the first to ask for it fills; nobody may change it later.

    Args:
        factory: of the session; the folders of its workers lie beside each other.
        name: of the folder.
        make: fills the folder, which is empty. Another worker that asks meanwhile waits.
    """
    top = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        top = top.parent
    folder, done = top / "made-once" / name, top / "made-once" / f"{name}.done"
    folder.parent.mkdir(exist_ok=True)
    with done.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder
