"""Where an experiment on texts keeps what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from squall.classification.places import ClassifierPlaces
from squall.engine.experiment import Experiment

__all__ = ["TextPlaces"]


class TextPlaces(ClassifierPlaces):
    """The folders and files of an experiment.

    Attributes:
        prepared: folder of the texts, which experiments on the same corpus share.
        encoded: folder of their tokens, shared by all losses and seeds of a model.
        known_labels: the labels in the order of their numbers.
    """

    def __init__(self, experiment: Experiment[Any]) -> None:
        super().__init__(experiment)
        config = experiment.config
        self.prepared = experiment.shared("texts", config.prepared())
        self.encoded = experiment.shared("tokens", config.encoded())
        self.known_labels = self.prepared / "labels.json"

    def texts(self, split: str) -> Path:
        """The texts of a split, as JSON lines."""
        return self.prepared / f"{split}.jsonl"

    def tokens(self, split: str) -> Path:
        """Its tokens."""
        return self.encoded / f"{split}.npz"
