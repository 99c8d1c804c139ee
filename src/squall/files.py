"""Files that are either whole or absent: written beside the target, then renamed.

A list of results that long work makes one by one is the exception: `growing_file`.

JSON is strict: it has no word for NaN or infinity, and other programs refuse a file that holds one.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import lzma
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "atomic_path",
    "atomic_write",
    "changed_files",
    "disk_full",
    "file_digest",
    "growing_file",
    "json_text",
    "lack_of_space",
    "read_array",
    "read_arrays",
    "read_bytes",
    "read_json",
    "read_text",
    "refuse_inputs",
    "visible_files",
    "write_arrays",
    "write_json",
    "written_digests",
    "written_state",
]

_BLOCK_BYTES = 1 << 20


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` when the block ends well.

    When the block fails, the temporary file is removed and `path` is as it was before. A device
    such as /dev/stdout cannot be renamed over and is given as it is.

    Raises:
        OSError: also when the disk is full; the message then says how to go on. What torch, numpy
            and libsndfile raise then is told as this too.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) and error.errno else _write_further(temporary)
        if cause is not None and disk_full(cause):
            raise OSError(
                cause.errno,
                f"{lack_of_space(cause)} while writing {path}. Nothing already written is lost: "
                "make room and run the same command again",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file for writing that replaces `path` only when the block ends well."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file


@contextmanager
def growing_file(path: Path) -> Iterator[Callable[[str], object]]:
    """Open a UTF-8 text file for lines that others may read at once, and that stay in any case.

    It is the counterpart of `atomic_write` for the results of long work on many files. What the
    file held before stays until the first text is written.

    Yields:
        What writes to it.

    Raises:
        OSError: also when the disk is full; the message then has the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("a", encoding="utf-8", buffering=1) as file:
            begun = False

            def write(text: str) -> None:
                nonlocal begun
                if not begun and path.is_file():  # a pipe or terminal has nothing to lose
                    file.truncate(0)
                begun = True
                file.write(text)

            yield write
    except OSError as error:
        if disk_full(error):
            raise OSError(error.errno, f"{lack_of_space(error)} while writing {path}") from error
        raise


def refuse_inputs(output: Path | None, inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Raise ValueError where an output is also an input, which would be lost."""
    if output is not None and os.path.realpath(output) in map(os.path.realpath, inputs):
        raise ValueError(f"{output} is one of the inputs: give another output")


def write_json(
    path: Path,
    value: Any,
    *,
    indent: int | None = None,
    sort_keys: bool = False,
    nan_as_null: bool = False,
    sealed: bool = False,
) -> None:
    """Write a JSON file that every program can read; it replaces `path` as a whole.

    Args:
        path: the file.
        value: what JSON can hold.
        sealed: add the digest of the value, which has to be a dict, so that `read_json` tells when
            it is damaged; for files that long work leaves one by one and goes on from.
        indent, sort_keys: as `json.dumps` takes them.
        nan_as_null: write null for a number that is not finite, which `read_json` gives back as
            NaN when it is asked to; for files in which such a number is a result, as the loss of a
            training that diverged.

    Raises:
        ValueError: a number is not finite; the message has the file and the place in it.
    """
    options: dict[str, Any] = {"indent": indent, "sort_keys": sort_keys}
    try:
        if sealed:
            value = {**value, _SEAL: _seal(json.loads(json_text(value, nan_as_null=nan_as_null)))}
        text = json_text(value, nan_as_null=nan_as_null, **options)
    except ValueError as error:
        raise ValueError(f"{path} cannot be written: {error}") from error
    with atomic_write(path) as file:
        file.write(text)


def json_text(value: Any, *, nan_as_null: bool = False, **options: Any) -> str:
    """Strict JSON, on one line unless the options say otherwise.

    Args:
        value: what JSON can hold.
        nan_as_null: as `write_json` takes it.
        options: further ones of `json.dumps`.

    Raises:
        ValueError: a number is not finite; the message has its place.

    >>> json_text({"loss": [0.5, math.nan]}, nan_as_null=True)
    '{"loss": [0.5, null]}'
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError as error:
        if nan_as_null:
            return json.dumps(_with_nulls(value), allow_nan=False, **options)
        place, number = next(_not_finite(value, ""))
        raise ValueError(
            f"{place or 'the value'} is {number}, for which JSON has no word"
        ) from error


_SEAL = "sha256"


def _seal(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json(path: Path, *, null_as_nan: bool = False, sealed: bool = False) -> Any:
    """Read a JSON file. NaN is read too, which earlier versions wrote.

    Args:
        path: the file.
        null_as_nan: give NaN for null, as the writer of the file meant it.
        sealed: compare the digest that `write_json` added; a file of an earlier version has none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or damaged; the message names it.
    """
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of too many digits are no JSON error
        raise ValueError(f"{path} is damaged: {error}") from error
    if sealed:
        seal = value.pop(_SEAL, None) if isinstance(value, dict) else ""
        if seal is not None and seal != _seal(value):
            raise ValueError(f"{path} is damaged: its digest differs")
    return _with_nans(value) if null_as_nan else value


def _not_finite(value: Any, place: str) -> Iterator[tuple[str, float]]:
    """The numbers that are not finite, each with the keys and positions that lead to it."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in items:
            yield from _not_finite(part, f"{place}.{key}" if place else str(key))


def _with_nulls(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _with_nulls(part) for key, part in value.items()}
    return [_with_nulls(part) for part in value] if isinstance(value, list | tuple) else value


def _with_nans(value: Any) -> Any:
    if value is None:
        return math.nan
    if isinstance(value, dict):
        return {key: _with_nans(part) for key, part in value.items()}
    return [_with_nans(part) for part in value] if isinstance(value, list) else value


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike], *, compress: bool = False) -> None:
    """Write arrays of numbers and texts to an `.npz` that replaces `path` as a whole.

    Raises:
        ValueError: an array holds objects, which only pickle could write.
    """
    found: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    objects = [name for name, array in found.items() if array.dtype.hasobject]
    if objects:
        raise ValueError(f"{path} cannot be written: {', '.join(objects)} holds objects")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        (np.savez_compressed if compress else np.savez)(file, **found)


def read_arrays(
    path: Path, names: Iterable[str] | None = None, *, remedy: str
) -> dict[str, NDArray[Any]]:
    """Read the arrays of an `.npz`, without running anything that is in it.

    Args:
        path: the file.
        names: the arrays that are wanted; all by default.
        remedy: what to do where the file is damaged, for the message.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or lacks an array; the message has the file and the remedy.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in (found.files if names is None else names)}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # a member of another kind comes as bytes
                raise TypeError(f"{name} is no array")
        return arrays
    except OSError:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise many kinds
        raise ValueError(f"{path} is damaged: {error}; {remedy}") from error


def read_array(path: Path, *, remedy: str, mapped: bool = False) -> NDArray[Any]:
    """Read an `.npy`, without running anything that is in it.

    Args:
        path: the file.
        remedy: what to do where the file is damaged, for the message.
        mapped: leave the array on disk until it is used.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged; the message has the file and the remedy.
    """
    try:
        found = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise TypeError("it is an archive of arrays")
        return found
    except OSError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds
        raise ValueError(f"{path} is damaged: {error}; {remedy}") from error


def read_bytes(path: Path) -> bytes:
    """Read a file as a whole, unpacked where its name ends in .gz or .xz.

    Raises:
        OSError: it cannot be read.
        ValueError: a packed file is cut off or damaged; the message has the file.
    """
    content = path.read_bytes()
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix, bytes)
    try:
        return unpack(content)
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path} is damaged: {error}; copy it again") from error


