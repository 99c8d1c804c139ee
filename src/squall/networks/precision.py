"""Whether a training multiplies in bfloat16 or in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["Precision", "choose_precision", "multiplies_bfloat16"]

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
