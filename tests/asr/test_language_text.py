"""Text for a language model: read in bounded parts, and nothing in it changed or lost unsaid."""

from __future__ import annotations

import gzip
import logging
from collections import Counter
from pathlib import Path

import pytest

from squall.asr.language_text import count_parts, part_path, write_parts, write_vocabulary

TOKENS = ["<blank>", "<unk>", "<space>", "A", "B", "'", "<sos/eos>", ""]
PIECES = ["<blank>", "<unk>", "▁A", "B", "▁'", "<sos/eos>"]


def _written(folder: Path) -> list[list[str]]:
    numbers = range(count_parts(folder))
    return [part_path(folder, n).read_text(encoding="utf-8").splitlines() for n in numbers]


@pytest.mark.parametrize("packed", [False, True])
def test_lines_come_in_parts_with_ids_in_their_order(tmp_path: Path, packed: bool) -> None:
    text = "A  B\n\n\tAB A \nB'\n \nA\r\nBB"
    source = tmp_path / "no ending"  # what packs it is seen in the file, not in its name
    source.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    told: list[int] = []
    counts = write_parts(
        source,
        tmp_path / "text",
        tokens=TOKENS,
        units="char",
        lines_per_part=2,
        progress=told.append,
    )
    assert _written(tmp_path / "text") == [
        ["line0000000001 A B", "line0000000002 AB A"],
        ["line0000000003 B'", "line0000000004 A"],
        ["line0000000005 BB"],
    ]
    assert (counts.lines, counts.empty, counts.foreign, counts.unknown) == (5, 2, 0, Counter())
    assert told == []
    assert sorted(path.name for path in (tmp_path / "text").iterdir()) == [
        "num_splits", "split.0", "split.1", "split.2",
    ]  # fmt: skip


def test_a_text_has_the_form_of_the_transcripts(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("\uff21 B\n")
    with pytest.raises(ValueError, match="'\uff21' 1"):
        write_parts(tmp_path / "t", tmp_path / "one", tokens=TOKENS, units="char")
    write_parts(tmp_path / "t", tmp_path / "two", tokens=TOKENS, units="char", normalization="nfkc")
    assert _written(tmp_path / "two") == [["line0000000001 A B"]]


def test_a_text_of_whole_parts_has_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("A\nB\nA\nB\n")
    write_parts(tmp_path / "t", tmp_path, tokens=TOKENS, units="char", lines_per_part=2)
    assert [len(part) for part in _written(tmp_path)] == [2, 2]


@pytest.mark.parametrize(
    ("units", "tokens", "unknown"),
    [
        ("char", TOKENS, {"b": 1, "é": 2, ".": 1, "▁": 1}),
        ("bpe", PIECES, {"b": 1, "é": 2, ".": 1, "▁": 1}),
        ("word", ["<blank>", "<unk>", "A", "B", "<sos/eos>"], {"Ab": 1, "éé.": 1, "▁": 1, "AB": 2}),
        ("phone48", ["<blank>", "A", "B", "AB"], {"Ab": 1, "éé.": 1, "▁": 1}),
    ],
)
def test_what_the_token_list_does_not_have_is_counted_and_kept(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    units: str,
    tokens: list[str],
    unknown: dict[str, int],
) -> None:
    (tmp_path / "t").write_text("A B\nAb éé.\n▁\nAB AB B\n", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        counts = write_parts(tmp_path / "t", tmp_path, tokens=tokens, units=units)
    assert counts.unknown == unknown
    assert counts.foreign == 2 + ("AB" in unknown)
    assert _written(tmp_path)[0][1].endswith(" Ab éé.")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"4 lines; {counts.foreign} lines have what is not in the token list" in caplog.text
    assert "becomes <unk>: " in caplog.text


def test_a_text_that_fits_is_told_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "t").write_text("\ufeffA B\n\n", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        write_parts(tmp_path / "t", tmp_path, tokens=TOKENS, units="char")
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.INFO,
        f"{tmp_path / 't'}: 1 lines, 1 empty ones left out",
    )


def test_a_text_in_another_case_is_refused_after_its_first_part(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a\nb\n" * 50 + "A\n")
    with pytest.raises(ValueError, match=r"in another case\? 4 lines; 4 .*'a' 2, 'b' 2$"):
        write_parts(tmp_path / "t", tmp_path, tokens=TOKENS, units="char", lines_per_part=4)
    assert count_parts(tmp_path) == 0


def test_many_unknown_characters_are_shortened(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("A\nabcdefghijklmn\n")
    counts = write_parts(tmp_path / "t", tmp_path, tokens=TOKENS, units="char")
    assert str(counts).endswith("'j' 1, 4 more")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"A\n\xff\xfe\n", "not UTF-8 near line"),
        (gzip.compress(b"A B\n" * 9999)[:-30], "damaged after line"),
        (gzip.compress(b"A B\n" * 9999)[:-8] + b"\0" * 8, "damaged after line"),
        (b"", "no words in it"),
        (b"\n \n", "no words in it"),
    ],
    ids=["not UTF-8", "cut", "wrong sum", "empty", "blank"],
)
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{tmp_path / 't'}: {reason}"):
        write_parts(tmp_path / "t", tmp_path / "text", tokens=TOKENS, units="char")
    assert count_parts(tmp_path / "text") == 0


def _vocabulary(folder: Path, parts: list[str], size: int) -> tuple[list[str], str]:
    paths = [folder / f"part{k}" for k in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        path.write_text(part, encoding="utf-8")
    found = write_vocabulary(paths, folder / "words.txt", tokens=TOKENS, size=size)
    return (folder / "words.txt").read_text().splitlines(), str(found)


def test_a_vocabulary_has_the_most_frequent_words_in_order(tmp_path: Path) -> None:
    parts = ["BB BB A B\nA AB B\nAB\n", "u1 BB A\nu2 AB\n"]  # ids are no words
    words, told = _vocabulary(tmp_path, parts, 3)
    assert words == ["<blank>", "<unk>", "A", "AB", "B", "<sos/eos>"]  # B and BB: by the alphabet
    assert told == "3 of 4 words, 75.00 % of the text"
    words, told = _vocabulary(tmp_path, parts, 99)
    assert words[2:-1] == ["A", "AB", "B", "BB"]
    assert told == "4 of 4 words, 100.00 % of the text"


def test_words_that_the_tokens_cannot_spell_are_not_taken(tmp_path: Path) -> None:
    words, told = _vocabulary(tmp_path, ["u1 Aé Aé A' <unk> <blank>\n"], 2)
    assert words[2:-1] == ["A'"]
    assert told == "1 of 4 words, 20.00 % of the text"


@pytest.mark.parametrize("text", ["u1\nu2\n", "", "u1 éé\n"])
def test_a_text_without_a_word_has_no_vocabulary(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"\d words, and none that the recogniser's tokens spell"):
        _vocabulary(tmp_path, [text], 2)


@pytest.mark.slow
def test_only_one_part_is_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    with gzip.open(tmp_path / "t", "wb") as file:
        for _ in range(60):
            file.write(b"A B A B A B A B A B A B A B A B A B A B\n" * 1000)
    tracemalloc.start()
    try:
        write_parts(tmp_path / "t", tmp_path, tokens=TOKENS, units="char")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500_000  # the text has 2.4 MB
