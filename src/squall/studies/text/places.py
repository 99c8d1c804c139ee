"""Where an experiment on texts keeps what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from squall.engine.experiment import Experiment

__all__ = ["TextPlaces"]


class TextPlaces:
    """The folders and files of an experiment.

    Attributes:
        prepared: folder of the texts, which experiments on the same corpus share.
        encoded: folder of their tokens, shared by all losses and seeds of a model.
        tuning: the accuracies of the learning rates, shared by all seeds of a loss.
        model: folder of the trained network, whole in itself.
        history: the epochs of its training.
        predicted: folder of its answers.
    """

    def __init__(self, experiment: Experiment[Any]) -> None:
        config = experiment.config
        self.prepared = experiment.shared("texts", config.prepared())
        self.encoded = experiment.shared("tokens", config.encoded())
        self.tuning = experiment.shared("tune", config.tuned()) / "tuning.json"
        self.model = experiment.directory / "train" / "model"
        self.history = experiment.directory / "train" / "history.json"
        self.checkpoint = experiment.directory / "train" / "checkpoint.pt"
        self.predicted = experiment.directory / "predict"

    def texts(self, split: str) -> Path:
        """The texts of a split, as JSON lines."""
        return self.prepared / f"{split}.jsonl"

    def tokens(self, split: str) -> Path:
        """Its tokens."""
        return self.encoded / f"{split}.npz"

    def logits(self, split: str) -> Path:
        """The trained network's logits of it."""
        return self.predicted / f"{split}.npz"

    @property
    def labels(self) -> Path:
        """The labels in the order of their numbers."""
        return self.prepared / "labels.json"
