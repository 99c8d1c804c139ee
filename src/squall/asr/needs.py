"""What a training will need, measured on a few batches of noise before it starts."""

from __future__ import annotations

import ctypes
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from squall.asr.bridge.running import QUIET, espnet_task, parse_espnet_settings
from squall.asr.memory import free_memory_bytes
from squall.asr.settings import RecognitionConfig
from squall.asr.training import model_settings
from squall.audio.reading import SAMPLE_RATE_HZ
from squall.networks.precision import choose_precision
from squall.text.tokens import BLANK, PHONE_UNITS, SENTENCE_END, UNKNOWN

__all__ = ["TrainingNeeds", "encoder_frames", "free_memory_bytes", "measure_needs"]

# Tokens in a second of read English, to fill the batches with.
_TOKENS_PER_S = {"char": 14.0, "bpe": 4.0, "word": 2.7, "phone48": 11.0, "phone39": 11.0}
# Tokens in a list whose length is known only when it is built.
_TOKENS = {"char": 32, "word": 1000}
_WEIGHT_BYTES = 4
_OPTIMIZER_STATES = 2  # of each weight, in Adam and Adadelta
_KEPT_MODELS = 10  # ESPnet's default of keep_nbest_models
_BATCHES = 3
_LONGEST_BATCH_S = 40.0
_SHORTEST_S = 0.5  # enough for every subsampling
_ENCODED_S = (2.0, 6.0)


@dataclass(frozen=True)
class TrainingNeeds:
    """What a training will need.

    Args:
        parameters: number of trained weights.
        seconds_per_speech_s: computing time for one second of training speech, once.
        memory_bytes: of the process, or of the GPU, in the batch that takes most.
        disk_bytes: of checkpoints and models.
        utterances: how many there are in that batch.
        padded_s: the length to which they are padded, in seconds.
    """

    parameters: int
    seconds_per_speech_s: float
    memory_bytes: int
    disk_bytes: int
    utterances: int
    padded_s: float

    def hours(self, *, train_s: float, dev_s: float, epochs: int) -> float:
        """Time of a whole training.

        Args:
            train_s: speech in the training set, in seconds.
            dev_s: speech in the development set, which is passed through once an epoch without
                gradients, at a third of the cost.
            epochs: passes over the training set.
        """
        return epochs * (train_s + dev_s / 3) * self.seconds_per_speech_s / 3600


def measure_needs(
    config: RecognitionConfig, *, lengths_s: Sequence[float], device: str, threads: int
) -> TrainingNeeds:
    """Train the experiment's model for a few batches of noise.

    A batch holds up to 40 s. Time follows in proportion to the speech. Memory is measured on two
    lengths, from which a square law leads to that of the longest utterances, and is multiplied by
    the largest batch that ESPnet makes of them: it pads a batch to its longest utterance.

    Args:
        config: the experiment.
        lengths_s: lengths of the training utterances, in seconds.
        device: `cpu` or `cuda`.
        threads: CPU threads.

    Raises:
        ValueError: ESPnet does not take a setting.
        RuntimeError: not even one utterance fits into the memory of the GPU.

    Reading audio, augmenting it and the step of the optimizer are not measured; the first adds
    little where `espnet.num_workers` is above 0.
    """
    torch.set_num_threads(threads)
    precision = choose_precision(config.precision, device=device)
    model = _build_model(config, precision).to(device).train()
    batches = _batches(config, lengths_s, model.vocab_size)

    def batch(utterances: int, length_s: float) -> dict[str, torch.Tensor]:
        return _batch(config, utterances, length_s, model.vocab_size, device)

    idle = _settled_memory_bytes(device)
    parameters = sum(weight.numel() for weight in model.parameters())
    gradients = parameters * _WEIGHT_BYTES
    longest_s = min(max(lengths_s), _LONGEST_BATCH_S)
    measured = []
    for length_s in (max(longest_s / 2, _SHORTEST_S), max(longest_s, 2 * _SHORTEST_S)):
        _pass(model, batch(1, length_s))  # the first takes what is kept for all that follow
        model.zero_grad(set_to_none=True)
        before = _settled_memory_bytes(device)
        _pass(model, batch(1, length_s))
        model.zero_grad(set_to_none=True)
        measured.append((length_s, max(0, _peak_memory_bytes(device) - before - gradients)))
    law = _square_law(*measured)
    largest = max(batches, key=lambda one: one[0] * law(one[1]))

    mean_s = min(max(sum(lengths_s) / len(lengths_s), _SHORTEST_S), _LONGEST_BATCH_S)
    usual = round(len(lengths_s) / len(batches))
    utterances = max(1, min(usual, int(_LONGEST_BATCH_S / mean_s)))
    one = batch(utterances, mean_s)
    _pass(model, one)  # the first is slower
    started = time.perf_counter()
    for _ in range(_BATCHES):
        _pass(model, one)
    seconds = (time.perf_counter() - started) / _BATCHES
    states = parameters * _WEIGHT_BYTES * _OPTIMIZER_STATES
    kept = config.espnet.get("keep_nbest_models", _KEPT_MODELS)
    kept = max(kept) if isinstance(kept, list) else kept
    # The checkpoint has weights and states; beside it lie the kept ones, their average, and two
    # copies of that under other names.
    disk = states + parameters * _WEIGHT_BYTES * (kept + 4)
    memory = round(idle + gradients + states + largest[0] * law(largest[1]))
    return TrainingNeeds(parameters, seconds / (utterances * mean_s), memory, disk, *largest)


