"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import ast
import contextlib
import errno
import gzip
import lzma
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

import squall.files
from little_space import file_sizes_up_to
from squall.files import (
    atomic_path,
    atomic_write,
    disk_full,
    growing_file,
    json_text,
    read_arrays,
    read_bytes,
    read_json,
    read_text,
    visible_files,
    write_arrays,
    write_json,
)

_VALUES = 100_000


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


@pytest.mark.fault(
    "Disk",
    "the disk or the quota is full while a file is finished",
    "an error that names the file; the old one stays as it was",
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named_and_the_old_file_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    path = tmp_path / "results.txt"
    path.write_text("old")
    monkeypatch.setattr(os, call, _fail_with(code))
    lacking = "limit for the size of a file" if code == errno.EFBIG else "no space left"
    message = rf"{lacking} .*results\.txt\. .*make room"
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


def _save_torch(path: Path) -> None:
    torch.save(torch.zeros(_VALUES), path)


def _save_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(_VALUES))


def _save_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, one=np.zeros(_VALUES), two=np.zeros(_VALUES))


def _save_sound(path: Path) -> None:
    soundfile.write(path, np.zeros(_VALUES), 16000, format="WAV", subtype="FLOAT")


@pytest.mark.fault(
    "Disk",
    "a file that torch, numpy or libsndfile cannot write to its end",
    "an error that says what is lacking, the old file as it was and nothing beside it",
)
@pytest.mark.parametrize("save", [_save_torch, _save_numpy, _save_archive, _save_sound])
def test_what_libraries_say_of_a_full_disk_is_told_as_such(
    tmp_path: Path, save: Callable[[Path], None]
) -> None:
    path = tmp_path / "weights"
    path.write_text("old")
    with (
        file_sizes_up_to(4096),
        pytest.raises(OSError, match=r"limit for the size .*weights.*make room") as caught,
        atomic_path(path) as temporary,
    ):
        save(temporary)
    assert disk_full(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_another_failure_of_a_library_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot multiply"), atomic_path(tmp_path / "weights"):
        raise RuntimeError("cannot multiply")
    assert not list(tmp_path.iterdir())


def test_a_growing_file_has_its_lines_at_once_and_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.txt"

    def fail_after_a_line() -> None:
        with growing_file(path) as write:
            write("é 1\n")
            assert path.read_text(encoding="utf-8") == "é 1\n"
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_a_line()
    assert path.read_text(encoding="utf-8") == "é 1\n"


def test_what_a_growing_file_held_stays_until_there_is_something_new(tmp_path: Path) -> None:
    path = tmp_path / "results.txt"
    path.write_text("old\n")
    with growing_file(path):
        pass
    assert path.read_text() == "old\n"
    with growing_file(path) as write:
        write("new 1\n")
        write("new 2\n")
    assert path.read_text() == "new 1\nnew 2\n"


@pytest.mark.fault(
    "Disk",
    "the disk is full while results of many files are written one by one",
    "an error that names the file; the lines that are there stay",
)
def test_a_full_disk_is_named_with_the_file_that_grows(tmp_path: Path) -> None:
    link = tmp_path / "results.txt"
    link.symlink_to("/dev/full")
    with (
        pytest.raises(OSError, match=r"no space left .*results\.txt$"),
        growing_file(link) as write,
    ):
        write("x\n")


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


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(VALUES, st.booleans())
def test_json_comes_back_as_written(value: object, nan_as_null: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.json"
        write_json(path, value, nan_as_null=nan_as_null)
        assert read_json(path) == value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_no_word_for_is_named_with_its_place(
    tmp_path: Path, number: float
) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    value = {"epochs": [{"loss": 1.0}, {"loss": number}], "seed": 1}
    message = rf"file\.json cannot be written: epochs\.1\.loss is {number}, for which JSON"
    with pytest.raises(ValueError, match=message):
        write_json(path, value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match=f"^the value is {number}, for which"):
        json_text(number)


def test_a_number_that_is_none_can_be_null_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    value = {"losses": (0.5, math.nan, [math.inf]), "name": "a", "epochs": 3}
    write_json(path, value, nan_as_null=True)
    assert path.read_text() == '{"losses": [0.5, null, [null]], "name": "a", "epochs": 3}'
    assert read_json(path)["losses"] == [0.5, None, [None]]
    found = read_json(path, null_as_nan=True)
    assert [math.isnan(x) for x in (*found["losses"][:2], *found["losses"][2])] == [0, 1, 1]
    assert (found["name"], found["epochs"]) == ("a", 3)


def test_a_file_of_earlier_versions_is_read(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text('{"loss": NaN}')
    assert math.isnan(read_json(tmp_path / "file.json")["loss"])


NOT_FILES = {
    "audio/mixing.py": "the seed of a mixture",
    "corpora/demo/espeak.py": "a pipe to the engine's process",
    "corpora/demo/espeak_engine.py": "a pipe",
    "engine/launch.py": "a board in memory",
    "enhance/training.py": "a message",
    "kernels/apart.py": "a digest",
    "kernels/machine.py": "in an npz archive; NaN where there was no validation data",
    "networks/stack.py": "the seed of a network",
    "report/report.py": "text of the page",
    "settings.py": "a digest and a message",
}
"""Modules that call json.dump or json.dumps themselves, and what for."""


@pytest.mark.slow
def test_json_files_are_written_by_the_strict_function() -> None:
    source = Path(squall.files.__file__).parent
    found = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps")):
                continue
            if isinstance(node.value, ast.Name) and node.value.id == "json":
                found.add(path.relative_to(source).as_posix())
    imported = [path for path in source.rglob("*.py") if "from json import" in path.read_text()]
    assert imported == []
    assert found == {"files.py", *NOT_FILES}


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_come_back_as_written(tmp_path: Path, compress: bool) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "names": np.array(["É", ""]), "b": np.int64(3)}
    write_arrays(tmp_path / "a.npz", arrays, compress=compress)
    found = read_arrays(tmp_path / "a.npz", remedy="")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert read_arrays(tmp_path / "a.npz", ["b"], remedy="") == {"b": 3}


def test_arrays_of_objects_are_not_written_and_the_old_file_stays(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"a": 1})
    with pytest.raises(ValueError, match=r"a\.npz cannot be written: b holds objects"):
        write_arrays(tmp_path / "a.npz", {"a": 2, "b": np.array([None])})
    assert read_arrays(tmp_path / "a.npz", remedy="") == {"a": 1}


@pytest.mark.parametrize("kept", [0, 1, 30, 400, -1])
def test_damaged_arrays_are_named_with_the_remedy(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {"a": np.arange(100)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"{path} is damaged: .*; predict again"):
        read_arrays(path, remedy="predict again")


@pytest.mark.parametrize("place", range(0, 700, 50))
def test_a_bit_that_flipped_is_found_or_changes_nothing(tmp_path: Path, place: int) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {"a": np.arange(100)}, compress=True)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 4
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        np.testing.assert_array_equal(read_arrays(path, ["a"], remedy="")["a"], np.arange(100))


def test_an_array_that_is_absent_and_objects_are_damage(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"a": 1})
    with pytest.raises(ValueError, match=r"a\.npz is damaged: .*\bb\b"):
        read_arrays(tmp_path / "a.npz", ["a", "b"], remedy="")
    np.savez(tmp_path / "o.npz", a=np.array([{}]))
    with pytest.raises(ValueError, match=r"o\.npz is damaged: .*allow_pickle"):
        read_arrays(tmp_path / "o.npz", remedy="")
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz", remedy="")


