from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import squall.scoring.significance
from squall.scoring import (
    Alignment,
    ErrorSegment,
    Step,
    adjust_p_values,
    align,
    mapsswe,
    matched_pairs,
    mcnemar,
    split_segments,
)

# An utterance as marks: a right word, a substitution, a deletion; an insertion between words.
MARKS = st.text(alphabet="..SDI", max_size=20)


def marked(marks: str) -> Alignment:
    """An alignment whose reference is w0 w1 ..., with what the marks say."""
    steps, words = [], 0
    for mark in marks:
        if mark == "I":
            steps.append(Step("insert", None, "x"))
            continue
        word = f"w{words}"
        words += 1
        step = {
            ".": Step("equal", word, word),
            "S": Step("substitute", word, "x"),
            "D": Step("delete", word, None),
        }
        steps.append(step[mark])
    return Alignment(tuple(steps))


def same_length(first: str, second: str) -> tuple[str, str]:
    """Both with as many reference words as the longer one."""
    words = [sum(mark != "I" for mark in marks) for marks in (first, second)]
    longest = max(words)
    return first + "." * (longest - words[0]), second + "." * (longest - words[1])


def segments(first: str, second: str, boundary_words: int = 2) -> list[tuple[int, int]]:
    found = split_segments(a=marked(first), b=marked(second), boundary_words=boundary_words)
    return [(segment.errors_a, segment.errors_b) for segment in found]


def naive_segments(first: str, second: str, boundary_words: int) -> list[tuple[int, int]]:
    """The same by walking over the words of both, with the number of right ones in a row."""
    gaps, wrong = [], []
    for marks in (first, second):
        inserted, words = [0], []
        for mark in marks:
            if mark == "I":
                inserted[-1] += 1
            else:
                words.append(int(mark != "."))
                inserted.append(0)
        gaps.append(inserted)
        wrong.append(words)
    found: list[tuple[int, int]] = []
    open_, in_a_row = False, 0
    for place in range(len(gaps[0])):
        for a, b, is_word in (
            (gaps[0][place], gaps[1][place], False),
            *((w[0][place], w[1][place], True) for w in [wrong] if place < len(w[0])),
        ):
            if a or b:
                if not open_:
                    found.append((0, 0))
                found[-1] = (found[-1][0] + a, found[-1][1] + b)
                open_, in_a_row = True, 0
            elif is_word:
                in_a_row += 1
                open_ = open_ and in_a_row < boundary_words
    return found


# The example by which Jurafsky and Martin, Speech and Language Processing, explain the test.
REFERENCE = "it was the best of times it was the worst of times it was"
SYSTEM_A = "its the best of times it is the worst of times or it was"
SYSTEM_B = "it was the best times it won the test of times it was"


def test_the_published_example():
    a, b = (
        align(reference=REFERENCE.split(), hypothesis=text.split()) for text in (SYSTEM_A, SYSTEM_B)
    )
    # I "it was": A has two errors. II "of": B one. III "was the worst": A one, B two. IV "or": A.
    expected = [ErrorSegment(2, 0), ErrorSegment(0, 1), ErrorSegment(1, 2), ErrorSegment(1, 0)]
    assert split_segments(a=a, b=b) == expected
    # Z = 2, -1, -1, 1: mean 1/4, sum of squares 7, variance (7 - 4/16) / 3 = 2.25, deviation 1.5,
    # z = 0.25 / (1.5 / 2) = 1/3, p = 2 (1 - Phi(1/3)) = 0.738883.
    found = mapsswe(a={"dickens": a}, b={"dickens": b})
    assert (found.segments, found.errors_a, found.errors_b) == (4, 4, 3)
    assert found.mean == 0.25
    assert found.std == pytest.approx(1.5, rel=1e-12)
    assert found.z == pytest.approx(1 / 3, rel=1e-12)
    assert found.p_value == pytest.approx(0.738883, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("S..S", "....", [(1, 0), (1, 0)]),
        ("S.S", "...", [(2, 0)]),
        ("S...", "...D", [(1, 0), (0, 1)]),
        ("S..", "..D", [(1, 1)]),
        ("SD", "..", [(2, 0)]),
        # An insertion breaks a row of right words.
        ("S.I.S", "....", [(3, 0)]),
        ("S.I.S", "S...", [(3, 1)]),
        ("S..S", "..I..", [(2, 1)]),
        ("S...S", "..I...", [(1, 1), (1, 0)]),
        # After enough right words it begins the segment behind it.
        ("S..I.S", "S....", [(1, 1), (2, 0)]),
        ("S..I..S", "S.....", [(1, 1), (1, 0), (1, 0)]),
        # The ends of the utterance need no right words, and lose no insertion, of A or of B.
        ("I...", "...", [(1, 0)]),
        ("...I", "...", [(1, 0)]),
        ("...", "...I", [(0, 1)]),
        ("I", "II", [(1, 2)]),
        ("I..", "I..", [(1, 1)]),
        ("...", "...", []),
        ("", "", []),
    ],
)
def test_segments_by_hand(first, second, expected):
    assert segments(first, second) == expected


