from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from squall.theory.best_rescale import best_rescale
from squall.theory.fixed_point import solve
from squall.theory.setting import Setting

SETTING = Setting(classes=10, beta=0.5)


@dataclass
class Answer:
    accuracy: float


def test_the_top_of_a_hill_is_found() -> None:
    found = best_rescale(SETTING, lambda s: Answer(-((math.log(s.rescale) - 1.3) ** 2)))
    assert found.rescale == pytest.approx(math.exp(1.3), rel=2e-3)
    assert found.accuracy == pytest.approx(0, abs=1e-5)
    assert not found.flat
    assert not found.at_edge


def test_values_without_a_prediction_are_passed_over() -> None:
    def predict(setting: Setting) -> Answer:
        return Answer(math.nan if setting.rescale < 20 else 1 / setting.rescale)

    found = best_rescale(SETTING, predict)
    assert found.rescale == pytest.approx(20, rel=2e-3)
    nothing = best_rescale(SETTING, lambda s: Answer(math.nan))
    assert math.isnan(nothing.rescale)
    assert math.isnan(nothing.accuracy)


def test_an_end_of_the_range_is_said() -> None:
    found = best_rescale(SETTING, lambda s: Answer(s.rescale), low=0.5, high=4.0)
    assert found.at_edge
    assert found.rescale == pytest.approx(4.0, rel=2e-3)


@pytest.mark.slow
def test_the_minimiser_does_not_care() -> None:
    found = best_rescale(SETTING, solve)
    assert found.flat
    assert math.isnan(found.rescale)
    assert found.accuracy == pytest.approx(solve(SETTING).accuracy, abs=1e-9)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 1.0)])
def test_no_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"R from {low} to {high}"):
        best_rescale(SETTING, solve, low=low, high=high)
