"""Texts whose label one word decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_table(path: Path, rows: list[tuple[str, ...]], header: str) -> None:
    """A table of tab-separated fields."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def opinions(count: int, seed: int) -> list[tuple[str, str]]:
    """Labels and texts: one word decides whether a film is praised."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        praised = number % 2
        word = random.choice(["good", "fine"] if praised else ["bad", "poor"])
        subject = random.choice(["the film", "a film", "the plot", "the plot the film"])
        rows.append((str(praised), f"{subject} is {word}"))
    return rows
