"""Memory: what the recognition of a recording takes, and what there is."""

from __future__ import annotations

import math
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from squall.asr.bridge.espnet import (
    LegacyRelPositionMultiHeadedAttention,
    MultiHeadedAttention,
    RelPositionMultiHeadedAttention,
)

__all__ = [
    "MemoryNeed",
    "NotEnoughMemoryError",
    "check_memory",
    "forget_attention",
    "free_memory_bytes",
    "measure_need",
    "memory_was_full",
    "out_of_memory",
]

_FLOAT_BYTES = 4
# Matrices of every frame with every frame that a head holds at its worst moment, and one more.
_RELATIVE_COPIES, _ABSOLUTE_COPIES = 8, 5
# What a layer reads, what it writes and what it needs between, in units of the largest output.
_LAYER_COPIES = 3.5
# What each hypothesis has for every frame: of the encoder's output, and of the CTC scores of the
# tokens that may come next.
_FRAME_COPIES, _SCORE_COPIES = 5, 10
_PROBE_S = 4.0


class NotEnoughMemoryError(ValueError):
    """A recording is too long for the memory that there is."""


@dataclass(frozen=True)
class MemoryNeed:
    """Memory that one recognition takes beside the model, max(a t, b t^2) for t seconds.

    Args:
        bytes_per_s: a, of the layers and the search, which grow with the length.
        bytes_per_s2: b, of the attention, where every frame meets every frame.
    """

    bytes_per_s: float
    bytes_per_s2: float

    def bytes(self, duration_s: float) -> int:
        """What a recording of so many seconds takes."""
        return int(max(self.bytes_per_s * duration_s, self.bytes_per_s2 * duration_s**2))

    def longest_s(self, memory_bytes: int) -> float:
        """The longest recording that so much memory is enough for, in seconds."""
        memory_bytes = max(0, memory_bytes)
        squared = memory_bytes / self.bytes_per_s2 if self.bytes_per_s2 else math.inf
        return min(memory_bytes / self.bytes_per_s, math.sqrt(squared))


def check_memory(need: MemoryNeed, duration_s: float, device: str) -> None:
    """Refuse a recording whose recognition does not fit into the memory that is free.

    Raises:
        NotEnoughMemoryError: it takes more; the message has the longest that fits.
    """
    free = free_memory_bytes(device)
    needed = need.bytes(duration_s)
    if free is not None and needed > free:
        raise NotEnoughMemoryError(
            f"its {duration_s:.1f} s take about {needed / 1e9:.1f} GB of memory, and "
            f"{free / 1e9:.1f} GB are free: recordings of up to {need.longest_s(free):.0f} s fit, "
            "so cut it at pauses"
        )


def forget_attention(model: torch.nn.Module) -> None:
    """Let no attention layer of ESPnet keep its weights, (1, heads, T, T), once it has used them.

    Each keeps them in `attn`, for pictures of them: 12 layers of 4 heads hold 3.9 GB for three
    minutes.
    """
    for module in model.modules():
        if isinstance(module, MultiHeadedAttention):
            module.register_forward_hook(_forget)


def _forget(module: torch.nn.Module, inputs: Any, output: Any) -> None:
    module.attn = None  # type: ignore[assignment]


