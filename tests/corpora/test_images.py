"""Sets of images: each form by hand, what is wrong with it, and pickles that hold more."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from squall.corpora.images import ImageSetError, read_idx, read_images

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 2, 1, 0])


def _idx(array: np.ndarray) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


def _rows(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def _write_idx(folder: Path) -> None:
    for prefix in ("train", "t10k"):
        path = folder / f"{prefix}-images-idx3-ubyte"
        path.write_bytes(_idx(IMAGES[..., 0]))
        labels = gzip.compress(_idx(LABELS.astype(np.uint8)))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(labels)


def _write_cifar10(folder: Path, protocol: int = 2) -> None:
    for number in range(1, 6):
        batch = {b"data": _rows(IMAGES[:2]), b"labels": [number % 3, (number + 1) % 3]}
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(batch, protocol))
    test = {b"data": _rows(IMAGES), b"labels": LABELS.tolist()}
    (folder / "test_batch").write_bytes(pickle.dumps(test, protocol))
    names = {b"label_names": [b"cat", b"dog", b"frog"]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol))


def _write_cifar100(folder: Path) -> None:
    for split in ("train", "test"):
        batch = {b"data": _rows(IMAGES), b"fine_labels": LABELS.tolist(), b"coarse_labels": [0] * 6}
        (folder / split).write_bytes(pickle.dumps(batch, 2))
    names = {b"fine_label_names": [b"cat", b"dog", b"frog"]}
    (folder / "meta").write_bytes(pickle.dumps(names, 2))


def _write_binary(folder: Path) -> None:
    rows = np.concatenate([LABELS[:, None].astype(np.uint8), _rows(IMAGES)], axis=1)
    for name in [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]:
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    (folder / "batches.meta.txt").write_text("cat\ndog\nfrog\n\n")


def _write_stl(folder: Path) -> None:
    images = RANDOM.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    for split in ("train", "test"):
        (folder / f"{split}_X.bin").write_bytes(images.transpose(0, 3, 2, 1).tobytes())
        (folder / f"{split}_y.bin").write_bytes(bytes([1, 2, 3]))
    (folder / "class_names.txt").write_text("airplane\nbird\ncar\n")
    np.save(folder / "expected.npy", images)


def test_idx(tmp_path: Path) -> None:
    _write_idx(tmp_path)
    found = read_images(tmp_path)
    for images, labels in (found.train, found.test):
        np.testing.assert_array_equal(images, IMAGES[..., :1])
        np.testing.assert_array_equal(labels, LABELS)
    assert found.classes == ("0", "1", "2")
    assert found.shape == (32, 32, 1)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cifars_python_form(tmp_path: Path, protocol: int) -> None:
    _write_cifar10(tmp_path, protocol)
    found = read_images(tmp_path)
    np.testing.assert_array_equal(found.train[0], np.tile(IMAGES[:2], (5, 1, 1, 1)))
    assert found.train[1].tolist() == [1, 2, 2, 0, 0, 1, 1, 2, 2, 0]
    np.testing.assert_array_equal(found.test[0], IMAGES)
    assert found.classes == ("cat", "dog", "frog")


def test_cifar100_has_fine_labels(tmp_path: Path) -> None:
    _write_cifar100(tmp_path)
    found = read_images(tmp_path)
    assert found.train[1].tolist() == LABELS.tolist()
    np.testing.assert_array_equal(found.train[0], IMAGES)


def test_binary_forms(tmp_path: Path) -> None:
    _write_binary(tmp_path)
    found = read_images(tmp_path)
    np.testing.assert_array_equal(found.test[0], IMAGES)
    assert found.train[1].tolist() == LABELS.tolist() * 5
    assert found.classes == ("cat", "dog", "frog")


def test_stl_has_columns_first_and_labels_from_one(tmp_path: Path) -> None:
    _write_stl(tmp_path)
    found = read_images(tmp_path)
    np.testing.assert_array_equal(found.train[0], np.load(tmp_path / "expected.npy"))
    assert found.test[1].tolist() == [0, 1, 2]


def test_svhn_calls_its_zero_ten(tmp_path: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    labels = np.array([[10], *([n] for n in range(1, 10))], dtype=np.uint8)
    images = RANDOM.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    for split in ("train", "test"):
        savemat(tmp_path / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": labels})
    found = read_images(tmp_path)
    np.testing.assert_array_equal(found.train[0], images)
    assert found.train[1].tolist() == list(range(10))
    (tmp_path / "test_32x32.mat").write_bytes(b"MATLAB")
    with pytest.raises(ImageSetError, match=r"test_32x32\.mat is damaged"):
        read_images(tmp_path)


def _write_folders(folder: Path, sizes: tuple[int, ...] = (8, 8)) -> None:
    image = pytest.importorskip("PIL.Image")
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number, size in enumerate(sizes):
                picture = image.fromarray(IMAGES[number, :size, :size])
                picture.save(folder / split / name / f"{number}.png")
            (folder / split / name / "notes.txt").write_text("no picture")


def test_folders_of_pictures(tmp_path: Path) -> None:
    _write_folders(tmp_path)
    found = read_images(tmp_path)
    assert found.train[0].shape == (4, 8, 8, 3)
    np.testing.assert_array_equal(found.train[0][np.array([1, 0])], IMAGES[1::-1, :8, :8])
    assert found.train[1].tolist() == [0, 0, 1, 1]
    assert found.classes == ("cat", "dog")
    (tmp_path / "test").rename(tmp_path / "val")
    assert len(read_images(tmp_path).test[0]) == 4


def test_pictures_are_scaled_and_cut_to_a_square(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    _write_folders(tmp_path)
    wide = np.zeros((16, 40, 3), np.uint8)
    wide[:, 12:28] = 200  # the middle square
    image.fromarray(wide).save(tmp_path / "train" / "cat" / "1.png")
    found = read_images(tmp_path, size=8).train[0]
    assert found.shape == (4, 8, 8, 3)
    squares = found[np.array([0, 1])]
    np.testing.assert_array_equal(squares[0], IMAGES[0, :8, :8])
    assert (squares[1] == 200).mean() > 0.7
    assert squares[1][:, 3:5].min() == 200
    _write_idx(tmp_path)
    with pytest.raises(ImageSetError, match="size 8 is for pictures in folders"):
        read_images(tmp_path, size=8)


def test_pictures_of_several_sizes_or_damaged(tmp_path: Path) -> None:
    _write_folders(tmp_path, (8, 9))
    found = read_images(tmp_path).train[0]
    with pytest.raises(
        ImageSetError, match=r"cat/1\.png has 9 x 9 pixels, .*cat/0\.png 8 x 8.*size"
    ):
        found[np.arange(4)]
    path = tmp_path / "train" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ImageSetError, match=r"cat/1\.png is no picture, or damaged"):
        found[np.arange(4)]
    path.unlink()
    (tmp_path / "test" / "cow").mkdir()
    with pytest.raises(ImageSetError, match="test/cow: train has no such class"):
        read_images(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x08\x01\0\0\0\x05abc", "the header says 5 bytes .5., there are 3"),
        (b"\0\0\x08\x01\0\0\0\x02abc", "the header says 2 bytes .2., there are 3"),
        (b"\0\0\x08\x01\xff\xff\xff\xff", "the header says 4294967295 bytes"),
        (b"\0\0\x08\x03\0\0\0\x01", "with 3 dimensions; expected unsigned bytes .* with 1"),
        (b"\0\0\x0d\x01\0\0\0\x01", "type 0x0d"),
        (b"\0\0\x08\x01\0", "cut off within its header"),
        (b"PNG", "is no IDX file"),
        (b"", "is no IDX file"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(ImageSetError, match=message):
        read_idx(tmp_path / "labels", dimensions=1)


def test_a_gzipped_file_that_is_cut_off(tmp_path: Path) -> None:
    whole = gzip.compress(_idx(LABELS.astype(np.uint8)))
    (tmp_path / "labels.gz").write_bytes(whole[:-9])
    with pytest.raises(ImageSetError, match=r"labels\.gz is damaged"):
        read_idx(tmp_path / "labels.gz", dimensions=1)


class _Call:
    """Stands for a function that a file would have called."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path, ("was-called",))


