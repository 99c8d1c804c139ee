"""From a set of images to the ones that an experiment uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from squall.corpora.images import ImageSet, ImageSetError
from squall.files import read_arrays, write_arrays
from squall.networks.vision.images import Images
from squall.studies.images.settings import ChosenImages

__all__ = ["SPLITS", "PreparedImages", "choose_images"]

SPLITS = ("train", "dev", "test")

_CLASSES_SEED = 1
_REMEDY = "make it again with --stage 1 --force"

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """The images of the splits.

    Args:
        images: of each split (N, H, W, channels) uint8.
        targets: of each split (N,) int64.
        classes: the names of what is learnt.
        mean, scale: of the training images, of each channel (C, 1, 1) or place (C, H, W).
    """

    images: dict[str, NDArray[np.uint8]]
    targets: dict[str, Rows]
    classes: tuple[str, ...]
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    def write(self, path: Path) -> None:
        """Write an `.npz`, as a whole."""
        arrays: dict[str, Any] = {f"images.{split}": self.images[split] for split in SPLITS}
        arrays |= {f"targets.{split}": self.targets[split] for split in SPLITS}
        arrays |= {"classes": np.array(self.classes), "mean": self.mean, "scale": self.scale}
        write_arrays(path, arrays)

    @staticmethod
    def read(path: Path, split: str) -> Images:
        """The images of a split, as a network takes them.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged.
        """
        names = (f"images.{split}", f"targets.{split}", "mean", "scale")
        found = read_arrays(path, names, remedy=_REMEDY)
        images, *others = (torch.from_numpy(found[name]) for name in names)
        return Images(images.permute(0, 3, 1, 2).contiguous(), *others)

    @staticmethod
    def read_classes(path: Path) -> list[str]:
        """The names of the classes; raises as `read`."""
        found = read_arrays(path, ["classes"], remedy=_REMEDY)
        return [str(name) for name in found["classes"]]


def choose_images(found: ImageSet, chosen: ChosenImages) -> PreparedImages:
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
    order = {split: np.sort(np.concatenate(of_class)) for split, of_class in rows.items()}
    images = {split: parts[split][0][order[split]] for split in SPLITS}
    targets = {split: new[parts[split][1][order[split]]] for split in SPLITS}
    mean, scale = _scaling(images["train"], chosen.scaling)
    return PreparedImages(images, targets, tuple(groups), mean, scale)


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


def _scaling(
    images: NDArray[np.uint8], kind: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    axes = (0, 1, 2) if kind == "channel" else (0,)
    mean = images.mean(axis=axes, dtype=np.float64)
    scale = images.std(axis=axes, dtype=np.float64)
    scale = np.where(scale < 1.0, 1.0, scale)  # a border that is black in all images
    if kind == "channel":
        return (
            mean.astype(np.float32)[:, None, None],
            scale.astype(np.float32)[:, None, None],
        )
    return (
        mean.transpose(2, 0, 1).astype(np.float32),
        scale.transpose(2, 0, 1).astype(np.float32),
    )
