"""Finite samples of the model of state evolution, and what a student of them is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squall.theory.setting import Setting

__all__ = [
    "Overlaps",
    "TeacherData",
    "draw_data",
    "draw_outputs",
    "measure_overlaps",
    "sampled_accuracy",
]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TeacherData:
    """Samples of one teacher.

    Args:
        X: (N, D), rows N(0, I/d).
        weights: (D, C), w*, N(0, signal^2).
        labels: (N,) integers in 0 .. C-1, the arg max of z + e.
        one_hot: (N, C) of 0 and 1.
    """

    X: Array
    weights: Array
    labels: NDArray[np.int64]
    one_hot: Array


@dataclass(frozen=True)
class Overlaps:
    """What state evolution calls mu, nu and q, of given weights, means over outputs.

    Args:
        overlap: mu: with the deviations of the teacher's weights from their mean over outputs.
        noise: nu: of what is left.
        noise_correlation: of two outputs' rests, NaN for no rest.
    """

    overlap: float
    noise: float
    noise_correlation: float


def draw_data(setting: Setting, *, features: int, seed: int) -> TeacherData:
    """Draw round(beta * features) samples.

    Args:
        features: d, at least 1.
        seed: of numpy's default generator.

    Raises:
        ValueError: no feature or no sample.
    """
    samples = round(setting.beta * features)
    if features < 1 or samples < 1:
        raise ValueError(f"{features} features and {samples} samples; there has to be one of each")
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((samples, features)) / math.sqrt(features)
    weights = setting.signal * rng.standard_normal((features, setting.classes))
    scores = X @ weights
    scores = scores + setting.label_noise * rng.standard_normal(scores.shape)
    labels = scores.argmax(axis=1)
    one_hot = (labels[:, None] == np.arange(setting.classes)).astype(np.float64)
    return TeacherData(X, weights, labels, one_hot)


def measure_overlaps(*, student: Array, teacher: Array) -> Overlaps:
    """Overlap and noise of a student's weights (D, C) with the teacher's (D, C).

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(student, teacher)
    features, classes = teacher.shape
    directions = teacher - teacher.mean(axis=1, keepdims=True)
    directions = directions * math.sqrt(features) / np.linalg.norm(directions, axis=0)
    overlaps = (student * directions).sum(axis=0) / features
    rest = student - directions * overlaps
    covariance = rest.T @ rest / features
    variance = np.trace(covariance) / classes
    between = (covariance.sum() - np.trace(covariance)) / (classes * (classes - 1))
    correlation = between / variance if variance > 0 else math.nan
    return Overlaps(float(overlaps.mean()), math.sqrt(variance), float(correlation))


def draw_outputs(weights: Array, samples: int, random: np.random.Generator) -> Array:
    """X @ weights for new rows X, drawn from the normal distribution that it has.

    Args:
        weights: (D, M), of any networks side by side.

    Returns:
        (samples, M).
    """
    values, vectors = np.linalg.eigh(weights.T @ weights / len(weights))
    factor: Array = vectors * np.sqrt(np.maximum(values, 0))
    return random.standard_normal((samples, weights.shape[1])) @ factor.T


def sampled_accuracy(
    *, student: Array, teacher: Array, seed: int, samples: int = 100_000, label_noise: float = 0.0
) -> float:
    """The share of new samples for which student and teacher have the largest output in common.

    Args:
        student, teacher: (D, C).
        seed: of the new samples, of which only the 2 C outputs are drawn, jointly normal.
        samples: how many; the standard error is at most 0.5 / sqrt(samples).
        label_noise: the standard deviation of e in the labels arg max (z + e).

    Raises:
        ValueError: the shapes differ.
    """
    _check_shapes(student, teacher)
    both = np.concatenate([student, teacher], axis=1)
    rng = np.random.default_rng(seed)
    classes, hits = teacher.shape[1], 0
    for first in range(0, samples, 20_000):
        count = min(20_000, samples - first)
        outputs = draw_outputs(both, count, rng)
        scores = outputs[:, classes:]
        if label_noise:
            scores = scores + label_noise * rng.standard_normal(scores.shape)
        hits += int((outputs[:, :classes].argmax(axis=1) == scores.argmax(axis=1)).sum())
    return hits / samples


def _check_shapes(student: Array, teacher: Array) -> None:
    if student.shape != teacher.shape or student.ndim != 2:
        raise ValueError(f"student {student.shape} and teacher {teacher.shape} have to be (D, C)")