@torch.no_grad()
def encoder_frames(config: RecognitionConfig) -> Callable[[float], int]:
    """How many frames the encoder makes of an utterance, by its length in seconds.

    They are measured on noise of two lengths, whatever the encoder and its subsampling are, and lie
    within one frame of those of the training.

    Raises:
        ValueError: ESPnet does not take a setting.
    """
    model = _build_model(config).eval()
    frames = []
    for length_s in _ENCODED_S:
        speech = torch.randn(1, round(length_s * SAMPLE_RATE_HZ)) / 10  # (1, N)
        frames.append(int(model.encode(speech, torch.tensor([speech.size(1)]))[1]))
    per_s = (frames[1] - frames[0]) / (_ENCODED_S[1] - _ENCODED_S[0])
    return lambda length_s: max(0, round(frames[0] + (length_s - _ENCODED_S[0]) * per_s))


def _build_model(config: RecognitionConfig, precision: str = "float32") -> Any:
    """The model, on an invented token list of about the length that it will have."""
    units = config.tokens.units
    own = 3  # blank, unknown and end
    count = PHONE_UNITS.get(units, _TOKENS.get(units, config.tokens.vocabulary_size) - own)
    tokens = [BLANK, UNKNOWN, *(f"t{k}" for k in range(count)), SENTENCE_END]
    task = espnet_task()
    with tempfile.TemporaryDirectory() as folder:
        token_list = Path(folder) / "tokens.txt"
        token_list.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
        settings = {
            **QUIET,
            **config.espnet,
            "token_type": "word",
            "token_list": str(token_list),
            **model_settings(config, precision),
            "output_dir": folder,
        }
        return task.build_model(parse_espnet_settings(task, settings, Path(folder) / "all.yaml"))


def _batch(
    config: RecognitionConfig, utterances: int, utterance_s: float, vocabulary: int, device: str
) -> dict[str, torch.Tensor]:
    samples = round(utterance_s * SAMPLE_RATE_HZ)
    length = max(1, round(utterance_s * _TOKENS_PER_S[config.tokens.units]))
    random = torch.Generator().manual_seed(config.seed)
    batch = {
        "speech": torch.randn(utterances, samples, generator=random) / 10,  # (B, N)
        "speech_lengths": torch.full((utterances,), samples),
        "text": torch.randint(2, vocabulary - 1, (utterances, length), generator=random),  # (B, L)
        "text_lengths": torch.full((utterances,), length),
    }
    return {name: value.to(device) for name, value in batch.items()}


def _square_law(half: tuple[float, int], whole: tuple[float, int]) -> Callable[[float], float]:
    """Bytes that an utterance takes by its length, from those of two lengths in seconds."""
    (half_s, half_bytes), (whole_s, whole_bytes) = half, whole
    square = (whole_bytes / whole_s - half_bytes / half_s) / (whole_s - half_s)
    square = max(0.0, square)
    linear = whole_bytes / whole_s - square * whole_s
    return lambda length_s: linear * length_s + square * length_s**2


def _batches(
    config: RecognitionConfig, lengths_s: Sequence[float], vocabulary: int
) -> list[tuple[int, float]]:
    """How many utterances each batch of a training has, and the length to which it is padded."""
    from squall.asr.bridge.espnet import build_batch_sampler

    espnet = config.espnet
    tokens_per_s = _TOKENS_PER_S[config.tokens.units]
    with tempfile.TemporaryDirectory() as folder:
        shapes = [Path(folder) / "speech_shape", Path(folder) / "text_shape"]
        with shapes[0].open("w") as speech, shapes[1].open("w") as text:
            for number, length_s in enumerate(lengths_s):
                speech.write(f"{number} {round(length_s * SAMPLE_RATE_HZ)}\n")
                text.write(f"{number} {max(1, round(length_s * tokens_per_s))},{vocabulary}\n")
        sampler = build_batch_sampler(
            type=espnet.get("batch_type", "folded"),
            batch_size=int(espnet.get("batch_size", 20)),
            batch_bins=int(espnet.get("batch_bins", 1_000_000)),
            fold_lengths=espnet.get("fold_length", []),
            shape_files=[str(path) for path in shapes],
        )
        return [(len(names), max(lengths_s[int(name)] for name in names)) for names in sampler]


def _pass(model: Any, batch: dict[str, torch.Tensor]) -> None:
    model.zero_grad(set_to_none=True)
    loss, _, _ = model(**batch)
    loss.backward()
    loss.item()  # a GPU is done only when its result is asked for


def _settled_memory_bytes(device: str) -> int:
    """What is held while nothing is computed, from which the next peak rises.

    The peak so far where the system does not tell.
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    try:
        ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what was freed otherwise
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # begins a new peak
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, AttributeError, TypeError):
        return _peak_memory_bytes(device)
    return pages * resource.getpagesize()


def _peak_memory_bytes(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
