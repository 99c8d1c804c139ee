"""Where an experiment on images keeps what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from squall.classification.places import ClassifierPlaces
from squall.engine.experiment import Experiment

__all__ = ["ImagePlaces"]


class ImagePlaces(ClassifierPlaces):
    """The folders and files of an experiment.

    Attributes:
        prepared: folder of the images, which experiments on the same choice share.
        known_labels: the classes in the order of their numbers.
        weights: of the trained network.
        snapshots: folder of weights along the training.
        collapse: the measures of neural collapse along the training.
        transfer_images: folder of those that the network is fine-tuned with.
        transfer: how well that went, from the weights after each epoch that is measured.
    """

    def __init__(self, experiment: Experiment[Any]) -> None:
        super().__init__(experiment)
        folder = experiment.shared("images", experiment.config.prepared())
        self.prepared = folder / "images"
        self.known_labels = folder / "labels.json"
        self.weights = self.model / "weights.pt"
        self.snapshots = experiment.directory / "train" / "snapshots"
        self.collapse = self.predicted / "collapse.json"
        self.transfer_images = folder / "transfer"
        self.transfer = self.predicted / "transfer.json"

    def snapshot(self, epoch: int) -> Path:
        """The weights after an epoch; 0 for before the first."""
        return self.snapshots / f"epoch-{epoch}.pt"
