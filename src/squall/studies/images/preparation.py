"""From a set of images to the ones that an experiment uses."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from squall.corpora.images import ImageRows, ImageSet, ImageSetError
from squall.files import atomic_path, read_arrays, write_arrays
from squall.networks.vision.images import Images
from squall.studies.images.settings import ChosenImages

__all__ = [
    "SPLITS",
    "Choice",
    "Part",
    "choose_images",
    "prepared_files",
    "read_classes",
    "read_prepared",
]

SPLITS = ("train", "dev", "test")

_CLASSES_SEED = 1
_CHOICE = "choice.npz"
_BLOCK_BYTES = 16 * 1024**2
_REMEDY = "make it again with --stage 1 --force"

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """Some images of a set, read in blocks.

    Args:
        images: of the set.
        rows: (N,) the ones that are meant.
        targets: (N,) their classes, int64.
    """

    images: ImageRows
    rows: Rows
    targets: Rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels."""
        return self.images.shape[1:]

    def blocks(self) -> Iterator[NDArray[np.uint8]]:
        """The images (B, H, W, channels), as many at once as 16 MB hold."""
        at_once = max(1, _BLOCK_BYTES // math.prod(self.shape))
        for start in range(0, len(self), at_once):
            yield self.images[self.rows[start : start + at_once]]


@dataclass(frozen=True, eq=False)
class Choice:
    """The images of an experiment.

    Args:
        parts: those of each split.
        classes: the names of what is learnt.
        scaling: as in `ChosenImages`.
    """

    parts: dict[str, Part]
    classes: tuple[str, ...]
    scaling: str

    def write(self, folder: Path, on_block: Callable[[int], object] = lambda done: None) -> None:
        """Decode the images into the files of `prepared_files`, a block in memory at a time.

        Args:
            folder: where to.
            on_block: told how many images are done.

        Raises:
            ImageSetError: a picture is damaged or of another size.
        """
        arrays: dict[str, Any] = {"classes": np.array(self.classes)}
        moments = _Moments()
        done = 0
        for split, part in self.parts.items():
            height, width, channels = part.shape
            content = hashlib.sha256()
            with (
                atomic_path(_images_file(folder, split)) as temporary,
                temporary.open("wb") as file,
            ):
                # Written, not mapped: on a full disk a mapped file ends the process by a signal.
                shape = (len(part), channels, height, width)
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                start = 0
                for block in part.blocks():
                    turned = np.ascontiguousarray(block.transpose(0, 3, 1, 2))
                    file.write(turned)
                    content.update(turned)
                    if split == "train":
                        moments.add(turned, axes=(0, 2, 3) if self.scaling == "channel" else (0,))
                    start += len(block)
                    on_block(done + start)
            done += len(part)
            arrays[f"targets.{split}"] = part.targets
            arrays[f"digest.{split}"] = content.hexdigest()
        arrays["mean"], arrays["scale"] = moments.scaling()
        write_arrays(folder / _CHOICE, arrays)


class _Moments:
    """Mean and standard deviation of values that come in blocks: sums of integers, so exact."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Any = 0
        self._squares: Any = 0

    def add(self, block: NDArray[np.uint8], *, axes: tuple[int, ...]) -> None:
        values = block.astype(np.int64)
        self._count += math.prod(block.shape[axis] for axis in axes)
        self._sum = self._sum + values.sum(axis=axes)
        self._squares = self._squares + (values * values).sum(axis=axes)

    def scaling(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What is subtracted, and then divided by; each broadcasts against an image (C, H, W)."""
        mean, square = self._sum / self._count, self._squares / self._count
        # A border that is black in all images stays black.
        scale = np.sqrt(np.maximum(square - mean**2, 1.0))
        shape = (*mean.shape, *[1] * (3 - mean.ndim))
        return mean.reshape(shape).astype(np.float32), scale.reshape(shape).astype(np.float32)


def prepared_files(folder: Path) -> tuple[Path, ...]:
    """What `Choice.write` writes: the images of each split, and last what tells all of them."""
    return (*(_images_file(folder, split) for split in SPLITS), folder / _CHOICE)


def read_prepared(folder: Path, split: str) -> Images:
    """The images of a split, which stay in their file until they are asked for.

    Raises:
        FileNotFoundError: they have not been prepared.
        ValueError: a file is damaged.
    """
    names = (f"targets.{split}", "mean", "scale")
    found = read_arrays(folder / _CHOICE, names, remedy=_REMEDY)
    targets, mean, scale = (torch.from_numpy(found[name]) for name in names)
    path = _images_file(folder, split)
    try:  # copied where it is written to, which torch asks for and nobody does
        values = np.lib.format.open_memmap(path, mode="c")
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; {_REMEDY}") from error
    if values.ndim != 4 or values.dtype != np.uint8 or len(values) != len(targets):
        raise ValueError(f"{path} is damaged: {values.dtype} {values.shape}; {_REMEDY}")
    return Images(torch.from_numpy(values), targets, mean, scale)


def read_classes(folder: Path) -> list[str]:
    """The names of the classes; raises as `read_prepared`."""
    found = read_arrays(folder / _CHOICE, ["classes"], remedy=_REMEDY)
    return [str(name) for name in found["classes"]]


def _images_file(folder: Path, split: str) -> Path:
    return folder / f"{split}.npy"


def choose_images(found: ImageSet, chosen: ChosenImages) -> Choice:
    """The images that the settings name.

    Raises:
        ImageSetError: there are no such classes, or not so many images.
    """
    groups = _groups(found, chosen)
    numbers = {name: number for number, name in enumerate(found.classes)}
    new = np.full(len(found.classes), -1)
    for number, names in enumerate(groups.values()):
        for name in names:
            new[numbers[name]] = number
    train = _rows(found.train[1], new, skip=chosen.skip)
    train, dev = _held_out(train, chosen.dev)
    train = _limited(train, chosen.train, "train")
    test = _limited(_rows(found.test[1], new), chosen.test, "test")
    rows = {"train": train, "dev": dev, "test": test}
    parts = {"train": found.train, "dev": found.train, "test": found.test}
    chosen_parts = {}
    for split in SPLITS:
        images, labels = parts[split]
        order = np.sort(np.concatenate(rows[split]))
        chosen_parts[split] = Part(images, order, new[labels[order]])
    return Choice(chosen_parts, tuple(groups), chosen.scaling)


def _groups(found: ImageSet, chosen: ChosenImages) -> dict[str, tuple[str, ...]]:
    """What is learnt, and the classes that belong to it."""
    if chosen.groups is not None:
        groups = dict(chosen.groups)
    elif isinstance(chosen.classes, int):
        if not 2 <= chosen.classes <= len(found.classes):
            raise ImageSetError(
                f"images.classes is {chosen.classes}; the set has {len(found.classes)}"
            )
        drawn = np.random.default_rng(_CLASSES_SEED).permutation(len(found.classes))
        names = [found.classes[k] for k in sorted(drawn[: chosen.classes])]
        groups = {name: (name,) for name in names}
    else:
        groups = {name: (name,) for name in chosen.classes or found.classes}
    listed = chosen.classes if isinstance(chosen.classes, tuple) else None
    named = listed or tuple(name for names in groups.values() for name in names)
    unknown = [name for name in named if name not in found.classes]
    if unknown or len(set(named)) < len(named):
        known = ", ".join(found.classes[:10]) + (", ..." if len(found.classes) > 10 else "")
        what = f"has no class {unknown[0]!r}" if unknown else "has a class in two places"
        raise ImageSetError(f"images: the choice {what}; there are {known}")
    if len(groups) < 2:
        raise ImageSetError("images: there is one class only; nothing can be learnt")
    return groups


def _rows(labels: Rows, new: Rows, *, skip: int = 0) -> list[Rows]:
    """The rows of each old class that is used."""
    return [np.flatnonzero(labels == old)[skip:] for old in range(len(new)) if new[old] >= 0]


def _held_out(rows: list[Rows], share: float) -> tuple[list[Rows], list[Rows]]:
    """The last images of each class are held out."""
    cuts = [len(of_class) - max(1, round(share * len(of_class))) for of_class in rows]
    if min(cuts) < 1:
        raise ImageSetError(
            f"images: a class has {min(len(r) for r in rows)} training images, too few to hold out "
            f"images.dev={share:g} of them"
        )
    kept = [of_class[:cut] for of_class, cut in zip(rows, cuts, strict=True)]
    return kept, [of_class[cut:] for of_class, cut in zip(rows, cuts, strict=True)]


def _limited(rows: list[Rows], count: int | None, what: str) -> list[Rows]:
    """The first images of each class, so many in all as nearly as they can be shared out."""
    if count is None:
        return rows
    shares = np.diff(np.linspace(0, count, len(rows) + 1).round().astype(int))
    if any(share > len(of_class) for share, of_class in zip(shares, rows, strict=True)):
        raise ImageSetError(
            f"images.{what} is {count}, but there are {sum(map(len, rows))} images of these "
            "classes, or too few of one of them"
        )
    return [of_class[:share] for of_class, share in zip(rows, shares, strict=True)]
