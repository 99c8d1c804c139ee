"""The numbered stages of the two-spirals study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.engine.experiment import Experiment
from squall.engine.recipe import Recipe
from squall.engine.stages import Stage, Work
from squall.files import read_arrays, write_arrays
from squall.report.records import Record, write_records
from squall.studies.spiral.settings import SpiralConfig
from squall.studies.spiral.study import Boundary, SpiralStudy, study_spirals

__all__ = ["list_stages", "read_study"]

_COLUMNS = ("loss", "epoch", "probs", "accuracy", "ece")


class _Recipe(Recipe[SpiralConfig]):
    """The stages of one experiment."""

    def __init__(self, experiment: Experiment[SpiralConfig]) -> None:
        super().__init__(experiment)
        self.path = _study_path(experiment)

    def stages(self) -> list[Stage]:
        return [
            self.stage("check", self.directory, self.check),
            self.stage("train", self.directory, self.train, settings=self.config.hashed(),
                       outputs=(self.path,)),
            self.stage("score", self.score_dir, self.score, inputs=(self.path,),
                       outputs=(self.result_path,)),
        ]  # fmt: skip

    def check(self, work: Work) -> None:
        """Say what will be trained."""
        study = self.config.study
        work(
            1, 1,
            f"{len(study.losses)} networks, {study.samples} samples, {study.epochs[-1]} epochs",
        )  # fmt: skip

    def train(self, work: Work) -> None:
        """Train a network per loss, and keep what each says after some epochs."""
        self.set_threads()
        epochs = self.config.study.epochs[-1]
        study = study_spirals(
            self.config.study,
            seed=self.config.seed,
            on_epoch=lambda epoch: work(epoch, epochs, f"epoch {epoch} of {epochs}"),
        )
        _write_study(self.path, study)

    def score(self, work: Work) -> None:
        """Write accuracy and calibration error of every boundary."""
        write_records(self.result_path, list(self._records()))
        work(1, 1, "scored")

    def _records(self) -> Iterator[Record]:
        template = replace(self.blank_record, n=self.config.study.samples)
        for boundary in read_study(self.experiment).boundaries:
            for metric in ("accuracy", "ece"):
                yield template.measured(
                    metric,
                    100 * float(getattr(boundary, metric)),
                    otherwise="the network had diverged by then",
                    system=boundary.loss,
                    condition=f"{boundary.epoch} epochs",
                )


def list_stages(experiment: Experiment[SpiralConfig]) -> list[Stage]:
    """The stages of an experiment, without the report."""
    return _Recipe(experiment).stages()


def _study_path(experiment: Experiment[Any]) -> Path:
    return experiment.directory / "train" / "study.npz"


def _write_study(path: Path, study: SpiralStudy) -> None:
    def column(name: str) -> NDArray[Any]:
        return np.array([getattr(boundary, name) for boundary in study.boundaries])

    arrays = {name: getattr(study, name) for name in ("inputs", "targets", "axis")}
    write_arrays(path, arrays | {name: column(name) for name in _COLUMNS}, compress=True)


def read_study(experiment: Experiment[Any]) -> SpiralStudy:
    """What the train stage of an experiment has found."""
    found = read_arrays(_study_path(experiment), remedy="train again with --stage 5 --force")
    boundaries = [
        Boundary(str(loss), int(epoch), probs, float(accuracy), float(ece))
        for loss, epoch, probs, accuracy, ece in zip(*(found[c] for c in _COLUMNS), strict=True)
    ]
    return SpiralStudy(found["inputs"], found["targets"], found["axis"], tuple(boundaries))
