"""The numbered stages of the two-spirals study.

0 check · 5 train · 7 score, numbered as in the other recipes; the report, stage 8, is made once
over all experiments of a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from squall.engine.experiment import Experiment
from squall.engine.scored import blank_record
from squall.engine.stages import Report, Stage
from squall.files import atomic_path
from squall.report.records import Record, write_records
from squall.studies.spiral.settings import SpiralConfig
from squall.studies.spiral.study import Boundary, SpiralStudy, study_spirals

__all__ = ["read_study", "spiral_stages"]


class _Recipe:
    """The stages of one experiment."""

    def __init__(self, experiment: Experiment[SpiralConfig]) -> None:
        self.experiment = experiment
        self.config = experiment.config
        self.path = _study_path(experiment)

    def stages(self) -> list[Stage]:
        directory = self.experiment.directory
        return [
            Stage(0, "check", directory, self.check),
            Stage(5, "train", directory, self.train, settings=self.config.hashed(),
                  outputs=(self.path,)),
            Stage(7, "score", self.experiment.score_dir, self.score, inputs=(self.path,),
                  outputs=(self.experiment.result_path,)),
        ]  # fmt: skip

    def check(self, report: Report) -> None:
        """Say what will be trained."""
        study = self.config.study
        report(
            1, 1,
            f"{len(study.losses)} networks, {study.samples} samples, {study.epochs[-1]} epochs",
        )  # fmt: skip

    def train(self, report: Report) -> None:
        """Train a network per loss, and keep what each says after some epochs."""
        torch.set_num_threads(self.experiment.options.threads)
        epochs = self.config.study.epochs[-1]
        study = study_spirals(
            self.config.study,
            seed=self.config.seed,
            on_epoch=lambda epoch: report(epoch, epochs, f"epoch {epoch} of {epochs}"),
        )
        _write_study(self.path, study)

    def score(self, report: Report) -> None:
        """Write accuracy and calibration error of every boundary."""
        write_records(self.experiment.result_path, list(self._records()))
        report(1, 1, "scored")

    def _records(self) -> Iterator[Record]:
        template = replace(blank_record(self.experiment), n=self.config.study.samples)
        for boundary in read_study(self.experiment).boundaries:
            for metric in ("accuracy", "ece"):
                yield replace(
                    template,
                    system=boundary.loss,
                    condition=f"{boundary.epoch} epochs",
                    metric=metric,
                    value=100 * float(getattr(boundary, metric)),
                )


def spiral_stages(experiment: Experiment[SpiralConfig]) -> list[Stage]:
    """The stages of an experiment, without the report."""
    return _Recipe(experiment).stages()


def _study_path(experiment: Experiment[Any]) -> Path:
    return experiment.directory / "train" / "study.npz"


def _write_study(path: Path, study: SpiralStudy) -> None:
    def column(name: str) -> NDArray[Any]:
        return np.array([getattr(boundary, name) for boundary in study.boundaries])

    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            inputs=study.inputs,
            targets=study.targets,
            axis=study.axis,
            loss=column("loss"),
            epoch=column("epoch"),
            probs=column("probs"),
            accuracy=column("accuracy"),
            ece=column("ece"),
        )


def read_study(experiment: Experiment[Any]) -> SpiralStudy:
    """What the train stage of an experiment has found."""
    with np.load(_study_path(experiment), allow_pickle=False) as found:
        columns = (found[name] for name in ("loss", "epoch", "probs", "accuracy", "ece"))
        boundaries = [
            Boundary(str(loss), int(epoch), probs, float(accuracy), float(ece))
            for loss, epoch, probs, accuracy, ece in zip(*columns, strict=True)
        ]
        return SpiralStudy(found["inputs"], found["targets"], found["axis"], tuple(boundaries))
