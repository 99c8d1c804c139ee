"""Studies that run in seconds: their settings, and data to run them on."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import numpy as np

TABULAR: dict[str, Any] = {
    "study.network.epochs": 3,
    "study.network.hidden": [4],
    "study.initialisations": 2,
    "seed": 5,
}


MIXTURES: dict[str, Any] = {
    "study.grid": {"classes": [3, 8], "features": [4], "correlation": ["random", 0.5]},
    "study.weights": [500],
    "study.path": {
        "mixtures": [{"classes": 3, "features": 4}, {"classes": 3, "features": 4, "noise": 1.0}],
        "samples": 40,
        "test_samples": 300,
        "steps": 30,
    },
    "study.samples": 500,
    "study.seeds": 2,
}


CHARLM: dict[str, Any] = {
    "network.layers": 2,
    "network.d_model": 16,
    "network.heads": 2,
    "network.d_inner": 24,
    "network.memory": 8,
    "network.dropout": 0.1,
    "training.batch": 4,
    "training.segment": 8,
    "training.steps": 10,
    "training.steps_per_epoch": 4,
    "training.warmup": 2,
    "training.dev_tokens": 200,
    "training.precision": "float32",
    "evaluation.segment": 16,
    "evaluation.memory": 16,
    "evaluation.block": 50,
    "text.ngrams": [2, 3],
}
WORDS = ("the", "cat", "sat", "on", "a", "mat", "then", "it", "ate", "one", "rat", "near", "me")


def write_uci_set(root: Path, name: str, *, samples: int) -> Path:
    """Two classes of Gaussian inputs with four different folds, in the collection's form."""
    random = np.random.default_rng(samples)
    folder = root / name
    folder.mkdir(parents=True)
    targets = np.arange(samples) % 2
    inputs = random.standard_normal((samples, 3)) + 2 * targets[:, None]
    lines = ["\tf1\tf2\tf3\tclase"]
    for row, (values, target) in enumerate(zip(inputs, targets, strict=True), 1):
        lines.append("\t".join([str(row), *(f"{v:.6f}" for v in values), str(target)]))
    (folder / f"{name}_R.dat").write_text("\n".join(lines) + "\n")
    cut = 3 * samples // 4
    orders = [random.permutation(samples) for _ in range(5)]
    parts = [" ".join(map(str, part)) for o in orders for part in (o[:cut], o[cut:])]
    (folder / "conxuntos.dat").write_text("\n".join(parts[:2]) + "\n")
    (folder / "conxuntos_kfold.dat").write_text("\n".join(parts[2:]) + "\n")
    return folder


def write_words(folder: Path, *, extra: bytes = b"") -> Path:
    """Words drawn at random in the form of text8; `extra` ends the development part."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, words in {"train": 900, "valid": 120, "test": 160}.items():
        text = "".join(f" {word}" for word in random.choice(WORDS, size=words)).encode()
        (folder / f"{name}.txt.xz").write_bytes(lzma.compress(text + extra * (name == "valid")))
    return folder
