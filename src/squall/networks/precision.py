"""Products in bfloat16 where the machine has instructions for them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import torch

__all__ = ["multiplies_bfloat16", "rounded_as"]

_FLAGS = {
    "avx512_bf16",
    "amx_bf16",
    "bf16",
}  # Linux's names of AMD's, Intel's and ARM's instructions


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has instructions that do; False where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return not _FLAGS.isdisjoint(next(flags, "").split())


def rounded_as(precision: str, device: str) -> AbstractContextManager[None]:
    """A context in which products are rounded to a precision.

    Args:
        precision: `float32`, `bfloat16`, or `auto` for bfloat16 on CPUs that have instructions for
            it and float32 elsewhere.
        device: `cpu` or `cuda`.
    """
    if precision == "auto":
        precision = "bfloat16" if device == "cpu" and multiplies_bfloat16() else "float32"
    found: AbstractContextManager[None] = torch.autocast(
        torch.device(device).type, dtype=torch.bfloat16, enabled=precision == "bfloat16"
    )
    return found
