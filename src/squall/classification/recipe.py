"""The stages that experiments on classifiers share, from the choice of the learning rate on."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from squall.classification.places import ClassifierPlaces
from squall.classification.scores import ClassifierScores, score_classifier
from squall.classification.settings import ClassifierConfig
from squall.engine.recipe import Recipe
from squall.engine.stages import Stage, Work
from squall.files import read_arrays, read_json, write_arrays, write_json
from squall.networks.checkpoint import Checkpoint
from squall.networks.loop import Epoch, Trained
from squall.report.records import Record, write_records
from squall.scoring.metrics import declared

__all__ = ["ClassifierRecipe", "Fit", "read_logits"]

Config = TypeVar("Config", bound=ClassifierConfig)

_SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class Fit:
    """A training that is asked for.

    Args:
        learning_rate: the highest.
        seed: of everything that it draws.
        checkpoint: where it keeps its state.
        on_epoch: told each epoch.
    """

    learning_rate: float
    seed: int
    checkpoint: Checkpoint
    on_epoch: Callable[[Epoch], object]


class ClassifierRecipe(Recipe[Config]):
    """Stages 4 to 7 of a classifier; a study has those before, the training and the prediction.

    Attributes:
        places: where the experiment keeps what.
    """

    places: ClassifierPlaces

    @property
    def labels(self) -> list[str]:
        """The classes in the order of their numbers, as the stages before have found them."""
        found: list[str] = read_json(self.places.known_labels)
        return found

    @abstractmethod
    def fit(self, asked: Fit) -> tuple[nn.Module, Trained]:
        """Train a network. Among the measures of each epoch is `dev_accuracy`, in [0, 1]."""

    @abstractmethod
    def save(self, network: nn.Module) -> None:
        """Write the trained network and all that it needs into `places.model`."""

    @abstractmethod
    def answer(
        self, split: str, on_batch: Callable[[int], object]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Logits (N, C) of the network in `places.model` and targets (N,) of a split, in its
        order."""

    def further_metrics(self) -> Mapping[str, Mapping[str, float]]:
        """Numbers of the trained network beside its answers, by condition and name."""
        return {}

    @property
    def trained(self) -> tuple[Path, ...]:
        """What training writes beside `places.model` and the epochs."""
        return ()

    @property
    def predicted(self) -> tuple[Path, ...]:
        """What predicting writes beside the answers, for `further_metrics`."""
        return ()

    def write_answers(self, scores: ClassifierScores) -> None:
        """Write the answers on the test set for people, into the score folder; or nothing."""

    def classifier_stages(self, inputs: tuple[Path, ...], tested: tuple[Path, ...]) -> list[Stage]:
        """The stages.

        Args:
            inputs: files that decide the training.
            tested: files that decide what is predicted and scored.
        """
        places, config = self.places, self.config
        answers = tuple(map(places.logits, ("dev", "test")))
        epochs, predicted = (places.history,), self.predicted
        return [
            self.stage("tune", places.tuning.parent, self.tune, settings=config.tuned(),
                       inputs=inputs, outputs=(places.tuning,)),
            self.stage("train", self.train_dir, self.train, settings=config.hashed(),
                       inputs=(*inputs, places.tuning),
                       outputs=(*epochs, places.model, *self.trained),
                       set_aside=lambda: shutil.rmtree(self.train_dir, ignore_errors=True)),
            self.stage("predict", places.predicted, self.predict, inputs=(*tested, *epochs),
                       outputs=(*answers, *predicted)),
            self.stage("score", self.score_dir, self.score,
                       inputs=(*tested, *answers, *predicted, places.tuning, *epochs),
                       outputs=(self.result_path,)),
        ]  # fmt: skip

    def _fit(
        self, work: Work, *, learning_rate: float, seed: int, checkpoint: Path, what: str
    ) -> tuple[nn.Module, list[dict[str, Any]]]:
        """A trained network and its epochs."""
        self.set_threads()
        epochs = self.config.training.epochs
        stamp = {**work.stamp, "learning_rate": learning_rate, "seed": seed}
        network, trained = self.fit(
            Fit(
                learning_rate,
                seed,
                Checkpoint(checkpoint, stamp, _SAVE_EVERY_S),
                lambda epoch: work(epoch.epoch, epochs, what + _told(epoch)),
            )
        )
        best = trained.best.epoch if trained.best else len(trained.history)
        return network, [
            {
                "epoch": epoch.epoch,
                "seconds": round(epoch.seconds, 3),
                "loss": epoch.loss,
                "kept": epoch.epoch == best,
                "learning_rate": learning_rate,
                **epoch.measures,
            }
            for epoch in trained.history
        ]

    def tune(self, work: Work) -> None:
        """Choose the learning rate by the accuracy on the development set."""
        settings = self.config.training
        rates = settings.learning_rates
        found: list[dict[str, float]] = []
        for rate in rates if len(rates) > 1 else ():
            _, epochs = self._fit(
                work, learning_rate=rate, seed=settings.tuned_with_seed,
                checkpoint=self.places.tuning.with_name(f"checkpoint-{rate:g}.pt"),
                what=f"learning rate {rate:g}, ",
            )  # fmt: skip
            accuracy = next(epoch["dev_accuracy"] for epoch in epochs if epoch["kept"])
            found.append({"learning_rate": rate, "dev_accuracy": accuracy})
        for path in self.places.tuning.parent.glob("checkpoint-*.pt"):
            path.unlink()
        chosen = max(found, key=lambda one: one["dev_accuracy"]) if found else {}
        rate = chosen.get("learning_rate", rates[0])
        write_json(self.places.tuning, {"chosen": rate, "tried": found}, indent=1)
        work(1, 1, f"learning rate {rate:g}" + ("" if found else ", the only one"))

    def train(self, work: Work) -> None:
        """Train the network, and keep it with its epochs."""
        network, epochs = self._fit(
            work,
            learning_rate=float(read_json(self.places.tuning)["chosen"]),
            seed=self.config.seed,
            checkpoint=self.places.checkpoint,
            what="",
        )
        self.save(network)
        write_json(self.places.labels, self.labels, indent=1)
        write_json(self.places.history, epochs, indent=1)
        self.places.checkpoint.unlink(missing_ok=True)

    def predict(self, work: Work) -> None:
        """Let the network answer on the development and test set."""
        self.set_threads()
        for split in ("dev", "test"):
            logits, targets = self.answer(split, partial(_tell, work, split))
            path = self.places.logits(split)
            write_arrays(path, {"logits": logits, "targets": targets}, compress=True)

    def score(self, work: Work) -> None:
        """Write what the answers are worth."""
        found = score_classifier(
            self.config.loss.build(classes=len(self.labels)),
            dev=read_logits(self.places.logits("dev")),
            test=read_logits(self.places.logits("test")),
        )
        self.score_dir.mkdir(parents=True, exist_ok=True)
        found.write(self.score_dir)
        self.write_answers(found)
        write_records(self.result_path, self._records(found))
        work(1, 1, f"test accuracy {100 * found.test.calibration.accuracy:.2f} %")

    def _records(self, found: ClassifierScores) -> list[Record]:
        epochs = read_json(self.places.history)
        tuned = read_json(self.places.tuning)
        kept = next(epoch["epoch"] for epoch in epochs if epoch["kept"])
        template = replace(
            self.blank_record, dataset=self.config.dataset, seconds=epochs[-1]["seconds"],
            n=len(found.probs),
        )  # fmt: skip
        of_training = {
            "epochs": float(kept),
            "train_seconds": epochs[-1]["seconds"],
            "learning_rate": tuned["chosen"],
        }
        parts = [*found.metrics().items(), ("test", of_training), *self.further_metrics().items()]
        records = [
            template.measured(
                metric,
                100 * value if declared(metric).unit == "%" else value,
                otherwise="not defined on these answers",
                condition=condition,
            )
            for condition, values in parts
            for metric, value in values.items()
        ]
        return records + [
            template.measured(
                "accuracy", 100 * one["dev_accuracy"],
                condition=f"dev/learning rate {one['learning_rate']:g}",
                seed=self.config.training.tuned_with_seed,
                n=len(read_logits(self.places.logits("dev"))[1]),
            )
            for one in tuned["tried"]
        ]  # fmt: skip


def read_logits(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits (N, C) and targets (N,) of a split.

    Raises:
        FileNotFoundError: it has not been predicted.
        ValueError: the file is damaged.
    """
    names = ("logits", "targets")
    found = read_arrays(path, names, remedy="predict again with --stage 6 --force")
    return found["logits"], found["targets"]


def _told(epoch: Epoch) -> str:
    accuracy = epoch.measures["dev_accuracy"]
    return f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, dev accuracy {accuracy:.4f}"


def _tell(work: Work, what: str, done: int) -> None:
    work(done, max(done, 1), f"{what}: {done} answers")
