"""Error rates of a corpus: sums, speakers, missing utterances, CSV and readable alignments."""

import csv
import io
import math

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naive import edit_distance
from squall.scoring import ErrorCounts, format_alignments, score_texts, tokenize, write_csv

REFERENCES = {"s2-a": "THE CAT SAT", "s1-b": "ONE TWO", "s1-a": "", "s2-b": "OH NO"}
HYPOTHESES = {"s1-a": "UH", "s1-b": "", "s2-a": "A CAT", "s2-b": "OH  NO "}
SPEAKERS = {"s1-a": "s1", "s1-b": "s1", "s2-a": "s2", "s2-b": "s2", "elsewhere": "s3"}

WORDS = st.lists(st.sampled_from(["A", "AN", "OX", "OXEN", "É"]), min_size=1, max_size=8)
PAIRS = st.lists(
    st.tuples(WORDS.map(" ".join), st.one_of(st.just(""), WORDS.map(" ".join))),
    min_size=1,
    max_size=6,
)


@pytest.fixture
def words():
    return score_texts(references=REFERENCES, hypotheses=HYPOTHESES, speakers=SPEAKERS, unit="word")


def score_pairs(pairs, unit):
    return score_texts(
        references={f"u{i}": pair[0] for i, pair in enumerate(pairs)},
        hypotheses={f"u{i}": pair[1] for i, pair in enumerate(pairs)},
        unit=unit,
    )


def test_by_hand(words):
    assert [u.id for u in words.utterances] == ["s1-a", "s1-b", "s2-a", "s2-b"]
    assert words.total.counts == ErrorCounts(1, 3, 1, 7)
    assert words.speakers["s1"].counts == ErrorCounts(0, 2, 1, 2)
    assert words.speakers["s2"].counts == ErrorCounts(1, 1, 0, 5)
    assert words.speakers["s1"].percent == pytest.approx(150)
    assert words.speakers["s2"].sentence_error_percent == pytest.approx(50)
    assert list(words.speakers) == ["s1", "s2"]
    assert words.metrics() == {"wer": (pytest.approx(500 / 7), 7), "ser": (pytest.approx(75), 4)}


@given(PAIRS)
def test_words_and_characters_agree_with_jiwer(pairs):
    references, hypotheses = (list(texts) for texts in zip(*pairs, strict=True))
    wer = score_pairs(pairs, "word").total.percent
    cer = score_pairs(pairs, "char").total.percent
    assert wer == pytest.approx(100 * jiwer.wer(references, hypotheses))
    assert cer == pytest.approx(100 * jiwer.cer(references, hypotheses))


@given(PAIRS, st.sampled_from(["word", "char", "token", "phone"]))
def test_total_agrees_with_edit_distances(pairs, unit):
    report = score_pairs(pairs, unit)
    distances = [
        edit_distance(tokenize(reference, unit=unit), tokenize(hypothesis, unit=unit))
        for reference, hypothesis in pairs
    ]
    assert report.total.counts.errors == sum(distances)
    assert report.total.wrong_utterances == sum(distance > 0 for distance in distances)
    assert sum((u.counts for u in report.utterances), ErrorCounts()) == report.total.counts


@pytest.mark.parametrize(
    ("unit", "metric"), [("word", "wer"), ("char", "cer"), ("token", "ter"), ("phone", "per")]
)
def test_metric_names(unit, metric):
    assert list(score_pairs([("a b", "a c")], unit).metrics()) == [metric, "ser"]


def test_characters_count_single_spaces():
    assert tokenize("  A \t B\n", unit="char") == ["A", " ", "B"]
    assert tokenize(" \n", unit="char") == []
    report = score_pairs([("AN OX", "ANOX")], "char")
    assert report.total.counts == ErrorCounts(0, 1, 0, 5)


def test_unknown_unit():
    with pytest.raises(ValueError, match=r"unknown unit 'words'.*word, char, token, phone"):
        tokenize("a", unit="words")


def test_missing_utterances_are_named():
    with pytest.raises(ValueError, match=r"no hypothesis for 1 utterance\(s\): b"):
        score_texts(references={"a": "x", "b": "y"}, hypotheses={"a": "x"}, unit="word")
    with pytest.raises(ValueError, match=r"no reference for 1 utterance\(s\): c"):
        score_texts(references={"a": "x"}, hypotheses={"a": "x", "c": "y"}, unit="word")
    with pytest.raises(ValueError, match=r"no speaker for 1 utterance\(s\): a"):
        score_texts(references={"a": "x"}, hypotheses={"a": "x"}, speakers={"b": "s"}, unit="word")
    many = {f"u{i:03}": "x" for i in range(100)}
    with pytest.raises(ValueError, match=r"100 utterance\(s\): u000, .*, u009 and 90 more"):
        score_texts(references=many, hypotheses={}, unit="word")
    with pytest.raises(ValueError, match="no utterances"):
        score_texts(references={}, hypotheses={}, unit="word")


def test_corpus_of_empty_references():
    report = score_pairs([("", "a b"), (" ", "")], "word")
    assert math.isnan(report.total.percent)
    assert report.total.counts == ErrorCounts(0, 0, 2, 0)
    assert report.total.sentence_error_percent == 50.0


def test_csv(words):
    characters = score_texts(
        references=REFERENCES, hypotheses=HYPOTHESES, speakers=SPEAKERS, unit="char"
    )
    file = io.StringIO()
    write_csv(file, [words, characters])
    assert "\r" not in file.getvalue()
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [row["utterance"] for row in rows] == sorted(REFERENCES)
    assert [row["hypothesis"] for row in rows] == [HYPOTHESES[id] for id in sorted(REFERENCES)]
    assert rows[0]["wer"] == rows[0]["cer"] == ""
    assert rows[0]["wer_insertions"] == "1"
    assert rows[2]["wer"] == "66.6667"
    for report in (words, characters):
        sums = [
            sum(int(row[f"{report.metric}_{kind}"]) for row in rows)
            for kind in ("substitutions", "deletions", "insertions", "reference")
        ]
        assert ErrorCounts(*sums) == report.total.counts


def test_csv_keeps_commas_quotes_and_refuses_other_utterances():
    report = score_pairs([('say "a, b"', "")], "word")
    file = io.StringIO()
    write_csv(file, [report])
    assert next(csv.DictReader(io.StringIO(file.getvalue())))["reference"] == 'say "a, b"'
    with pytest.raises(ValueError, match="same utterances"):
        write_csv(file, [report, score_pairs([("a", "a"), ("b", "b")], "char")])
    with pytest.raises(ValueError, match="same unit"):
        write_csv(file, [report, report])
    with pytest.raises(ValueError, match="at least one"):
        write_csv(file, [])


def test_alignments_for_a_reader(words):
    text = format_alignments(words, errors_only=True)
    assert text.split("\n\n")[1:] == [
        "s1-b (speaker s1): 0 S, 2 D, 0 I in 2 N\nREF:  ONE TWO\nHYP:  *** ***\nEVAL: D   D",
        "s2-a (speaker s2): 1 S, 1 D, 0 I in 3 N\n"
        "REF:  THE CAT SAT\nHYP:  A   CAT ***\nEVAL: S       D\n",
    ]
    assert "s2-b" not in text
    assert "s2-b (speaker s2): 0 S, 0 D, 0 I in 2 N\nREF:  OH NO" in format_alignments(words)
