"""Neural collapse: constructed features with known values, and slow twins."""

from __future__ import annotations

import doctest
from collections.abc import Iterator

import numpy as np
import pytest

import squall.scoring.collapse
from squall.scoring.collapse import (
    class_means,
    find_centres,
    score_collapse,
    score_neural_collapse,
    score_weak_collapse,
)

CLASSES, DIMENSIONS = 4, 9


def _blocks(
    features: np.ndarray, labels: np.ndarray, size: int = 7
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(labels), size):
        yield features[start : start + size], labels[start : start + size]


def _sample(noise: float, samples: int = 400, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Features around the corners of a simplex of side 1 from its middle, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(samples) % CLASSES
    corners = np.eye(CLASSES, DIMENSIONS) - 1.0 / CLASSES * (np.arange(DIMENSIONS) < CLASSES)
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    features = 3 + corners[labels] + noise * random.standard_normal((samples, DIMENSIONS))
    return features.astype(np.float32), labels, corners


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(squall.scoring.collapse).failed == 0


def test_exact_collapse_is_zero_in_every_measure() -> None:
    features, labels, corners = _sample(0.0)
    means = class_means(_blocks(features, labels), classes=CLASSES)
    np.testing.assert_allclose(means, 3 + corners, atol=1e-6)
    assert score_collapse(_blocks(features, labels), means) == pytest.approx(0, abs=1e-12)
    centres = find_centres(features, centres=CLASSES, seed=1)
    assert score_weak_collapse([features], centres) == pytest.approx(0, abs=1e-12)
    bias = -corners @ np.full(DIMENSIONS, 3.0)
    found = score_neural_collapse(
        _blocks(features, labels), means, weights=5 * corners, bias=5 * bias
    )
    assert found.variability == pytest.approx(0, abs=1e-12)
    assert found.equinorm == pytest.approx(0, abs=1e-6)
    assert found.equiangular == pytest.approx(0, abs=1e-6)
    assert found.duality == pytest.approx(0, abs=1e-12)
    assert found.disagreement == 0


def test_isotropic_noise_has_its_known_value() -> None:
    """|h - m_y|^2 is noise^2 D on average, and the corners have distance 1 from their middle."""
    features, labels, corners = _sample(0.5, samples=40_000)
    expected = 0.25 * DIMENSIONS
    assert score_collapse([(features, labels)], 3 + corners) == pytest.approx(expected, rel=0.01)
    means = class_means([(features, labels)], classes=CLASSES)
    found = score_neural_collapse([(features, labels)], means, weights=corners)
    # S_W = noise^2 I, S_B has C - 1 eigenvalues of 1 / (C - 1), as their sum is 1
    assert found.variability == pytest.approx(0.25 * (CLASSES - 1) ** 2 / CLASSES, rel=0.02)


def test_measures_are_those_of_slow_twins() -> None:
    random = np.random.default_rng(5)
    features, labels = random.standard_normal((60, 3)), np.arange(60) % 5
    weights, bias = random.standard_normal((5, 3)), random.standard_normal(5)
    means = class_means(_blocks(features, labels), classes=5)
    whole = means.mean(axis=0)
    spread = np.mean([np.sum((m - whole) ** 2) for m in means])
    apart = [np.sum((h - means[y]) ** 2) for h, y in zip(features, labels, strict=True)]
    collapse = score_collapse(_blocks(features, labels), means)
    assert collapse == pytest.approx(np.mean(apart) / spread)
    nearest = [min(np.sum((h - m) ** 2) for m in means) for h in features]
    assert score_weak_collapse([features[:30], features[30:]], means) == pytest.approx(
        np.mean(nearest) / spread
    )
    found = score_neural_collapse(_blocks(features, labels), means, weights=weights, bias=bias)
    within = sum(
        np.outer(h - means[y], h - means[y]) for h, y in zip(features, labels, strict=True)
    )
    between = sum(np.outer(m - whole, m - whole) for m in means) / 5
    assert found.variability == pytest.approx(np.trace(within / 60 @ np.linalg.inv(between)) / 5)
    lengths = [np.linalg.norm(m - whole) for m in means]
    assert found.equinorm == pytest.approx(np.std(lengths) / np.mean(lengths))
    cosines = [
        (means[i] - whole) @ (means[j] - whole) / lengths[i] / lengths[j]
        for i in range(5) for j in range(i)
    ]  # fmt: skip
    assert found.equiangular == pytest.approx(np.mean([abs(c + 0.25) for c in cosines]))
    centred = means - whole
    apart_w = weights / np.linalg.norm(weights) - centred / np.linalg.norm(centred)
    assert found.duality == pytest.approx(np.sum(apart_w**2))
    disagreeing = [
        np.argmax(weights @ h + bias) != np.argmin([np.sum((h - m) ** 2) for m in means])
        for h in features
    ]
    assert found.disagreement == np.mean(disagreeing)


def test_blocks_are_summed_in_float64() -> None:
    """A shift of ten thousand leaves float32 three digits; the sums must not lose more."""
    features, labels, _ = _sample(0.1, samples=4000)
    shifted = (features + 10_000).astype(np.float32)
    exact = shifted.astype(np.float64)
    means = class_means(_blocks(shifted, labels), classes=CLASSES)
    assert score_collapse(_blocks(shifted, labels), means) == pytest.approx(
        score_collapse([(exact, labels)], class_means([(exact, labels)], classes=CLASSES))
    )


def test_means_that_are_one_point_have_no_collapse() -> None:
    features, labels = np.ones((8, 2)), np.arange(8) % 2
    means = class_means([(features, labels)], classes=2)
    assert np.isnan(score_collapse([(features, labels)], means))
    found = score_neural_collapse([(features, labels)], means, weights=np.eye(2))
    assert np.isnan([found.equinorm, found.equiangular, found.duality]).all()


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ([[1.0], [2.0]], [0, 0], "class 1 of 2 has no sample"),
        ([[1.0], [2.0]], [0, 2], "label 2 is not in 0 to 1"),
        ([[1.0], [2.0]], [0], "labels of shape"),
        ([[1.0], [2.0]], [0.0, 1.0], r"\(samples,\) integers"),
        ([[1.0], [np.nan]], [0, 1], "not all finite"),
        ([1.0, 2.0], [0, 1], "features of shape"),
    ],
)
def test_what_cannot_be_scored_is_named(features: object, labels: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_means([(features, labels)], classes=2)  # type: ignore[list-item]


def test_nothing_to_score_is_an_error() -> None:
    means = np.eye(2)
    for call in (
        lambda: score_collapse([], means),
        lambda: score_weak_collapse([], means),
        lambda: score_neural_collapse([], means, weights=means),
    ):
        with pytest.raises(ValueError, match="no samples to score"):
            call()
    with pytest.raises(ValueError, match="2 features cannot have 3 centres"):
        find_centres(np.eye(2), centres=3, seed=0)
    with pytest.raises(ValueError, match="weights of shape"):
        score_neural_collapse([(np.eye(2), [0, 1])], means, weights=np.ones((2, 3)))


def test_from_collapsed_super_classes_no_classifier_tells_the_classes() -> None:
    """Lemma 5 of the source: with k classes in each super-class at most 1 / k are right."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    classes_each, samples = 3, 60
    fine = np.arange(samples) % (2 * classes_each)
    corners = np.array([[1.0, -2.0, 0.5], [-1.0, 2.0, -0.5]])
    features = corners[fine // classes_each]
    means = class_means([(features, fine // classes_each)], classes=2)
    assert score_collapse([(features, fine // classes_each)], means) == 0
    fitted = linear_model.LogisticRegression(C=1e6).fit(features, fine)
    assert fitted.score(features, fine) <= 1 / classes_each + 1e-12
    # Whatever a classifier answers, it answers the same to all of a super-class.
    best = sum(np.bincount(fine[fine // classes_each == half]).max() for half in (0, 1)) / samples
    assert best == pytest.approx(1 / classes_each)
