"""The reader of the UCI collection: exact on a tiny one, and clear about damage."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from squall.studies.tabular.collection import read_collection, read_set

DATA = (
    "\tf1\tf2\tclase\n"
    "1\t-0.5\t1\t0\n"
    "2\t0.25\t-1e-1\t1\n"
    "3\t1.5\t0\t0\n"
    "4\t2\t3\t1\n"
    "5\t-2\t0.5\t1\n"
    "6\t0.75\t0.5\t0\n"
)
TUNING = "0 1 2 3\n4 5\n"
FOLDS = "0 1 2 3 \n4 5 \n2 3 4 5\n0 1\n0 1 4 5\n3 2\n5 4 3 0\n1\n"


def write_set(root: Path, name: str = "toy", **files: str) -> Path:
    """A set in the collection's form; `files` replaces the text of `data`, `tuning`, `folds`."""
    folder = root / name
    folder.mkdir()
    texts = {"data": DATA, "tuning": TUNING, "folds": FOLDS, **files}
    names = {
        "data": f"{name}_R.dat",
        "train": f"{name}_train_R.dat",
        "test": f"{name}_test_R.dat",
        "tuning": "conxuntos.dat",
        "folds": "conxuntos_kfold.dat",
    }
    for key, text in texts.items():
        if text:
            (folder / names[key]).write_text(text)
    return folder


def test_a_set_in_one_file_is_read_exactly(tmp_path: Path) -> None:
    data = read_set(write_set(tmp_path))
    assert data.name == "toy"
    np.testing.assert_array_equal(
        data.inputs, [[-0.5, 1], [0.25, -0.1], [1.5, 0], [2, 3], [-2, 0.5], [0.75, 0.5]]
    )
    assert data.inputs.dtype == np.float64
    np.testing.assert_array_equal(data.targets, [0, 1, 0, 1, 1, 0])
    assert data.targets.dtype == np.int64
    assert data.classes == 2
    assert [fold.train.tolist() for fold in data.folds] == [
        [0, 1, 2, 3],
        [2, 3, 4, 5],
        [0, 1, 4, 5],
        [5, 4, 3, 0],
    ]
    assert [fold.test.tolist() for fold in data.folds] == [[4, 5], [0, 1], [3, 2], [1]]
    assert (data.tuning.train.tolist(), data.tuning.test.tolist()) == ([0, 1, 2, 3], [4, 5])
    assert data.files is None


def test_a_test_file_comes_behind_the_training_file(tmp_path: Path) -> None:
    test = "\tf1\tf2\tclase\n1\t9\t8\t1\n2\t7\t6\t1\n"
    data = read_set(write_set(tmp_path, data="", train=DATA, test=test))
    assert data.inputs[6:].tolist() == [[9, 8], [7, 6]]
    assert data.targets[6:].tolist() == [1, 1]
    assert data.files is not None
    assert data.files.train.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.files.test.tolist() == [6, 7]
    assert data.folds[3].test.tolist() == [1]


def test_a_training_file_alone_is_a_set(tmp_path: Path) -> None:
    data = read_set(write_set(tmp_path, data="", train=DATA))
    assert len(data.inputs) == 6
    assert data.files is None


