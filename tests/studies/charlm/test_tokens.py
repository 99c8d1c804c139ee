"""Texts as classes of bytes and of pieces; what training does not have is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from squall.studies.charlm.tokens import (
    Tokenized,
    read_counts,
    read_tokenized,
    tokenize_bytes,
    tokenize_pieces,
)

TRAIN = b"the cat sat on the mat and the cat ate the rat  on the mat\n" * 60
PARTS = {"train": TRAIN, "dev": b"the rat sat on the cat", "test": b" a mat  \n"}


def _spelled(tokenized: Tokenized, part: str) -> bytes:
    text = tokenized.texts[part]
    symbols = np.array(tokenized.symbols)[text.tokens]
    return "".join(symbols).replace("\u2581", " ").encode("latin-1")


def test_bytes_are_classes_in_their_order() -> None:
    tokenized = tokenize_bytes(PARTS)
    assert "".join(tokenized.symbols) == "\n acdehmnorst"
    assert tokenized.unknown == {"train": 0, "dev": 0, "test": 0}
    for part, text in PARTS.items():
        assert _spelled(tokenized, part) == text
        assert tokenized.texts[part].characters.tolist() == [1] * len(text)


def test_text8_has_27_classes() -> None:
    letters = b" abcdefghijklmnopqrstuvwxyz"
    assert tokenize_bytes({"train": letters, "dev": letters, "test": b"go"}).classes == 27


def test_unknown_bytes_are_one_class_more_and_counted() -> None:
    tokenized = tokenize_bytes({"train": b"abab", "dev": b"axb\xff", "test": b"ab"})
    assert tokenized.symbols == ("a", "b", "unknown")
    assert tokenized.texts["dev"].tokens.tolist() == [0, 2, 1, 2]
    assert tokenized.unknown == {"train": 0, "dev": 2, "test": 0}
    every = bytes(range(256))
    assert tokenize_bytes({"train": every, "dev": every, "test": every}).classes == 256
    most = tokenize_bytes({"train": every[:-1], "dev": every, "test": every})
    assert (most.classes, most.texts["dev"].tokens[-1]) == (256, 255)


def test_one_symbol_is_nothing_to_predict() -> None:
    with pytest.raises(ValueError, match="the training part has no other symbol than 'a'"):
        tokenize_bytes({"train": b"aaaa", "dev": b"ab", "test": b"ab"})


def test_pieces_spell_the_text_and_count_its_characters(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    tokenized = tokenize_pieces(PARTS, size=22, model=tmp_path / "pieces.model")
    assert tokenized.classes == 22
    assert sum(tokenized.unknown.values()) == 0
    for part, text in PARTS.items():
        assert _spelled(tokenized, part) == text
        lengths = [len(tokenized.symbols[k]) for k in tokenized.texts[part].tokens]
        assert tokenized.texts[part].characters.tolist() == lengths
        assert sum(lengths) == len(text)
    assert len(tokenized.texts["train"].tokens) < 0.8 * len(TRAIN)


def test_unknown_characters_of_pieces_are_counted(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    parts = {**PARTS, "dev": b"the xyz cat \xc3\xa9 sat"}
    tokenized = tokenize_pieces(parts, size=22, model=tmp_path / "pieces.model")
    assert tokenized.unknown == {"train": 0, "dev": 5, "test": 0}
    dev = tokenized.texts["dev"]
    assert int(dev.characters.sum()) == len(parts["dev"])
    assert sorted(dev.characters[dev.tokens == 0].tolist()) == [2, 3]


def test_a_tab_which_sentencepiece_has_no_piece_for_is_counted(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    parts = {**PARTS, "train": TRAIN.replace(b"\n", b"\t", 3)}
    tokenized = tokenize_pieces(parts, size=22, model=tmp_path / "pieces.model")
    assert tokenized.unknown == {"train": 3, "dev": 0, "test": 0}


def test_pieces_of_a_text_without_spaces(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    train = bytes(np.random.default_rng(0).choice(list(b"acgt"), size=9000).astype(np.uint8))
    parts = {"train": train, "dev": train[:500], "test": train[500:1000]}
    tokenized = tokenize_pieces(parts, size=20, model=tmp_path / "pieces.model")
    assert _spelled(tokenized, "train") == train


def test_more_pieces_than_the_text_gives_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    with pytest.raises(ValueError, match=r"text\.vocabulary_size is 8000: .*too high"):
        tokenize_pieces(PARTS, size=8000, model=tmp_path / "pieces.model")


@pytest.mark.parametrize("units", ["byte", "subword"])
def test_what_is_written_is_read(tmp_path: Path, units: str) -> None:
    parts = {**PARTS, "dev": b"the xy"}
    if units == "byte":
        tokenized = tokenize_bytes(parts)
    else:
        pytest.importorskip("sentencepiece")
        tokenized = tokenize_pieces(parts, size=22, model=tmp_path / "pieces.model")
    tokenized.write(tmp_path)
    again = read_tokenized(tmp_path)
    assert (again.symbols, again.unknown) == (tokenized.symbols, tokenized.unknown)
    for part, text in tokenized.texts.items():
        assert again.texts[part].tokens.tolist() == text.tokens.tolist()
        assert again.texts[part].characters.tolist() == text.characters.tolist()
    assert read_counts(tmp_path)["dev"] == (6, 2, tokenized.classes)
