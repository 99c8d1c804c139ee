"""Trainings on the features of one prepared experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from squall.asr.settings import RecognitionConfig
from squall.engine.experiment import Experiment


def _shared(prepared: Experiment, stage: str) -> Path:
    (folder,) = (prepared.recipe_dir / "shared").glob(f"{stage}-*")
    return folder


def train(
    prepared: Experiment, settings: RecognitionConfig, output_dir: Path, *, data: str = "same"
) -> list[str]:
    """Train on the utterances of `prepared`; the messages. `data` stands for their content."""
    from squall.asr.training import train_recogniser

    told: list[str] = []
    train_recogniser(
        settings,
        data_dir=_shared(prepared, "data"),
        tokens_dir=_shared(prepared, "tokens"),
        stats_dir=_shared(prepared, "stats"),
        output_dir=output_dir,
        device="cpu",
        threads=1,
        fingerprint={"settings": settings.hashed(), "inputs": data},
        on_progress=lambda done, total, message: told.append(message),
    )
    return told


def epochs(output_dir: Path) -> list[int]:
    """The epochs that a training has been through."""
    return [epoch["epoch"] for epoch in json.loads((output_dir / "history.json").read_text())]


def weights(path: Path) -> dict[str, Any]:
    """The tensors of a file."""
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def same_bits(one: Path, other: Path) -> bool:
    """Whether two files hold the same tensors under the same names, bit for bit."""
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
