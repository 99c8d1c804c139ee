from __future__ import annotations

import math

import numpy as np
import pytest

from squall.theory.minimise import minimise
from squall.theory.setting import Setting
from squall.theory.state_evolution import iterate
from squall.theory.teacher import draw_data
from squall.theory.vamp import run_vamp

FIELDS = (
    "overlap",
    "noise",
    "gamma",
    "alpha",
    "signal",
    "noise_out",
    "weight_overlap",
    "weight_noise",
)


def run(setting: Setting, features: int, seed: int, *, noise: float, gamma: float, **options):
    data = draw_data(setting, features=features, seed=seed)
    start = noise * np.random.default_rng(1000 + seed).standard_normal(data.one_hot.shape)
    result = run_vamp(
        *(data.X, data.one_hot),
        rescale=setting.rescale,
        ridge=setting.ridge,
        start=start,
        gamma=gamma,
        teacher=data.weights,
        **options,
    )
    return data, result


@pytest.mark.parametrize(
    ("setting", "features", "gamma", "convex"),
    [
        (Setting(classes=10, beta=0.5, label_noise=0.5), 400, 1e-4, False),
        (Setting(classes=5, beta=3.0, rescale=2.0), 200, 2.0, False),
        (Setting(classes=2, beta=5.0), 200, 2.0, False),
        (Setting(classes=2, beta=5.0, label_noise=1.0), 200, 2.0, True),
    ],
)
def test_each_iteration_follows_state_evolution(setting, features, gamma, convex) -> None:
    noise = 0.3 * setting.rescale
    expected = list(iterate(setting, noise=noise, gamma=gamma, iterations=4, convex=convex))
    assert len(expected) == 4
    runs = [
        run(setting, features, seed, noise=noise, gamma=gamma, iterations=4, convex=convex)[1]
        for seed in range(8)
    ]
    for i, step in enumerate(expected):
        for name in FIELDS:
            values = np.array([getattr(result.steps[i], name) for result in runs])
            error = values.std(ddof=1) / math.sqrt(len(values))
            allowed = 4 * error + 0.02 * setting.rescale
            assert abs(values.mean() - getattr(step, name)) < allowed, (i, name)


def test_without_the_jump_it_does_not() -> None:
    """Two classes and many samples: predictions lie near the threshold."""
    setting = Setting(classes=2, beta=5.0, label_noise=1.0)
    with_it = next(iter(iterate(setting, noise=0.3, gamma=2.0, iterations=1)))
    for jump in (True, False):
        alphas = [
            run(setting, 200, seed, noise=0.3, gamma=2.0, iterations=1, jump=jump)[1].steps[0].alpha
            for seed in range(5)
        ]
        off = abs(np.mean(alphas) - with_it.alpha)
        assert off < 0.02 if jump else off > 0.1


@pytest.mark.parametrize(
    ("setting", "convex"),
    [
        (Setting(classes=10, beta=0.5, ridge=1e-3), False),
        (Setting(classes=8, beta=6.0, ridge=1e-2), True),
    ],
)
def test_a_fixed_point_is_a_minimum(setting: Setting, convex: bool) -> None:
    options = {"iterations": 500, "damping": 0.7, "tolerance": 1e-11, "convex": convex}
    data, result = run(setting, 100, 0, noise=0.3, gamma=0.5, **options)
    assert result.converged
    assert result.changes[-1] < 1e-11
    options = {"rescale": 1.0, "ridge": setting.ridge, "convex": convex}
    found = minimise(data.X, data.one_hot, **options, start=np.zeros((100, setting.classes)))
    if not convex:  # from zero nothing moves
        found = minimise(data.X, data.one_hot, **options, start=result.weights)
    np.testing.assert_allclose(found.weights, result.weights, atol=1e-6)


def test_no_convergence_is_said() -> None:
    _, result = run(Setting(classes=2, beta=5.0), 100, 0, noise=0.3, gamma=2.0, iterations=5)
    assert not result.converged
    assert "after 5 iterations" in result.reason
    assert len(result.steps) == len(result.changes) == 5


def test_without_a_teacher_sizes_are_measured() -> None:
    data = draw_data(Setting(classes=3, beta=2.0), features=30, seed=0)
    start = np.full(data.one_hot.shape, 0.1)
    result = run_vamp(
        data.X, data.one_hot, rescale=1.0, ridge=0.1, start=start, gamma=1.0, iterations=2
    )
    assert math.isnan(result.steps[0].overlap)
    assert result.steps[0].noise == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gamma": 0.0}, "gamma is 0"),
        ({"damping": 0.0}, "damping is 0"),
        ({"start": np.zeros((5, 2))}, r"start is \(5, 2\)"),
        ({"X": np.zeros((4, 3))}, r"X \(4, 3\)"),
        ({"rescale": -1.0}, r"rescale \(R\) is -1"),
        ({"ridge": 0.0}, r"ridge \(lambda\) is 0"),
    ],
)
def test_bad_values_are_named(change, named) -> None:
    arguments = {"X": np.ones((5, 3)), "one_hot": np.eye(5, 3), "start": np.ones((5, 3))}
    with pytest.raises(ValueError, match=named):
        run_vamp(**{**arguments, "rescale": 1.0, "ridge": 1.0, "gamma": 1.0, **change})
