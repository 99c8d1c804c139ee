"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from squall.files import atomic_path, atomic_write, disk_full


def _half() -> Iterator[str]:
    yield "half"
    raise KeyError("stop")


def _fail_with(code: int) -> Any:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.txt"
    for text in ("first é\n", "second\n"):
        with atomic_write(path) as file:
            file.write(text)
        assert path.read_text(encoding="utf-8") == text
    assert list(path.parent.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "results.txt"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_write(path) as file:
        file.writelines(_half())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_see_the_old_file_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "results.txt"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_the_old_file_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    path = tmp_path / "results.txt"
    path.write_text("old")
    monkeypatch.setattr(os, call, _fail_with(code))
    message = r"no space left .*results\.txt\. .*free some space"
    with pytest.raises(OSError, match=message) as caught, atomic_write(path) as file:
        file.write("new")
    assert disk_full(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_while_writing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.txt"
    full_disk = open("/dev/full", "w")  # noqa: SIM115 - closed inside, where writing fails
    with pytest.raises(OSError, match="no space left"), atomic_write(path), full_disk:
        full_disk.write("x")
    assert not list(tmp_path.iterdir())


def test_another_error_keeps_its_own_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "replace", _fail_with(errno.EACCES))
    with pytest.raises(PermissionError, match="Permission denied"), atomic_write(tmp_path / "a"):
        pass


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "model.pth"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "out"
    link.symlink_to("/dev/null")
    with atomic_write(link) as file:
        file.write("gone")
    assert link.is_symlink()
    assert link.resolve() == Path("/dev/null")
    assert Path("/dev/null").is_char_device()
