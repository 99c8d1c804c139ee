"""Whether a training multiplies in bfloat16 or in float32."""

from __future__ import annotations

from pathlib import Path

import yaml

from squall.asr.settings import RecognitionConfig

__all__ = ["choose_precision", "multiplies_bfloat16"]

_FLAGS = {
    "avx512_bf16",
    "amx_bf16",
    "bf16",
}  # Linux's names of AMD's, Intel's and ARM's instructions


def choose_precision(
    config: RecognitionConfig, *, device: str, settings: Path | None = None
) -> str:
    """`float32` or `bfloat16`, by the experiment's `precision`.

    Args:
        config: the experiment.
        device: `cpu` or `cuda`.
        settings: ESPnet's settings of the training that is continued, if there is one: it goes on
            as it began, on whatever processor.
    """
    if config.precision != "auto":
        return config.precision
    if settings is not None and settings.is_file():
        before = yaml.safe_load(settings.read_text(encoding="utf-8"))
        return str(before["model_conf"].get("precision", "float32"))
    return "bfloat16" if device == "cpu" and multiplies_bfloat16() else "float32"


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has instructions that do; False where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return not _FLAGS.isdisjoint(next(flags, "").split())
