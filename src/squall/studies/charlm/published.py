"""What the sources publish of these corpora."""

from __future__ import annotations

from squall.report.published import Published

__all__ = ["PUBLISHED"]


def _entry(title: str, dataset: str, **values: tuple[float, float]) -> Published:
    found = {loss: {"accuracy": accuracy, "ece": ece} for loss, (accuracy, ece) in values.items()}
    return Published(title, (dataset,), found)


PUBLISHED = (
    _entry("text8", "text8", ce=(72.8, 5.8), squentropy=(71.5, 3.9), square=(73.2, 57.6)),
    _entry("enwik8", "enwik8", ce=(77.5, 9.3), squentropy=(77.0, 4.8), square=(76.7, 64.5)),
    _entry("enwik8, a subset", "enwik8",
           ce=(48.6, 18.9), squentropy=(48.9, 10.7), square=(47.3, 70.6)),
)  # fmt: skip
"""Accuracy of the next character and ECE, in percent; Transformer-XL, Hui 2023 (thesis) and Hui,
Belkin and Wright 2023. They do not say which part of enwik8 the subset is."""
