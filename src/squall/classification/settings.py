"""Settings of an experiment that trains a classifier with one loss."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from squall.engine.config import ExperimentConfig
from squall.engine.loss import LossSettings
from squall.settings import Settings

__all__ = ["ClassifierConfig", "TrainingSettings"]


class TrainingSettings(Settings):
    """How a classifier is trained, as far as that does not depend on what it classifies.

    Args:
        epochs: at most so many.
        batch_size: samples of a step.
        learning_rate: the highest one; of several stage 4 takes the one with the highest accuracy
            on the development set, the first of those that tie.
        tuned_with_seed: the seed of the trainings that it compares.
        weight_decay: see the task.
        keep: the epoch with the `best` accuracy on the development set, or the `last`.
        patience: stop after so many epochs without a better one; None never does.
        precision: `auto` multiplies in bfloat16 on CPUs that have instructions for it and in
            float32 elsewhere.
    """

    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float | tuple[float, ...] = 2e-5
    tuned_with_seed: int = Field(default=1, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    keep: Literal["best", "last"] = "best"
    patience: int | None = Field(default=None, ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @field_validator("learning_rate")
    @classmethod
    def _positive(cls, value: float | tuple[float, ...]) -> float | tuple[float, ...]:
        rates = value if isinstance(value, tuple) else (value,)
        if not rates or not all(rate > 0 for rate in rates):
            raise ValueError("it must be a number above 0, or a list of such numbers")
        return value

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Those to choose from, one at least."""
        given = self.learning_rate
        return given if isinstance(given, tuple) else (given,)


class ClassifierConfig(ExperimentConfig):
    """What every experiment on a classifier has.

    Args:
        loss: what it is trained with.
        training: how.
    """

    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()

    @property
    def system(self) -> str:
        """The loss with the parameters that the settings give it."""
        return self.loss.label

    @property
    def dataset(self) -> str:
        """What results call the corpus, or what is taken of it."""
        return self.corpus.name

    def tuned(self) -> dict[str, Any]:
        """The settings that decide the learning rate: all but the seed."""
        return {key: value for key, value in self.hashed().items() if key != "seed"}