def test_arrays_are_written_by_one_function() -> None:
    source = Path(squall.files.__file__).parent
    found = {
        p.relative_to(source).as_posix() for p in source.rglob("*.py") if ".savez" in p.read_text()
    }
    assert found == {"files.py", "kernels/machine.py"}  # squall.kernels imports nothing of squall


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_is_read_with_or_without_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t").write_text("É\nB", encoding=encoding)
    assert read_text(tmp_path / "t") == "É\nB"


@pytest.mark.parametrize(("encoding", "line"), [("latin1", 2), ("utf-16", 1)])
def test_text_in_another_encoding_is_named(tmp_path: Path, encoding: str, line: int) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("A\nÉTÉ\n".encode(encoding))
    with pytest.raises(ValueError, match=rf"{path}:{line}: not UTF-8 \(byte 0x.*save it as UTF-8"):
        read_text(path)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_packed_files_are_unpacked_and_damage_is_named(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    text = "".join(f"É{number}\n" for number in range(2000)).encode()
    packed, path = pack(text), tmp_path / f"t{suffix}"
    path.write_bytes(packed)
    assert read_bytes(path) == text
    assert read_text(path) == text.decode()
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 16
    for damaged in (packed[:-5], packed[: len(packed) // 2], flipped, b"none", b"\x1f\x8b"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{path} is damaged: .*copy it again"):
            read_bytes(path)


def test_hidden_files_and_folders_are_not_looked_at(tmp_path: Path) -> None:
    shown = [tmp_path / ".above" / name for name in ("a.wav", "b/c.wav")]
    for path in (*shown, *(tmp_path / ".above" / name for name in ("._a.wav", ".b/d.wav"))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert visible_files(tmp_path / ".above", "**/*.wav") == shown


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000], ids=range(4))
def test_what_is_not_json_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json is damaged"):
        read_json(path)


@pytest.mark.fault(
    "State", "a piece of long work with any bit flipped", "an error that names it, or the same"
)
def test_a_sealed_file_is_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "piece.json"
    value = {"numbers": [1.5, None], "name": "first"}
    write_json(path, {"numbers": [1.5, math.nan], "name": "first"}, nan_as_null=True, sealed=True)
    assert read_json(path, sealed=True) == value
    whole, refused = path.read_bytes(), 0
    for position in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                found = read_json(path, sealed=True)
            except ValueError as error:
                assert str(path) in str(error)  # noqa: PT017
                refused += 1
            else:  # the name of the digest, which makes it a file of an earlier version
                assert {key: found[key] for key in value} == value
    assert refused > 7 * len(whole)
    write_json(path, value)  # as an earlier version wrote it
    assert read_json(path, sealed=True) == value
