"""`squall score`: error rates of two text files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from squall.cli import main


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    reference, hypothesis = tmp_path / "ref.txt", tmp_path / "hyp.txt"
    reference.write_text("u1 GO ON\nu2 STOP\n\nu3 AND SO ON\n")
    hypothesis.write_text("u3 AND SO\nu1 GO ON\nu2 STEP UP\n")
    return reference, hypothesis


def _score(files: tuple[Path, Path], *options: str) -> int:
    return main(["score", "--reference", str(files[0]), "--hypothesis", str(files[1]), *options])


def test_rates_come_with_their_counts(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _score(files) == 0
    words, characters, sentences = capsys.readouterr().out.splitlines()
    assert words == "WER 50.00 % (1 S + 1 D + 1 I) / 6"
    # STOP to STEP is one substitution, " UP" three insertions, " ON" three deletions.
    assert characters == "CER 38.89 % (1 S + 3 D + 3 I) / 18"
    assert sentences == "SER 66.67 % of 3 utterances"


def test_texts_equal_to_themselves_have_no_errors(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _score((files[0], files[0])) == 0
    assert capsys.readouterr().out.splitlines()[0] == "WER 0.00 % (0 S + 0 D + 0 I) / 6"


def test_tabs_and_other_white_space_separate_the_utterance(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_text("u1\tGO ON\r\n  u2  STOP\nu3 AND  SO\tON\n")
    assert _score(files) == 0
    assert capsys.readouterr().out.startswith("WER 0.00 %")


def test_an_utterance_without_words_is_all_deletions(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_text("u1\nu2 STOP\nu3 AND SO ON\n")
    assert _score(files) == 0
    assert capsys.readouterr().out.startswith("WER 33.33 % (0 S + 2 D + 0 I) / 6")


def test_a_rate_of_references_without_words_is_not_defined(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files[0].write_text("u1\n")
    files[1].write_text("u1 GO\n")
    assert _score(files) == 0
    told = capsys.readouterr().out.splitlines()[0]
    assert told == "WER not defined, of no reference (0 S + 0 D + 1 I) / 0"


@pytest.mark.parametrize("side", [0, 1])
def test_an_utterance_missing_on_one_side_is_named(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], side: int
) -> None:
    text = files[side].read_text()
    files[side].write_text("".join(x for x in text.splitlines(True) if not x.startswith("u2")))
    assert _score(files) == 1
    captured = capsys.readouterr()
    missing = ("no reference", "no hypothesis")[side]
    assert captured.err.startswith(f"squall: {missing} for 1 utterance(s): u2")
    assert captured.out == ""


def test_an_utterance_that_occurs_twice_is_named_with_its_line(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_text("u1 GO\nu2 STOP\nu1 GO\n")
    assert _score(files) == 1
    assert capsys.readouterr().err == f"squall: {files[1]}:3: utterance u1 occurs twice\n"


def test_a_file_that_is_missing_or_no_text_is_named(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_bytes(b"u1 \xff\n")
    assert _score(files) == 1
    assert f"{files[1]}: not UTF-8" in capsys.readouterr().err
    files[1].unlink()
    assert _score(files) == 1
    assert str(files[1]) in capsys.readouterr().err


def test_alignments_are_shown_when_asked_for(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _score(files)
    plain = capsys.readouterr().out
    _score(files, "--alignments")
    shown = capsys.readouterr().out
    assert shown.endswith(plain)
    assert "u2: 1 S, 0 D, 1 I in 1 N" in shown


def test_the_table_has_one_row_per_utterance(files: tuple[Path, Path], tmp_path: Path) -> None:
    assert _score(files, "--csv", str(tmp_path / "new" / "errors.csv")) == 0
    with (tmp_path / "new" / "errors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["utterance"] for row in rows] == ["u1", "u2", "u3"]
    assert [row["wer_insertions"] for row in rows] == ["0", "1", "0"]


def test_the_trn_form_of_espnet_and_sclite_is_recognised_and_said(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _score(files)
    plain = capsys.readouterr().out
    files[0].write_text("GO ON\t(u1)\nSTOP (u2)\n\nAND SO ON (u3)\n")
    files[1].write_text("AND SO (u3)\nGO ON (u1)\nSTEP UP (u2)\n")
    assert _score(files) == 0
    captured = capsys.readouterr()
    assert captured.out == plain
    assert captured.err == "".join(f"{path}: read as trn, `words (id)`\n" for path in files)


@pytest.mark.parametrize("marked", [0, 1])
def test_a_byte_order_mark_belongs_to_no_utterance(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], marked: int
) -> None:
    files[1].write_bytes(files[0].read_bytes())
    files[marked].write_bytes(b"\xef\xbb\xbf" + files[marked].read_bytes())
    assert _score(files) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("WER 0.00 %")
    assert captured.err == ""


@pytest.mark.parametrize("side", [0, 1])
def test_a_csv_does_not_replace_what_is_scored(
    files: tuple[Path, Path], side: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files[side].read_text()
    assert _score(files, "--csv", str(files[side])) == 1
    assert f"{files[side]} is one of the inputs: give another output" in capsys.readouterr().err
    assert files[side].read_text() == before
