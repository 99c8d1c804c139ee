"""Tables of texts: GLUE's own and the general form, what is wrong with them, held-out parts."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from squall.studies.text.corpus import LabelledText, TextCorpusError, read_text_corpus

ROWS = ["1\tone is good\ttwo", "0\tthree\tfour"]


def _write(folder: Path, split: str, *lines: str, header: str = "label\ttext_a\ttext_b") -> Path:
    (folder / f"{split}.tsv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder


def _whole(folder: Path, header: str = "label\ttext_a\ttext_b", rows: list[str] = ROWS) -> Path:
    for split in ("train", "dev", "test"):
        _write(folder, split, *rows, header=header)
    return folder


def test_a_corpus_is_three_tables(tmp_path: Path) -> None:
    corpus = read_text_corpus(_whole(tmp_path))
    assert corpus.splits["train"] == [
        LabelledText("1", "one is good", "two"),
        LabelledText("0", "three", "four"),
    ]
    assert corpus.labels == ("0", "1")
    assert corpus.targets("test") == [1, 0]
    assert corpus.pairs
    assert corpus.told == []


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", "{}\t7\t8\tA\tB", ("A", "B")),
        ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "5\t6\t7\tA\tB\t{}", ("A", "B")),
        ("index\tquestion\tsentence\tlabel", "0\tA\tB\t{}", ("A", "B")),
        ("index\tsentence1\tsentence2\tlabel", "0\tA\tB\t{}", ("A", "B")),
        ("sentence\tlabel", "A\t{}", ("A", None)),
        ("label\ttext", "{}\tA", ("A", None)),
    ],
)
def test_glues_own_tables_are_read(
    tmp_path: Path, header: str, row: str, expected: tuple[str, str | None]
) -> None:
    rows = [row.format("x"), row.format("y")]
    corpus = read_text_corpus(_whole(tmp_path, header, rows))
    assert corpus.splits["dev"] == [LabelledText("x", *expected), LabelledText("y", *expected)]


def test_quotation_marks_are_characters(tmp_path: Path) -> None:
    rows = ['1\t"it isn\'t\ta "b', "0\tx\ty"]
    corpus = read_text_corpus(_whole(tmp_path, rows=rows))
    assert corpus.splits["train"][0] == LabelledText("1", "\"it isn't", 'a "b')


def test_other_line_separators_are_text(tmp_path: Path) -> None:
    corpus = read_text_corpus(_whole(tmp_path, rows=["1\tone\u2028more\ttwo\x0b2", "0\tx\ty"]))
    assert corpus.splits["train"][0].a == "one\u2028more"


def test_gzipped_tables_and_other_names(tmp_path: Path) -> None:
    _whole(tmp_path)
    (tmp_path / "train.tsv").unlink()
    content = "\n".join(["label\ttext_a\ttext_b", *ROWS])
    (tmp_path / "train_more.tsv.gz").write_bytes(gzip.compress(content.encode()))
    corpus = read_text_corpus(tmp_path, files={"train": "train_more"})
    assert len(corpus.splits["train"]) == 2
    with pytest.raises(FileNotFoundError, match=r"absent\.tsv is missing, which corpus\.options"):
        read_text_corpus(tmp_path, files={"train": "absent"})
    with pytest.raises(TextCorpusError, match="no split 'valid'"):
        read_text_corpus(tmp_path, files={"valid": "dev"})


def test_one_table_with_a_split_column_has_no_dev_set(tmp_path: Path) -> None:
    rows = [f"{'test' if n % 6 == 0 else 'train'}\t{'ab'[n % 2]}\ttext {n}" for n in range(60)]
    (tmp_path / "titles.tsv").write_text("split\tlabel\ttext\n" + "\n".join(rows))
    corpus = read_text_corpus(tmp_path)
    sizes = {split: len(texts) for split, texts in corpus.splits.items()}
    assert sizes == {"train": 45, "dev": 5, "test": 10}
    assert {text.label for text in corpus.splits["dev"]} == {"a", "b"}
    assert corpus.told == ["every tenth training text of each label is the development set"]


def test_without_a_labelled_test_set_the_development_set_is_tested_on(tmp_path: Path) -> None:
    _write(tmp_path, "train", *(f"{n % 2}\ta {n}\tb" for n in range(40)))
    _write(tmp_path, "dev", *ROWS)
    corpus = read_text_corpus(tmp_path)
    assert [text.b for text in corpus.splits["test"]] == ["two", "four"]
    assert [len(corpus.splits[split]) for split in ("train", "dev")] == [36, 4]
    assert "the development set is tested on" in corpus.told[0]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("index\tquestion\tsentence", ["0\tA\tB"]),
        ("index\tsentence1\tsentence2\tlabel", ["0\tA\tB\t-1"]),
    ],
)
def test_hidden_test_sets_are_refused(tmp_path: Path, header: str, rows: list[str]) -> None:
    _whole(tmp_path)
    _write(tmp_path, "test", *rows, header=header)
    with pytest.raises(TextCorpusError, match=r"test\.tsv:\d: .* secret\. Leave this file out"):
        read_text_corpus(tmp_path)


def test_what_is_wrong_is_told_at_once_and_can_be_left_out(tmp_path: Path) -> None:
    _whole(tmp_path)
    _write(tmp_path, "train", *ROWS, "1\tone", "1\t\ttwo", "\tone\ttwo", "1\ta\tb\tc")
    with pytest.raises(TextCorpusError) as error:
        read_text_corpus(tmp_path)
    told = str(error.value)
    assert told.startswith("4 row(s) cannot be used")
    assert "train.tsv:4: 2 fields, the header has 3" in told
    assert "train.tsv:5: a text is empty" in told
    assert "train.tsv:6: the label is empty" in told
    assert "--skip-bad" in told
    corpus = read_text_corpus(tmp_path, skip_bad=True)
    assert len(corpus.splits["train"]) == 2
    assert len(corpus.told) == 4


@pytest.mark.parametrize(
    ("split", "header", "rows", "message"),
    [
        ("train", "name\ttext_a", ROWS, r"train\.tsv:1: columns name, text_a; the header needs"),
        ("train", "label\ttext", ["1\tone", "0\ttwo"], "some tables have pairs of texts"),
        ("test", None, ["7\tone\ttwo"], "the label '7' occurs in test and not in train"),
        ("train", None, ["1\tone\ttwo"] * 3, "every training text has the label '1'"),
    ],
)
def test_a_corpus_that_cannot_be_used(
    tmp_path: Path, split: str, header: str | None, rows: list[str], message: str
) -> None:
    _whole(tmp_path, rows=[ROWS[0]] if "every" in message else ROWS)
    _write(tmp_path, split, *rows, header=header or "label\ttext_a\ttext_b")
    with pytest.raises(TextCorpusError, match=message):
        read_text_corpus(tmp_path)


def test_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    _whole(tmp_path)
    (tmp_path / "dev.tsv").write_bytes(b"label\ttext_a\ttext_b\n1\tcaf\xe9\tb\n")
    with pytest.raises(TextCorpusError, match=r"dev\.tsv:2: not UTF-8"):
        read_text_corpus(tmp_path)
    whole = gzip.compress((tmp_path / "train.tsv").read_bytes())
    (tmp_path / "dev.tsv").unlink()
    (tmp_path / "dev.tsv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TextCorpusError, match=r"dev\.tsv\.gz is damaged: .*copy it again"):
        read_text_corpus(tmp_path)


def test_a_folder_without_tables(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no train\.tsv in it"):
        read_text_corpus(tmp_path)
    _write(tmp_path, "train", *ROWS)
    with pytest.raises(FileNotFoundError, match="no texts of the split 'test'"):
        read_text_corpus(tmp_path)


def test_numbers_are_sorted_by_value_and_words_by_the_alphabet(tmp_path: Path) -> None:
    rows = [f"{label}\ta\tb" for label in ("10", "2", "9")]
    assert read_text_corpus(_whole(tmp_path, rows=rows)).labels == ("2", "9", "10")
    rows = [f"{label}\ta\tb" for label in ("php", "C", "10")]
    assert read_text_corpus(_whole(tmp_path, rows=rows)).labels == ("10", "C", "php")


def test_some_of_the_training_texts(tmp_path: Path) -> None:
    _whole(tmp_path)
    _write(tmp_path, "train", *(f"{n % 2}\ttext {n}\tb" for n in range(10)))
    corpus = read_text_corpus(tmp_path, train_examples=4)
    assert [text.a for text in corpus.splits["train"]] == ["text 0", "text 3", "text 6", "text 9"]
    assert corpus.told == ["4 of 10 training texts"]


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "files", "sizes", "classes"),
    [
        ("mrpc", {}, (3668, 408, 1725), 2),
        ("sst2", {"train": "train_sentences"}, (6920, 872, 1821), 2),
        ("qnli", {}, (4000, 463, 1000), 2),
        ("qqp", {}, (15845, 2000, 2000), 2),
        ("text-c5", {}, (1920, 210, 377), 5),
        ("text-c20", {}, (16000, 2000, 2000), 20),
    ],
)
def test_the_texts_at_hand(
    real_data: Path, name: str, files: dict[str, str], sizes: tuple[int, ...], classes: int
) -> None:
    corpus = read_text_corpus(real_data / "text" / name, files=files)
    assert tuple(len(texts) for texts in corpus.splits.values()) == sizes
    assert len(corpus.labels) == classes
