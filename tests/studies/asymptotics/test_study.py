"""Predictions, simulations and checks of the study of asymptotics."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

from squall.studies.asymptotics.equations import EQUATIONS, check_equations
from squall.studies.asymptotics.recipe import _cells
from squall.studies.asymptotics.settings import (
    AsymptoticsSettings,
    DescentSettings,
    Grid,
    VampSettings,
)
from squall.studies.asymptotics.study import predict, simulate
from squall.studies.simulations import Number
from squall.theory import Setting, solve, solve_printed

STUDY = AsymptoticsSettings(
    samples=2000,
    descent=DescentSettings(steps=40),
    vamp=VampSettings(followed=2, iterations=60),
    equations_size=100,
)
SETTING = Setting(classes=3, beta=0.5)


def values(numbers: list[Number], metric: str) -> dict[tuple[str, str], float]:
    return {(n.system, n.condition): n.value for n in numbers if n.metric == metric}


def test_predictions_are_those_of_the_library() -> None:
    found = values(predict(SETTING, [1.0, 10.0], STUDY), "accuracy")
    where = "k 3, beta 0.5, noise 0, lambda 1e-05, R 10"
    at = replace(SETTING, rescale=10.0)
    assert found["printed", where] == 100 * solve_printed(at).accuracy
    assert found["corrected", where] == 100 * solve(at).accuracy
    assert found["convex", where] == 100 * solve(at, convex=True).accuracy


def test_no_prediction_and_no_best_r_have_a_reason() -> None:
    found = predict(Setting(classes=2, beta=1.0), [1.0, 10.0], STUDY)
    printed = [n for n in found if n.system == "printed"]
    assert all(math.isnan(n.value) and n.reason for n in printed)
    assert {n.reason for n in printed if n.metric == "best_rescale"} == {"there is no prediction"}
    (best,) = (n for n in found if (n.system, n.metric) == ("corrected", "best_rescale"))
    assert best.reason == "accuracy does not depend on R"


def test_a_simulation_has_all_starts_and_is_the_same_again() -> None:
    found = simulate(SETTING, [1.0, 100.0], STUDY, features=80, seed=4)
    assert found == simulate(SETTING, [1.0, 100.0], STUDY, features=80, seed=4)
    assert found != simulate(SETTING, [1.0, 100.0], STUDY, features=80, seed=5)
    accuracy, objective = values(found, "accuracy"), values(found, "objective")
    at = "k 3, beta 0.5, noise 0, lambda 1e-05, R {}, d 80"
    assert set(accuracy) == {
        *((name, at.format(1)) for name in ("least_squares", "random", "vamp")),
        *(("gradient_descent", at.format(R)) for R in (1, 100)),
    }
    assert all(value == 100 for value in values(found, "converged").values())
    # Where all fits, message passing and least squares end in the same minimum.
    ends = [objective[name, at.format(1)] for name in ("least_squares", "vamp")]
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)
    followed = [n for n in found if "iteration" in n.condition]
    assert {n.system for n in followed} == {"message_passing"}
    assert len(followed) == 2 * 2


def test_r_is_a_smaller_start() -> None:
    """Gradient descent with R from a start is that with 1 from a start 1/R its size."""
    study = STUDY.model_copy(update={"samples": 50_000})
    small = study.model_copy(update={"descent": DescentSettings(steps=40, size=0.01)})
    at = "k 3, beta 0.5, noise 0, lambda 1e-05, R {}, d 80"
    found = [
        values(simulate(SETTING, [R], one, features=80, seed=0), "accuracy")[
            "gradient_descent", at.format(R)
        ]
        for R, one in ((1, study), (100, study), (1, small))
    ]
    # Of the same weights but for their scale; the samples are others.
    assert found[1] == pytest.approx(found[2], abs=1.0)
    assert found[1] > found[0] + 3


def test_equations_have_a_printed_a_corrected_and_a_measured_value() -> None:
    found = check_equations(SETTING, STUDY, seed=0)
    assert {n.metric for n in found} == {"equation"}
    topics = {n.condition.rpartition(": ")[0] for n in found}
    assert topics == set(EQUATIONS)
    for n in found:
        assert not math.isnan(n.value) or n.system == "corrected"
    t = values(found, "equation")
    at = "T(u): k 3, beta 0.5, noise 0, lambda 1e-05, R 3"
    assert t["measured", at] == pytest.approx(t["printed", at], rel=0.05)


def test_without_a_printed_fixed_point_the_rest_is_checked() -> None:
    found = check_equations(Setting(classes=2, beta=1.0), STUDY, seed=0)
    topics = {n.condition.rpartition(": ")[0] for n in found}
    assert "T(u)" not in topics
    assert "correlation of two outputs' noises" in topics


def test_a_setting_of_two_figures_is_simulated_once() -> None:
    grids = {
        "a": Grid(classes=(2, 3), features=(10, 20), rescale=(1.0, 5.0)),
        "b": Grid(classes=(3,), features=(20, 30), rescale=(0.5,)),
    }
    assert _cells(AsymptoticsSettings(grids=grids)) == {
        Setting(2, 0.2): {10: [1.0, 5.0], 20: [1.0, 5.0]},
        Setting(3, 0.2, rescale=0.5): {10: [1.0, 5.0], 20: [0.5, 1.0, 5.0], 30: [0.5]},
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rescale": (0.0, 1.0)}, "rising positive"),
        ({"features": (20, 10)}, "rising positive"),
        ({"classes": (1,)}, "classes is 1"),
        ({"ridge": 0.0}, "ridge is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, told) -> None:
    with pytest.raises(ValidationError, match=told):
        AsymptoticsSettings(grids={"a": Grid(**change)})