def read_text(path: Path) -> str:
    """Read a text in UTF-8, with or without a byte order mark, packed or not.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or not UTF-8; the message has the file and the line number.
    """
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: not UTF-8 (byte 0x{content[error.start]:02x}): save it as UTF-8, e.g. "
            "with iconv -f latin1 -t utf-8, or copy it again if it is damaged"
        ) from error


def visible_files(folder: Path, pattern: str) -> list[Path]:
    """What below a folder matches a pattern of `Path.glob`, sorted.

    Hidden files and what lies in hidden folders are left out: macOS writes a `._` file beside each
    file on discs that are not its own, of the same ending and without its content.
    """
    return sorted(
        path
        for path in folder.glob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Digest of a file's content in hexadecimal; `algorithm` is a name that hashlib knows."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def written_state(path: Path) -> dict[str, Any]:
    """What tells later whether a file, or a folder with all that is in it, is as it is now."""
    if path.is_dir():
        return {"files": {name: written_state(path / name) for name in _inside(path)}}
    found = path.stat()
    return {
        "sha256": file_digest(path),
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
    }


def changed_files(path: Path, state: Mapping[str, Any] | None) -> list[Path]:
    """The files that are not as `written_state` found them, or are no longer there.

    A file of the same size and time of change is not read again; of others the digest decides.

    Args:
        path: a file, or a folder for all that is in it.
        state: what was found; None where that is not known, which is no change.
    """
    if state is None or not isinstance(state, Mapping):
        return []
    known = state.get("files")
    if isinstance(known, Mapping):
        return [file for name, of in known.items() for file in changed_files(path / name, of)]
    if not path.is_file():
        return [path]
    found = path.stat()
    if (found.st_size, found.st_mtime_ns) == (state.get("size"), state.get("mtime_ns")):
        return []
    return [] if file_digest(path) == state.get("sha256") else [path]


def written_digests(path: Path, state: Mapping[str, Any] | None) -> Iterator[tuple[Path, str]]:
    """Each file that `written_state` found, with its digest."""
    if not isinstance(state, Mapping):
        return
    if isinstance(known := state.get("files"), Mapping):
        for name, of in known.items():
            yield from written_digests(path / name, of)
    elif "sha256" in state:
        yield path, str(state["sha256"])


def _inside(folder: Path) -> list[str]:
    """The files in a folder but for hidden ones, which are locks, stamps and unfinished files."""
    return sorted(
        str(path.relative_to(folder)) for path in visible_files(folder, "**/*") if path.is_file()
    )


def disk_full(error: OSError) -> bool:
    """Whether the disk or the quota is full, or a file as large as it may be."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def lack_of_space(error: OSError) -> str:
    """What is lacking where `disk_full`, as the beginning of a message."""
    if error.errno == errno.EFBIG:
        return "the limit for the size of a file is reached (ulimit -f, or the file system's own)"
    return "no space left on the disk"


def _write_further(path: Path) -> OSError | None:
    """The error that a file meets when more is written to it; it is spoiled by this.

    On a full disk torch says `unexpected pos 704 vs 598`, libsndfile `System error`, and numpy that
    it has written less than it was asked to; none has an error number.
    """
    try:
        with path.open("ab") as file:
            file.write(bytes(_BLOCK_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None