@torch.no_grad()
def measure_need(
    model: Any, *, beam_size: int, candidates: int, sample_rate_hz: int, device: str
) -> MemoryNeed:
    """What an ESPnet model and its beam search take, from a pass over some seconds of silence.

    What grows with the length is the largest output of a layer, or the copies of the frames that
    every hypothesis has, whichever is more. What grows with the square of the length is counted:
    each head of a layer that attends to all frames has matrices of (T, T). The pass of the decoder
    over its own tokens is not in it: these are fewer than the frames.

    Args:
        model: an `ESPnetASRModel`.
        beam_size: hypotheses of the search.
        candidates: how many tokens of each CTC scores; 0 without it.
        sample_rate_hz: of the samples that the model takes.
        device: where the model is.
    """
    largest = 0
    attended: list[tuple[int, int]] = []  # frames, matrices

    def watch(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        tensors = output if isinstance(output, tuple) else (output,)
        largest = max(largest, *(t.numel() for t in tensors if isinstance(t, torch.Tensor)), 0)
        if isinstance(module, MultiHeadedAttention):
            attended.append((output.size(1), module.h * _copies(module)))

    hooks = [module.register_forward_hook(watch) for module in model.modules()]
    samples = round(_PROBE_S * sample_rate_hz)
    try:
        _, lengths = model.encode(
            torch.zeros(1, samples, device=device), torch.tensor([samples], device=device)
        )
    finally:
        for hook in hooks:
            hook.remove()
    frames = int(lengths[0])
    matrices = max((count for length, count in attended if length >= frames), default=0)
    of_hypothesis = _FRAME_COPIES * model.encoder.output_size()
    of_hypothesis += _SCORE_COPIES * candidates
    of_search = frames * beam_size * of_hypothesis
    return MemoryNeed(
        max(_LAYER_COPIES * largest, of_search) * _FLOAT_BYTES / _PROBE_S,
        matrices * _FLOAT_BYTES * (frames / _PROBE_S) ** 2,
    )


def _copies(module: MultiHeadedAttention) -> int:
    relative = (RelPositionMultiHeadedAttention, LegacyRelPositionMultiHeadedAttention)
    return _RELATIVE_COPIES if isinstance(module, relative) else _ABSOLUTE_COPIES


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had."""
    words = str(error).lower()
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and ("not enough memory" in words or "can't allocate memory" in words)
    )


def memory_was_full(duration_s: float) -> str:
    """What to tell of a recording that was too long for the memory after all."""
    return (
        f"the memory was full before its {duration_s:.1f} s were recognised: cut it at pauses, or "
        "leave the process more memory"
    )


def free_memory_bytes(
    device: str, *, proc: Path = Path("/proc"), control_groups: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Memory that this process can still have, or of the GPU; None where the system does not tell.

    The least of what the machine has available, what the limits of the process leave it (`ulimit
    -v`, `ulimit -d`), and what its control groups do (containers, Slurm).
    """
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(free) + kept
    machine = _fields(proc / "meminfo")
    process = _fields(proc / "self" / "status")
    found = [machine["MemAvailable"]] if "MemAvailable" in machine else []
    for limit, used in (("AS", "VmSize"), ("DATA", "VmData")):
        soft, _ = resource.getrlimit(getattr(resource, f"RLIMIT_{limit}"))
        if soft != resource.RLIM_INFINITY and used in process:
            found.append(max(0, soft - process[used]))
    found += _left_by_groups(proc / "self" / "cgroup", control_groups)
    return min(found, default=None)


def _fields(path: Path) -> dict[str, int]:
    """The sizes in a file of lines `Name:   123 kB`, in bytes."""
    lines = [line.split() for line in _read(path).splitlines()]
    return {w[0].rstrip(":"): int(w[1]) * 1024 for w in lines if len(w) == 3 and w[2] == "kB"}


def _left_by_groups(listed: Path, mounted: Path) -> Iterator[int]:
    """Limit minus use of the control groups of a process, from its own up to the outermost."""
    for line in _read(listed).splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers == "":  # version 2
            root, limit, used, cache = mounted, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, cache = mounted / "memory", "total_inactive_file"
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = root / name.lstrip("/")
        for folder in (group, *group.parents):
            bound, taken = _read(folder / limit).strip(), _read(folder / used).strip()
            if bound.isdecimal() and taken.isdecimal():
                counts = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
                reclaimable = int(counts.get(cache, 0))  # pages of files, given up when needed
                yield max(0, int(bound) - int(taken) + reclaimable)
            if folder == root:
                break


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
