"""Neural collapse: how near the features of a classifier's last layer come to one point per class.

All sums are in float64, over blocks of features, so that the samples need not fit into memory:

>>> features = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
>>> labels = np.array([0, 0, 1])
>>> blocks = [(features[:2], labels[:2]), (features[2:], labels[2:])]
>>> means = class_means(blocks, classes=2)
>>> means.tolist()
[[2.0, 0.0], [0.0, 4.0]]
>>> round(score_collapse(blocks, means), 4)  # (1 + 1 + 0) / 3 over |m_i - m|^2 = 5
0.1333
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "NeuralCollapse",
    "class_means",
    "find_centres",
    "score_collapse",
    "score_neural_collapse",
    "score_weak_collapse",
]

Features = NDArray[np.float64]
Blocks = Iterable[tuple[ArrayLike, ArrayLike]]
"""Features (N, D) and labels (N,) of some samples at a time; gone through once a call."""


def class_means(blocks: Blocks, *, classes: int) -> Features:
    """The mean feature of each class (C, D).

    Raises:
        ValueError: features or labels have another shape, are not finite or not in [0, C), or a
            class has no sample.
    """
    sums: Features | None = None
    counts = np.zeros(classes, dtype=np.int64)
    for features, labels in _checked(blocks, classes):
        if sums is None:
            sums = np.zeros((classes, features.shape[1]))
        np.add.at(sums, labels, features)
        counts += np.bincount(labels, minlength=classes)
    if sums is None or not counts.all():
        empty = int(np.flatnonzero(counts == 0)[0])
        raise ValueError(f"class {empty} of {classes} has no sample: it has no mean")
    return sums / counts[:, None]


def score_collapse(blocks: Blocks, means: Features) -> float:
    """Collapse of features towards the means of their classes,

        mean_x |h(x) - m_y|^2 / mean_i |m_i - m|^2,   m = mean_i m_i.

    Args:
        blocks: of the training set for train collapse, of the test set for strong test collapse.
        means: (C, D) of the same set. The source takes those at the end of the training, whatever
            step the features are of.

    Returns:
        0 where every feature is its class's mean; NaN where all means are the same.

    Raises:
        ValueError: as `class_means`, or there are no samples.

    Source: Hui, Belkin and Nakkiran, *Limitations of neural collapse for understanding
    generalization in deep learning*, 2022.
    """
    total, samples = 0.0, 0
    for features, labels in _checked(blocks, len(means)):
        total += float(((features - means[labels]) ** 2).sum())
        samples += len(labels)
    return _over_spread(total, samples, means)


def find_centres(features: ArrayLike, *, centres: int, seed: int) -> Features:
    """Centres (k, D) of features (N, D) without their labels, by k-means with ten starts.

    Raises:
        ValueError: there are fewer features than centres, or they are not (N, D) and finite.
    """
    from sklearn.cluster import KMeans

    values = _features(features)
    if len(values) < centres:
        raise ValueError(f"{len(values)} features cannot have {centres} centres")
    found = KMeans(centres, n_init=10, random_state=seed).fit(values)
    return np.asarray(found.cluster_centers_, dtype=np.float64)


def score_weak_collapse(blocks: Iterable[ArrayLike], centres: Features) -> float:
    """Weak test collapse: of features (N, D) towards the nearest of k centres (k, D),

        mean_x min_i |h(x) - c_i|^2 / mean_i |c_i - c|^2,   c = mean_i c_i.

    Returns, raises, source: as `score_collapse`, which prints `arg min` and means `min`.
    """
    total, samples = 0.0, 0
    norms = (centres**2).sum(axis=1)
    for block in blocks:
        features = _features(block)
        nearest = (norms - 2.0 * features @ centres.T).argmin(axis=1)
        total += float(((features - centres[nearest]) ** 2).sum())
        samples += len(features)
    return _over_spread(total, samples, centres)


@dataclass(frozen=True)
class NeuralCollapse:
    """The four measures of neural collapse; all are 0 where it is complete.

    Args:
        variability: NC1, Tr(S_W S_B^+) / C of the covariances within and between classes.
        equinorm: NC2, standard deviation over mean of the norms |m_i - m|.
        equiangular: NC2, mean over pairs of |cos(m_i - m, m_j - m) + 1 / (C - 1)|.
        duality: NC3, |W / |W| - M / |M||^2 of the last layer's weights (C, D) and the centred
            means (C, D), in Frobenius norms; at most 4.
        disagreement: NC4, share of samples whose answer is not the class of the nearest mean.

    Source: Papyan, Han and Donoho, *Prevalence of neural collapse during the terminal phase of deep
    learning training*, PNAS 2020.
    """

    variability: float
    equinorm: float
    equiangular: float
    duality: float
    disagreement: float


def score_neural_collapse(
    blocks: Blocks, means: Features, *, weights: ArrayLike, bias: ArrayLike | None = None
) -> NeuralCollapse:
    """The measures of Papyan and others.

    Args:
        blocks: of the training set.
        means: (C, D) of its classes.
        weights: (C, D) of the last layer.
        bias: (C,) of the last layer; None for none.

    Raises:
        ValueError: as `class_means`; the weights have another shape; or there are no samples.
    """
    layer = np.asarray(weights, dtype=np.float64)
    offset = np.zeros(len(means)) if bias is None else np.asarray(bias, dtype=np.float64)
    if layer.shape != means.shape or offset.shape != (len(means),):
        raise ValueError(
            f"weights of shape {layer.shape} and bias of shape {offset.shape}; for means of shape "
            f"{means.shape} they must be {means.shape} and ({len(means)},)"
        )
    norms = (means**2).sum(axis=1)
    within = np.zeros((means.shape[1], means.shape[1]))
    disagreeing = samples = 0
    for features, labels in _checked(blocks, len(means)):
        apart = features - means[labels]
        within += apart.T @ apart
        answers = (features @ layer.T + offset).argmax(axis=1)
        nearest = (norms - 2.0 * features @ means.T).argmin(axis=1)
        disagreeing += int((answers != nearest).sum())
        samples += len(labels)
    if not samples:
        raise ValueError("there are no samples to score")
    centred = means - means.mean(axis=0)
    return NeuralCollapse(
        _variability(within / samples, centred),
        *_simplex(centred),
        _duality(layer, centred),
        disagreeing / samples,
    )


def _variability(within: Features, centred: Features) -> float:
    between = centred.T @ centred / len(centred)
    return float(np.trace(within @ np.linalg.pinv(between, hermitian=True))) / len(centred)


def _simplex(centred: Features) -> tuple[float, float]:
    """How far the means are from a simplex around their mean: norms, angles."""
    lengths = np.linalg.norm(centred, axis=1)
    if not lengths.all():
        return math.nan, math.nan
    directions = centred / lengths[:, None]
    classes = len(centred)
    cosines = (directions @ directions.T)[np.triu_indices(classes, 1)]
    return (
        float(lengths.std() / lengths.mean()),
        float(np.abs(cosines + 1.0 / (classes - 1)).mean()),
    )


def _duality(weights: Features, centred: Features) -> float:
    sizes = np.linalg.norm(weights), np.linalg.norm(centred)
    if not all(sizes):
        return math.nan
    return float(((weights / sizes[0] - centred / sizes[1]) ** 2).sum())


def _over_spread(total: float, samples: int, points: Features) -> float:
    if not samples:
        raise ValueError("there are no samples to score")
    spread = float(((points - points.mean(axis=0)) ** 2).sum(axis=1).mean())
    return total / samples / spread if spread else math.nan


def _features(values: ArrayLike) -> Features:
    features = np.asarray(values, dtype=np.float64)
    if features.ndim != 2:
        raise ValueError(f"features of shape {features.shape}; they must be (samples, dimensions)")
    if not np.isfinite(features).all():
        raise ValueError("features are not all finite: the network has diverged")
    return features


def _checked(blocks: Blocks, classes: int) -> Iterable[tuple[Features, NDArray[np.int64]]]:
    for given, known in blocks:
        features, labels = _features(given), np.asarray(known)
        if labels.shape != (len(features),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"labels of shape {labels.shape} and type {labels.dtype} for {len(features)} "
                "features; they must be (samples,) integers"
            )
        if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
            wrong = labels[(labels < 0) | (labels >= classes)][0]
            raise ValueError(f"label {wrong} is not in 0 to {classes - 1}")
        yield features, labels.astype(np.int64)
