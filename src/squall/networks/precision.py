"""Whether a training multiplies in bfloat16 or in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch

__all__ = ["Precision", "choose_precision", "multiplies_bfloat16", "rounded_as"]

Precision = Literal["auto", "float32", "bfloat16"]
"""A setting: `auto` is bfloat16 on processors that multiply it, which is about twice as fast."""

_FLAGS = {
    "avx512_bf16",
    "amx_bf16",
    "bf16",
}  # Linux's names of AMD's, Intel's and ARM's instructions


def choose_precision(asked: Precision, *, device: str, begun: str | None = None) -> str:
    """`float32` or `bfloat16`.

    Args:
        asked: the setting.
        device: `cpu` or `cuda`.
        begun: that of the training that is continued, if there is one: it goes on as it began, on
            whatever processor.
    """
    if asked != "auto":
        return asked
    if begun is not None:
        return begun
    return "bfloat16" if device == "cpu" and multiplies_bfloat16() else "float32"


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has instructions that do; False where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return not _FLAGS.isdisjoint(next(flags, "").split())


def rounded_as(precision: Precision, device: str) -> AbstractContextManager[None]:
    """A context in which products are rounded as `choose_precision` says.

    Args:
        precision: the setting.
        device: `cpu` or `cuda`.
    """
    chosen = choose_precision(precision, device=device)
    found: AbstractContextManager[None] = torch.autocast(
        torch.device(device).type, dtype=torch.bfloat16, enabled=chosen == "bfloat16"
    )
    return found
