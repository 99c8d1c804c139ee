"""The errors of a recogniser as HTML: every kind has its mark, and the worst comes first."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.asr.report import utterances as recognised
from squall.asr.report.utterances import aligned_html, counted, errors_html, read_recognised
from squall.engine.scored import read_run
from squall.report.report import Run
from squall.scoring.alignment import ErrorCounts, align
from tiny_report import SAID, write_experiment


def _aligned(reference: str, hypothesis: str) -> str:
    return aligned_html(align(reference=reference.split(), hypothesis=hypothesis.split()))


def test_each_kind_of_error_has_its_words_its_class_and_its_letter() -> None:
    assert _aligned("GO ON NOW", "GO OFF NOW PLEASE") == (
        'GO <span class="error substituted"><span class="hidden">substituted: </span>'
        '<del>ON</del><ins>OFF</ins><b aria-hidden="true">S</b></span> NOW '
        '<span class="error inserted"><span class="hidden">inserted: </span>'
        '<ins>PLEASE</ins><b aria-hidden="true">I</b></span>'
    )
    assert _aligned("GO ON", "ON") == (
        '<span class="error deleted"><span class="hidden">deleted: </span>'
        '<del>GO</del><b aria-hidden="true">D</b></span> ON'
    )


def test_nothing_said_and_nothing_heard_says_so() -> None:
    assert _aligned("", "") == "(nothing)"


@given(st.lists(st.sampled_from("<&>ab")), st.lists(st.sampled_from("<&>abc")))
def test_both_texts_can_be_read_from_the_marks(reference: list[str], hypothesis: list[str]) -> None:
    text = aligned_html(align(reference=reference, hypothesis=hypothesis))
    text = re.sub(r'<span class="hidden">.*?</span>|<b aria.*?</b>|\(nothing\)', "", text)
    for kept, other, tokens in (("del", "ins", reference), ("ins", "del", hypothesis)):
        own = re.sub(rf"<{other}>.*?</{other}>", "", text)
        own = re.sub(r"<[^>]*>", " ", own)
        assert html.unescape(own).split() == tokens, kept


def test_a_space_that_was_missed_is_visible() -> None:
    text = aligned_html(align(reference=list("A B"), hypothesis=list("AB")))
    assert "<del>␣</del>" in text


def test_counts_in_words() -> None:
    assert counted(ErrorCounts(2, 1, 0, 9), "word") == "2 substitutions, 1 deletion in 9 words"
    assert counted(ErrorCounts(0, 0, 0, 1), "phone") == "no error in 1 phone"
    assert counted(ErrorCounts(0, 0, 3, 0), "char") == "3 insertions in 0 characters"


def _run(tmp_path: Path, **settings: object) -> Run:
    return read_run(write_experiment(tmp_path, errors=0.0, **settings))  # type: ignore[arg-type]


HEARD = {"ben_02": "TURN LIGHT", "ben_03": "YES YES", "anna_02": ""}


def test_what_was_tested_is_read_from_the_scores(tmp_path: Path) -> None:
    found = read_recognised(_run(tmp_path, hypotheses=HEARD))
    assert found is not None
    assert (found.unit, found.dataset) == ("word", "demo")
    assert found.texts == {id: (text, HEARD.get(id, text)) for id, text in SAID.items()}
    assert found.speakers["cleo_02"] == "cleo"
    assert found.alignment("ben_02").counts == ErrorCounts(0, 2, 0, 4)


def test_utterances_with_most_errors_come_first(tmp_path: Path) -> None:
    found = read_recognised(_run(tmp_path, hypotheses=HEARD))
    assert found is not None
    text = errors_html(found)
    assert "small ce, seed 1: 3 of 8 test utterances have an error" in text
    assert re.findall("<dt>(.*?):", text) == ["ben_02", "anna_02", "ben_03"]


def test_the_list_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognised, "_MOST_LISTED", 2)
    run = _run(tmp_path, hypotheses=HEARD)
    found = read_recognised(run)
    assert found is not None
    text = errors_html(found)
    place = html.escape(str(run.score_dir / "test.alignments.txt"))
    assert f"The 2 with most errors; all are in {place}" in text
    assert "3 of 8 test utterances" in text
    assert "ben_03" not in text


def test_without_a_decoded_test_set_there_is_nothing(tmp_path: Path) -> None:
    assert read_recognised(_run(tmp_path, splits=["dev"])) is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run = _run(tmp_path)
    (run.score_dir / "test.csv").write_text("utterance,reference\n")
    with pytest.raises(ValueError, match=r"test\.csv is damaged: its columns are utterance, ref"):
        read_recognised(run)
