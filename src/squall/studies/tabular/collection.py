"""The UCI classification sets in the form of Fernandez-Delgado et al. 2014.

A collection is a folder with one folder per set. In the folder NAME lie

- `NAME_R.dat`, or `NAME_train_R.dat` and `NAME_test_R.dat`: a header (`f1 ... fD clase`), then a
  row per sample: its number from 1, D inputs, its class from 0;
- `conxuntos.dat`: two lines of row numbers from 0, the training and the test part for tuning;
- `conxuntos_kfold.dat`: eight lines, the training and the test part of each of four folds.

Each may be gzipped, with `.gz` behind its name. Other files are not read.

Convention: the collection calls the four pairs of parts folds, but each is a draw of its own of
three quarters for training; a row may be in the test parts of several, and have copies in training
(`squall.studies.tabular.splits`). Of a set in two files, the row numbers count within the training
file, so that the folds never touch the test file.

Source: Fernandez-Delgado, Cernadas, Barro, Amorim 2014 (JMLR 15).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.files import read_bytes

__all__ = ["Collection", "Rows", "Split", "UciSet", "find_sets", "read_collection", "read_set"]

Rows = NDArray[np.int64]

_SPLIT_FILE, _FOLDS_FILE = "conxuntos.dat", "conxuntos_kfold.dat"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of a training part and of a test part, each (N,) int64 from 0."""

    train: Rows
    test: Rows


@dataclass(frozen=True, eq=False)
class UciSet:
    """A set of the collection.

    Args:
        name: of its folder.
        inputs: (N, D) float64; of a set in two files, the training file's rows come first.
        targets: (N,) int64 classes in [0, C).
        folds: the parts of `conxuntos_kfold.dat`.
        tuning: the parts of `conxuntos.dat`.
        files: the training file and the test file as the parts; None for a set in one file.
    """

    name: str
    inputs: NDArray[np.float64]
    targets: NDArray[np.int64]
    folds: tuple[Split, ...]
    tuning: Split
    files: Split | None = None

    @property
    def classes(self) -> int:
        """The number C of classes."""
        return int(self.targets.max()) + 1


@dataclass(frozen=True, eq=False)
class Collection:
    """What was found in a folder.

    Args:
        sets: those that were read, by name.
        damaged: what is wrong with each of the others, by name.
        absent: names of folders that have row numbers but no data.
    """

    sets: Mapping[str, UciSet]
    damaged: Mapping[str, str]
    absent: tuple[str, ...]


def find_sets(directory: Path, names: Iterable[str] | None = None) -> dict[str, list[Path]]:
    """Find the sets of a collection.

    Args:
        directory: the folder of the sets' folders, or one that holds it as `data`.
        names: the sets to find; None or none of them finds all.

    Returns:
        The data files of each set, in the order of their names.

    Raises:
        FileNotFoundError: there is no set, or not the one that is asked for.
    """
    root = _root(directory)
    folders = sorted({path.parent for path in root.glob("*/*_R.dat*")})
    found = {folder.name: paths for folder in folders if (paths := _data_files(folder))}
    if not found:
        raise FileNotFoundError(f"{root} has no folder NAME with a NAME_R.dat or NAME_train_R.dat")
    wanted = sorted(set(names or found))
    missing = [name for name in wanted if name not in found]
    if missing:
        raise FileNotFoundError(f"{root} has no data of the set {missing[0]!r}")
    return {name: found[name] for name in wanted}


def read_collection(directory: Path, names: Iterable[str] | None = None) -> Collection:
    """Read the sets of a collection. A damaged set does not keep the others from being read.

    Args:
        directory: the folder of the sets' folders, or one that holds it as `data`.
        names: the sets to read; None or none of them reads all.

    Returns:
        The sets in the order of their names, and what is wrong with those that cannot be read,
        which is logged too.

    Raises:
        FileNotFoundError: there is no set, or not the one that is asked for.
    """
    sets: dict[str, UciSet] = {}
    damaged: dict[str, str] = {}
    for name, paths in find_sets(directory, names).items():
        try:
            sets[name] = read_set(paths[0].parent)
        except (ValueError, OSError) as error:
            damaged[name] = str(error)
            _log.error("%s", error)
    listed = sorted({path.parent for path in _root(directory).glob(f"*/{_SPLIT_FILE}*")})
    absent = tuple(folder.name for folder in listed if not _data_files(folder))
    return Collection(sets, damaged, absent)


