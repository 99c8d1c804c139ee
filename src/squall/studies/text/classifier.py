"""A trained text classifier on texts of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from squall.engine.experiment import Experiment
from squall.engine.scored import read_json
from squall.engine.tasks import open_experiment
from squall.report.calibration import CALIBRATION
from squall.studies.text.dataset import EncodedTexts
from squall.studies.text.family import load_family
from squall.studies.text.places import TextPlaces
from squall.studies.text.settings import EncoderSettings, TextConfig
from squall.studies.text.training import predict_logits

__all__ = ["Answer", "TextClassifier"]


@dataclass(frozen=True)
class Answer:
    """What the classifier says of a text.

    Args:
        label: the most probable one.
        probs: of all labels, in [0, 1].
    """

    label: str
    probs: dict[str, float]

    @property
    def confidence(self) -> float:
        """The probability of the label."""
        return self.probs[self.label]


class TextClassifier:
    """The trained network of an experiment.

    Args:
        directory: the experiment's folder, `exp/text/<experiment>-<hash>`; nothing outside it is
            read.
        calibrated: whether probabilities are at the temperature that was fitted on the development
            set.
        device: `cpu` or `cuda`.

    Raises:
        FileNotFoundError: the folder holds no trained model, or it has not been scored and a
            temperature is asked for.
        ValueError: it is an experiment of another task.
    """

    def __init__(self, directory: Path, *, calibrated: bool = False, device: str = "cpu") -> None:
        experiment: Experiment[TextConfig] = open_experiment(directory, TextConfig)
        places = TextPlaces(experiment)
        if not places.history.is_file():
            raise FileNotFoundError(
                f"{directory} holds no trained model: run its stages up to 5 (train) first"
            )
        self.config = experiment.config
        self.device = device
        self.labels: list[str] = read_json(places.labels)
        self.temperature = 1.0
        if calibrated:
            path = experiment.score_dir / CALIBRATION
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing: run stage 7 (score) first")
            self.temperature = float(read_json(path)["temperature"])
        self._family = load_family(self.config, places.model)
        self._network = self._family.load_network(places.model, classes=len(self.labels)).to(device)
        self._loss = self.config.loss.build(classes=len(self.labels))

    @property
    def pairs(self) -> bool | None:
        """Whether it takes pairs of texts; None where it takes either."""
        return None if isinstance(self.config.model, EncoderSettings) else True

    def classify(self, texts: Sequence[tuple[str, str | None]]) -> list[Answer]:
        """Label texts, or pairs of texts; those that are too long are cut as in the training.

        Raises:
            ValueError: a text is empty, or single texts are given to a model of pairs.
        """
        for number, text in enumerate(texts, start=1):
            if not all(part is None or part.strip() for part in text):
                raise ValueError(f"text {number} is empty")
            if self.pairs and text[1] is None:
                raise ValueError(
                    f"text {number} is a single text, and {self.config.model.kind} takes pairs: "
                    "separate both texts by a tab"
                )
        if not texts:
            return []
        inputs, truncated = self._family.encode(texts)
        encoded = EncodedTexts(inputs, np.zeros(len(texts), dtype=np.int64), truncated)
        logits = predict_logits(
            self._network, self._family, encoded, self.config.training, self.device
        )
        scaled = self._loss.softmax_logits(torch.from_numpy(logits).double()) / self.temperature
        probs = torch.softmax(scaled, dim=1).tolist()
        return [
            Answer(self.labels[int(np.argmax(row))], dict(zip(self.labels, row, strict=True)))
            for row in probs
        ]