def test_gzipped_files_are_the_same(tmp_path: Path) -> None:
    plain = read_set(write_set(tmp_path))
    for path in list((tmp_path / "toy").iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    zipped = read_set(tmp_path / "toy")
    np.testing.assert_array_equal(zipped.inputs, plain.inputs)
    np.testing.assert_array_equal(zipped.folds[2].test, plain.folds[2].test)


def test_an_input_that_is_constant_in_one_fold_only_is_no_damage(tmp_path: Path) -> None:
    inputs, others = (0, 1, 2, 3, 4, 5), (0.5, 0.5, 0.5, 3, 0.5, 0.5)
    rows = [f"{n + 1}\t{n}\t{others[n]}\t{n % 2}\n" for n in inputs]
    rare = "\tf1\tf2\tclase\n" + "".join(rows)
    data = read_set(write_set(tmp_path, data=rare))
    assert data.inputs[:, 1].tolist() == [0.5, 0.5, 0.5, 3, 0.5, 0.5]
    assert set(data.inputs[data.folds[2].train, 1]) == {0.5}


BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "no rows": ({"data": "\tf1\tf2\tclase\n"}, r"toy_R\.dat has no rows"),
    "empty file": ({"data": "\n"}, r"toy_R\.dat has no rows"),
    "a column too few": (
        {"data": DATA.replace("3\t1.5\t0\t0", "3\t1.5\t0")},
        r"toy_R\.dat, line 4 has 3 columns; the header makes it 4: row number, 2 inputs, class",
    ),
    "a column too many": (
        {"data": DATA.replace("6\t0.75", "6\t1\t0.75")},
        r"line 7 has 5 columns; the header makes it 4",
    ),
    "a word": ({"data": DATA.replace("1.5", "x")}, r"line 4: could not convert .*'x'"),
    "nan": ({"data": DATA.replace("1.5", "NaN")}, r"line 4, column 2 is nan"),
    "infinite": ({"data": DATA.replace("-1e-1", "1e999")}, r"line 3, column 3 is inf"),
    "a row is missing": (
        {"data": DATA.replace("3\t1.5\t0\t0\n", "")},
        r"line 4 has row number 4, not 3: rows are missing",
    ),
    "a class between two": (
        {"data": DATA.replace("3\t1.5\t0\t0", "3\t1.5\t0\t0.5")},
        r"line 4 has class 0\.5; classes are integers from 0",
    ),
    "a class below 0": (
        {"data": DATA.replace("3\t1.5\t0\t0", "3\t1.5\t0\t-1")},
        r"line 4 has class -1; classes are integers from 0",
    ),
    "a class that is huge": (
        {"data": DATA.replace("5\t-2\t0.5\t1", "5\t-2\t0.5\t1000000000000")},
        r"has class 1000000000000, but no sample of class 2",
    ),
    "a class without sample": (
        {"data": DATA.replace("\t1\n", "\t2\n")},
        r"has class 2, but no sample of class 1",
    ),
    "a class with one sample": (
        {"data": DATA.replace("5\t-2\t0.5\t1", "5\t-2\t0.5\t2")},
        r"class 2 has one sample in toy_R\.dat",
    ),
    "one class": (
        {"data": DATA.replace("\t1\n", "\t0\n")},
        r"toy_R\.dat has one class only",
    ),
    "a constant column": (
        {"data": re.sub(r"(\d\t\S+\t)\S+(\t\d\n)", r"\g<1>4.5\2", DATA)},
        r"input 2 is 4\.5 in all rows of toy_R\.dat",
    ),
    "a class missing in a fold": (
        {"folds": FOLDS.replace("5 4 3 0\n1", "5 2 0\n1")},
        r"class 1 is missing in the training part of fold 4 \(conxuntos_kfold\.dat, line 7\)",
    ),
    "a fold too few": (
        {"folds": FOLDS.replace("5 4 3 0\n1\n", "")},
        r"conxuntos_kfold\.dat has 6 lines of rows, not 8",
    ),
    "a row out of range": (
        {"folds": FOLDS.replace("4 5 \n2", "4 6 \n2")},
        r"conxuntos_kfold\.dat, line 2 has row 6; the file has rows 0 to 5",
    ),
    "a row below 0": ({"tuning": "0 -1\n2 3\n"}, r"conxuntos\.dat, line 1 has row -1"),
    "a row beyond int64": (
        {"tuning": "0 99999999999999999999\n2 3\n"},
        r"conxuntos\.dat, line 1: ",
    ),
    "a row that is no number": ({"tuning": "0 1\n2 b\n"}, r"conxuntos\.dat, line 2: .*'b'"),
    "a row twice": ({"tuning": "0 1 1\n2 3\n"}, r"conxuntos\.dat, line 1 has row 1 twice"),
    "a row in both parts": (
        {"folds": FOLDS.replace("2 3 4 5\n0 1", "2 3 4 5\n0 4")},
        r"conxuntos_kfold\.dat has row 4 in line 3 for training and in line 4 for testing",
    ),
    "bytes that are no text": ({"data": DATA.replace("1.5", "é")}, r"toy_R\.dat cannot be read"),
    "other inputs in the test file": (
        {"data": "", "train": DATA, "test": "\tf1\tclase\n1\t9\t1\n"},
        r"toy_train_R\.dat has 2 inputs, toy_test_R\.dat has 1",
    ),
    "an unknown class in the test file": (
        {"data": "", "train": DATA, "test": "\tf1\tf2\tclase\n1\t9\t8\t2\n"},
        r"class 2 occurs in toy_test_R\.dat and not in toy_train_R\.dat",
    ),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_damage_is_told_with_the_name_of_the_set(tmp_path: Path, damage: str) -> None:
    files, message = BROKEN[damage]
    folder = write_set(tmp_path, **files)
    with pytest.raises(ValueError, match=rf"^toy: .*{message}"):
        read_set(folder)


@pytest.mark.parametrize("missing", ["tuning", "folds", "data"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = write_set(tmp_path, **{missing: ""})
    name = {"tuning": "conxuntos.dat", "folds": "conxuntos_kfold.dat", "data": "toy_R.dat"}
    with pytest.raises(FileNotFoundError, match=rf"^toy: .*{re.escape(name[missing])}"):
        read_set(folder)


@pytest.mark.parametrize(
    "cut",
    [lambda b: b[:-12], lambda b: b[:30] + b"\xff" * 8 + b[38:], lambda b: b"PK" + b[2:]],
    ids=["short", "wrong bytes", "no gzip file"],
)
def test_a_damaged_gzip_file_is_told(tmp_path: Path, cut: Callable[[bytes], bytes]) -> None:
    path = write_set(tmp_path) / "toy_R.dat"
    path.with_name("toy_R.dat.gz").write_bytes(cut(gzip.compress(path.read_bytes())))
    path.unlink()
    with pytest.raises(ValueError, match=r"^toy: toy_R\.dat\.gz cannot be read"):
        read_set(tmp_path / "toy")


def test_a_damaged_set_does_not_keep_the_others_from_being_read(tmp_path: Path) -> None:
    write_set(tmp_path, "broken", tuning="0 99\n1\n")
    write_set(tmp_path, "good")
    write_set(tmp_path, "fine")
    write_set(tmp_path, "numbers-only", data="")
    write_set(tmp_path, "unsplit", folds="")
    (tmp_path / "notes").mkdir()
    found = read_collection(tmp_path)
    assert list(found.sets) == ["fine", "good"]
    assert set(found.damaged) == {"broken", "unsplit"}
    assert found.damaged["broken"].startswith("broken: conxuntos.dat, line 1 has row 99")
    assert found.absent == ("numbers-only",)


def test_the_collection_may_lie_in_a_folder_called_data(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_set(tmp_path / "data", "one")
    write_set(tmp_path / "data", "two")
    assert list(read_collection(tmp_path).sets) == ["one", "two"]
    assert list(read_collection(tmp_path, ["two"]).sets) == ["two"]
    assert list(read_collection(tmp_path / "data", ["one"]).sets) == ["one"]


def test_a_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no folder NAME"):
        read_collection(tmp_path)
    write_set(tmp_path)
    with pytest.raises(FileNotFoundError, match="no data of the set 'iriss'"):
        read_collection(tmp_path, ["toy", "iriss"])


@pytest.mark.slow
@pytest.mark.corpus
def test_every_set_at_hand_is_read(real_data: Path) -> None:
    found = read_collection(real_data / "uci121")
    assert found.damaged == {}
    assert found.absent == ("connect-4", "miniboone", "musk-2")
    index = (real_data / "uci121" / "INDEX.tsv").read_text().splitlines()
    table = {fields[0]: fields for fields in (line.split("\t") for line in index[1:])}
    assert set(found.sets) == set(table) - set(found.absent)
    for name, data in found.sets.items():
        sizes = (len(data.inputs), data.inputs.shape[1], data.classes, 2 if data.files else 1)
        assert sizes == tuple(int(number) for number in table[name][1:5]), name
    assert sum(data.files is not None for data in found.sets.values()) == 19


@pytest.mark.corpus
def test_an_independent_reader_finds_the_same_numbers(real_data: Path) -> None:
    folder = real_data / "uci121" / "data" / "audiology-std"
    data = read_set(folder)
    parts = [
        np.genfromtxt(folder / f"audiology-std_{part}_R.dat.gz", skip_header=1)
        for part in ("train", "test")
    ]
    expected = np.concatenate(parts)
    np.testing.assert_array_equal(data.inputs, expected[:, 1:-1])
    np.testing.assert_array_equal(data.targets, expected[:, -1])
    with gzip.open(folder / "conxuntos_kfold.dat.gz", "rt") as file:
        lines = [[int(number) for number in line.split()] for line in file]
    for fold, train, test in zip(data.folds, lines[::2], lines[1::2], strict=True):
        assert (fold.train.tolist(), fold.test.tolist()) == (train, test)
