"""Settings of the recipes `tabular` and `spiral`."""

from __future__ import annotations

from typing import Literal

from squall.config import CorpusConfig, ExperimentConfig, flatten
from squall.studies.spiral import SpiralSettings
from squall.studies.tabular import TabularSettings

__all__ = ["SpiralConfig", "TabularConfig"]

_NOT_CHOICES = ("losses", "initialisations")


class TabularConfig(ExperimentConfig):
    """Everything that decides the numbers of the tabular study.

    Args:
        sets: the names of the sets to train on; empty for all.
        study: what to train and how to score it.
    """

    task: Literal["tabular"] = "tabular"
    sets: tuple[str, ...] = ()
    study: TabularSettings = TabularSettings()

    @property
    def system(self) -> str:
        """All losses: they are trained side by side."""
        return " and ".join(self.study.losses)

    @property
    def choices(self) -> str:
        """What the source leaves open and is chosen otherwise here than by default.

        >>> study = TabularSettings(scaling="published", bins=15)
        >>> corpus = CorpusConfig(name="uci121")
        >>> TabularConfig(recipe="tabular", experiment="all", corpus=corpus, study=study).choices
        'scaling=published bins=15'
        """
        usual, chosen = flatten(TabularSettings().model_dump()), flatten(self.study.model_dump())
        return " ".join(
            f"{key.removeprefix('network.')}={value}"
            for key, value in chosen.items()
            if key.partition(".")[0] not in _NOT_CHOICES and value != usual.get(key)
        )


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
