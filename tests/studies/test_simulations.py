"""Numbers of many simulations, and verdicts on formulas from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from squall.studies.simulations import (
    condition_text,
    extrapolated,
    mean_and_error,
    read_condition,
)
from squall.studies.verdicts import Claim, judge, summary


def test_a_condition_is_read_as_it_was_written() -> None:
    values = {"k": 10, "lambda": 1e-5, "centres": "random"}
    for topic in ("", "prox, y = 1", "a: b"):
        found, read = read_condition(condition_text(values, topic))
        assert found == topic
        assert read == {"k": "10", "lambda": "1e-05", "centres": "random"}


def test_the_mean_has_its_standard_error() -> None:
    values = [1.0, 2.0, 4.5, math.nan]
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(2.5)
    assert error == pytest.approx(np.std(values[:3], ddof=1) / math.sqrt(3))
    assert mean_and_error([3.0])[0] == 3.0
    assert math.isnan(mean_and_error([3.0])[1])
    assert math.isnan(mean_and_error([math.nan])[0])


def test_the_limit_is_that_of_a_line_over_one_by_size() -> None:
    random = np.random.default_rng(0)
    sizes = {d: 7 + 30 / d + d**-0.5 * random.standard_normal(40) for d in (50.0, 100.0, 400.0)}
    limit, error = extrapolated({d: list(v) for d, v in sizes.items()})
    x = np.array([1 / d for d in sizes])
    errors = [v.std(ddof=1) / math.sqrt(len(v)) for v in sizes.values()]
    coefficients, covariance = np.polyfit(
        x, [v.mean() for v in sizes.values()], 1, w=1 / np.array(errors), cov="unscaled"
    )
    assert limit == pytest.approx(coefficients[1])
    assert error == pytest.approx(math.sqrt(covariance[1, 1]))
    assert abs(limit - 7) < 4 * error


def test_the_limit_of_one_size_or_seed() -> None:
    assert extrapolated({100.0: [1.0, 3.0]}) == (2.0, 1.0)
    limit, error = extrapolated({100.0: [1.0], 200.0: [2.0]})
    assert limit == pytest.approx(3.0)
    assert math.isnan(error)
    assert math.isnan(extrapolated({})[0])
    # seeds that agree exactly
    limit, _ = extrapolated({100.0: [1.0, 1.0], 200.0: [2.0, 2.0]})
    assert limit == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("printed", "corrected", "measured", "bound", "verdict"),
    [
        (1.0, math.nan, [0.99, 1.0, 1.01], False, "holds"),
        (1.5, 1.0, [0.99, 1.0, 1.01], False, "holds with a correction"),
        (1.5, 1.2, [0.99, 1.0, 1.01], False, "does not hold"),
        (math.nan, 1.0, [1.0], False, "holds with a correction"),
        (1.03, math.nan, [1.0], False, "does not hold"),  # one seed: 2 % count as none
        (1.01, math.nan, [1.0], False, "holds"),
        (1.5, math.nan, [1.0], True, "holds"),
        (0.5, 2.0, [1.0], True, "holds with a correction"),
        (1.0, 1.0, [math.nan], False, "not tested"),
        (math.nan, math.nan, [1.0], False, "not tested"),
    ],
)
def test_the_verdict_on_a_setting(printed, corrected, measured, bound, verdict) -> None:
    assert judge(Claim(printed, corrected, measured, bound=bound)) == verdict


def test_the_verdict_on_all_settings_is_that_of_the_worst() -> None:
    good, bad = Claim(1.0, 1.0, [1.0]), Claim(2.0, 1.0, [1.0])
    worse = Claim(2.0, 1.5, [1.0])
    nothing = Claim(2.0, 1.5, [math.nan])
    assert summary([good, nothing])[0] == "holds"
    verdict, printed, corrected = summary([good, bad, nothing])
    assert verdict == "holds with a correction"
    assert printed == "1 of 2 agree; off by +100.0 % at most"
    assert corrected == "2 of 2 agree; off by +0.0 % at most"
    assert summary([good, bad, worse])[0] == "does not hold"
    assert summary([nothing]) == ("not tested", "", "")
    # a bound that is far above is not off
    assert summary([Claim(9.0, math.nan, [1.0], bound=True)])[1].endswith("off by +0.0 % at most")
