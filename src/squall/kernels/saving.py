"""Files that are either whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path beside `path`, and rename it to `path` when the block ends well.

    Raises:
        OSError: the block cannot write, of which torch says no more than `unexpected pos`.
    """
    unfinished = path.with_name(path.name + ".part")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:
        number = getattr(error, "errno", None) or 0
        raise OSError(
            number, f"{path} cannot be written ({error}): is there space on the disk?"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
