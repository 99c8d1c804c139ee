from __future__ import annotations

import pytest

from squall.theory.setting import Setting


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"classes": 1}, "classes is 1"),
        ({"classes": 2.5}, "classes is 2.5"),
        ({"beta": 0.0}, "beta is 0"),
        ({"beta": -1.0}, "beta is -1"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"rescale": 0.0}, "rescale is 0"),
        ({"ridge": 0.0}, "ridge is 0"),
        ({"signal": 0.0}, "signal is 0"),
        ({"label_noise": -0.1}, "label_noise is -0.1"),
    ],
)
def test_bad_values_are_named(change, named) -> None:
    with pytest.raises(ValueError, match=named):
        Setting(**{"classes": 3, "beta": 1.0, **change})


def test_the_label_correlation_is_that_of_z_with_its_noise() -> None:
    setting = Setting(classes=3, beta=1.0, signal=3.0, label_noise=4.0)
    assert setting.label_correlation == pytest.approx(0.6)
