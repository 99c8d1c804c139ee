"""What a training will need, measured on a few batches of noise before it starts."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from squall.asr.bridge.imports import MODEL_NAME
from squall.asr.bridge.running import QUIET, espnet_task, parse_espnet_settings
from squall.asr.export import SAMPLE_RATE_HZ
from squall.asr.settings import RecognitionConfig
from squall.asr.training import loss_settings
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
_ENCODED_S = (2.0, 6.0)


@dataclass(frozen=True)
class TrainingNeeds:
    """What a training will need.

    Args:
        parameters: number of trained weights.
        seconds_per_speech_s: computing time for one second of training speech, once.
        memory_bytes: of the process, or of the GPU.
        disk_bytes: of checkpoints and models.
    """

    parameters: int
    seconds_per_speech_s: float
    memory_bytes: int
    disk_bytes: int

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
    config: RecognitionConfig, *, utterance_s: float, device: str, threads: int
) -> TrainingNeeds:
    """Train the experiment's model for a few batches of noise.

    A batch holds up to 40 s, from which the needs of the experiment's own batch size follow in
    proportion.

    Args:
        config: the experiment.
        utterance_s: length of the utterances in a batch, in seconds.
        device: `cpu` or `cuda`.
        threads: CPU threads.

    Raises:
        ValueError: ESPnet does not take a setting.
        RuntimeError: not even one utterance fits into the memory of the GPU.

    Reading audio, augmenting it and the step of the optimizer are not measured; the first adds
    little where `espnet.num_workers` is above 0.
    """
    torch.set_num_threads(threads)
    model = _build_model(config).to(device).train()
    whole = _utterances_in_batch(config.espnet, round(utterance_s * SAMPLE_RATE_HZ))
    utterances = max(1, min(whole, int(_LONGEST_BATCH_S / utterance_s)))
    batch = _batch(config, utterances, utterance_s, model.vocab_size, device)
    speech_s = utterances * utterance_s
    idle = _peak_memory_bytes(device)
    _pass(model, batch)  # the first is slower
    started = time.perf_counter()
    for _ in range(_BATCHES):
        _pass(model, batch)
    seconds = (time.perf_counter() - started) / _BATCHES
    parameters = sum(weight.numel() for weight in model.parameters())
    states = parameters * _WEIGHT_BYTES * _OPTIMIZER_STATES
    memory = idle + (_peak_memory_bytes(device) - idle) * whole // utterances + states
    kept = config.espnet.get("keep_nbest_models", _KEPT_MODELS)
    kept = max(kept) if isinstance(kept, list) else kept
    # The checkpoint has weights and states; beside it lie the kept ones, their average, and two
    # copies of that under other names.
    disk = states + parameters * _WEIGHT_BYTES * (kept + 4)
    return TrainingNeeds(parameters, seconds / speech_s, memory, disk)


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


def _build_model(config: RecognitionConfig) -> Any:
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
            "model": MODEL_NAME,
            "model_conf": {**config.espnet.get("model_conf", {}), "loss": loss_settings(config)},
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


def _utterances_in_batch(espnet: dict[str, Any], samples: int) -> int:
    if espnet.get("batch_type", "folded") in ("numel", "length"):
        return max(1, int(espnet.get("batch_bins", 1_000_000)) // samples)
    return int(espnet.get("batch_size", 20))


def _pass(model: Any, batch: dict[str, torch.Tensor]) -> None:
    model.zero_grad(set_to_none=True)
    loss, _, _ = model(**batch)
    loss.backward()
    loss.item()  # a GPU is done only when its result is asked for


def _peak_memory_bytes(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory_bytes(device: str) -> int | None:
    """Memory that a new process could have, or of the GPU; None where the system does not tell."""
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return int(free)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = dict(line.split(":", 1) for line in lines)
    return int(found["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in found else None