@pytest.mark.parametrize(("words", "count"), [(1, 4), (2, 3), (3, 2), (4, 1)])
def test_right_words_that_end_a_segment(words, count):
    assert len(segments("S.S..S...S", "..........", words)) == count


@given(MARKS, MARKS, st.integers(1, 4))
def test_segments_are_those_of_a_walk_over_the_words(first, second, boundary_words):
    first, second = same_length(first, second)
    found = segments(first, second, boundary_words)
    assert found == naive_segments(first, second, boundary_words)
    assert all(a or b for a, b in found)


@given(
    st.lists(
        st.tuples(*(st.lists(st.sampled_from("abc"), max_size=9) for _ in range(3))),
        min_size=1,
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)
def test_every_error_is_in_one_segment_whatever_the_order(texts, random):
    systems = [
        {
            f"u{number}": align(reference=three[0], hypothesis=three[system])
            for number, three in enumerate(texts)
        }
        for system in (1, 2)
    ]
    found = mapsswe(a=systems[0], b=systems[1])
    totals = [sum(u.counts.errors for u in system.values()) for system in systems]
    assert [found.errors_a, found.errors_b] == totals
    # Swapped systems negate.
    swapped = mapsswe(a=systems[1], b=systems[0])
    assert (swapped.mean, swapped.p_value) == (-found.mean, found.p_value)
    assert swapped.z == -found.z or math.isnan(found.z)
    # Other ids put the utterances in another order.
    names = list(systems[0])
    random.shuffle(names)
    renamed = [
        {new: system[old] for new, old in zip(names, system, strict=True)} for system in systems
    ]
    other = mapsswe(a=renamed[0], b=renamed[1])
    assert (other.segments, other.mean) == (found.segments, found.mean)
    assert other.p_value == pytest.approx(found.p_value, rel=1e-9)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=60))
def test_matched_pairs_is_the_t_statistic_with_a_normal_distribution(pairs):
    stats = pytest.importorskip("scipy.stats")
    first, second = np.array(pairs).T
    assume(len(np.unique(first - second)) > 1)
    found = matched_pairs(errors_a=first, errors_b=second)
    z = stats.ttest_rel(first, second).statistic
    assert found.z == pytest.approx(z, rel=1e-9, abs=1e-12)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)
    assert (found.segments, found.errors_a, found.errors_b) == (
        len(pairs),
        first.sum(),
        second.sum(),
    )


def test_systems_that_never_differ():
    wrong = {"u1": marked("S..S."), "u2": marked("..I")}
    found = mapsswe(a=wrong, b=wrong)
    assert (found.segments, found.mean, found.std, found.z, found.p_value) == (3, 0, 0, 0, 1)
    right = {"u1": marked("...")}
    found = mapsswe(a=right, b=right)
    assert (found.segments, found.mean, found.z, found.p_value) == (0, 0, 0, 1)
    assert math.isnan(found.std)


def test_differences_without_a_spread():
    single = mapsswe(a={"u": marked("S..")}, b={"u": marked("...")})
    assert (single.segments, single.mean, single.p_value) == (1, 1.0, 1.0)
    assert math.isnan(single.z)
    # Three signs that are the same: probability 2 / 2^3.
    three = matched_pairs(errors_a=[0, 1, 2], errors_b=[1, 2, 3])
    assert (three.mean, three.std, three.z, three.p_value) == (-1.0, 0.0, -math.inf, 0.25)


def test_what_cannot_be_compared_is_named():
    one, two = {"u1": marked(".."), "u2": marked("..")}, {"u1": marked("..")}
    with pytest.raises(ValueError, match=r"2 utterances, B 1; u2"):
        mapsswe(a=one, b=two)
    with pytest.raises(ValueError, match=r"utterance u2: .*'w0 w1' for A, 'w0 w1 w2'"):
        mapsswe(a=one, b={"u1": marked(".."), "u2": marked("...")})
    with pytest.raises(ValueError, match="at least one"):
        mapsswe(a={}, b={})
    with pytest.raises(ValueError, match="references differ"):
        split_segments(a=marked("."), b=marked(""))
    with pytest.raises(ValueError, match="boundary_words is 0"):
        mapsswe(a=one, b=one, boundary_words=0)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 2], [1, 2, 3], "same utterances"),
        ([[1, 2]], [[1, 2]], r"\(1, 2\)"),
        ([], [], "at least one"),
        ([1, -2], [1, 2], r"errors_a\[1\] is -2"),
        ([1, 2], [0.5, 2], r"errors_b\[0\] is 0.5"),
        ([1, math.nan], [1, 2], r"errors_a\[1\] is nan"),
        (["1"], ["2"], "must be numbers"),
    ],
)
def test_counts_that_are_none(first, second, message):
    with pytest.raises(ValueError, match=message):
        matched_pairs(errors_a=first, errors_b=second)


