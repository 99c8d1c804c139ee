"""What of a corpus cannot be learnt is counted, and its utterances are named."""

from __future__ import annotations

import pytest

from squall.asr.learnability import Shortfall, find_shortfall
from squall.text.tokens import SPACE


def _letters(text: str) -> list[str]:
    return [SPACE if letter == " " else letter for letter in text]


def _find(texts: dict[str, str], known: str, frames: dict[str, int] | None = None) -> Shortfall:
    return find_shortfall("test", texts, cut=_letters, known={*known, SPACE}, frames=frames)


def test_what_can_be_learnt_has_no_words() -> None:
    found = _find({"u1": "A B", "u2": "BA"}, "AB", {"u1": 3, "u2": 2})
    assert (found.utterances, found.tokens, found.share, str(found)) == (2, 4, 0.0, "")


def test_unknown_tokens_are_counted_and_their_utterances_named() -> None:
    found = _find({"u1": "A B", "u2": "Bax", "u3": "xx"}, "AB")
    assert found.tokens == 7  # a space is in every alphabet
    assert found.unknown == {"x": 3, "a": 1}
    assert found.share == pytest.approx(4 / 7)
    assert str(found) == (
        "test: 4 of 7 tokens are not in the training transcripts ('x' 3, 'a' 1), in u2, u3"
    )


def test_a_long_list_is_cut() -> None:
    found = _find({f"u{k}": "x" for k in range(8)}, "A")
    assert str(found).endswith("in u0, u1, u2, u3, u4 and 3 more")


@pytest.mark.parametrize(
    ("text", "frames", "needed"), [("ABC", 2, 3), ("AAB", 3, 4), ("AAA", 4, 5), ("A A", 2, 3)]
)
def test_a_text_with_more_tokens_than_frames_is_too_short(
    text: str, frames: int, needed: int
) -> None:
    assert _find({"u1": text}, "ABC", {"u1": needed}).too_short == {}
    found = _find({"u1": text, "u2": "A"}, "ABC", {"u1": frames, "u2": 9})
    assert found.too_short == {"u1": (frames, needed)}
    assert found.share == 0.5
    assert "1 of 2 utterances are too short for their text" in str(found)
    assert f"u1 ({frames} frames, {needed} needed)" in str(found)


def test_the_larger_share_counts() -> None:
    assert _find({"u1": "Ax", "u2": "AA"}, "A", {"u1": 1, "u2": 1}).share == 1.0


def test_nothing_has_no_share() -> None:
    assert _find({}, "A", {}).share == 0.0
    assert _find({"u1": ""}, "A", {"u1": 0}).share == 0.0
