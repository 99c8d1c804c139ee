"""Recordings cut at pauses: against a slow twin, in blocks as at once, whatever is said."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.audio.segments import Pauses, Segment, cut_at_pauses
from squall.audio.voice_activity import FRAME_S, FRAME_SAMPLES, frame_levels_db

SHORT = Pauses(shortest_s=0.5, longest_s=2.0, pause_s=0.2)
SHORTEST, LONGEST, PAUSE, MARGIN, WIDTH = 16, 62, 7, 7, 5
"""The same in frames, with the margin and the width over which the quietest place is sought."""


class _Marked:
    """Takes frames for speech whose last sample is 0.5 or more."""

    name = "marked"

    def reset(self) -> None: ...

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return frames[:, -1] >= 0.5


def _recording(speech: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Samples whose frames have marks and levels."""
    frames = np.repeat(levels[:, None], FRAME_SAMPLES, axis=1).astype(np.float32)
    frames[:, -1] = speech
    return frames.ravel()


def _cuts(samples: np.ndarray, pauses: Pauses, block: int) -> list[Segment]:
    blocks = (samples[at : at + block] for at in range(0, len(samples), block))
    return list(cut_at_pauses(blocks, _Marked(), pauses))


def naive_cuts(speech: np.ndarray, levels_db: np.ndarray) -> Iterator[tuple[int, int]]:
    """Slow twin: each segment is found by looking at the whole recording again."""
    total, ended = len(speech), 0
    while speech[ended:].any():
        start = max(ended, ended + int(np.argmax(speech[ended:])) - MARGIN)
        end = None
        for now in range(start + 1, total + 1):
            heard = np.flatnonzero(speech[:now])
            if not len(heard) or heard[-1] < start:
                continue
            in_pause = max(heard[-1] + 1 + MARGIN, start + SHORTEST)
            if now - 1 - heard[-1] >= PAUSE and now - start >= SHORTEST:
                end = min(now, in_pause)
            elif now - start >= LONGEST:
                places = range(start + LONGEST // 2, start + LONGEST - SHORTEST - WIDTH + 1)
                quietest = min(places, key=lambda at: round(levels_db[at : at + WIDTH].sum(), 6))
                end = quietest + WIDTH // 2
            if end is not None:
                break
        if end is None:
            end = min(total, in_pause)
        yield start, end
        ended = end


RUNS = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 40)), min_size=1, max_size=8)


@settings(deadline=None, max_examples=25)
@given(runs=RUNS, block=st.integers(500, 60_000), seed=st.integers(0, 99), odd=st.integers(0, 511))
def test_segments_are_those_of_a_slow_twin_in_blocks_of_any_length(
    runs: list[tuple[int, int]], block: int, seed: int, odd: int
) -> None:
    speech = np.concatenate([np.repeat([False, True], (pause, said)) for said, pause in runs])
    levels = np.random.default_rng(seed).uniform(0.001, 0.4, len(speech)).astype(np.float32)
    samples = _recording(speech, levels)
    samples = samples[: len(samples) - odd]
    padded = np.pad(samples, (0, odd)).reshape(-1, FRAME_SAMPLES)
    expected = list(naive_cuts(padded[:, -1] >= 0.5, frame_levels_db(padded)))
    found = _cuts(samples, SHORT, block)
    starts = [round(segment.start_s / FRAME_S) for segment in found]
    assert starts == [start for start, _ in expected]
    for segment, (start, end) in zip(found, expected, strict=True):
        part = samples[start * FRAME_SAMPLES : end * FRAME_SAMPLES]
        np.testing.assert_array_equal(segment.samples, part)


