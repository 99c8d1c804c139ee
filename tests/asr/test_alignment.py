"""CTC alignment against all paths and torchaudio, and the times of words that come of it."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("espnet2")

import tiny
from squall.asr.alignment import align_tokens, time_words
from squall.asr.decoding import load_recogniser
from squall.asr.recogniser import Hypothesis, Word
from squall.engine.experiment import Experiment


def _log_probs(frames: int, classes: int, seed: int) -> np.ndarray:
    logits = 3 * np.random.default_rng(seed).standard_normal((frames, classes))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def naive_spans(log_probs: np.ndarray, ids: list[int]) -> np.ndarray | None:
    """Slow twin: the best of all sequences of classes that collapse to the tokens."""
    best, spans = -np.inf, None
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        runs = [(key, len(list(run))) for key, run in itertools.groupby(path)]
        if [key for key, _ in runs if key] != ids:
            continue
        score = sum(float(log_probs[t, key]) for t, key in enumerate(path))
        if score > best:
            edges = np.cumsum([0, *(length for _, length in runs)])
            best = score
            spans = [(edges[n], edges[n + 1]) for n, (key, _) in enumerate(runs) if key]
    return None if spans is None else np.array(spans).reshape(-1, 2)


@settings(deadline=None, max_examples=60)
@given(
    frames=st.integers(1, 6),
    ids=st.lists(st.integers(1, 2), max_size=4),
    seed=st.integers(0, 1000),
)
def test_the_path_is_the_best_of_all(frames: int, ids: list[int], seed: int) -> None:
    log_probs = _log_probs(frames, 3, seed)
    expected = naive_spans(log_probs, ids)
    if expected is None:
        with pytest.raises(ValueError, match=f"{len(ids)} tokens do not fit into {frames} frames"):
            align_tokens(log_probs, ids)
    else:
        np.testing.assert_array_equal(align_tokens(log_probs, ids), expected)


@pytest.mark.parametrize("seed", range(5))
def test_torchaudio_has_the_same_path(seed: int) -> None:
    align = pytest.importorskip("torchaudio.functional").forced_align
    log_probs = _log_probs(200, 30, seed)
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 30, 60)
    ids[10:13] = ids[10]
    path, _ = align(torch.from_numpy(log_probs)[None], torch.from_numpy(ids)[None])
    found = np.zeros(200, np.int64)
    for (first, behind), token in zip(align_tokens(log_probs, list(ids)), ids, strict=True):
        found[first:behind] = token
    np.testing.assert_array_equal(found, path[0].numpy())


def _recogniser(log_probs: np.ndarray, words: list[tuple[int, int]]) -> Any:
    """Knows the tokens A to D; its encoder's output is CTC's."""
    ctc = SimpleNamespace(log_softmax=lambda encoded: torch.from_numpy(log_probs)[None])
    return SimpleNamespace(
        model=SimpleNamespace(ctc=ctc),
        tokens=["<blank>", "A", "B", "C", "<space>"],
        words_of=lambda tokens: words,
    )


def _spikes(frames: int, spikes: dict[int, int]) -> np.ndarray:
    log_probs = np.full((frames, 5), -20.0, np.float32)
    log_probs[:, 0] = -0.1
    for frame, token in spikes.items():
        log_probs[frame, token], log_probs[frame, 0] = -0.1, -20.0
    return log_probs


def test_words_lie_where_their_tokens_are() -> None:
    """Frames of 40 ms; A and B at once, C after a pause."""
    log_probs = _spikes(50, {5: 1, 9: 2, 12: 4, 13: 3, 40: 1})
    tokens = ("A", "B", "<space>", "C", "<space>", "A")
    hypothesis = Hypothesis(
        "AB C A", tokens, 0.0, 1.0, (Word("AB", 0.9), Word("C", 0.8), Word("A", 0.7))
    )
    recogniser = _recogniser(log_probs, [(0, 2), (3, 4), (5, 6)])
    found = time_words(recogniser, torch.zeros(1, 50, 1), hypothesis, start_s=100.0, duration_s=2.0)
    assert found is not None
    assert [(w.text, w.confidence) for w in found] == [("AB", 0.9), ("C", 0.8), ("A", 0.7)]
    times = [(word.start_s - 100, word.end_s - 100) for word in found]
    # 0.06 s behind the first frame, 0.18 s behind the last or where the next word starts.
    expected = [(0.26, 0.58), (0.58, 0.74), (1.66, 1.82)]
    np.testing.assert_allclose(times, expected, atol=1e-9)
    # As much silence again was put behind it: the frames keep their length, the words end with it.
    padded = time_words(
        recogniser, torch.zeros(1, 50, 1), hypothesis, start_s=100.0, duration_s=1.7, encoded_s=2.0
    )
    assert padded is not None
    times = [(word.start_s - 100, word.end_s - 100) for word in padded]
    expected[2] = (1.66, 1.7)
    np.testing.assert_allclose(times, expected, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1000), count=st.integers(0, 30), frames=st.integers(1, 40))
def test_words_are_in_order_and_have_a_length(seed: int, count: int, frames: int) -> None:
    """Also where the tokens are more than the frames."""
    log_probs = _log_probs(frames, 5, seed)
    ids = np.random.default_rng(seed).integers(1, 4, count)
    tokens = tuple("ABC"[k - 1] for k in ids)
    hypothesis = Hypothesis("", tokens, 0.0, 1.0, tuple(Word(t, 0.5) for t in tokens))
    recogniser = _recogniser(log_probs, [(k, k + 1) for k in range(count)])
    found = time_words(
        recogniser, torch.zeros(1, frames, 1), hypothesis, start_s=5.0, duration_s=0.04 * frames
    )
    assert found is not None
    assert len(found) == count
    assert all(word.end_s >= word.start_s + 0.0099 for word in found)
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in itertools.pairwise(found))
    assert not found or found[0].start_s >= 5.0
    assert not found or found[-1].end_s <= 5.0 + max(0.04 * frames, 0.01 * count) + 1e-9


def test_a_model_without_ctc_has_no_times() -> None:
    recogniser: Any = SimpleNamespace(model=SimpleNamespace(ctc=None))
    hypothesis = Hypothesis("A", ("A",), 0.0, 1.0, (Word("A", 1.0),))
    encoded = torch.zeros(1, 5, 1)
    assert time_words(recogniser, encoded, hypothesis, start_s=0.0, duration_s=1.0) is None


def test_the_words_of_a_trained_model_have_times(trained: Experiment) -> None:
    recogniser = load_recogniser(trained, device="cpu", threads=1)
    samples = tiny.first_test_samples(trained)
    encoded = recogniser.encode(samples)
    tokens = ("G", "O", "<space>", "<space>", "O", "N")
    words = (Word("GO", 0.5), Word("ON", 0.5))
    assert recogniser.words_of(tokens) == [(0, 2), (4, 6)]
    hypothesis = Hypothesis("GO ON", tokens, 0.0, 0.5, words)
    duration_s = len(samples) / 16000
    found = time_words(recogniser, encoded, hypothesis, start_s=0.0, duration_s=duration_s)
    assert found is not None
    assert [word.text for word in found] == ["GO", "ON"]
    assert 0 <= found[0].start_s < found[0].end_s <= found[1].start_s < found[1].end_s
    assert found[1].end_s <= duration_s
