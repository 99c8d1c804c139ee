from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from squall.theory.fixed_point import solve
from squall.theory.minimise import initial_weights, minimise
from squall.theory.setting import Setting
from squall.theory.state_evolution import iterate
from squall.theory.teacher import draw_data, measure_overlaps, sampled_accuracy

SETTINGS = [
    Setting(classes=2, beta=0.2),
    Setting(classes=60, beta=0.5, label_noise=1.0),
    Setting(classes=10, beta=2.0, label_noise=0.5, rescale=7.0),
    Setting(classes=2, beta=5.0, ridge=0.1),
]


@pytest.mark.parametrize("convex", [False, True])
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_iteration_stays_at_the_fixed_point(setting: Setting, convex: bool) -> None:
    point = solve(setting, convex=convex)
    assert not point.reason
    assert point.found == 1
    assert point.residual < 1e-9
    assert point.quadrature_error < 1e-5
    steps = list(
        iterate(
            setting,
            overlap=point.overlap,
            noise=point.noise,
            gamma=point.gamma,
            iterations=2,
            convex=convex,
        )
    )
    for name in ("overlap", "noise", "gamma"):
        assert getattr(steps[1], name) == pytest.approx(getattr(point, name), rel=1e-6)
    # the weights have the law of their predictions of new samples
    assert steps[1].weight_overlap == pytest.approx(point.overlap, rel=1e-6)
    assert steps[1].weight_noise == pytest.approx(point.noise, rel=1e-6)


@pytest.mark.parametrize("setting", SETTINGS)
def test_accuracy_does_not_depend_on_r(setting: Setting) -> None:
    points = [solve(replace(setting, rescale=R)) for R in (0.1, 1.0, 60.0)]
    for point in points:
        assert point.accuracy == pytest.approx(points[1].accuracy, abs=1e-9)
    assert points[2].overlap == pytest.approx(60 * points[1].overlap)
    assert points[2].objective == pytest.approx(3600 * points[1].objective)


def simulate(setting: Setting, features: int, seeds: int, *, convex: bool) -> np.ndarray:
    """Accuracy, overlap, noise, correlation of noises and objective of minima, for each seed."""
    rows = []
    for seed in range(seeds):
        data = draw_data(setting, features=features, seed=seed)
        options = {"rescale": setting.rescale, "ridge": setting.ridge}
        start = initial_weights("least_squares", data.X, data.one_hot, **options)
        found = minimise(data.X, data.one_hot, **options, start=start, convex=convex)
        assert found.converged.all()
        overlaps = measure_overlaps(student=found.weights, teacher=data.weights)
        accuracy = sampled_accuracy(
            student=found.weights, teacher=data.weights, seed=seed, samples=20_000
        )
        rows.append(
            [
                accuracy,
                overlaps.overlap,
                overlaps.noise,
                overlaps.noise_correlation,
                found.objective.mean() / len(data.X),
            ]
        )
    return np.array(rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "features", "convex"),
    [
        # no true-class output near the threshold: the objective itself
        (Setting(classes=2, beta=0.2), 600, False),
        (Setting(classes=2, beta=0.5, label_noise=1.0), 300, False),
        (Setting(classes=10, beta=0.2, label_noise=1.0, rescale=5.0), 600, False),
        (Setting(classes=10, beta=0.5), 400, False),
        (Setting(classes=10, beta=5.0), 200, False),
        (Setting(classes=60, beta=0.5, label_noise=0.5), 600, False),
        # two classes and more samples than features: the convex twin
        (Setting(classes=2, beta=2.5), 200, True),
        (Setting(classes=2, beta=5.0, label_noise=1.0), 200, True),
        (Setting(classes=5, beta=5.0, label_noise=1.0), 200, True),
        (Setting(classes=3, beta=4.0, ridge=0.5), 200, True),
    ],
)
def test_minima_on_data_are_as_predicted(setting: Setting, features: int, convex: bool) -> None:
    point = solve(setting, convex=convex)
    rows = simulate(setting, features, 6, convex=convex)
    expected = np.array(
        [point.accuracy, point.overlap, point.noise, point.noise_correlation, point.objective]
    )
    error = rows.std(axis=0, ddof=1) / math.sqrt(len(rows))
    # The limit is reached as k/d: accuracy of 60 classes is some half k/d of itself higher.
    size = np.array([point.accuracy, point.overlap, point.noise, 1.0, point.objective])
    finite = setting.classes / features * size
    assert np.all(np.abs(rows.mean(axis=0) - expected) < 3 * error + finite)
    assert error[0] < 0.03 * point.accuracy


