"""What tells a changed corpus: text by its content, audio by size and time, and its digests."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.corpora.fingerprint import corpus_bytes, corpus_fingerprint, write_audio_digests
from squall.corpora.manifest import Utterance


def _write(path: Path, content: bytes, *, ns: int = 10**18) -> None:
    """Write a file whose time does not tell that it was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(ns, ns))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    _write(folder / "etc" / "train.txt", b"a TEH CAT\nb A DOG\n")
    _write(folder / "wav" / "a.wav", b"12345")
    return folder


@pytest.mark.parametrize(
    "text", [b"a THE CAT\nb A DOG\n", b"a teh CAT\nb A DOG\n", b"b A DOG\na TEH CAT\n"]
)
def test_an_edit_that_keeps_the_length_is_noticed(corpus: Path, text: bytes) -> None:
    before = corpus_fingerprint(corpus)
    _write(corpus / "etc" / "train.txt", text)
    after = corpus_fingerprint(corpus)
    assert after["bytes"] == before["bytes"]
    assert after["text"] != before["text"]
    assert after["audio"] == before["audio"]


@settings(max_examples=50, deadline=None)
@given(
    contents=st.lists(st.binary(max_size=6), min_size=1, max_size=4),
    number=st.integers(0, 3),
    other=st.binary(max_size=6),
)
def test_any_edit_of_any_file_is_noticed(contents: list[bytes], number: int, other: bytes) -> None:
    number %= len(contents)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for k, content in enumerate(contents):
            _write(folder / f"{k}.txt", content)
        before = corpus_fingerprint(folder)
        _write(folder / f"{number}.txt", other)
        assert (corpus_fingerprint(folder) == before) == (contents[number] == other)


def test_names_count(corpus: Path) -> None:
    before = corpus_fingerprint(corpus)
    (corpus / "wav" / "a.wav").rename(corpus / "wav" / "b.wav")
    assert corpus_fingerprint(corpus) != before


def test_a_corpus_may_be_given_as_the_folder_that_holds_it(corpus: Path, tmp_path: Path) -> None:
    assert corpus_fingerprint(tmp_path) == corpus_fingerprint(corpus)


def test_audio_counts_by_size_and_time(corpus: Path) -> None:
    before = corpus_fingerprint(corpus)
    _write(corpus / "wav" / "a.wav", b"54321")
    assert corpus_fingerprint(corpus) == before  # only its digest would tell
    _write(corpus / "wav" / "a.wav", b"54321", ns=10**18 + 1)
    after = corpus_fingerprint(corpus)
    assert after["audio"] != before["audio"]
    assert after["text"] == before["text"]


def test_a_text_that_is_only_touched_changes_nothing(corpus: Path) -> None:
    before = corpus_fingerprint(corpus)
    (corpus / "etc" / "train.txt").touch()
    assert corpus_fingerprint(corpus) == before


@pytest.mark.parametrize("name", ["etc/train.txt", "wav/a.wav"])
def test_what_lies_behind_links_is_watched(corpus: Path, tmp_path: Path, name: str) -> None:
    discs = tmp_path / "discs"
    discs.mkdir()
    (discs / "one").symlink_to(corpus)
    (corpus / "up").symlink_to(corpus)
    before = corpus_fingerprint(discs)
    assert before["files"] == 2
    _write(corpus / name, b"changed", ns=10**18 + 1)
    assert corpus_fingerprint(discs) != before


@pytest.mark.parametrize("name", ["._a.wav", ".DS_Store", ".Trashes/b.wav"])
def test_hidden_files_are_no_part_of_a_corpus(corpus: Path, name: str) -> None:
    before = corpus_fingerprint(corpus)
    _write(corpus / name, b"1")
    assert corpus_fingerprint(corpus) == before


def test_files_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    prints = [corpus_fingerprint(folder)]
    for name, content in (("deep/a.wav", b"12345"), ("b.wav", b""), ("b.wav", b"1")):
        _write(folder / name, content)
        prints.append(corpus_fingerprint(folder))
    (folder / "lost").symlink_to(folder / "nowhere")
    prints.append(corpus_fingerprint(folder))
    assert [(p["files"], p["bytes"]) for p in prints] == [(0, 0), (1, 5), (2, 5), (2, 6), (2, 6)]
    assert corpus_bytes(folder) == 6


def test_the_fingerprint_is_of_all_folders(tmp_path: Path) -> None:
    both = [tmp_path / "a", tmp_path / "b"]
    for folder, content in zip(both, (b"123", b"45678"), strict=True):
        _write(folder / "x.wav", content)
    before = corpus_fingerprint(both)
    assert (before["files"], before["bytes"]) == (2, 8)
    assert corpus_fingerprint(both[0]) == corpus_fingerprint([both[0]])
    _write(tmp_path / "b" / "y.txt", b"9")
    assert corpus_fingerprint(both) != before
    assert corpus_bytes(both) == 9


def test_digests_are_those_of_sha256sum(
    tmp_path: Path, make_utterance: Callable[..., Utterance]
) -> None:
    utterances = [make_utterance("b"), make_utterance("a"), make_utterance("b")]
    write_audio_digests(tmp_path / "train.sha256", utterances)
    expected = [
        f"{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}  {tmp_path / name}"
        for name in ("a.wav", "b.wav")
    ]
    assert (tmp_path / "train.sha256").read_text().splitlines() == expected
