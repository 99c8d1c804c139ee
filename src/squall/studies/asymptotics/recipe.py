"""The numbered stages of the study of asymptotics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from squall.corpora.fingerprint import corpus_fingerprint
from squall.corpora.images import read_images
from squall.engine.experiment import Experiment
from squall.engine.stages import Stage, StageError, Work
from squall.settings import digest
from squall.studies.asymptotics.equations import check_equations
from squall.studies.asymptotics.images import check_images, simulate_images
from squall.studies.asymptotics.settings import (
    AsymptoticsConfig,
    AsymptoticsSettings,
    ImageSettings,
)
from squall.studies.asymptotics.study import predict, simulate
from squall.studies.simulations import Number, Simulation, SimulationRecipe
from squall.theory import Setting

__all__ = ["list_stages"]


class _Recipe(SimulationRecipe[AsymptoticsConfig]):
    """The stages of one experiment."""

    def simulations(self) -> list[Simulation]:
        """Predictions, images, checks of the equations, and minima; the largest matrices first."""
        study, first = self.config.study, self.config.seed
        seeds = range(first, first + study.seeds)
        # Without what the figures leave alone, so that more of them repeat no work.
        alone = study.model_copy(update={"grids": {}, "seeds": 1})
        cells = _cells(study)
        simulations = [
            Simulation(
                f"minima-{_name(cell)}-d{d}-seed{seed}",
                *(seed, _simulate, (cell, rescale, alone, d, seed)),
            )
            for cell, sizes in cells.items()
            for d, rescale in sizes.items()
            for seed in seeds
        ]
        simulations.sort(key=lambda one: -_cost(one.arguments[0], one.arguments[3]))
        simulations += [
            Simulation(f"equations-{_name(cell)}-seed{seed}", seed, _check, (cell, alone, seed))
            for cell in cells
            for seed in seeds
        ]
        predictions = [
            Simulation(
                f"predicted-{_name(cell)}",
                *(first, predict, (cell, sorted(set().union(*sizes.values())), alone)),
            )
            for cell, sizes in cells.items()
        ]
        return predictions + list(self._of_images()) + simulations

    def _of_images(self) -> Iterator[Simulation]:
        study, first = self.config.study, self.config.seed
        if study.images is None:
            return
        # Part of a name, so that what was done with other images is not taken for these.
        which = digest(self.fingerprint())[:8]
        for k in reversed(study.images.classes):
            for seed in range(first, first + study.seeds):
                yield Simulation(
                    f"images-{which}-k{k}-seed{seed}",
                    *(seed, _on_images, (self.corpus_dir, study.images, k,
                                         study.descent.steps, seed)),
                )  # fmt: skip

    def fingerprint(self) -> Any:
        """Of the images, where there are some."""
        return None if self.config.study.images is None else corpus_fingerprint(self.corpus_dir)

    def check(self, work: Work) -> None:
        """Stop where the images are missing, or some are given that are not used."""
        images = self.config.study.images
        if images is None:
            if self.options.corpus_dirs:
                raise StageError(
                    f"--corpus-dir: {self.config.experiment} draws its data; images are read by "
                    "--preset cifar100, or where study.images is set"
                )
        elif not self.corpus_dir.is_dir():
            raise StageError(f"{self.corpus_dir} does not exist: give the images with --corpus-dir")
        else:
            check_images(read_images(self.corpus_dir), images)
        super().check(work)


def list_stages(experiment: Experiment[AsymptoticsConfig]) -> list[Stage]:
    """The stages of an experiment, without the report."""
    return _Recipe(experiment).stages()


def _cells(study: AsymptoticsSettings) -> dict[Setting, dict[int, list[float]]]:
    """R for every d of every setting, which may stand in several figures.

    A setting is at the first R of all.
    """
    found: dict[Setting, dict[int, set[float]]] = {}
    for grid in study.grids.values():
        for cell in grid.cells:
            sizes = found.setdefault(replace(cell, rescale=1.0), {})
            for d in grid.features:
                sizes.setdefault(d, set()).update(grid.rescale)
    return {
        replace(cell, rescale=min(set().union(*sizes.values()))): {
            d: sorted(sizes[d]) for d in sorted(sizes)
        }
        for cell, sizes in found.items()
    }


def _name(cell: Setting) -> str:
    return f"k{cell.classes}-beta{cell.beta:g}-noise{cell.label_noise:g}-lambda{cell.ridge:g}"


def _cost(cell: Setting, features: int) -> float:
    """Of a minimisation; where there are about as many active samples as features it is slow."""
    return cell.classes * cell.beta * features**2 * (features if 1 < cell.beta < 3 else 100)


def _simulate(
    cell: Setting, rescale: list[float], study: AsymptoticsSettings, features: int, seed: int
) -> list[Number]:
    return simulate(cell, rescale, study, features=features, seed=seed)


def _check(cell: Setting, study: AsymptoticsSettings, seed: int) -> list[Number]:
    return check_equations(cell, study, seed=seed)


def _on_images(
    folder: Path, images: ImageSettings, classes: int, steps: int, seed: int
) -> list[Number]:
    return simulate_images(folder, images, classes=classes, steps=steps, seed=seed)
