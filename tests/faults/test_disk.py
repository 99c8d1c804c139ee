"""Too little space, and places that cannot be written to: told, and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from another_user import NOBODY, as_nobody, folder_for_all
from little_space import SmallDisk, file_sizes_up_to
from tiny_tasks import TASKS, numbers

pytest.importorskip("matplotlib")

LACKING = re.compile(r"no space left|limit for the size|File too large", re.IGNORECASE)
GROWTH = 1.5
LARGEST_BYTES = 1 << 26

Command = Callable[[Path], tuple[int, str, str]]
RecordProperty = Callable[[str, object], None]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if not shutil.which("mount"):
        pytest.skip("no mount here")
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.end()


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_for_all() as folder:
        yield folder


def _run_while_space_grows(
    command: Command, folder: Path, give: Callable[[int], Any], *, first_bytes: int
) -> list[str]:
    """Run a command with more and more space until it succeeds; the stages that it stopped in."""
    stopped: list[str] = []
    size = first_bytes
    while size < LARGEST_BYTES:
        with give(size):
            code, _, err = command(folder)
        if code == 0:
            return stopped
        assert LACKING.search(err), err
        stage = re.search(r"\] (\d \w+|start): ", err)
        stopped.append(stage[1] if stage else "8 report")
        size = int(size * GROWTH)
    pytest.fail("the command never ends")


@pytest.mark.slow
@pytest.mark.fault(
    "Disk",
    "files may be no larger than so much (ulimit -f), in any stage",
    "an error that names the file; with a larger limit the same command ends with the same numbers",
)
def test_a_run_with_a_rising_limit_ends_with_the_same_numbers(
    tmp_path: Path, record_property: RecordProperty
) -> None:
    command = partial(TASKS["spiral"].run, tmp_path)
    little, much = tmp_path / "little", tmp_path / "much"
    assert command(much)[0] == 0
    stopped = _run_while_space_grows(command, little, file_sizes_up_to, first_bytes=1000)
    assert {"5 train", "8 report"} <= set(stopped)
    assert numbers(little) == numbers(much)
    record_property("outcome", f"stopped in {', '.join(sorted(set(stopped)))}")


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.fault(
    "Disk",
    "the disk is full, in any stage of any task",
    "an error that says so; with more space the same command ends with the same numbers",
)
@pytest.mark.parametrize("task", TASKS)
def test_a_run_on_a_disk_that_grows_ends_with_the_same_numbers(
    tmp_path: Path,
    record_property: RecordProperty,
    small_disk: SmallDisk,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
) -> None:
    plenty = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: plenty)  # or the check stops it at once
    for package in TASKS[task].packages:
        pytest.importorskip(package)
    command = partial(TASKS[task].run, tmp_path)
    code, _, err = command(tmp_path / "much")
    assert code == 0, err
    stopped = _run_while_space_grows(
        command, small_disk.folder, small_disk.of_size, first_bytes=40_000
    )
    assert stopped
    assert numbers(small_disk.folder) == numbers(tmp_path / "much")
    record_property("outcome", f"{task} stopped in {', '.join(sorted(set(stopped)))}")


@pytest.mark.slow
@pytest.mark.fault(
    "Disk",
    "a file in the place of a folder, or a folder that cannot be written to",
    "told at once, with the option that gives another",
)
def test_places_that_cannot_be_written_to_are_named_at_once(
    tmp_path: Path,
) -> None:
    command = partial(TASKS["spiral"].run, tmp_path)
    for name, option in (("exp", "--exp-dir"), ("results", "--results-dir")):
        folder = tmp_path / f"{name} is a file"
        folder.mkdir()
        (folder / name).touch()
        code, out, err = command(folder)
        assert (code, out) == (1, "")
        assert err == (
            f"squall: {folder / name} is a file, not a folder: give another place with {option}\n"
        )
    with folder_for_all() as closed:
        code, out, err = as_nobody(lambda: command(closed))
    assert (code, out) == (1, "")
    assert err == f"squall: {closed} cannot be written to: give another place with --exp-dir\n"


@pytest.mark.slow
@pytest.mark.fault(
    "Disk",
    "a file of a stage that may not be read, or has vanished",
    "an error that names the first; the second is made again, to the same numbers",
)
def test_a_file_that_cannot_be_read_or_has_vanished(
    folder: Path,
) -> None:
    command = partial(TASKS["spiral"].run, folder)
    assert command(folder)[0] == 0
    before = numbers(folder)
    (trained,) = folder.rglob("study.npz")
    for path in (trained, *folder.rglob("config.yaml"), *folder.rglob("result.json")):
        path.unlink()
        assert command(folder)[0] == 0
        assert numbers(folder) == before
    trained.chmod(0)
    (scored,) = folder.rglob("7-score.json")
    scored.unlink()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    code, _, err = as_nobody(lambda: command(folder))
    assert code == 1
    assert f"Permission denied: '{trained}'" in err
    trained.chmod(0o644)
    assert as_nobody(lambda: command(folder))[0] == 0
    assert numbers(folder) == before