def test_adjusted_p_values_by_hand():
    # Sorted 0.01 0.02 0.03 0.04, times 4 3 2 1: 0.04 0.06 0.06 0.04, which may not fall.
    assert adjust_p_values([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    # Times 4/1 4/2 4/3 4/4: all 0.04.
    found = adjust_p_values([0.04, 0.01, 0.03, 0.02], method="benjamini_hochberg")
    assert found == pytest.approx([0.04] * 4)
    assert adjust_p_values([0.9, 0.6]).tolist() == [1.0, 1.0]
    assert adjust_p_values([]).shape == (0,)


P_VALUES = st.lists(
    st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.01, 0.5, 1.0])), max_size=12
)


@given(P_VALUES, st.floats(0.001, 0.999))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values, alpha):
    left = sorted(p_values)
    rejected = 0
    while left and left[0] * len(left) <= alpha:
        left.pop(0)
        rejected += 1
    assert (adjust_p_values(p_values) <= alpha).sum() == rejected


@given(P_VALUES)
def test_benjamini_hochberg_agrees_with_scipy(p_values):
    control = pytest.importorskip("scipy.stats").false_discovery_control
    assume(p_values)
    found = adjust_p_values(p_values, method="benjamini_hochberg")
    assert found == pytest.approx(control(p_values, method="bh"), rel=1e-12)


@given(P_VALUES, st.sampled_from(["holm", "benjamini_hochberg"]))
def test_adjusted_p_values_keep_their_order(p_values, method):
    found = adjust_p_values(p_values, method=method)
    assert (found >= np.array(p_values) * (1 - 1e-15)).all()
    assert (found <= 1.0).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(found[order]) >= 0.0).all()
    turned = adjust_p_values(p_values[::-1], method=method)
    assert turned[::-1].tolist() == found.tolist()


@pytest.mark.parametrize("p_values", [[0.5, 1.1], [-0.1], [math.nan], [[0.5]], 0.5])
def test_p_values_that_are_none(p_values):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        adjust_p_values(p_values)


def test_an_unknown_correction():
    with pytest.raises(ValueError, match="unknown correction 'bonferroni'"):
        adjust_p_values([0.5], method="bonferroni")


def simulate(random: np.random.Generator, factor: float) -> list[dict[str, Alignment]]:
    """80 utterances of 10 words, hard ones for both systems, errors in runs; B errs less."""
    right, wrong = Step("equal", "w", "w"), Step("substitute", "w", "x")
    hard = random.beta(1.5, 10.0, size=(80, 1))
    systems = []
    for scale in (1.0, factor):
        starts = random.random((80, 10)) < scale * hard
        spreads = random.random((80, 10)) < 0.3  # an error often brings another
        errors = starts.copy()
        errors[:, 1:] |= starts[:, :-1] & spreads[:, 1:]
        systems.append(
            {
                str(u): Alignment(tuple(wrong if e else right for e in row))
                for u, row in enumerate(errors.tolist())
            }
        )
    return systems


@pytest.mark.slow
def test_one_in_twenty_equal_systems_differs_at_five_percent():
    random = np.random.default_rng(1)
    trials, rejected, missed = 2000, {"segments": 0, "utterances": 0}, 0
    for trial in range(trials):
        a, b = simulate(random, 1.0)
        rejected["segments"] += mapsswe(a=a, b=b).p_value < 0.05
        errors = [[u.counts.errors for u in system.values()] for system in (a, b)]
        whole = matched_pairs(errors_a=errors[0], errors_b=errors[1])
        rejected["utterances"] += whole.p_value < 0.05
        if trial % 10 == 0:
            a, b = simulate(random, 0.5)
            missed += not (mapsswe(a=a, b=b).p_value < 0.05)
    # 5 % with a standard error of 0.5 %.
    assert 0.035 < rejected["segments"] / trials < 0.065
    assert 0.035 < rejected["utterances"] / trials < 0.065
    # The test is not blind: half the errors are nearly always seen.
    assert missed / (trials / 10) < 0.1


def test_examples_in_docstrings():
    result = doctest.testmod(squall.scoring.significance)
    assert result.attempted > 0
    assert result.failed == 0


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=400))
def test_mcnemar_is_a_binomial_test(answers: list[tuple[bool, bool]]) -> None:
    binomtest = pytest.importorskip("scipy.stats").binomtest
    a, b = np.array(answers).T
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(correct_a=a, correct_b=b) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(correct_a=b, correct_b=a) == mcnemar(correct_a=a, correct_b=b)


def test_mcnemar_of_many_questions_is_no_sum_of_zeros() -> None:
    ours = np.arange(100_000) < 50_600
    assert mcnemar(correct_a=ours, correct_b=~ours) == pytest.approx(1.49e-4, rel=0.01)


@pytest.mark.parametrize("b", [[True], [0, 1], [[True, False]], []])
def test_mcnemar_refuses_what_are_not_the_same_questions(b: list[object]) -> None:
    with pytest.raises(ValueError, match="booleans of the same questions"):
        mcnemar(correct_a=[True, False] if b else [], correct_b=b)
