"""Alignments: fewest errors, faithful to both sequences, and readable."""

import doctest
import math

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

import squall.scoring.alignment
import squall.scoring.error_rates
from naive import edit_distance
from squall.scoring import ErrorCounts, align

# Few different tokens, so that equal ones are common; some of them hash or print oddly.
TOKENS = st.lists(st.sampled_from(["a", "b", "ab", "語", "é", "*", "-1"]), max_size=12)


def counts(reference: str, hypothesis: str) -> ErrorCounts:
    return align(reference=reference.split(), hypothesis=hypothesis.split()).counts


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a b c", "a b c", ErrorCounts(0, 0, 0, 3)),
        ("a b c", "a x c", ErrorCounts(1, 0, 0, 3)),
        ("a b c", "a c", ErrorCounts(0, 1, 0, 3)),
        ("a b c", "a b x c", ErrorCounts(0, 0, 1, 3)),
        ("the cat sat on it", "cat sat in it too", ErrorCounts(1, 1, 1, 5)),
        ("a b", "", ErrorCounts(0, 2, 0, 2)),
        ("", "a b", ErrorCounts(0, 0, 2, 0)),
        ("", "", ErrorCounts(0, 0, 0, 0)),
    ],
)
def test_counts_by_hand(reference, hypothesis, expected):
    assert counts(reference, hypothesis) == expected


@given(TOKENS, TOKENS)
def test_errors_are_the_edit_distance(reference, hypothesis):
    found = align(reference=reference, hypothesis=hypothesis).counts
    assert found.errors == edit_distance(reference, hypothesis)
    assert found.reference == len(reference)


@given(TOKENS, TOKENS)
def test_alignment_holds_both_sequences_and_says_what_it_does(reference, hypothesis):
    steps = align(reference=reference, hypothesis=hypothesis).steps
    assert [s.reference for s in steps if s.reference is not None] == reference
    assert [s.hypothesis for s in steps if s.hypothesis is not None] == hypothesis
    for step in steps:
        kind = {
            (True, False): "insert",
            (False, True): "delete",
            (False, False): "equal" if step.reference == step.hypothesis else "substitute",
        }[step.reference is None, step.hypothesis is None]
        assert step.operation == kind


@given(TOKENS.filter(bool), TOKENS)
def test_counts_agree_with_jiwer(reference, hypothesis):
    other = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    found = align(reference=reference, hypothesis=hypothesis).counts
    assert found.errors == other.substitutions + other.deletions + other.insertions
    assert found.deletions - found.insertions == other.deletions - other.insertions
    assert found.rate == pytest.approx(other.wer)


@given(TOKENS, TOKENS)
def test_swapped_arguments_swap_deletions_and_insertions(reference, hypothesis):
    one = align(reference=reference, hypothesis=hypothesis).counts
    other = align(reference=hypothesis, hypothesis=reference).counts
    assert one.errors == other.errors
    assert one.deletions - one.insertions == other.insertions - other.deletions


def test_rate_without_reference_is_undefined_and_counts_stand():
    found = counts("", "a b")
    assert math.isnan(found.rate)
    assert math.isnan(found.percent)
    assert found.errors == 2
    assert (found + counts("a b c d", "a b c d")).percent == 50.0


def test_a_string_is_refused():
    with pytest.raises(TypeError, match="hypothesis is a string"):
        align(reference=["a"], hypothesis="a b")


def test_format_of_wide_combining_and_invisible_characters():
    reference = ["日本", "e\u0301", " ", "a\nb", "\u0301"]
    hypothesis = ["日", "é", "x", "a\nb"]
    assert align(reference=reference, hypothesis=hypothesis).format().splitlines() == [
        "REF:  日本 e\u0301 ␣ a\\nb ◌\u0301",
        "HYP:  日   é x a\\nb *",
        "EVAL: S    S S      D",
    ]


def test_format_of_empty_sides():
    assert align(reference=["ab", "c"], hypothesis=[]).format() == (
        "REF:  ab c\nHYP:  ** *\nEVAL: D  D"
    )
    assert align(reference=[], hypothesis=["ab"]).format() == "REF:  **\nHYP:  ab\nEVAL: I"
    assert align(reference=[], hypothesis=[]).format() == "REF:\nHYP:\nEVAL:"


def test_format_wraps_at_the_width():
    alignment = align(reference=["aa", "bb", "cccccccccc", "d"], hypothesis=["aa", "b"])
    assert alignment.format(width=11).split("\n\n") == [
        "REF:  aa bb\nHYP:  aa b\nEVAL:    S",
        "REF:  cccccccccc\nHYP:  **********\nEVAL: D",
        "REF:  d\nHYP:  *\nEVAL: D",
    ]
    with pytest.raises(ValueError, match="width"):
        alignment.format(width=0)


@given(TOKENS, TOKENS, st.integers(1, 40))
def test_no_column_is_lost_by_wrapping(reference, hypothesis, width):
    lines = align(reference=reference, hypothesis=hypothesis).format(width=width).splitlines()
    marks = "".join(line.removeprefix("EVAL:") for line in lines if line.startswith("EVAL:"))
    found = align(reference=reference, hypothesis=hypothesis).counts
    assert [marks.count(mark) for mark in "SDI"] == [
        found.substitutions,
        found.deletions,
        found.insertions,
    ]
    shown = " ".join(line.removeprefix("HYP:") for line in lines if line.startswith("HYP:"))
    # A deletion beside an equal "*" cannot be told from it on this line alone.
    assert [t for t in shown.split() if set(t) != {"*"}] == [t for t in hypothesis if t != "*"]


@pytest.mark.parametrize("module", [squall.scoring.alignment, squall.scoring.error_rates])
def test_examples_in_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
