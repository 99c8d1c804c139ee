"""Gradient descent's path to each loss: how fast it trains, and how well it does on new samples."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from squall.studies.mixtures.lemmas import kind_place
from squall.studies.mixtures.settings import MixtureKind, PathSettings
from squall.studies.simulations import Number, condition_text

__all__ = ["LOSSES", "descend", "follow_paths", "looked_at"]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

LOSSES = ("ce", "quadratic", "ccql")
_EVERY_DECADE = 6


def looked_at(steps: int) -> list[int]:
    """Some steps in each decade, and the last.

    >>> looked_at(8)
    [1, 2, 3, 5, 7, 8]
    """
    count = math.ceil(_EVERY_DECADE * math.log10(steps)) + 1
    spaced = {round(10 ** (i / _EVERY_DECADE)) for i in range(count)}
    return sorted({step for step in spaced if step < steps} | {steps})


def descend(loss: str, x: Array, labels: Labels, classes: int, weight: float) -> Iterator[Array]:
    """Theta (K, D) after each step of full gradient descent, from zero.

    The mean over samples of cross-entropy, of 1/2 |Theta x - e_y|^2 ("quadratic"), or of that and
    w/2 (1 - theta_y . x)^2 ("ccql"). A step is 1/L, L the largest eigenvalue of x x' times what
    bounds the curvature in the outputs: 1/2, 1, 1 + w.

    Args:
        loss: one of `LOSSES`.
        x: (N, D).
        labels: (N,).
        classes: K.
        weight: w.
    """
    one_hot = np.eye(classes)[labels]
    curvature = {"ce": 0.5, "quadratic": 1.0, "ccql": 1.0 + weight}[loss]
    rate = len(x) / (curvature * np.linalg.norm(x, 2) ** 2)
    factors = 1 + weight * one_hot if loss == "ccql" else 1.0
    theta = np.zeros((classes, x.shape[1]))
    while True:
        outputs = x @ theta.T
        error = (softmax(outputs, axis=1) if loss == "ce" else outputs) - one_hot
        theta = theta - rate * (factors * error).T @ x / len(x)
        yield theta


def follow_paths(kind: MixtureKind, path: PathSettings, *, seed: int) -> list[Number]:
    """Accuracy in training and on new samples along the path of each loss, and when it has trained.

    Records of the losses, and of `centres`, the classifier that knows them: no other has fewer
    errors.
    """
    mixture = kind.draw(seed)
    random = np.random.default_rng([seed, 1])
    x, labels = mixture.draw(path.samples, random)
    new, new_labels = mixture.draw(path.test_samples, random)

    def accuracy(theta: Array, of: Array, true: Labels) -> float:
        return 100 * float(((of @ theta.T).argmax(axis=1) == true).mean())

    best = accuracy(mixture.centres, new, new_labels)
    at = condition_text(kind_place(kind))
    numbers = [Number("centres", at, "accuracy", best, path.test_samples)]
    steps = set(looked_at(path.steps))
    for loss in LOSSES:
        trained = []
        thetas = descend(loss, x, labels, mixture.classes, path.weight)
        for step, theta in zip(range(1, path.steps + 1), thetas, strict=False):
            trained.append(accuracy(theta, x, labels))
            if step not in steps:
                continue
            then = condition_text(kind_place(kind, step=step))
            numbers += [
                Number(loss, then, "train_accuracy", trained[-1], path.samples),
                Number(
                    loss,
                    then,
                    "accuracy",
                    accuracy(theta, new, new_labels),
                    path.test_samples,
                ),
            ]
        numbers.append(Number(loss, at, "train_steps", _ended(trained, path.within), path.samples))
        numbers.append(Number(loss, at, "accuracy", numbers[-2].value, path.test_samples))
    return numbers


def _ended(accuracies: list[float], within: float) -> int:
    """The step from which on the training accuracy stays within so many points of its last."""
    off = [abs(value - accuracies[-1]) > within for value in accuracies]
    return max((step for step, is_off in enumerate(off, 1) if is_off), default=0) + 1
