"""The numbered stages of the study of mixtures."""

from __future__ import annotations

from squall.engine.experiment import Experiment
from squall.engine.stages import Stage
from squall.studies.mixtures.lemmas import check_lemmas
from squall.studies.mixtures.paths import follow_paths
from squall.studies.mixtures.settings import (
    MixtureKind,
    MixturesConfig,
    MixturesSettings,
    PathSettings,
)
from squall.studies.simulations import Number, Simulation, SimulationRecipe

__all__ = ["list_stages"]


class _Recipe(SimulationRecipe[MixturesConfig]):
    """The stages of one experiment."""

    def simulations(self) -> list[Simulation]:
        """Paths, which are longest, then lemmas."""
        study, first = self.config.study, self.config.seed
        seeds = range(first, first + study.seeds)
        paths = [
            Simulation(f"path-{_name(kind)}-seed{seed}", seed, _follow, (kind, study.path, seed))
            for kind in dict.fromkeys(study.path.mixtures)
            for seed in seeds
        ]
        lemmas = [
            Simulation(f"lemmas-{_name(kind)}-seed{seed}", seed, _check, (kind, study, seed))
            for kind in dict.fromkeys(study.grid.kinds)
            for seed in seeds
        ]
        return paths + lemmas


def list_stages(experiment: Experiment[MixturesConfig]) -> list[Stage]:
    """The stages of an experiment, without the report."""
    return _Recipe(experiment).stages()


def _name(kind: MixtureKind) -> str:
    correlation = kind.correlation if kind.correlation == "random" else f"{kind.correlation:g}"
    return f"K{kind.classes}-d{kind.features}-{correlation}-s{kind.noise:g}"


def _follow(kind: MixtureKind, path: PathSettings, seed: int) -> list[Number]:
    return follow_paths(kind, path, seed=seed)


def _check(kind: MixtureKind, study: MixturesSettings, seed: int) -> list[Number]:
    return check_lemmas(kind, study, seed=seed)
