"""Sets of labelled images in the forms that they are distributed in."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from squall.files import read_arrays, read_bytes

__all__ = ["PICTURE_SUFFIXES", "ImageRows", "ImageSet", "ImageSetError", "read_images"]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

_IDX_BYTES = 8  # the type code of unsigned bytes
_CIFAR_BYTES = 3 * 32 * 32
_STL_BYTES = 3 * 96 * 96


class ImageSetError(ValueError):
    """A set of images is damaged or in no known form; the message has the file."""


class ImageRows(Protocol):
    """Images (N, H, W, channels) uint8: an array, or pictures that are decoded when asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, channels)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Labels, /) -> Images: ...


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their classes.

    Args:
        train, test: images (N, H, W, channels) uint8 and labels (N,) int64 in [0, C), both in the
            order of their files.
        classes: names, in the order of their numbers.
    """

    train: tuple[ImageRows, Labels]
    test: tuple[ImageRows, Labels]
    classes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        return self.train[0].shape[1:]


def read_images(folder: Path, *, size: int | None = None) -> ImageSet:
    """Read the set in a folder, whichever form it has.

    - IDX (MNIST, Fashion-MNIST): `train-images-idx3-ubyte`, ..., `t10k-labels-idx1-ubyte`, each
      also gzipped;
    - CIFAR's Python form: `data_batch_1` to `_5` and `test_batch`, or `train`, `test` and `meta`;
    - CIFAR's binary form: `data_batch_1.bin` ..., or `train.bin` and `test.bin`;
    - STL-10's binary form: `train_X.bin`, `train_y.bin`, `test_X.bin`, `test_y.bin`;
    - SVHN: `train_32x32.mat`, `test_32x32.mat`;
    - strips: `train.webp` and `test.webp` (or `.png`), 100 images of 32 x 32 in a row, with
      `labels.npz` and `classes.txt`;
    - `train/CLASS/*.png` and `test/CLASS/*.png` (or `.jpg`, `.bmp`, `.webp`; `val` where there is
      no `test`). They are decoded when they are asked for, and need no memory before.

    Args:
        folder: where the set is.
        size: pictures in folders are made squares of so many pixels, their shorter side scaled and
            the middle of the longer one taken; None leaves them, which have to be of one size then.

    Raises:
        FileNotFoundError: the folder holds none of them.
        ImageSetError: a file is cut off, says another size than it has, or holds what has no place
            in it; images are of several sizes; only one class occurs, or a class has no image;
            `size` is given and the images are no pictures in folders.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    for present, read in _FORMS:
        if present(folder):
            found = _read_folders(folder, size) if read is _read_folders else read(folder)
            if size is not None and read is not _read_folders:
                raise ImageSetError(
                    f"{folder}: size {size} is for pictures in folders; these images are of "
                    f"{found.shape[1]} x {found.shape[0]} and stay so"
                )
            _check(folder, found)
            return found
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise FileNotFoundError(
        f"{folder}: no images in a form that is read (IDX, CIFAR, STL-10, SVHN, folders); "
        f"there is {there}"
    )


def _check(folder: Path, found: ImageSet) -> None:
    for split, (images, labels) in (("train", found.train), ("test", found.test)):
        if len(images) != len(labels):
            raise ImageSetError(
                f"{folder}: {len(images)} images and {len(labels)} labels in {split}"
            )
        if not len(labels):
            raise ImageSetError(f"{folder}: no images in {split}")
        if images.shape[1:] != found.shape:
            raise ImageSetError(
                f"{folder}: images of {images.shape[1:]} in {split}, of {found.shape} in train"
            )
        if labels.min() < 0 or labels.max() >= len(found.classes):
            wrong = labels[(labels < 0) | (labels >= len(found.classes))][0]
            raise ImageSetError(
                f"{folder}: label {wrong} in {split}; there are {len(found.classes)} classes"
            )
    counts = np.bincount(found.train[1], minlength=len(found.classes))
    if len(counts) < 2:
        raise ImageSetError(f"{folder}: there is one class only; nothing can be learnt")
    if not counts.all():
        empty = found.classes[int(np.flatnonzero(counts == 0)[0])]
        raise ImageSetError(f"{folder}: no training image of the class {empty!r}")


def _plain_or_gzipped(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)