@settings(deadline=None, max_examples=60)
@given(runs=RUNS, seed=st.integers(0, 99))
def test_all_speech_is_in_segments_of_the_lengths_asked_for(
    runs: list[tuple[int, int]], seed: int
) -> None:
    speech = np.concatenate([np.repeat([False, True], (pause, said)) for said, pause in runs])
    levels = np.random.default_rng(seed).uniform(0.001, 0.4, len(speech)).astype(np.float32)
    samples = _recording(speech, levels)
    inside = np.zeros(len(speech), int)
    found = _cuts(samples, SHORT, len(samples))
    for segment in found:
        start = round(segment.start_s / FRAME_S)
        inside[start : start + len(segment.samples) // FRAME_SAMPLES] += 1
        assert segment.duration_s <= 2.0
    assert all(segment.duration_s >= 0.5 for segment in found[:-1])
    assert inside.max() == 1
    assert inside[speech].all()


def _frames(*runs: tuple[float, bool]) -> np.ndarray:
    return np.concatenate(
        [np.full(round(length_s / FRAME_S), is_said) for length_s, is_said in runs]
    )


def _spans(speech: np.ndarray, pauses: Pauses) -> list[tuple[float, float]]:
    samples = _recording(speech, np.full(len(speech), 0.01))
    return [
        (round(one.start_s, 1), round(one.start_s + one.duration_s, 1))
        for one in _cuts(samples, pauses, 48_000)
    ]


def test_segments_by_hand() -> None:
    pauses = Pauses(shortest_s=2.0, longest_s=8.0, pause_s=0.5)
    # Three seconds, a long pause, a word of 0.3 s, and further ones close together.
    speech = _frames((1, False), (3, True), (5, False), (0.3, True), (4, False))
    assert _spans(speech, pauses) == [(0.8, 4.2), (8.8, 10.8)]
    speech = _frames((1, False), (0.5, True), (0.6, False), (0.5, True), (0.3, False), (1, True))
    assert _spans(speech, pauses) == [(0.8, 3.9)]


def test_speech_without_a_pause_is_cut_at_its_quietest_place() -> None:
    speech = np.ones(300, bool)  # 9.6 s
    levels = np.full(300, 0.1)
    levels[170:180] = 0.01  # in the second half of the longest segment
    levels[50:60] = 0.001  # too early
    samples = _recording(speech, levels)
    first, second = _cuts(samples, Pauses(longest_s=8.0), 30_000)
    assert 170 <= len(first.samples) / FRAME_SAMPLES <= 180
    assert second.start_s == pytest.approx(first.duration_s)
    np.testing.assert_array_equal(np.concatenate([first.samples, second.samples]), samples)


def test_silence_and_nothing_have_no_segments() -> None:
    assert _cuts(np.zeros(160_000, np.float32), SHORT, 16_000) == []
    assert _cuts(np.zeros(0, np.float32), SHORT, 16_000) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording() -> None:
    """What is kept between blocks is a segment at most: the blocks go as they come."""
    alive: list[int] = []

    def blocks() -> Iterator[np.ndarray]:
        tracemalloc.start()
        rng = np.random.default_rng(0)
        for _ in range(200):
            speech = rng.random(625) < 0.3
            yield _recording(speech, np.full(625, 0.01))
            alive.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()

    count = sum(1 for _ in cut_at_pauses(blocks(), _Marked(), Pauses()))
    assert count > 100
    assert max(alive[100:]) < 1.5 * max(alive[:20]) + 1_000_000


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((5.0, 8.0, 0.5), "segments of 5 to 8 s: the shortest must have 0.5 s or more"),
        ((0.1, 8.0, 0.5), "segments of 0.1 to 8 s"),
        ((2.0, float("nan"), 0.5), "segments of 2 to nan s"),
        ((2.0, 5000.0, 0.5), "at most an hour"),
        ((2.0, 20.0, 0.0), "a pause of 0 s: it must have 0.1 s or more"),
        ((2.0, 20.0, 30.0), "no more than the longest segment (20 s)"),
    ],
)
def test_lengths_that_do_not_fit_together_are_refused(
    lengths: tuple[float, float, float], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Pauses(*lengths)
