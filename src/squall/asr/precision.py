"""Whether a training multiplies in bfloat16 or in float32."""

from __future__ import annotations

from pathlib import Path

import yaml

from squall.asr.settings import RecognitionConfig
from squall.networks.precision import multiplies_bfloat16

__all__ = ["choose_precision"]


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