@pytest.mark.fault(
    "Hostile input", "a CIFAR batch that calls functions or holds objects", "not unpickled"
)
@pytest.mark.parametrize(
    ("held", "message"),
    [
        (_Call(), r"it names (pathlib|pathlib\._local)\.Path, which is no array of numbers"),
        ({b"data": np.array([None]), b"labels": [0]}, "it holds an array of object"),
        ({b"data": _rows(IMAGES), b"labels": LABELS}, "holds no list of labels"),
        ({b"data": [1, 2], b"labels": [0]}, "holds no images of 32 x 32"),
        ([1, 2], "holds a list, not a batch"),
    ],
)
def test_a_batch_that_is_more_or_less_than_arrays(tmp_path: Path, held: Any, message: str) -> None:
    _write_cifar10(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps(held, 2))
    with pytest.raises(ImageSetError, match=rf"data_batch_3 .*{message}"):
        read_images(tmp_path)


def test_a_batch_that_is_cut_off(tmp_path: Path) -> None:
    _write_cifar10(tmp_path)
    path = tmp_path / "data_batch_2"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ImageSetError, match="data_batch_2 is damaged"):
        read_images(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_2"):
        read_images(tmp_path)


def test_records_that_are_cut_off(tmp_path: Path) -> None:
    _write_binary(tmp_path)
    path = tmp_path / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ImageSetError, match="are no whole number of records of 3073"):
        read_images(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0, 0, 0, 0], "one class only"),
        ([0, 2, 2, 0, 2, 0], "no training image of the class '1'"),
        ([0, 1, 1, 0, 1], "6 images and 5 labels in train"),
    ],
)
def test_labels_that_cannot_be_learnt(tmp_path: Path, labels: list[int], message: str) -> None:
    _write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    content = _idx(np.array(labels, dtype=np.uint8))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(content)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(_idx(np.zeros(6, dtype=np.uint8)))
    )
    with pytest.raises(ImageSetError, match=message):
        read_images(tmp_path)


