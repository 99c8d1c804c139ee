"""Captions and CTM: what players and sclite expect of them."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.text.captions import Cue, TimedWord, build_cues, ctm_line, srt_cue, vtt_cue


def _words(*timed: tuple[str, float, float]) -> list[TimedWord]:
    return [TimedWord(text, 0.5, start_s, end_s) for text, start_s, end_s in timed]


@st.composite
def _spoken(draw: st.DrawFn) -> list[TimedWord]:
    texts = draw(st.lists(st.text("ABCDE'-", min_size=1, max_size=60), max_size=40))
    words, now_s = [], draw(st.floats(0, 8000))
    for text in texts:
        start_s = now_s + draw(st.sampled_from([0.0, 0.0, 0.2, 1.5]))
        now_s = start_s + draw(st.floats(0.01, 9.0))
        words.append(TimedWord(text, 0.5, start_s, now_s))
    return words


@given(words=_spoken(), after_s=st.floats(0, 3))
def test_cues_keep_to_the_limits_and_lose_nothing(words: list[TimedWord], after_s: float) -> None:
    until_s = (words[-1].end_s if words else 0.0) + after_s
    cues = build_cues(words, until_s=until_s)
    for cue in cues:
        assert len(cue.lines) <= 2
        assert all(0 < len(line) <= 42 for line in cue.lines)
        assert 0 < cue.end_s - cue.start_s <= 7.0 + 1e-9
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(cues))
    assert not cues or cues[-1].end_s <= until_s
    shown = "".join(line for cue in cues for line in cue.lines)
    assert shown.replace(" ", "") == "".join(word.text for word in words)


def test_a_pause_ends_a_cue_and_a_short_one_stays_for_a_second() -> None:
    words = _words(("GO", 0.0, 0.2), ("ON", 0.4, 0.6), ("STOP", 1.7, 1.9))
    assert build_cues(words, until_s=2.0) == [Cue(0.0, 1.0, ("GO ON",)), Cue(1.7, 2.0, ("STOP",))]


def test_lines_are_broken_between_words() -> None:
    words = _words(*((f"WORD{n:02d}", n * 0.3, n * 0.3 + 0.3) for n in range(14)))
    first, second = build_cues(words, until_s=20.0)
    assert [len(line) for line in first.lines] == [41, 41]
    assert second.lines == ("WORD12 WORD13",)
    assert second.start_s == pytest.approx(3.6)


def test_a_word_beyond_a_line_is_broken_and_one_beyond_two_has_more() -> None:
    (cue,) = build_cues(_words(("A" * 100, 0.0, 2.0)), until_s=2.0)
    assert [len(line) for line in cue.lines] == [42, 42, 16]


TIME = r"(\d{2,}):[0-5]\d:[0-5]\d%s\d{3}"


@given(start_s=st.floats(0, 400_000), length_s=st.floats(0, 7))
def test_times_are_valid_and_in_order(start_s: float, length_s: float) -> None:
    cue = Cue(start_s, start_s + length_s, ("A",))
    for text, point in ((srt_cue(7, cue), ","), (vtt_cue(cue), r"\.")):
        time = TIME % point
        (line,) = (line for line in text.splitlines() if "-->" in line)
        match = re.fullmatch(f"({time}) --> ({time})", line)
        assert match is not None
        assert match[1] < match[3] or len(match[1]) < len(match[3])


def test_files_by_hand() -> None:
    cue = Cue(3725.0004, 3726.9996, ("TOM & <JERRY>", "GO"))
    assert srt_cue(3, cue) == "3\n01:02:05,000 --> 01:02:07,000\nTOM & <JERRY>\nGO\n\n"
    assert vtt_cue(cue) == "01:02:05.000 --> 01:02:07.000\nTOM &amp; &lt;JERRY&gt;\nGO\n\n"


def test_a_ctm_line_has_six_fields() -> None:
    word = TimedWord("GO", 0.87651, 1.004, 1.2561)
    assert ctm_line("my talk", word) == "my_talk 1 1.00 0.26 GO 0.877"
    assert ctm_line("a", TimedWord("GO", 1.0, 1.001, 1.002)).split()[3] == "0.01"
