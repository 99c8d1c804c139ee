"""Settings of the recipe `spiral`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from squall.corpora.settings import CorpusConfig
from squall.engine.config import ExperimentConfig
from squall.networks.stack import NetworkSettings
from squall.studies.losses import ComparedLosses

__all__ = ["SpiralConfig", "SpiralSettings"]


class SpiralSettings(ComparedLosses):
    """What the two-spirals study draws, trains and looks at.

    Args:
        losses: as in `ComparedLosses`.
        samples: of both classes together, in the training part; the test part has as many.
        turns: that each spiral makes around the centre.
        noise: standard deviation added to both coordinates; the spirals end at a radius of 1.
        network: the network and its training; its `epochs` are not used.
        epochs: after which the boundaries are looked at, 100, 500 and 1,000 in the source.
        grid: points of the boundary's picture along each side.
        extent: the picture shows both coordinates from minus this to this.

    The source gives no number of samples, noise or network for this figure; these are chosen so
    that the classes overlap a little and all losses are still learning at the first look.

    Source: Hui 2023 (thesis), Figure 4.3.
    """

    samples: int = Field(default=1000, ge=4)
    turns: float = Field(default=1.5, gt=0)
    noise: float = Field(default=0.05, ge=0)
    network: NetworkSettings = NetworkSettings()
    epochs: tuple[int, ...] = Field(default=(100, 500, 1000), min_length=1)
    grid: int = Field(default=101, ge=2)
    extent: float = Field(default=1.2, gt=0)

    @field_validator("epochs")
    @classmethod
    def _rising_epochs(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] < 1 or list(value) != sorted(set(value)):
            raise ValueError(f"epochs are {list(value)}; they must be rising numbers from 1")
        return value


class SpiralConfig(ExperimentConfig):
    """Everything that decides the numbers of the two-spirals study.

    Args:
        study: what to draw, train and look at.
    """

    task: Literal["spiral"] = "spiral"
    corpus: CorpusConfig = CorpusConfig(name="spirals")
    study: SpiralSettings = SpiralSettings()

    @property
    def system(self) -> str:
        """All losses: they are trained side by side."""
        return " and ".join(self.study.losses)
