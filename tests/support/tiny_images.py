"""Images whose class is where they are bright."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

SIDE = 8


def bright_images(
    count: int, classes: int, seed: int, *, brighter: int = 130
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 8, 8) uint8 with one bright row, and the number of the row as the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = random.integers(0, 120, (count, SIDE, SIDE))
    images[np.arange(count), labels] += brighter
    return images.astype(np.uint8), labels


def write_bright_images(
    folder: Path, *, train: int = 120, test: int = 40, classes: int = 4, brighter: int = 130
) -> Path:
    """A set of such images in MNIST's form; less bright ones are harder to tell."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (prefix, count) in enumerate((("train", train), ("t10k", test))):
        images, labels = bright_images(count, classes, seed, brighter=brighter)
        for name, array in (("images-idx3", images), ("labels-idx1", labels.astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (folder / f"{prefix}-{name}-ubyte").write_bytes(header + array.tobytes())
    return folder
