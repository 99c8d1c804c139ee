"""Text in the form of text8, made on the spot."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np

WORDS = ("the", "cat", "sat", "on", "a", "mat", "then", "it", "ate", "one", "rat", "near", "me")


def write_letters(folder: Path, *, extra: bytes = b"") -> Path:
    """Words drawn at random in the form of text8; `extra` ends the development part."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, words in {"train": 900, "valid": 120, "test": 160}.items():
        text = "".join(f" {word}" for word in random.choice(WORDS, size=words)).encode()
        (folder / f"{name}.txt.xz").write_bytes(lzma.compress(text + extra * (name == "valid")))
    return folder
