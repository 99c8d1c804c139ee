"""Texts as words, the vocabulary and its file, words as numbers."""

from __future__ import annotations

import gzip
import random
import unicodedata
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from squall.studies.text.words import (
    PADDING_ID,
    UNKNOWN_ID,
    Vocabulary,
    build_vocabulary,
    encode_texts,
    read_vocabulary,
    split_words,
    write_vocabulary,
)

TEXTS = ["b a b", "c a , b", "A d", "e"]  # a: 3, b: 3, the others once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Why can't I?", "why ca n't i ?"),
        ("he couldn 't , they said", "he could n't , they said"),
        ("It\u2019s they're we'd I'm", "it 's they 're we 'd i 'm"),
        ("Dominick 's for $ 2.5 billion .", "dominick 's for $ 2.5 billion ."),
        ("1,000,000 in 1998.", "1,000,000 in 1998 ."),
        ("the U.S. economy", "the u.s. economy"),
        ("end.Next", "end . next"),
        ("non-dividend C++", "non - dividend c + +"),
        ('"really" (no)', '" really " ( no )'),
        ("cafe\u0301", "caf\u00e9"),
        (" \t\u00a0\n", ""),
    ],
)
def test_words_of_a_text(text: str, words: str) -> None:
    assert split_words(text) == words.split()


@given(st.text(alphabet=st.one_of(st.sampled_from("nNt's. 1,-\u2019ad\u0301"), st.characters())))
def test_splitting_loses_nothing_and_words_stay_as_they_are(text: str) -> None:
    words = split_words(text)
    plain = unicodedata.normalize("NFC", text.lower().replace("\u2019", "'"))
    assert "".join(words) == "".join(plain.split())
    assert split_words(" ".join(words)) == words


def test_frequent_words_come_first_and_then_the_alphabet_decides() -> None:
    vocabulary = build_vocabulary(TEXTS)
    assert vocabulary.words == ("a", "b", ",", "c", "d", "e")
    assert (len(vocabulary), vocabulary.ids["a"], vocabulary.ids["e"]) == (8, 2, 7)
    for seed in range(3):
        shuffled = random.Random(seed).sample(TEXTS, len(TEXTS))
        assert build_vocabulary(shuffled) == vocabulary


def test_rare_words_and_those_beyond_the_largest_number_are_left_out() -> None:
    assert build_vocabulary(TEXTS, min_count=2).words == ("a", "b")
    assert build_vocabulary(TEXTS, max_words=3).words == ("a", "b", ",")


@pytest.mark.parametrize(("texts", "options"), [([], {}), (TEXTS, {"min_count": 4})])
def test_a_vocabulary_without_a_word_is_refused(texts: list[str], options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"no word is left of .* min_count"):
        build_vocabulary(texts, **options)


def test_words_become_numbers_and_long_texts_are_cut_and_counted() -> None:
    vocabulary = Vocabulary(("a", "b"))
    encoded = encode_texts(["B x a", "a a", "a b a b", "A"], vocabulary, max_length=3)
    assert [ids.tolist() for ids in encoded.ids] == [[3, UNKNOWN_ID, 2], [2, 2], [2, 3, 2], [2]]
    assert all(ids.dtype == torch.int64 for ids in encoded.ids)
    assert encoded.truncated == 1
    assert PADDING_ID not in torch.cat(encoded.ids)


def test_a_text_without_a_word_is_named() -> None:
    with pytest.raises(ValueError, match=r"text 2 is ' \\t', without a word"):
        encode_texts(["a", " \t"], Vocabulary(("a",)), max_length=3)


def test_a_vocabulary_is_read_as_it_was_written(tmp_path: Path) -> None:
    vocabulary = build_vocabulary([*TEXTS, "caf\u00e9 \u4e2d #"])
    path = tmp_path / "words.txt"
    write_vocabulary(path, vocabulary)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["<pad>", "<unk>", "a"]
    assert all(lines[number] == word for word, number in vocabulary.ids.items())
    assert read_vocabulary(path) == vocabulary


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<unk>\na\n", r"words.txt:1: '<unk>' where a vocabulary has <pad>"),
        ("<pad>\na\n", r"words.txt:2: 'a' where a vocabulary has <unk>"),
        ("<pad>\n<unk>\na\nb\na\n", r"words.txt:5: 'a' is there twice"),
        ("<pad>\n<unk>\na b\n", r"words.txt:3: 'a b' .* is not one word"),
        ("<pad>\n<unk>\n\na\n", r"words.txt:3: '' .* is not one word"),
        ("<pad>\n<unk>\n", r"words.txt is a vocabulary without a word"),
        ("", r"words.txt:1: '' where a vocabulary has <pad>"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "words.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_vocabulary(path)


@pytest.mark.corpus
def test_real_texts_are_split_into_words_that_stay_as_they_are(real_data: Path) -> None:
    path = real_data / "text" / "mrpc" / "dev.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [field for line in list(file)[1:] for field in line.split("\t")[1:]]
    assert len(texts) == 2 * 408
    words = [split_words(text) for text in texts]
    assert all(split_words(" ".join(one)) == one for one in words)
    # Their spaces are between words already: little changes but compounds.
    same = sum(one == text.lower().split() for one, text in zip(words, texts, strict=True))
    assert 0.5 < same / len(texts) < 0.9
    assert not any("'t" in one for one in words)
