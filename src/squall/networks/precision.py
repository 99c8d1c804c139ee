"""Whether this machine multiplies in bfloat16."""

from __future__ import annotations

from pathlib import Path

__all__ = ["multiplies_bfloat16"]

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
