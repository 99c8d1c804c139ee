"""Readers of text8 and enwik8: forms of the files, and what is refused."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from squall.studies.charlm import corpus
from squall.studies.charlm.corpus import read_corpus

PARTS = {"train": b" the quick brown fox", "dev": b" jumps over", "test": b" the lazy dog"}
FILES = {"train": "train.txt", "dev": "valid.txt", "test": "test.txt"}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".raw": bytes,
    ".xz": lzma.compress,
    ".gz": gzip.compress,
}


def _write(folder: Path, suffix: str = "", **changes: bytes) -> Path:
    for part, text in {**PARTS, **changes}.items():
        (folder / f"{FILES[part]}{suffix}").write_bytes(PACKED[suffix](text))
    return folder


@pytest.mark.parametrize("suffix", PACKED)
def test_the_parts_are_read_plain_and_packed(tmp_path: Path, suffix: str) -> None:
    assert read_corpus(_write(tmp_path, suffix), "text8") == PARTS


def test_of_the_authors_preparation_the_text_is_read_not_its_symbols(tmp_path: Path) -> None:
    symbols = {part: b" ".join(b"%d" % byte for byte in text) for part, text in PARTS.items()}
    _write(tmp_path, "", **symbols)
    assert read_corpus(_write(tmp_path, ".raw"), "enwik8") == PARTS


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz"])
def test_one_file_is_divided(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (corpus._WHOLE_BYTES, corpus._TRAIN_BYTES, corpus._DEV_BYTES) == (
        10**8,
        9 * 10**7,
        5 * 10**6,
    )
    for name, value in {"_WHOLE_BYTES": 100, "_TRAIN_BYTES": 90, "_DEV_BYTES": 5}.items():
        monkeypatch.setattr(corpus, name, value)
    text = bytes(range(97, 122)) * 4
    (tmp_path / f"enwik8{suffix}").write_bytes(PACKED[suffix](text))
    parts = read_corpus(tmp_path, "enwik8")
    assert [len(part) for part in parts.values()] == [90, 5, 5]
    assert b"".join(parts.values()) == text
    (tmp_path / f"enwik8{suffix}").write_bytes(PACKED[suffix](text[:-1]))
    with pytest.raises(ValueError, match=r"has 99 bytes, and the usual division is one of 100"):
        read_corpus(tmp_path, "enwik8")


def test_parts_come_before_a_whole(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "text8").write_bytes(b"short")
    assert read_corpus(tmp_path, "text8") == PARTS


def test_every_byte_is_read_but_of_text8_letters_alone(tmp_path: Path) -> None:
    _write(tmp_path, dev=b" caf\xc3\xa9")
    assert read_corpus(tmp_path, "enwik8")["dev"] == b" caf\xc3\xa9"
    with pytest.raises(ValueError, match="is not text8: its dev part has the byte 0xc3"):
        read_corpus(tmp_path, "text8")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is no folder: give that of the corpus"):
        read_corpus(tmp_path / "lost", "text8")
    with pytest.raises(FileNotFoundError, match=r"no train\.txt, plain or as \.xz or \.gz, nor a"):
        read_corpus(tmp_path, "text8")
    _write(tmp_path)
    (tmp_path / "valid.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no valid\.txt"):
        read_corpus(tmp_path, "text8")


@pytest.mark.parametrize("part", PARTS)
def test_an_empty_part_is_named(tmp_path: Path, part: str) -> None:
    _write(tmp_path, **{part: b""})
    with pytest.raises(ValueError, match=f"the {part} part of .* has 0 bytes"):
        read_corpus(tmp_path, "text8")


@pytest.mark.parametrize("suffix", [".xz", ".gz"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, damage: str) -> None:
    _write(tmp_path, suffix)
    path = tmp_path / f"test.txt{suffix}"
    path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else b"no archive at all")
    with pytest.raises(ValueError, match=rf"test\.txt\{suffix} is damaged"):
        read_corpus(tmp_path, "text8")