def test_a_label_that_training_does_not_have(tmp_path: Path) -> None:
    _write_idx(tmp_path)
    other = _idx(np.array([0, 1, 9, 0, 0, 0], dtype=np.uint8))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(other))
    with pytest.raises(ImageSetError, match="label 9 in test; there are 3 classes"):
        read_images(tmp_path)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(FileNotFoundError, match=r"no images in a form .* there is readme\.txt"):
        read_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_images(tmp_path / "absent")


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "train", "test", "classes", "shape"),
    [
        ("mnist", 60_000, 10_000, 10, (28, 28, 1)),
        ("fashion-mnist", 10_000, 2_000, 10, (28, 28, 1)),
        ("cifar10", 10_000, 2_000, 10, (32, 32, 3)),
        ("cifar100", 5_000, 1_000, 100, (32, 32, 3)),
    ],
)
def test_the_images_at_hand(
    real_data: Path, name: str, train: int, test: int, classes: int, shape: tuple[int, ...]
) -> None:
    found = read_images(real_data / "images" / name)
    assert len(found.train[1]) == train
    assert len(found.test[1]) == test
    assert len(found.classes) == classes
    assert found.shape == shape
    if name == "cifar10":  # the published means of the whole are 0.4914, 0.4822, 0.4465
        means = found.train[0].mean(axis=(0, 1, 2)) / 255
        np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=0.005)
