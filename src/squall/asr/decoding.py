"""Decoding of whole splits, and of files that are not in any corpus."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from squall.asr.export import SAMPLE_RATE_HZ
from squall.asr.recogniser import Hypothesis, Recogniser
from squall.asr.settings import RecognitionConfig
from squall.audio.reading import AudioError, audio_below, read_audio
from squall.corpora.manifest import Utterance, read_utterance
from squall.experiment import Experiment
from squall.files import atomic_write

__all__ = ["Transcript", "decode_split", "find_audio", "load_recogniser", "transcribe"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transcript:
    """What came of one file.

    Args:
        path: the file.
        duration_s: its length.
        conversions: what was done to its samples before recognition, in words.
        hypothesis: the result, or None where the file could not be read.
        problem: why it could not be read, or None.
    """

    path: str
    duration_s: float = 0.0
    conversions: tuple[str, ...] = ()
    hypothesis: Hypothesis | None = None
    problem: str | None = None


def decode_split(
    recogniser: Recogniser,
    utterances: Sequence[Utterance],
    directory: Path,
    *,
    on_progress: Callable[[int, int, str], None],
) -> None:
    """Recognise a split and write `hypotheses.jsonl` and `decoding.json`.

    Args:
        recogniser: a loaded recogniser.
        utterances: the split.
        directory: receives one JSON line per utterance (id, text, tokens, score, confidence,
            words); and the size of the model and the speed: seconds of audio, seconds of computing
            and their ratio, the real-time factor.
        on_progress: told (utterances done, utterances in all, message).

    Raises:
        AudioError: a file cannot be read.
        ValueError: an utterance is too short.
    """
    audio_s = 0.0
    started = time.perf_counter()
    with atomic_write(directory / "hypotheses.jsonl") as file:
        for done, utterance in enumerate(sorted(utterances, key=lambda u: u.id), start=1):
            audio = read_utterance(utterance, sample_rate_hz=SAMPLE_RATE_HZ)
            try:
                hypothesis = recogniser(audio.samples)
            except ValueError as error:
                raise ValueError(f"{utterance.id} ({utterance.audio_path}): {error}") from error
            file.write(json.dumps({"id": utterance.id, **asdict(hypothesis)}) + "\n")
            audio_s += audio.duration_s
            rtf = (time.perf_counter() - started) / audio_s
            on_progress(done, len(utterances), f"{directory.name}: real-time factor {rtf:.2f}")
    seconds = time.perf_counter() - started
    with atomic_write(directory / "decoding.json") as file:
        speed = {"audio_s": audio_s, "seconds": seconds, "rtf": seconds / audio_s}
        size = {"utterances": len(utterances), "parameters": recogniser.parameters}
        json.dump({**speed, **size}, file)


def load_recogniser(
    experiment: Experiment[RecognitionConfig], *, device: str, threads: int
) -> Recogniser:
    """The recogniser of an experiment directory, which is all that is read."""
    torch.set_num_threads(threads)
    config = experiment.config
    return Recogniser(
        config,
        experiment.directory / "train",
        lm_dir=experiment.directory / "lm" if config.lm and config.decode.lm_weight else None,
        device=device,
    )


def find_audio(paths: Sequence[Path]) -> list[Path]:
    """The audio files among the paths, and below those that are folders, in sorted order.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no audio.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += audio_below(path)
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"{path}: no such file or folder")
    return found


def transcribe(recogniser: Recogniser, paths: Sequence[Path]) -> Iterator[Transcript]:
    """Recognise files one by one; a file that cannot be read gives a `problem`, not an exception.

    Any sampling rate and number of channels is accepted: files are resampled to 16 kHz and mixed
    down, and the transcript says so.
    """
    for path in paths:
        try:
            audio = read_audio(path, sample_rate_hz=SAMPLE_RATE_HZ)
            hypothesis = recogniser(audio.samples)
        except (AudioError, ValueError) as error:
            problem = str(error).removeprefix(f"{path}: ")
            _log.warning("%s: %s", path, problem)
            yield Transcript(str(path), problem=problem)
            continue
        yield Transcript(str(path), audio.duration_s, audio.conversions, hypothesis)