def read_set(folder: Path) -> UciSet:
    """Read a set and check it.

    Args:
        folder: of the set, with its name.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a row has another number of columns than the header or another number than its
            place, a value is not a finite number, a class is not an integer from 0, has no sample
            or only one, or only occurs in the test file, an input has the same value in all rows of
            the training file, a row number of a part is out of range or there twice, or the
            training part of a fold lacks a class. The message names the set, and the file, line or
            column.

    Convention: an input that is constant in a whole file carries nothing, and the collection has
    none (its authors left them out), so it is taken for damage. One that is constant in the
    training part of a fold is usual (in 5 of the 118 sets at hand, for inputs that are nearly
    always 0), and is no error; `squall.studies.tabular.study` says what becomes of it.
    """
    name = folder.name
    paths = _data_files(folder)
    if not paths:
        raise FileNotFoundError(f"{name}: no {name}_R.dat and no {name}_train_R.dat in {folder}")
    parts = [_read_data(name, path) for path in paths]
    inputs, targets = parts[0]
    if len(parts) == 2 and parts[1][0].shape[1] != inputs.shape[1]:
        raise ValueError(
            f"{name}: {paths[0].name} has {inputs.shape[1]} inputs, "
            f"{paths[1].name} has {parts[1][0].shape[1]}"
        )
    rows = len(inputs)
    _check_file(name, paths[0], inputs, targets)
    tuning = _read_splits(name, folder, _SPLIT_FILE, rows, splits=1)
    folds = _read_splits(name, folder, _FOLDS_FILE, rows, splits=4)
    for number, fold in enumerate(folds, 1):
        lacking = np.setdiff1d(targets, targets[fold.train])
        if len(lacking):
            raise ValueError(
                f"{name}: class {lacking[0]} is missing in the training part of fold {number} "
                f"({_FOLDS_FILE}, line {2 * number - 1}), so it cannot be learnt there"
            )
    if len(parts) == 1:
        return UciSet(name, inputs, targets, folds, tuning[0])
    unknown = np.setdiff1d(parts[1][1], targets)
    if len(unknown):
        raise ValueError(
            f"{name}: class {unknown[0]} occurs in {paths[1].name} and not in {paths[0].name}"
        )
    inputs, targets = (np.concatenate(both) for both in zip(*parts, strict=True))
    files = Split(np.arange(rows), np.arange(rows, len(inputs)))
    return UciSet(name, inputs, targets, folds, tuning[0], files)


def _root(directory: Path) -> Path:
    """The folder of the sets' folders."""
    return directory / "data" if (directory / "data").is_dir() else directory


def _data_files(folder: Path) -> list[Path]:
    """The file of a set, or its training and its test file; empty where there is none."""
    name = folder.name
    whole = _found(folder, f"{name}_R.dat")
    if whole:
        return [whole]
    both = [_found(folder, f"{name}_{part}_R.dat") for part in ("train", "test")]
    return [path for path in both if path] if both[0] else []


def _found(folder: Path, name: str) -> Path | None:
    """The file of this name, plain or gzipped."""
    paths = (folder / name, folder / f"{name}.gz")
    return next((path for path in paths if path.is_file()), None)


def _read_lines(name: str, path: Path) -> list[str]:
    try:
        text = read_bytes(path).decode("ascii")
    except ValueError as error:  # damaged, or not ASCII
        raise ValueError(f"{name}: {path.name} cannot be read: {error}") from error
    return [line for line in text.splitlines() if line.strip()]


