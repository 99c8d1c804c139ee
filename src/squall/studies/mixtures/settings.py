"""Settings of the recipe `mixtures`."""

from __future__ import annotations

from itertools import product
from typing import Literal

from pydantic import Field, field_validator

from squall.corpora.settings import CorpusConfig
from squall.engine.config import ExperimentConfig
from squall.settings import Settings
from squall.theory import Mixture
from squall.theory.mixtures import equiangular_centres, random_centres

__all__ = ["MixtureGrid", "MixtureKind", "MixturesConfig", "MixturesSettings", "PathSettings"]


class MixtureKind(Settings):
    """A mixture but for the seed of its centres.

    Args:
        classes, features: K and d.
        correlation: the product of every two centres, which needs K <= d; or `random` for centres
            that are uniform on the sphere.
        noise: s, the standard deviation in every direction.
    """

    classes: int = Field(default=10, ge=2)
    features: int = Field(default=20, ge=2)
    correlation: float | Literal["random"] = "random"
    noise: float = Field(default=0.3, gt=0)

    def draw(self, seed: int) -> Mixture:
        """The mixture with the centres of a seed, of Gaussian noise.

        Raises:
            ValueError: there are no such centres.
        """
        sizes = {"classes": self.classes, "features": self.features}
        if self.correlation == "random":
            return Mixture(random_centres(**sizes, seed=seed), self.noise)
        return Mixture(equiangular_centres(**sizes, correlation=self.correlation), self.noise)


class MixtureGrid(Settings):
    """All combinations of the lists; see `MixtureKind`. Equiangular centres only where K <= d."""

    classes: tuple[int, ...] = Field(default=(3, 12, 50), min_length=1)
    features: tuple[int, ...] = Field(default=(8, 60), min_length=1)
    correlation: tuple[float | Literal["random"], ...] = Field(default=("random",), min_length=1)
    noise: tuple[float, ...] = Field(default=(0.1, 0.3, 1.0), min_length=1)

    @property
    def kinds(self) -> list[MixtureKind]:
        """The combinations that there are."""
        every = product(self.classes, self.features, self.correlation, self.noise)
        return [
            MixtureKind(classes=k, features=d, correlation=c, noise=s)
            for k, d, c, s in every
            if c == "random" or k <= d
        ]


class PathSettings(Settings):
    """Gradient descent on a linear classifier, with each loss.

    Args:
        mixtures: what is learned.
        samples: N of the training part.
        test_samples: of new samples.
        steps: of length 1 / L each, L the bound of the loss's curvature, from weights of zero.
        weight: w of CCQL.
        within: percent points; training has ended where its accuracy is so near its last.
    """

    mixtures: tuple[MixtureKind, ...] = (
        MixtureKind(noise=0.2),
        MixtureKind(noise=0.4),
        MixtureKind(classes=50, features=20, noise=0.2),
        MixtureKind(classes=50, features=100, noise=0.2),
        MixtureKind(classes=10, features=100, correlation=0.0, noise=0.3),
        MixtureKind(classes=10, features=100, correlation=0.7, noise=0.15),
    )
    samples: int = Field(default=500, ge=10)
    test_samples: int = Field(default=20_000, ge=10)
    steps: int = Field(default=3000, ge=2)
    weight: float = Field(default=10.0, ge=0)
    within: float = Field(default=0.5, gt=0)


class MixturesSettings(Settings):
    """What is computed.

    Args:
        grid: the mixtures of the lemmas.
        weights: w of lemma 3.5.
        epsilon: the cross-entropy that lemma 3.2 asks for.
        path: gradient descent.
        samples: of a sampled cross-entropy.
        seeds: draws of centres, and of samples.
    """

    grid: MixtureGrid = MixtureGrid(correlation=("random", 0.0, 0.5))
    weights: tuple[float, ...] = Field(default=(1.0, 10.0, 500.0), min_length=1)
    epsilon: float = Field(default=0.05, gt=0)
    path: PathSettings = PathSettings()
    samples: int = Field(default=20_000, ge=2)
    seeds: int = Field(default=10, ge=1)

    @field_validator("grid", "path")
    @classmethod
    def _centres_exist(cls, value: MixtureGrid | PathSettings) -> MixtureGrid | PathSettings:
        kinds = value.kinds if isinstance(value, MixtureGrid) else value.mixtures
        for kind in kinds:
            kind.draw(0)
        return value


class MixturesConfig(ExperimentConfig):
    """Everything that decides the numbers of the study.

    Args:
        study: what is computed.
    """

    task: Literal["mixtures"] = "mixtures"
    corpus: CorpusConfig = CorpusConfig(name="mixtures")
    study: MixturesSettings = MixturesSettings()

    @property
    def system(self) -> str:
        """All losses stand side by side."""
        return "ce, quadratic and ccql"
