"""The lemmas in numbers, and the paths of gradient descent."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import log_softmax

from squall.studies.mixtures.lemmas import LEMMAS, check_lemmas, numerical_minimum
from squall.studies.mixtures.paths import LOSSES, _ended, descend, follow_paths, looked_at
from squall.studies.mixtures.settings import (
    MixtureGrid,
    MixtureKind,
    MixturesSettings,
    PathSettings,
)
from squall.theory import ccql_minimum

KIND = MixtureKind(classes=12, features=8, noise=0.3)


@pytest.mark.parametrize("weight", [0.0, 1.0, 120.0])
@pytest.mark.parametrize("kind", [KIND, MixtureKind(classes=4, features=9, correlation=0.5)])
def test_the_numerical_minimum_is_the_closed_one(kind: MixtureKind, weight: float) -> None:
    mixture = kind.draw(3)
    found = numerical_minimum(mixture, weight=weight, seed=0)
    assert found == pytest.approx(ccql_minimum(mixture, weight=weight), rel=1e-7)


def test_every_lemma_has_its_numbers() -> None:
    study = MixturesSettings(weights=(1.0, 500.0), samples=2000)
    found = check_lemmas(KIND, study, seed=0)
    values = {(n.system, *n.condition.split(": K 12, ")): n.value for n in found}
    assert {topic for _, topic, _ in values} == set(LEMMAS)
    at = "d 8, correlation random, s 0.3"
    printed, corrected, measured = (
        values[system, "3.4: minimum of QL", at] for system in ("printed", "corrected", "measured")
    )
    assert printed == pytest.approx(2 * measured)
    assert corrected == pytest.approx(measured)
    bound = "3.5: bound of min CCQL"
    assert values["printed", bound, at + ", w 1"] == values["printed", bound, at + ", w 500"]
    assert values["printed", bound, at + ", w 500"] < values["measured", bound, at + ", w 500"]
    assert values["corrected", bound, at + ", w 500"] > values["measured", bound, at + ", w 500"]


def mean_loss(loss: str, theta, x, labels, weight: float) -> float:
    """Sample by sample."""
    total = 0.0
    for row, label in zip(x, labels, strict=True):
        z = theta @ row
        if loss == "ce":
            total -= log_softmax(z)[label]
            continue
        total += 0.5 * ((z - np.eye(len(z))[label]) ** 2).sum()
        if loss == "ccql":
            total += weight / 2 * (1 - z[label]) ** 2
    return total / len(x)


@pytest.mark.parametrize("loss", LOSSES)
def test_descent_goes_down_its_loss_along_the_gradient(loss: str) -> None:
    x, labels = (
        MixtureKind(classes=3, features=4, noise=0.5).draw(0).draw(30, np.random.default_rng(0))
    )
    first, second = islice(descend(loss, x, labels, 3, 5.0), 2)
    curvature = {"ce": 0.5, "quadratic": 1.0, "ccql": 6.0}[loss]
    rate = len(x) / (curvature * np.linalg.norm(x, 2) ** 2)
    gradient = np.zeros_like(first)
    for index in np.ndindex(*first.shape):
        step = np.zeros_like(first)
        step[index] = 1e-5
        ends = [mean_loss(loss, first + sign * step, x, labels, 5.0) for sign in (1, -1)]
        gradient[index] = (ends[0] - ends[1]) / 2e-5
    np.testing.assert_allclose(second, first - rate * gradient, atol=1e-7)
    path = islice(descend(loss, x, labels, 3, 5.0), 40)
    losses = [mean_loss(loss, theta, x, labels, 5.0) for theta in path]
    assert losses == sorted(losses, reverse=True)


def test_a_path_has_its_steps_and_its_end() -> None:
    path = PathSettings(samples=60, test_samples=500, steps=20)
    found = follow_paths(KIND, path, seed=1)
    assert found == follow_paths(KIND, path, seed=1)
    for loss in LOSSES:
        own = {(n.metric, n.condition): n.value for n in found if n.system == loss}
        at = "K 12, d 8, correlation random, s 0.3"
        assert {c for m, c in own if m == "train_accuracy"} == {
            f"{at}, step {step}" for step in looked_at(20)
        }
        assert own["accuracy", at] == own["accuracy", f"{at}, step 20"]
        assert 1 <= own["train_steps", at] <= 20
    (best,) = (n.value for n in found if n.system == "centres")
    assert not math.isnan(best)


def test_training_ends_where_it_stays_near_its_last() -> None:
    assert _ended([10.0, 90.0, 50.0, 89.8, 90.0], 0.5) == 4
    assert _ended([90.0, 90.0], 0.5) == 1
    assert looked_at(1000)[-3:] == [464, 681, 1000]
    assert len(set(looked_at(3000))) == len(looked_at(3000))


def test_equiangular_centres_stand_where_there_is_room() -> None:
    grid = MixtureGrid(classes=(3, 9), features=(5,), correlation=("random", 0.5), noise=(0.1,))
    assert [(k.classes, k.correlation) for k in grid.kinds] == [
        (3, "random"),
        (3, 0.5),
        (9, "random"),
    ]
    with pytest.raises(ValidationError, match="centres cannot have it"):
        MixturesSettings(grid=MixtureGrid(classes=(3,), features=(5,), correlation=(-0.9,)))
    crowded = PathSettings(mixtures=(MixtureKind(classes=9, features=5, correlation=0.5),))
    with pytest.raises(ValidationError, match="as many features"):
        MixturesSettings(path=crowded)
