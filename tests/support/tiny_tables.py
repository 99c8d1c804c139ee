"""Tables of the UCI collection, made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np


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