def _read_data(name: str, path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Inputs (N, D) and classes (N,) of a file."""
    lines = _read_lines(name, path)
    columns = len(lines[0].split()) + 1 if lines else 0  # the header has no name for row numbers
    if len(lines) < 2 or columns < 3:
        raise ValueError(f"{name}: {path.name} has no rows of inputs and a class under a header")
    values = np.empty((len(lines) - 1, columns))
    for number, line in enumerate(lines[1:], 1):
        place = f"{name}: {path.name}, line {number + 1}"
        fields = line.split()
        if len(fields) != columns:
            raise ValueError(
                f"{place} has {len(fields)} columns; the header makes it {columns}: row number, "
                f"{columns - 2} inputs, class"
            )
        try:
            values[number - 1] = [float(field) for field in fields]
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        if values[number - 1, 0] != number:
            raise ValueError(f"{place} has row number {fields[0]}, not {number}: rows are missing")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{name}: {path.name}, line {row + 2}, column {column + 1} is {values[row, column]}; "
            "it must be a finite number"
        )
    labels = values[:, -1]
    wrong = np.flatnonzero((labels < 0) | (labels != np.floor(labels)))
    if len(wrong):
        raise ValueError(
            f"{name}: {path.name}, line {wrong[0] + 2} has class {labels[wrong[0]]:g}; "
            "classes are integers from 0"
        )
    return values[:, 1:-1], labels.astype(np.int64)


def _check_file(
    name: str, path: Path, inputs: NDArray[np.float64], targets: NDArray[np.int64]
) -> None:
    """Raise ValueError for a class with too few samples, and for an input that never varies."""
    kinds, counts = np.unique(targets, return_counts=True)
    gaps = np.flatnonzero(kinds != np.arange(len(kinds)))
    if len(gaps):
        raise ValueError(
            f"{name}: {path.name} has class {kinds[gaps[0]]}, but no sample of class {gaps[0]}; "
            "classes are numbered from 0 without gaps"
        )
    if len(kinds) < 2:
        raise ValueError(f"{name}: {path.name} has one class only")
    if counts.min() < 2:
        raise ValueError(
            f"{name}: class {counts.argmin()} has one sample in {path.name}; it needs two at "
            "least, one for training and one for testing"
        )
    constant = np.flatnonzero((inputs == inputs[0]).all(axis=0))
    if len(constant):
        raise ValueError(
            f"{name}: input {constant[0] + 1} is {inputs[0, constant[0]]:g} in all rows of "
            f"{path.name}; leave the column out"
        )


def _read_splits(
    name: str, folder: Path, file_name: str, rows: int, *, splits: int
) -> tuple[Split, ...]:
    path = _found(folder, file_name)
    if path is None:
        raise FileNotFoundError(f"{name}: no {file_name} in {folder}")
    lines = _read_lines(name, path)
    if len(lines) != 2 * splits:
        raise ValueError(f"{name}: {path.name} has {len(lines)} lines of rows, not {2 * splits}")
    parts = [
        _read_rows(f"{name}: {path.name}, line {number}", line, rows)
        for number, line in enumerate(lines, 1)
    ]
    found = []
    for number, split in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        shared = np.intersect1d(*split)
        if len(shared):
            raise ValueError(
                f"{name}: {path.name} has row {shared[0]} in line {2 * number + 1} for training "
                f"and in line {2 * number + 2} for testing"
            )
        found.append(Split(*split))
    return tuple(found)


def _read_rows(place: str, line: str, rows: int) -> Rows:
    try:
        numbers = np.array([int(field) for field in line.split()], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{place}: {error}") from error
    beyond = numbers[(numbers < 0) | (numbers >= rows)]
    if len(beyond):
        raise ValueError(f"{place} has row {beyond[0]}; the file has rows 0 to {rows - 1}")
    kinds, counts = np.unique(numbers, return_counts=True)
    if len(kinds) < len(numbers):
        raise ValueError(f"{place} has row {kinds[counts.argmax()]} twice")
    return numbers
