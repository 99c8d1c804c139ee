"""Where an experiment on a classifier keeps what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from squall.engine.experiment import Experiment

__all__ = ["ClassifierPlaces"]


class ClassifierPlaces:
    """The files of an experiment from stage 4 on.

    Attributes:
        tuning: the accuracies of the learning rates, shared by all seeds of a loss.
        model: folder of the trained network, whole in itself.
        history: the epochs of its training.
        checkpoint: the state of a training that has not ended.
        predicted: folder of its answers.
        known_labels: the classes in the order of their numbers; a study says where they are.
    """

    known_labels: Path

    def __init__(self, experiment: Experiment[Any]) -> None:
        self.tuning = experiment.shared("tune", experiment.config.tuned()) / "tuning.json"
        self.model = experiment.directory / "train" / "model"
        self.history = experiment.directory / "train" / "history.json"
        self.checkpoint = experiment.directory / "train" / "checkpoint.pt"
        self.predicted = experiment.directory / "predict"

    @property
    def labels(self) -> Path:
        """The classes in the order of their numbers, beside the trained network."""
        return self.model / "labels.json"

    def logits(self, split: str) -> Path:
        """The trained network's logits of a split."""
        return self.predicted / f"{split}.npz"