def _bytes(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except ValueError as error:
        raise ImageSetError(str(error)) from error


# IDX


def _has_idx(folder: Path) -> bool:
    return _plain_or_gzipped(folder, "train-images-idx3-ubyte") is not None


def _read_idx_set(folder: Path) -> ImageSet:
    def read(name: str, dimensions: int) -> NDArray[np.uint8]:
        path = _plain_or_gzipped(folder, name)
        if path is None:
            raise FileNotFoundError(f"{folder / name} is missing, plain or gzipped")
        return read_idx(path, dimensions=dimensions)

    parts = {
        split: (
            read(f"{prefix}-images-idx3-ubyte", 3)[..., None],
            read(f"{prefix}-labels-idx1-ubyte", 1).astype(np.int64),
        )
        for split, prefix in (("train", "train"), ("test", "t10k"))
    }
    classes = tuple(map(str, range(int(parts["train"][1].max(initial=0)) + 1)))
    return ImageSet(parts["train"], parts["test"], classes)


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, plain or gzipped.

    Raises:
        ImageSetError: it is no such file, has another number of dimensions, or is cut off.
    """
    content = _bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ImageSetError(f"{path} is no IDX file: it begins with {content[:4].hex() or '-'}")
    if (content[2], content[3]) != (_IDX_BYTES, dimensions):
        raise ImageSetError(
            f"{path}: type {content[2]:#04x} with {content[3]} dimensions; expected unsigned bytes "
            f"({_IDX_BYTES:#04x}) with {dimensions}"
        )
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise ImageSetError(f"{path} is cut off within its header; copy it again")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected:
        raise ImageSetError(
            f"{path}: the header says {expected} bytes ({' x '.join(map(str, shape))}), "
            f"there are {len(content) - header}; copy it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


# CIFAR


def _has_cifar_python(folder: Path) -> bool:
    return (folder / "data_batch_1").is_file() or (
        (folder / "train").is_file() and (folder / "test").is_file()
    )


def _read_cifar_python(folder: Path) -> ImageSet:
    ten = (folder / "data_batch_1").is_file()
    names = [f"data_batch_{n}" for n in range(1, 6)] if ten else ["train"]
    train = [_cifar_batch(folder / name) for name in names]
    test = _cifar_batch(folder / ("test_batch" if ten else "test"))
    meta = _load_arrays(folder / ("batches.meta" if ten else "meta"))
    listed = meta.get(b"label_names", meta.get(b"fine_label_names", ()))
    classes = tuple(str(n, "utf-8") if isinstance(n, bytes) else str(n) for n in listed)
    images, labels = (np.concatenate(part) for part in zip(*train, strict=True))
    return ImageSet((images, labels), test, classes)


def _cifar_batch(path: Path) -> tuple[Images, Labels]:
    batch = _load_arrays(path)
    labels = batch.get(b"labels", batch.get(b"fine_labels"))
    data = batch.get(b"data")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _CIFAR_BYTES:
        raise ImageSetError(f"{path} holds no images of 32 x 32 in `data`")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise ImageSetError(f"{path} holds no list of labels")
    return _planes(data.astype(np.uint8), 32), np.array(labels, dtype=np.int64)


def _planes(rows: NDArray[np.uint8], side: int) -> Images:
    """Images of rows (N, 3 * side * side), a plane for each colour."""
    return np.ascontiguousarray(rows.reshape(-1, 3, side, side).transpose(0, 2, 3, 1))


class _ArraysOnly(pickle.Unpickler):
    """Reads numbers, text, lists, dicts and arrays of numbers, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            "_reconstruct": "multiarray",
            "scalar": "multiarray",
            "ndarray": "numpy",
            "dtype": "numpy",
            "encode": "_codecs",
        }
        if allowed.get(name) == module.rpartition(".")[2]:
            return _array_part(name)
        raise ImageSetError(f"it names {module}.{name}, which is no array of numbers")


def _array_part(name: str) -> Any:
    multiarray: Any = (np._core if hasattr(np, "_core") else np.core).multiarray
    parts: dict[str, Any] = {
        "_reconstruct": _empty_array,
        "scalar": multiarray.scalar,
        "ndarray": "ndarray",  # only handed on
        "dtype": _plain_dtype,
        "encode": _encode,
    }
    return parts[name]


def _empty_array(*_: Any) -> NDArray[Any]:
    """What is filled next; the size that a pickle asks for here is none of an array that was."""
    return np.ndarray((0,), np.int8)


