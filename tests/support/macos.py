"""What macOS leaves on discs that are not its own."""

from __future__ import annotations

import shutil
from pathlib import Path

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \xff\xfe"


def litter(folder: Path) -> None:
    """A `._` file beside every file and folder, and a deleted copy of all in a hidden one."""
    everything = list(folder.rglob("*"))
    copy = shutil.copytree(folder, folder.parent / f"{folder.name}.copy")
    for path in everything:
        path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE)
    (folder / ".DS_Store").write_bytes(APPLE_DOUBLE)
    shutil.move(copy, folder / ".Trashes" / "501")
