"""Settings of the recipe `asymptotics`."""

from __future__ import annotations

from itertools import product
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from squall.corpora.settings import CorpusConfig
from squall.engine.config import ExperimentConfig
from squall.settings import Settings
from squall.theory import Setting

__all__ = [
    "AsymptoticsConfig",
    "AsymptoticsSettings",
    "DescentSettings",
    "Grid",
    "ImageSettings",
    "VampSettings",
]


def _rising_positive(value: tuple[float, ...]) -> tuple[float, ...]:
    if not value[0] > 0 or list(value) != sorted(set(value)):
        raise ValueError(f"they are {list(value)}; they have to be rising positive numbers")
    return value


class Grid(Settings):
    """Settings that stand in one figure: all combinations of the lists.

    Args:
        classes, beta, label_noise, ridge: those of `squall.theory.Setting`.
        features: d of the simulations; with several, accuracy is extrapolated to the limit.
        rescale: R of the curves. What starts from least squares, or in effect from zero, is
            simulated at the first alone: it is proportional to R.
    """

    classes: tuple[int, ...] = Field(default=(10,), min_length=1)
    beta: tuple[float, ...] = Field(default=(0.2,), min_length=1)
    label_noise: tuple[float, ...] = Field(default=(0.0,), min_length=1)
    ridge: float = 1e-5
    features: tuple[int, ...] = Field(default=(500, 1000), min_length=1)
    rescale: tuple[float, ...] = Field(default=(1.0, 3.0, 10.0, 30.0, 100.0), min_length=1)

    @field_validator("features", "rescale")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return _rising_positive(value)

    @property
    def cells(self) -> list[Setting]:
        """All combinations, at the first R.

        Raises:
            ValueError: one of the values is out of its range.
        """
        return [
            Setting(k, beta, self.rescale[0], self.ridge, noise)
            for k, beta, noise in product(self.classes, self.beta, self.label_noise)
        ]


class DescentSettings(Settings):
    """Gradient descent, as a network is trained.

    Args:
        steps: of length 1 / (2 s_max^2 + lambda), s_max the largest singular value of the data.
        size: the standard deviation of the start. 1 gives outputs of variance 1, as the usual
            initialisation of a layer does.
    """

    steps: int = Field(default=300, ge=1)
    size: float = Field(default=1.0, gt=0)


class VampSettings(Settings):
    """Vector approximate message passing.

    Args:
        noise: nu of the first predictions, in units of R.
        gamma: their precision.
        followed: iterations that are set beside state evolution's.
        iterations: at most, of the run to the fixed point.
        damping: of that run.
    """

    noise: float = Field(default=0.3, gt=0)
    gamma: float = Field(default=2.0, gt=0)
    followed: int = Field(default=6, ge=1)
    iterations: int = Field(default=150, ge=1)
    damping: float = Field(default=0.7, gt=0, le=1)


class ImageSettings(Settings):
    """The same network on images, those of the experiment's corpus.

    Args:
        classes: k; the first of them in an order that is drawn with the seed.
        per_class: at most so many training images of each class, drawn with the seed. There is a
            matrix of all training images times all.
        rescale: R of gradient descent. Minima are found at the first alone, as they are
            proportional to R.
        starts: standard deviations of gradient descent's starts, as `DescentSettings.size`.
        ridge: lambda.
        minimised: minima are found where there are at most so many training images: a step of
            Newton's method solves a system of about so many equations for each class.
        ridges: lambdas of which the one is taken, for a further minimum, that is best on a fifth of
            the training images.
    """

    classes: tuple[int, ...] = Field(default=(10, 25, 50, 100), min_length=1)
    per_class: int = Field(default=50, ge=2)
    rescale: tuple[float, ...] = Field(default=(1.0, 3.0, 10.0, 30.0, 100.0), min_length=2)
    starts: tuple[float, ...] = Field(default=(0.01, 0.1, 1.0), min_length=1)
    ridge: float = Field(default=1e-5, gt=0)
    minimised: int = Field(default=2500, ge=0)
    ridges: tuple[float, ...] = Field(default=(0.1, 1.0, 10.0, 100.0), min_length=1)

    @field_validator("classes")
    @classmethod
    def _two_at_least(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] < 2:
            raise ValueError(f"they are {list(value)}; there have to be at least two")
        return _rising_positive(value)  # type: ignore[return-value]

    @field_validator("rescale", "starts", "ridges")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return _rising_positive(value)


class AsymptoticsSettings(Settings):
    """What is predicted and simulated.

    Args:
        grids: name of a figure to its settings; None for none.
        images: what is done with images; None for nothing.
        seeds: simulations of each setting and size; the seeds count up from the experiment's.
        small: standard deviation of the small random start.
        descent, vamp: see there.
        samples: new samples that accuracy is measured on.
        equations_rescale: R at which the printed equations are checked one by one.
        equations_size: the smaller of n and d of the minima that they are checked on, and d of the
            other matrices.
    """

    grids: dict[str, Grid] = Field(default={"k": Grid(classes=(2, 10))})
    images: ImageSettings | None = None
    seeds: int = Field(default=10, ge=1)
    small: float = Field(default=1e-3, gt=0)
    descent: DescentSettings = DescentSettings()
    vamp: VampSettings = VampSettings()
    samples: int = Field(default=50_000, ge=1)
    equations_rescale: float = Field(default=3.0, gt=0)
    equations_size: int = Field(default=400, ge=10)

    @field_validator("grids", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        # A file that builds on another one can only add to the figures of that.
        return {} if value is None else value

    @field_validator("grids")
    @classmethod
    def _settings_exist(cls, value: dict[str, Grid]) -> dict[str, Grid]:
        for grid in value.values():
            _ = grid.cells
        return value

    @model_validator(mode="after")
    def _something_to_do(self) -> AsymptoticsSettings:
        if not self.grids and self.images is None:
            raise ValueError("grids is empty and there are no images: nothing is simulated")
        return self


class AsymptoticsConfig(ExperimentConfig):
    """Everything that decides the numbers of the study.

    Args:
        study: what is predicted and simulated.
    """

    task: Literal["asymptotics"] = "asymptotics"
    corpus: CorpusConfig = CorpusConfig(name="gaussian")
    study: AsymptoticsSettings = AsymptoticsSettings()

    def hashed(self) -> dict[str, Any]:
        """As those of every experiment; without `images` where there are none.

        So the folders of experiments from before that setting are those of now.
        """
        settings = super().hashed()
        if self.study.images is None:
            del settings["study"]["images"]
        return settings

    @property
    def system(self) -> str:
        """Predictions and simulations stand side by side."""
        return "state evolution and minima"
