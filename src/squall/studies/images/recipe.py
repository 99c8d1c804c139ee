"""The numbered stages of an experiment on images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from squall.classification.recipe import ClassifierRecipe, Fit, read_logits
from squall.corpora.fingerprint import corpus_fingerprint
from squall.corpora.images import ImageSet, read_images
from squall.engine.experiment import Experiment
from squall.engine.stages import Stage, StageError, Work
from squall.files import file_digest, read_json, write_json
from squall.networks.loop import Epoch, Trained, train
from squall.networks.tensors import load_weights, write_tensors
from squall.networks.vision.architectures import build_network
from squall.networks.vision.classifier import ImageClassifier
from squall.networks.vision.images import Images
from squall.networks.vision.training import ImageTraining, feature_blocks, predict_images
from squall.scoring.collapse import (
    class_means,
    find_centres,
    score_collapse,
    score_neural_collapse,
    score_weak_collapse,
)
from squall.studies.images.places import ImagePlaces
from squall.studies.images.preparation import (
    SPLITS,
    choose_images,
    prepared_files,
    read_classes,
    read_prepared,
)
from squall.studies.images.settings import ImagesConfig
from squall.studies.images.transfer import fine_tune

__all__ = ["list_stages"]


class _Recipe(ClassifierRecipe[ImagesConfig]):
    """The stages of one experiment."""

    places: ImagePlaces

    def __init__(self, experiment: Experiment[ImagesConfig]) -> None:
        super().__init__(experiment)
        self.places = ImagePlaces(experiment)

    def stages(self) -> list[Stage]:
        places = self.places
        images = prepared_files(places.prepared)
        others = prepared_files(places.transfer_images) if self.config.transfer else ()
        return [
            self.stage("check", self.directory, self.check),
            self.stage("prepare", places.prepared.parent, self.prepare,
                       settings=self.config.prepared(),
                       outputs=(*images, *others, places.known_labels),
                       fingerprint=lambda: corpus_fingerprint(self.corpus_dirs)),
            # The last of the files tells what is in the others, which may be large.
            *self.classifier_stages(images[-1:], (*images[-1:], *others[-1:])),
        ]  # fmt: skip

    def _network(self, *, classes: int, shape: tuple[int, int, int]) -> ImageClassifier:
        network = self.config.network
        return build_network(
            network.name, shape=shape, classes=classes, seed=self.config.training.tuned_with_seed,
            **network.parameters,
        )  # fmt: skip

    def _read(self) -> ImageSet:
        if not self.corpus_dir.is_dir():
            raise StageError(f"{self.corpus_dir} does not exist: give the images with --corpus-dir")
        return read_images(self.corpus_dir, size=self.config.images.size)

    def check(self, work: Work) -> None:
        """Stop early where a later stage could not go on."""
        free = self.check_disk()
        self.check_device()
        found = choose_images(self._read(), self.config.images)
        classes = len(found.classes)
        self.config.loss.build(classes=classes)
        height, width, channels = found.parts["train"].shape
        try:
            network = self._network(classes=classes, shape=(channels, height, width))
        except ImportError as error:
            raise StageError(str(error)) from error
        weights = sum(parameter.numel() for parameter in network.parameters())
        sizes = ", ".join(f"{split} {len(found.parts[split])}" for split in SPLITS)
        work(
            1, 1,
            f"{free}, device {self.options.device}; images of {width} x {height}: {sizes}, of "
            f"{classes} classes; {weights / 1e6:.2f} million weights",
        )  # fmt: skip

    def prepare(self, work: Work) -> None:
        """Read the set, and write the images that are used."""
        whole = self._read()
        found = choose_images(whole, self.config.images)
        total = sum(map(len, found.parts.values()))
        found.write(self.places.prepared, lambda done: work(done, total, f"{done} images"))
        write_json(self.places.known_labels, list(found.classes), indent=1)
        if self.config.transfer is not None:
            others = choose_images(whole, self.config.transfer.images)
            others.write(self.places.transfer_images)
        work(total, total, ", ".join(f"{split} {len(found.parts[split])}" for split in SPLITS))

    def _images(self, split: str) -> Images:
        return read_prepared(self.places.prepared, split)

    def fit(self, asked: Fit) -> tuple[nn.Module, Trained]:
        """See `ClassifierRecipe`."""
        settings = self.config.training
        images, dev = self._images("train"), self._images("dev")
        classes = len(self.labels)
        torch.manual_seed(asked.seed)
        network = self._network(classes=classes, shape=images.shape).to(self.options.device)
        # Stage 4 compares learning rates and keeps no snapshots.
        kept = asked.checkpoint.path == self.places.checkpoint

        def tell(epoch: Epoch) -> None:
            if kept and epoch.epoch in settings.measured_epochs:
                _write_weights(self.places.snapshot(epoch.epoch), network)
            asked.on_epoch(epoch)

        if kept and settings.measured_epochs:  # which may all come after the last
            self.places.snapshots.mkdir(parents=True, exist_ok=True)
        if kept and 0 in settings.measured_epochs:
            _write_weights(self.places.snapshot(0), network)
        training = ImageTraining(
            network, images, dev, self.config.loss.build(classes=classes), settings.plan,
            learning_rate=asked.learning_rate, seed=asked.seed, device=self.options.device,
        )  # fmt: skip
        trained = train(
            training,
            epochs=settings.epochs,
            patience=settings.patience,
            checkpoint=asked.checkpoint,
            on_epoch=tell,
        )
        return network, trained

    def save(self, network: nn.Module) -> None:
        """See `ClassifierRecipe`."""
        _write_weights(self.places.weights, network)

    def _trained(self, path: Path, images: Images) -> ImageClassifier:
        network = self._network(classes=len(self.labels), shape=images.shape)
        load_weights(network, path)
        return network.to(self.options.device)

    @property
    def trained(self) -> tuple[Path, ...]:
        """See `ClassifierRecipe`."""
        return (self.places.snapshots,) if self.config.training.measured_epochs else ()

    @property
    def predicted(self) -> tuple[Path, ...]:
        """See `ClassifierRecipe`."""
        measured = (self.places.collapse,) if self.config.training.measured_epochs else ()
        return (*measured, *((self.places.transfer,) if self.config.transfer else ()))

    def answer(
        self, split: str, on_batch: Callable[[int], object]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See `ClassifierRecipe`."""
        images = self._images(split)
        network = self._trained(self.places.weights, images)
        logits = predict_images(
            network, images, self.config.training.plan, self.options.device, on_batch=on_batch
        )
        return logits, images.targets.numpy()

    def predict(self, work: Work) -> None:
        """As `ClassifierRecipe` does, and measure neural collapse along the training."""
        super().predict(work)
        if self.config.training.measured_epochs:
            write_json(self.places.collapse, list(self._collapse(work)), nan_as_null=True, indent=1)
        if self.config.transfer is not None:
            write_json(self.places.transfer, list(self._transfer(work)), indent=1)

    def _collapse(self, work: Work) -> Iterator[dict[str, Any]]:
        """The measures after each epoch that the settings name, up to the one that is kept."""
        weights = self._weights()
        train_images, test_images = self._images("train"), self._images("test")
        classes = len(self.labels)
        final = self._trained(self.places.weights, train_images)
        train_means = class_means(self._blocks(final, train_images), classes=classes)
        test = list(self._blocks(final, test_images))
        test_means = class_means(test, classes=classes)
        features = np.concatenate([block for block, _ in test])
        centres = find_centres(features, centres=classes, seed=self.config.seed)
        for done, (epoch, path) in enumerate(weights.items(), start=1):
            work(done, len(weights), f"neural collapse after epoch {epoch}")
            network = self._trained(path, train_images)
            train = list(self._blocks(network, train_images))  # N x D numbers, gone through thrice
            test = list(self._blocks(network, test_images))
            layer = network.output_layer
            found = score_neural_collapse(
                train,
                class_means(train, classes=classes),
                weights=layer.weight.detach().cpu().numpy(),
                bias=layer.bias.detach().cpu().numpy(),
            )
            yield {
                "epoch": epoch,
                "train_collapse": score_collapse(train, train_means),
                "test_collapse": score_collapse(test, test_means),
                "weak_test_collapse": score_weak_collapse((block for block, _ in test), centres),
                **{f"nc_{name}": value for name, value in asdict(found).items()},
            }

    def _weights(self) -> dict[int, Path]:
        """By epoch, of those that are measured; the last is the one that is kept."""
        last = next(e["epoch"] for e in read_json(self.places.history) if e["kept"])
        epochs = sorted({e for e in self.config.training.measured_epochs if e < last})
        return {e: self.places.snapshot(e) for e in epochs} | {last: self.places.weights}

    def _transfer(self, work: Work) -> Iterator[dict[str, float]]:
        """How well the network can be fine-tuned from its weights after each measured epoch."""
        transfer = self.config.transfer
        assert transfer is not None
        folder = self.places.transfer_images
        images = {split: read_prepared(folder, split) for split in SPLITS}
        classes = len(read_classes(folder))
        weights = self._weights()
        for done, (epoch, begun) in enumerate(weights.items(), start=1):
            stamp = {
                "settings": self.config.hashed(),
                "files": [file_digest(begun), file_digest(prepared_files(folder)[-1])],
            }
            found_of_epoch = fine_tune(
                partial(self._trained, begun, images["train"]), images, self.config.loss,
                transfer.training, classes=classes, seed=self.config.seed,
                device=self.options.device, stamp=stamp,
                kept=self.places.predicted / "transfer" / f"epoch-{epoch}.json",
                on_rate=partial(_tell_rate, work, done, len(weights), epoch),
            )  # fmt: skip
            yield {"epoch": epoch, **found_of_epoch}

    def _blocks(
        self, network: ImageClassifier, images: Images
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        plan = self.config.training.plan
        for features, targets in feature_blocks(network, images, plan, self.options.device):
            yield features.cpu().numpy(), targets.numpy()

    def further_metrics(self) -> Mapping[str, Mapping[str, float]]:
        """See `ClassifierRecipe`."""
        found: dict[str, dict[str, float]] = {"test": {}}
        values, targets = read_logits(self.places.logits("test"))
        if values.shape[1] > 5:
            first = np.argpartition(-values, 5, axis=1)[:, :5]
            found["test"]["top5_accuracy"] = float((first == targets[:, None]).any(axis=1).mean())
        epochs = read_json(self.places.history)
        kept = next(epoch for epoch in epochs if epoch["kept"])
        found["train"] = {"accuracy": kept["train_accuracy"]}
        found["test"]["weight_norm"] = kept["weight_norm"]
        if self.places.collapse.is_file():
            for measures in read_json(self.places.collapse, null_as_nan=True):
                epoch = measures.pop("epoch")
                found[f"epoch {epoch}"] = measures
        if self.places.transfer.is_file():
            for tuned in read_json(self.places.transfer):
                of_epoch = found.setdefault(f"epoch {tuned['epoch']}", {})
                of_epoch["transfer_accuracy"] = tuned["accuracy"]
        return found


def list_stages(experiment: Experiment[ImagesConfig]) -> list[Stage]:
    """The stages of an experiment, without the report."""
    return _Recipe(experiment).stages()


def _tell_rate(work: Work, done: int, total: int, epoch: int, rate: float) -> None:
    work(done, total, f"fine-tuning from epoch {epoch}, learning rate {rate:g}")


def _write_weights(path: Path, network: nn.Module) -> None:
    weights: dict[str, Tensor] = {k: v.cpu() for k, v in network.state_dict().items()}
    write_tensors(path, weights)