def _plain_dtype(*given: Any) -> np.dtype[Any]:
    found: np.dtype[Any] = np.dtype(*given)
    if found.kind not in "uibf":
        raise ImageSetError(f"it holds an array of {found.name}, not of numbers")
    return found


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1", "ascii", "utf-8"):
        raise ImageSetError(f"it encodes a text as {encoding!r}")
    return text.encode(encoding)


def _check_lengths(content: bytes) -> None:
    """Raise ValueError for a pickle that is cut off, or names a length or place beyond its end,
    for which an unpickler would take memory before it looks.
    """
    for code, value, _ in pickletools.genops(content):
        if code.name in ("FRAME", "PUT", "LONG_BINPUT") and int(value or 0) > len(content):
            raise ValueError(f"it names the place {value}, and has {len(content)} bytes")


def _load_arrays(path: Path) -> dict[Any, Any]:
    try:
        content = path.read_bytes()
        _check_lengths(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, of the form of old files
            found = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except FileNotFoundError:
        raise
    except ImageSetError as error:
        raise ImageSetError(f"{path} is not read: {error}") from error
    except Exception as error:  # an unpickler of damaged data raises many kinds
        raise ImageSetError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict):
        raise ImageSetError(f"{path} holds a {type(found).__name__}, not a batch")
    return found


def _has_cifar_binary(folder: Path) -> bool:
    return (folder / "data_batch_1.bin").is_file() or (folder / "train.bin").is_file()


def _read_cifar_binary(folder: Path) -> ImageSet:
    ten = (folder / "data_batch_1.bin").is_file()
    names = [f"data_batch_{n}.bin" for n in range(1, 6)] if ten else ["train.bin"]
    before = 1 if ten else 2  # CIFAR-100 has the number of the superclass first
    parts = [_records(folder / name, before + _CIFAR_BYTES) for name in names]
    test = _records(folder / ("test_batch.bin" if ten else "test.bin"), before + _CIFAR_BYTES)
    listed = folder / ("batches.meta.txt" if ten else "fine_label_names.txt")
    classes = _names(listed) if listed.is_file() else tuple(map(str, range(10 if ten else 100)))

    def split(rows: NDArray[np.uint8]) -> tuple[Images, Labels]:
        return _planes(rows[:, before:], 32), rows[:, before - 1].astype(np.int64)

    return ImageSet(split(np.concatenate(parts)), split(test), classes)


def _records(path: Path, size: int) -> NDArray[np.uint8]:
    content = _bytes(path)
    if not content or len(content) % size:
        raise ImageSetError(
            f"{path}: {len(content)} bytes are no whole number of records of {size}; copy it again"
        )
    return np.frombuffer(content, np.uint8).reshape(-1, size)


def _names(path: Path) -> tuple[str, ...]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


# STL-10 and SVHN


def _has_stl(folder: Path) -> bool:
    return (folder / "train_X.bin").is_file()


def _read_stl(folder: Path) -> ImageSet:
    def split(name: str) -> tuple[Images, Labels]:
        rows = _records(folder / f"{name}_X.bin", _STL_BYTES)
        labels = _records(folder / f"{name}_y.bin", 1)[:, 0].astype(np.int64) - 1
        # Its planes are column by column.
        images = rows.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
        return np.ascontiguousarray(images), labels

    listed = folder / "class_names.txt"
    classes = _names(listed) if listed.is_file() else tuple(map(str, range(1, 11)))
    return ImageSet(split("train"), split("test"), classes)


def _has_svhn(folder: Path) -> bool:
    return (folder / "train_32x32.mat").is_file()


def _read_svhn(folder: Path) -> ImageSet:
    from scipy.io import loadmat

    def split(name: str) -> tuple[Images, Labels]:
        path = folder / f"{name}_32x32.mat"
        try:
            found = loadmat(path)
            images, labels = found["X"], found["y"]
        except FileNotFoundError:
            raise
        except Exception as error:  # scipy raises many kinds for damaged files
            raise ImageSetError(f"{path} is damaged: {error}") from error
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
            raise ImageSetError(f"{path}: X is {images.dtype} of {images.shape}")
        digits = labels.reshape(-1).astype(np.int64) % 10  # the digit 0 has the label 10
        return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), digits

    return ImageSet(split("train"), split("test"), tuple(map(str, range(10))))


