"""The network of the study on images: gradient descent for each R, and minima."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squall.corpora.images import ImageSet, ImageSetError, read_images
from squall.studies.asymptotics.settings import ImageSettings
from squall.studies.simulations import Number, condition_text
from squall.theory import GramMinimum, gradient_descent_gram, minimise_gram

__all__ = ["TOPIC", "DrawnImages", "check_images", "draw_images", "simulate_images"]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

TOPIC = "images"
"""Of the conditions of records."""

_HELD_OUT = 5  # one in so many images, to choose the ridge
_START = 1_000_000  # added to a seed, for what is independent of the data


@dataclass(frozen=True, eq=False)
class DrawnImages:
    """Images of some classes as samples of the study.

    Args:
        X, X_test: (N, D) and (M, D) pixels, in the training images each of mean 0 and of variance
            1/D, as the features of `squall.theory.draw_data` (less where a pixel hardly changes).
        labels, labels_test: (N,) and (M,) integers in 0 .. k-1.
    """

    X: Array
    labels: Labels
    X_test: Array
    labels_test: Labels


def check_images(found: ImageSet, settings: ImageSettings) -> None:
    """Raise ImageSetError where the set has fewer classes than the settings name."""
    if settings.classes[-1] > len(found.classes):
        raise ImageSetError(
            f"study.images.classes has {settings.classes[-1]}; the set has {len(found.classes)}"
        )


def draw_images(found: ImageSet, *, classes: int, per_class: int, seed: int) -> DrawnImages:
    """Images of the first classes in an order drawn with the seed.

    Args:
        classes: k.
        per_class: at most so many training images of each, drawn; test images are all taken.
        seed: of numpy's default generator.

    Raises:
        ImageSetError: no test image is of these classes.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(found.classes))[:classes]
    rows = [
        np.sort(random.permutation(np.flatnonzero(found.train[1] == k))[:per_class]) for k in chosen
    ]
    tested = [np.flatnonzero(found.test[1] == k) for k in chosen]
    if not any(map(len, tested)):
        raise ImageSetError(f"no test image is of the {classes} classes that seed {seed} draws")
    pixels, pixels_test = (
        part[0][np.concatenate(of_class)].reshape(sum(map(len, of_class)), -1).astype(np.float64)
        for part, of_class in ((found.train, rows), (found.test, tested))
    )
    mean, scale = pixels.mean(axis=0), pixels.std(axis=0)
    scale = np.where(scale < 1.0, 1.0, scale)  # a border that is black in all images
    scale *= math.sqrt(pixels.shape[1])
    return DrawnImages(
        (pixels - mean) / scale,
        np.repeat(np.arange(classes), [len(of_class) for of_class in rows]),
        (pixels_test - mean) / scale,
        np.repeat(np.arange(classes), [len(of_class) for of_class in tested]),
    )


def simulate_images(
    folder: Path, settings: ImageSettings, *, classes: int, steps: int, seed: int
) -> list[Number]:
    """Accuracy on test images after gradient descent from each start with each R, and of minima.

    Args:
        folder: of the images.
        settings: the rest.
        classes: k.
        steps: of gradient descent.
        seed: of the classes, the images and the start.

    Raises:
        FileNotFoundError, ImageSetError: as `read_images` and `draw_images` raise them.
    """
    drawn = draw_images(
        read_images(folder), classes=classes, per_class=settings.per_class, seed=seed
    )
    return _Simulation(drawn, settings, classes, seed).numbers(steps)


