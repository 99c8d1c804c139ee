"""Decoding of whole splits."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch

from squall.asr.export import reference_texts
from squall.asr.forced_logits import ForcedLogits, write_forced
from squall.asr.memory import (
    check_memory,
    free_memory_bytes,
    memory_was_full,
    out_of_memory,
)
from squall.asr.recogniser import Hypothesis, Recogniser
from squall.asr.settings import RecognitionConfig
from squall.audio.reading import SAMPLE_RATE_HZ
from squall.corpora.manifest import Utterance, read_utterance
from squall.engine.experiment import Experiment
from squall.files import atomic_write, json_text, write_json
from squall.workers import OnProgress, map_in_processes

__all__ = ["batches_of", "decode_splits", "load_recogniser"]

_log = logging.getLogger(__name__)

# Starting a process takes as long as decoding about so many.
_UTTERANCES_PER_PROCESS = 64
_UTTERANCES_PER_BATCH = 16
# Python, torch and ESPnet in a process of their own.
_PROCESS_BYTES = 400_000_000

BATCH_S = 120.0
"""How much is searched together, in seconds with the padding: more is no quicker, and this takes
little memory beside a model.
"""


class _HasLength(Protocol):
    @property
    def duration_s(self) -> float: ...


Item = TypeVar("Item", bound=_HasLength)


def decode_splits(
    experiment: Experiment[RecognitionConfig],
    splits: Mapping[str, Sequence[Utterance]],
    directory: Path,
    *,
    device: str = "cpu",
    threads: int = 1,
    processes: int = 1,
    on_progress: OnProgress,
) -> None:
    """Recognise splits and write three files for each.

    `<split>/hypotheses.jsonl` has one JSON line per utterance (id, text, tokens, score, confidence,
    words, token_probs, probability); the score is null where the search found nothing.
    `<split>/forced.npz` has what the decoder says of the true tokens, for the calibration
    (`ForcedLogits`). `<split>/decoding.json` has the size of the model and the speed: seconds of
    audio, seconds of computing (summed over the processes, without loading the model and without
    the pass over the true tokens) and their ratio, the real-time factor of one process.

    Args:
        experiment: a trained experiment.
        splits: the utterances of each.
        directory: receives a folder for each split.
        device: `cpu` or `cuda`.
        threads: CPU threads of one process.
        processes: how many work side by side, each with a model of its own and 64 utterances or
            more; fewer where there are not so many, or memory is not enough for the longest
            utterance in each. They change no number.
        on_progress: told (utterances done, utterances in all, message).

    Raises:
        AudioError: a file cannot be read.
        ValueError: an utterance is too short, or too long for the memory.
    """
    ordered = {name: sorted(split, key=lambda u: u.id) for name, split in splits.items()}
    total, done = sum(map(len, ordered.values())), 0
    config_json = experiment.config.model_dump_json()
    recognise = partial(_recognise, experiment.directory, config_json, device, threads)
    _loaded.cache_clear()  # the folder may hold another model than the last time
    written = experiment.config.tokens
    batches = {}
    for name, split in ordered.items():
        texts = reference_texts(split, units=written.units, normalization=written.normalization)
        batches[name] = [[(u, texts[u.id]) for u in batch] for batch in batches_of(split)]
    processes = max(1, min(processes, total // _UTTERANCES_PER_PROCESS))
    if total:
        everyone = (u for split in ordered.values() for u in split)
        longest = max(everyone, key=lambda u: u.duration_s)
        loaded = _loaded(experiment.directory, config_json, device, threads)
        processes = _that_fit(processes, loaded, longest)
    found = map_in_processes(
        recognise, [batch for of_split in batches.values() for batch in of_split], processes
    )
    for name, split in ordered.items():
        audio_s = seconds = 0.0
        parameters = 0
        tokens: list[str] = []
        recognised: dict[str, tuple[Hypothesis, ForcedLogits]] = {}
        for batch in batches[name]:
            one = next(found)
            for (utterance, _), result in zip(batch, one.results, strict=True):
                recognised[utterance.id] = result
            audio_s, seconds = audio_s + one.audio_s, seconds + one.seconds
            parameters, tokens, done = one.parameters, one.tokens, done + len(batch)
            on_progress(done, total, f"{name}: real-time factor {seconds / audio_s:.2f}")
        with atomic_write(directory / name / "hypotheses.jsonl") as file:
            for utterance in split:
                line = {"id": utterance.id, **asdict(recognised[utterance.id][0])}
                file.write(json_text(line, nan_as_null=True) + "\n")
        forced = [recognised[utterance.id][1] for utterance in split]
        write_forced(directory / name / "forced.npz", forced, tokens=tokens)
        speed = {"audio_s": audio_s, "seconds": seconds, "rtf": seconds / audio_s}
        size = {"utterances": len(split), "parameters": parameters, "processes": processes}
        write_json(directory / name / "decoding.json", {**speed, **size})


def batches_of(items: Iterable[Item], *, batch_s: float = BATCH_S) -> list[list[Item]]:
    """What is searched together: batches of about equal lengths, the longest first.

    Args:
        items: what has a length; of equal ones the first comes first.
        batch_s: so much a batch may have, padding and all, in seconds.
    """
    batches: list[list[Item]] = []
    for item in sorted(items, key=lambda item: -item.duration_s):
        longest_s = batches[-1][0].duration_s if batches else 0.0
        fits = batches and len(batches[-1]) < _UTTERANCES_PER_BATCH
        if not fits or longest_s * (len(batches[-1]) + 1) > batch_s:
            batches.append([])
        batches[-1].append(item)
    return batches


@dataclass(frozen=True)
class _Decoded:
    """One batch: what was found in each utterance, and what the decoder says of its true tokens."""

    results: list[tuple[Hypothesis, ForcedLogits]]
    audio_s: float
    seconds: float
    parameters: int
    tokens: list[str]


def _recognise(
    directory: Path,
    config_json: str,
    device: str,
    threads: int,
    batch: Sequence[tuple[Utterance, str]],
) -> _Decoded:
    recogniser = _loaded(directory, config_json, device, threads)
    started = time.perf_counter()
    encoded, audio_s = [], 0.0
    for utterance, _ in batch:
        audio = read_utterance(utterance, sample_rate_hz=SAMPLE_RATE_HZ)
        audio_s += audio.duration_s
        with _named(utterance):
            encoded.append(recogniser.encode(audio.samples))
    with _named(batch[0][0]):  # the longest
        hypotheses = recogniser.search_all(encoded)
    seconds = time.perf_counter() - started
    results = []
    for (utterance, text), of_utterance, hypothesis in zip(batch, encoded, hypotheses, strict=True):
        with _named(utterance):
            logits, targets = recogniser.forced_logits(of_utterance, text)
        forced = logits.float().cpu().numpy(), np.array(targets), np.array([len(targets)])
        results.append((hypothesis, ForcedLogits(*forced)))
    return _Decoded(results, audio_s, seconds, recogniser.parameters, recogniser.tokens)


@contextmanager
def _named(utterance: Utterance) -> Iterator[None]:
    """Put the name of an utterance before what goes wrong with it."""
    try:
        yield
    except (ValueError, RuntimeError, MemoryError) as error:
        full = out_of_memory(error)
        kind = RuntimeError if isinstance(error, RuntimeError) and not full else ValueError
        problem = memory_was_full(utterance.duration_s) if full else str(error)
        raise kind(f"{utterance.id} ({utterance.audio_path}): {problem}") from error


def _that_fit(processes: int, recogniser: Recogniser, longest: Utterance) -> int:
    """As many processes as can recognise the longest utterance at the same time."""
    need = recogniser.memory_need
    with _named(longest):
        check_memory(need, longest.duration_s, recogniser.device)
    each = need.bytes(longest.duration_s) + _PROCESS_BYTES + 4 * recogniser.parameters
    free = free_memory_bytes(recogniser.device)
    fitting = processes if free is None else max(1, min(processes, free // each))
    if fitting < processes:
        _log.warning(
            "%d processes decode instead of %d: each may need %.1f GB of memory for %s (%.1f s)",
            fitting, processes, each / 1e9, longest.id, longest.duration_s,
        )  # fmt: skip
    return fitting


@lru_cache(maxsize=1)
def _loaded(directory: Path, config_json: str, device: str, threads: int) -> Recogniser:
    """A recogniser, loaded once in each process; its arguments can be sent to another one."""
    return _load(directory, RecognitionConfig.model_validate_json(config_json), device, threads)


def load_recogniser(
    experiment: Experiment[RecognitionConfig], *, device: str, threads: int
) -> Recogniser:
    """The recogniser of an experiment directory, which is all that is read."""
    return _load(experiment.directory, experiment.config, device, threads)


def _load(directory: Path, config: RecognitionConfig, device: str, threads: int) -> Recogniser:
    torch.set_num_threads(threads)
    return Recogniser(
        config,
        directory / "train",
        lm_dir=directory / "lm" if config.lm and config.decode.lm_weight else None,
        device=device,
    )
