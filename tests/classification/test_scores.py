"""What answers are worth: numbers by hand, what adds up over samples."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest

import squall.classification.scores
from squall.classification.scores import ClassifierScores, Items, score_classifier, score_f1
from squall.losses import build_loss
from squall.scoring import fit_temperature, score_logits


def _scores(classes: int, samples: int = 80) -> tuple[ClassifierScores, np.ndarray, np.ndarray]:
    random = np.random.default_rng(classes)
    targets = random.integers(classes, size=samples)
    logits = random.standard_normal((samples, classes)).astype(np.float32)
    logits[np.arange(samples), targets] += 1
    dev = logits[::2], targets[::2]
    found = score_classifier(build_loss("ce", class_dim=-1), dev=dev, test=(logits, targets))
    return found, logits, targets


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(squall.classification.scores).failed == 0


@pytest.mark.parametrize("classes", [2, 5])
def test_the_numbers_are_those_of_the_pure_functions(classes: int) -> None:
    found, logits, targets = _scores(classes)
    metrics = found.metrics()
    temperature = fit_temperature(logits=logits[::2], targets=targets[::2]).temperature
    plain = score_logits(logits=logits, targets=targets).calibration()
    scaled = score_logits(logits=logits, targets=targets, temperature=temperature).calibration()
    assert metrics["test"]["accuracy"] == (logits.argmax(1) == targets).mean()
    assert metrics["test"]["ece"] == plain.ece
    assert metrics["test/scaled"]["nll"] == pytest.approx(scaled.nll)
    assert metrics["test/scaled"]["temperature"] == pytest.approx(temperature)
    assert "accuracy" not in metrics["test/scaled"]
    assert metrics["dev"] == {"accuracy": (logits[::2].argmax(1) == targets[::2]).mean()}
    assert ("f1" in metrics["test"]) == (classes == 2)


def test_f1_is_that_of_the_second_class() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    found, logits, targets = _scores(2)
    assert found.f1 == pytest.approx(metrics.f1_score(targets, logits.argmax(1)))
    assert np.isnan(score_f1(np.zeros(3)))


def test_items_add_up_to_the_scores(tmp_path: Path) -> None:
    found, _, _ = _scores(2)
    found.items.write(tmp_path)
    items = Items.read(tmp_path)
    assert items is not None
    metrics = found.metrics()["test"]
    assert items.correct.mean() == metrics["accuracy"]
    gaps = items.gaps.sum(axis=0)
    assert np.abs(gaps[:-1]).sum() / gaps[-1] == pytest.approx(metrics["ece"])
    nll, refined, count = items.nlls.sum(axis=0)
    assert refined / count == pytest.approx(metrics["nll_refinement"])
    assert (nll - refined) / count == pytest.approx(metrics["nll_calibration"])
    assert score_f1(items.counts.sum(axis=0)) == pytest.approx(metrics["f1"])
    assert Items.read(tmp_path / "absent") is None