class _Simulation:
    """What the parts of a simulation share: all of them need the images' products alone."""

    def __init__(
        self, drawn: DrawnImages, settings: ImageSettings, classes: int, seed: int
    ) -> None:
        self.settings = settings
        self.labels, self.labels_test = drawn.labels, drawn.labels_test
        self.one_hot = (drawn.labels[:, None] == np.arange(classes)).astype(np.float64)
        self.gram = drawn.X @ drawn.X.T
        self.test_gram = drawn.X_test @ drawn.X.T
        features = drawn.X.shape[1]
        random = np.random.default_rng(seed + _START)
        start = random.standard_normal((features, classes))
        self.start, self.start_test = drawn.X @ start, drawn.X_test @ start
        self.place = {"k": classes, "n": len(drawn.X), "d": features, "lambda": settings.ridge}

    def numbers(self, steps: int) -> list[Number]:
        """Those of gradient descent and of minima."""
        descended = list(self.gradient_descent(steps))
        if len(self.labels) <= self.settings.minimised:
            return [*descended, *self.minima(), *self.tuned()]
        reason = (
            f"{len(self.labels)} training images are more than study.images.minimised, "
            f"{self.settings.minimised}"
        )
        systems = ("least_squares", "random", "tuned_ridge")
        return descended + [
            Number(system, self.condition(), "accuracy", math.nan, reason=reason)
            for system in systems
        ]

    def condition(self, **further: float) -> str:
        """That of minima, or with R and start of gradient descent."""
        return condition_text(self.place | {"R": self.settings.rescale[0]} | further, topic=TOPIC)

    def accuracy(self, outputs: NDArray[np.floating]) -> float:
        """In percent, of outputs (M, k) for the test images before the ReLU."""
        right = int((outputs.argmax(axis=1) == self.labels_test).sum())
        return 100 * right / len(self.labels_test)

    def gradient_descent(self, steps: int) -> Iterator[Number]:
        """All starts side by side, each once: R from a start is R times 1 from 1/R of the start."""
        settings, k = self.settings, self.one_hot.shape[1]
        ratios = {
            (R, size): float(f"{size / R:.12g}")
            for size in settings.starts
            for R in settings.rescale
        }
        sizes = sorted(set(ratios.values()))
        a, share = gradient_descent_gram(
            self.gram.astype(np.float32),
            np.tile(self.one_hot, len(sizes)),
            rescale=1.0,
            ridge=settings.ridge,
            start_outputs=np.hstack([size * self.start for size in sizes]),
            steps=steps,
        )
        outputs = self.test_gram @ a
        accuracies = {
            size: self.accuracy(outputs[:, i * k : (i + 1) * k] + share * size * self.start_test)
            for i, size in enumerate(sizes)
        }
        for (R, size), ratio in ratios.items():
            condition = self.condition(R=R, start=size)
            yield Number(
                *("gradient_descent", condition, "accuracy", accuracies[ratio]),
                n=len(self.labels_test),
            )

    def minimum(self, start: str, ridge: float, rows: NDArray[np.int64] | slice) -> GramMinimum:
        """Of some of the training images, at the first R."""
        R, gram, one_hot = self.settings.rescale[0], self.gram[rows][:, rows], self.one_hot[rows]
        outputs = self.start[rows]
        if start == "least_squares":
            shifted = gram + ridge / 2 * np.eye(len(gram))
            outputs = gram @ np.linalg.solve(shifted, R * one_hot)
        return minimise_gram(gram, one_hot, rescale=R, ridge=ridge, start_outputs=outputs)

    def minima(self) -> Iterator[Number]:
        """At the settings' ridge, from least squares and from random weights."""
        count, condition = len(self.labels), self.condition()
        for name in ("least_squares", "random"):
            found = self.minimum(name, self.settings.ridge, slice(None))
            accuracy = self.accuracy(self.test_gram @ found.coefficients)
            objective = float(found.objective.mean()) / count / self.settings.rescale[0] ** 2
            settled = 100 * float(found.converged.mean())
            yield Number(name, condition, "accuracy", accuracy, len(self.labels_test))
            yield Number(name, condition, "objective", objective, count)
            yield Number(name, condition, "converged", settled, self.one_hot.shape[1])

    def tuned(self) -> Iterator[Number]:
        """From least squares, at the ridge that is best on images held out."""
        held = np.arange(len(self.labels)) % _HELD_OUT == 0
        rows, others = np.flatnonzero(~held), np.flatnonzero(held)
        right = {}
        for ridge in self.settings.ridges:
            found = self.minimum("least_squares", ridge, rows)
            outputs = self.gram[others][:, rows] @ found.coefficients
            right[ridge] = int((outputs.argmax(axis=1) == self.labels[others]).sum())
        best = max(right, key=lambda ridge: right[ridge])
        found = self.minimum("least_squares", best, slice(None))
        accuracy = self.accuracy(self.test_gram @ found.coefficients)
        yield Number("tuned_ridge", self.condition(), "accuracy", accuracy, len(self.labels_test))
        yield Number("tuned_ridge", self.condition(), "ridge", best, len(others))