def test_where_outputs_jump_the_objective_is_a_lower_bound() -> None:
    """Descent finds a minimum between the fixed point and the convex twin."""
    setting = Setting(classes=2, beta=5.0)
    point, twin = solve(setting), solve(setting, convex=True)
    assert point.jump > 0.3
    rows = simulate(setting, 200, 6, convex=False)
    assert point.objective < rows[:, 4].mean() < twin.objective
    assert point.accuracy < rows[:, 0].mean() < twin.accuracy


@pytest.mark.parametrize(("classes", "beta"), [(2, 0.5), (10, 0.2), (60, 0.5)])
def test_the_true_class_is_alive_where_all_fits(classes: int, beta: float) -> None:
    point = solve(Setting(classes=classes, beta=beta))
    assert point.jump < 1e-9
    assert point.alive == pytest.approx(1, abs=1e-9)
    assert point.loss < 1e-9
    twin = solve(Setting(classes=classes, beta=beta), convex=True)
    assert twin.accuracy == pytest.approx(point.accuracy, abs=1e-7)


def test_without_information_there_is_chance() -> None:
    assert solve(Setting(classes=5, beta=0.5, label_noise=1e4)).accuracy == pytest.approx(
        0.2, abs=1e-3
    )
    noisy = solve(Setting(classes=5, beta=2.0, label_noise=1.0))
    assert 0.2 < noisy.noisy_accuracy < noisy.accuracy


@pytest.mark.parametrize("classes", [2, 60, 1000])
@pytest.mark.parametrize("ridge", [1e-10, 1e3])
def test_a_prediction_is_found_in_a_second(classes: int, ridge: float) -> None:
    started = time.process_time()
    point = solve(Setting(classes=classes, beta=3.0, ridge=ridge, label_noise=0.2))
    assert time.process_time() - started < 1
    assert not point.reason
    assert 1 / classes < point.accuracy < 1


def test_no_fixed_point_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "squall.theory.fixed_point._equations", lambda x, *rest: 1 + np.exp(-(x**2))
    )
    point = solve(Setting(classes=2, beta=0.5))
    assert math.isnan(point.accuracy)
    assert point.found == 0
    assert "best residual" in point.reason


def test_several_fixed_points_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of the lowest objective is taken."""
    one = solve(Setting(classes=2, beta=0.5))
    values = iter(np.arange(12.0) % 2)
    monkeypatch.setattr(
        "squall.theory.fixed_point._polish", lambda setting, x, convex: (x * 0 + next(values), "")
    )
    monkeypatch.setattr(
        "squall.theory.fixed_point._describe",
        lambda setting, x, convex, found: replace(one, objective=float(x[0]), found=found),
    )
    point = solve(Setting(classes=2, beta=0.5))
    assert point.found == 2
    assert point.objective == 0.0


def test_bad_starts_are_named() -> None:
    setting = Setting(classes=2, beta=0.5)
    with pytest.raises(ValueError, match="noise is 0"):
        next(iterate(setting, noise=0.0, gamma=1.0, iterations=1))
    with pytest.raises(ValueError, match="gamma is -1"):
        next(iterate(setting, noise=1.0, gamma=-1.0, iterations=1))
