"""When the words of a hypothesis are said: the likeliest path of CTC through its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from squall.text.captions import TimedWord

if TYPE_CHECKING:
    from squall.asr.recogniser import Hypothesis, Recogniser

__all__ = ["align_tokens", "time_words"]

_NEVER = -1e30

# Set on eight speakers of NLTK's sample of TIMIT for a model of characters trained on AN4. It
# writes most tokens in one frame, the first of a word before it begins, the last while it goes on.
_START_S = 0.06
_END_S = 0.18
_SHORTEST_S = 0.01


def align_tokens(log_probs: NDArray[np.float32], ids: Sequence[int]) -> NDArray[np.int64]:
    """The frames of each token on the likeliest path that CTC has through a transcript.

    Over the tokens with a blank before, between and behind them, s_0 to s_2L,

        d_t(i) = log p_t(s_i) + max(d_{t-1}(i), d_{t-1}(i-1), d_{t-1}(i-2)),

    where the last is allowed of a token that differs from the one before it. (Graves and others
    2006, "Connectionist temporal classification", with the sum replaced by the maximum.)

    Args:
        log_probs: CTC's log softmax, (T, C), with the blank as class 0.
        ids: the tokens, L of them, none of them the blank.

    Returns:
        (L, 2): first frame, and the one after the last.

    Raises:
        ValueError: there are fewer frames than tokens and blanks between equal ones.
    """
    frames, count = len(log_probs), len(ids)
    states = np.zeros(2 * count + 1, np.int64)
    states[1::2] = ids
    equal = states[3::2] == states[1:-2:2]
    if frames < count + int(equal.sum()):
        raise ValueError(f"{count} tokens do not fit into {frames} frames of CTC")
    if not count:
        return np.zeros((0, 2), np.int64)
    skips = np.zeros(len(states), bool)
    skips[3::2] = ~equal
    emitted = log_probs[:, states].astype(np.float64)  # (T, 2L + 1)
    steps = np.zeros((frames, len(states)), np.int8)  # states back, on the best way here
    ways = np.full((3, len(states)), _NEVER)
    best = np.full(len(states), _NEVER)
    best[:2] = emitted[0, :2]
    for t in range(1, frames):
        ways[0], ways[1, 1:] = best, best[:-1]
        ways[2, 2:] = np.where(skips[2:], best[:-2], _NEVER)
        steps[t] = ways.argmax(axis=0)
        best = ways.max(axis=0) + emitted[t]
    state = len(states) - (1 if best[-1] >= best[-2] else 2)
    spans = np.zeros((count, 2), np.int64)
    for t in range(frames - 1, -1, -1):
        if state % 2:
            spans[state // 2, 0] = t
            spans[state // 2, 1] = max(spans[state // 2, 1], t + 1)
        state -= int(steps[t, state])
    return spans


@torch.no_grad()
def time_words(
    recogniser: Recogniser,
    encoded: torch.Tensor,
    hypothesis: Hypothesis,
    *,
    start_s: float,
    duration_s: float,
    encoded_s: float | None = None,
) -> tuple[TimedWord, ...] | None:
    """The words of a hypothesis with their times.

    A word starts 0.06 s after the first frame of its first token begins, and ends 0.18 s after the
    last frame of its last token, or where the next one starts. How far the frames of CTC lie from
    what is heard differs by model: these are the numbers of a model of characters. Where the tokens
    are too many for CTC, the words share the time evenly.

    Args:
        recogniser: what found the hypothesis.
        encoded: the encoder's output, (1, T, D).
        hypothesis: of the utterance.
        start_s: of the utterance in its recording, in seconds, to which the times count.
        duration_s: of the utterance.
        encoded_s: of what was encoded, where silence was put behind the utterance.

    Returns:
        None where the model was trained without CTC.
    """
    if recogniser.model.ctc is None:
        return None
    if not hypothesis.words:
        return ()
    spoken = recogniser.words_of(hypothesis.tokens)  # tokens of each word, (first, behind the last)
    log_probs = recogniser.model.ctc.log_softmax(encoded)[0]  # (T, C)
    hop_s = (encoded_s or duration_s) / len(log_probs)
    numbers = {token: number for number, token in enumerate(recogniser.tokens)}
    ids = [numbers[token] for token in hypothesis.tokens]
    try:
        found = align_tokens(log_probs.float().cpu().numpy(), ids) * hop_s
        spans = np.minimum(found, duration_s)
    except ValueError:
        edges = np.linspace(0, duration_s, len(ids) + 1)
        spans = np.stack([edges[:-1], edges[1:]], axis=1)
    latest = duration_s - _SHORTEST_S * len(spoken)
    starts: list[float] = []
    for number, (first, _) in enumerate(spoken):
        earliest = starts[-1] + _SHORTEST_S if starts else 0.0
        starts.append(max(earliest, min(spans[first, 0] + _START_S, latest + number * _SHORTEST_S)))
    nexts = [*starts[1:], duration_s]
    words = []
    for word, (_, behind), start, next_s in zip(
        hypothesis.words, spoken, starts, nexts, strict=True
    ):
        end = max(start + _SHORTEST_S, min(spans[behind - 1, 1] + _END_S, next_s))
        words.append(TimedWord(word.text, word.confidence, start_s + start, start_s + end))
    return tuple(words)
