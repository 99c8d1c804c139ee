"""Too little space for what is written: a limit for the size of a file, and a small disk."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def file_sizes_up_to(size_bytes: int) -> Iterator[None]:
    """No file of this process, or of those that it starts, grows beyond a size.

    Writing fails with EFBIG then, as Python lets its processes ignore SIGXFSZ.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class SmallDisk:
    """A file system in memory that is mounted on a folder, which only root may do.

    Args:
        folder: is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        done = self._mount("size=4k")
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")

    def _mount(self, options: str) -> subprocess.CompletedProcess[str]:
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True)

    @contextmanager
    def of_size(self, size_bytes: int) -> Iterator[None]:
        """Give it another size, rounded up to pages; what is on it stays."""
        done = self._mount(f"remount,size={size_bytes}")
        assert done.returncode == 0, done.stderr
        yield

    def end(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)
