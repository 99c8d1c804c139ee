"""text8, enwik8 or a text of one's own: the bytes of its three parts."""

from __future__ import annotations

from pathlib import Path

from squall.files import read_bytes

__all__ = ["PARTS", "read_corpus"]

PARTS = {"train": "train.txt", "dev": "valid.txt", "test": "test.txt"}
"""The parts and their files."""

_WHOLE_BYTES = 100_000_000
_TRAIN_BYTES, _DEV_BYTES = 90_000_000, 5_000_000
_TEXT8 = b"abcdefghijklmnopqrstuvwxyz "
_SUFFIXES = (".raw", "", ".xz", ".gz")
"""The authors' preparation leaves the text in `train.txt.raw`, and in `train.txt` its symbols as
words."""


def read_corpus(folder: Path, name: str) -> dict[str, bytes]:
    """The parts of a corpus.

    Args:
        folder: with `train.txt`, `valid.txt` and `test.txt`, plain or as .xz or .gz; or with one
            file of the corpus's name and 100,000,000 bytes, plain or packed, which is divided into
            the usual 90, 5 and 5 million.
        name: of the corpus. Of `text8` it is checked that it has letters a to z and spaces alone.

    Returns:
        The bytes of `train`, `dev` and `test`.

    Raises:
        FileNotFoundError: there is no such folder, or a part is missing.
        ValueError: a file is damaged, empty, of another size, or not what its name says.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give that of the corpus with --corpus-dir")
    whole = _find(folder, name)
    if whole is not None and _find(folder, PARTS["train"]) is None:
        parts = _divided(whole, read_bytes(whole))
    else:
        parts = {part: read_bytes(_part_path(folder, part, name)) for part in PARTS}
    for part, text in parts.items():
        if len(text) < 2:
            raise ValueError(f"the {part} part of {folder} has {len(text)} bytes: it needs two")
        if name == "text8" and (others := text.translate(None, _TEXT8)):
            raise ValueError(
                f"{folder} is not text8: its {part} part has the byte 0x{others[0]:02x}, and text8 "
                "has letters a to z and spaces alone. Take a preset of its own corpus, or --set "
                "corpus.name=NAME for another text"
            )
    return parts


def _find(folder: Path, stem: str) -> Path | None:
    paths = (folder / f"{stem}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _part_path(folder: Path, part: str, name: str) -> Path:
    path = _find(folder, PARTS[part])
    if path is None:
        raise FileNotFoundError(
            f"{folder} has no {PARTS[part]}, plain or as .xz or .gz, nor a file {name} that holds "
            "all of the corpus: give the right folder with --corpus-dir"
        )
    return path


def _divided(path: Path, text: bytes) -> dict[str, bytes]:
    if len(text) != _WHOLE_BYTES:
        raise ValueError(
            f"{path} has {len(text):,} bytes, and the usual division is one of {_WHOLE_BYTES:,}: "
            f"divide it into {', '.join(PARTS.values())}"
        )
    ends = (_TRAIN_BYTES, _TRAIN_BYTES + _DEV_BYTES)
    return {"train": text[: ends[0]], "dev": text[ends[0] : ends[1]], "test": text[ends[1] :]}