# Pictures


def _has_strips(folder: Path) -> bool:
    return (folder / "labels.npz").is_file()


def _read_strips(folder: Path) -> ImageSet:
    try:
        found = read_arrays(folder / "labels.npz", ("train", "test"), remedy="copy it again")
        labels = {name: array.astype(np.int64) for name, array in found.items()}
    except (ValueError, OSError) as error:
        raise ImageSetError(str(error)) from error

    def split(name: str) -> tuple[Images, Labels]:
        path = next((p for s in PICTURE_SUFFIXES if (p := folder / f"{name}{s}").is_file()), None)
        if path is None:
            raise FileNotFoundError(f"{folder / name}.webp is missing, or another picture")
        strip = _picture(path)
        if strip.shape[0] % 32 or strip.shape[1] != 3200:
            raise ImageSetError(f"{path}: {strip.shape[1]} x {strip.shape[0]} is no strip of 100")
        images = strip.reshape(-1, 32, 100, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
        return images[: len(labels[name])], labels[name]

    return ImageSet(split("train"), split("test"), _names(folder / "classes.txt"))


def _test_folder(folder: Path) -> Path:
    """`test`, or `val` as ImageNet has it."""
    return next((folder / n for n in ("test", "val") if (folder / n).is_dir()), folder / "test")


def _has_folders(folder: Path) -> bool:
    return (folder / "train").is_dir() and _test_folder(folder).is_dir()


def _read_folders(folder: Path, size: int | None = None) -> ImageSet:
    train, test = folder / "train", _test_folder(folder)
    classes = tuple(sorted(p.name for p in train.iterdir() if p.is_dir()))
    others = sorted(p.name for p in test.iterdir() if p.is_dir())
    if unknown := [name for name in others if name not in classes]:
        raise ImageSetError(f"{test / unknown[0]}: train has no such class")

    def split(top: Path) -> tuple[ImageRows, Labels]:
        paths = [
            (str(path), number)
            for number, of_class in enumerate(classes)
            for path in sorted((top / of_class).glob("*"))
            if path.suffix.lower() in PICTURE_SUFFIXES
        ]
        if not paths:
            raise ImageSetError(f"{top}: no images in its folders")
        labels = np.array([number for _, number in paths], dtype=np.int64)
        return _Pictures(tuple(path for path, _ in paths), size), labels

    return ImageSet(split(train), split(test), classes)


class _Pictures:
    """Picture files as `ImageRows`.

    Args:
        paths: the files, as plain text: there may be millions.
        size: see `read_images`.

    Raises:
        ImageSetError: the first file is no picture; when rows are asked for, one of them is none,
            or of another size.
    """

    def __init__(self, paths: tuple[str, ...], size: int | None) -> None:
        self._paths, self._size = paths, size
        self.shape = (len(paths), *_picture(paths[0], size).shape)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, rows: Labels, /) -> Images:
        found = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for place, row in enumerate(rows):
            image = _picture(self._paths[row], self._size)
            if image.shape != found.shape[1:]:
                raise ImageSetError(
                    f"{self._paths[row]} has {image.shape[1]} x {image.shape[0]} pixels, "
                    f"{self._paths[0]} {self.shape[2]} x {self.shape[1]}; give the images a size "
                    "(--set images.size=N), or make them of one"
                )
            found[place] = image
        return found


def _picture(path: str | Path, size: int | None = None) -> Images:
    """(H, W, 3)."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("pictures are read by Pillow: pip install pillow") from error
    try:
        with Image.open(io.BytesIO(Path(path).read_bytes())) as image:
            coloured = image.convert("RGB")
            if size is not None:
                coloured = ImageOps.fit(coloured, (size, size), Image.Resampling.BILINEAR)
            return np.asarray(coloured)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ImageSetError(f"{path} is no picture, or damaged: {error}") from error


_FORMS: Sequence[tuple[Callable[[Path], bool], Callable[[Path], ImageSet]]] = (
    (_has_idx, _read_idx_set),
    (_has_cifar_python, _read_cifar_python),
    (_has_cifar_binary, _read_cifar_binary),
    (_has_stl, _read_stl),
    (_has_svhn, _read_svhn),
    (_has_strips, _read_strips),
    (_has_folders, _read_folders),
)
