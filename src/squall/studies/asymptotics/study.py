"""Predictions of a setting, and minima on data drawn for it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.studies.asymptotics.settings import AsymptoticsSettings
from squall.studies.simulations import Number, condition_text
from squall.theory import (
    FixedPoint,
    Minimum,
    Setting,
    Step,
    TeacherData,
    VampResult,
    best_rescale,
    draw_data,
    gradient_descent,
    initial_weights,
    iterate,
    measure_overlaps,
    minimise,
    run_vamp,
    sampled_accuracy,
    solve,
    solve_printed,
)

__all__ = ["MINIMA", "place", "predict", "simulate"]

Array = NDArray[np.float64]

MINIMA = {"least_squares": "least squares", "random": "small random", "vamp": "VAMP's last iterate"}
"""Starts of the minimiser, as systems of the records, and in words."""

_OTHER_SAMPLES = 1_000_000  # added to a seed, for what is independent of the data


def place(setting: Setting, **further: float) -> dict[str, float]:
    """The setting as a condition has it, without R.

    >>> place(Setting(classes=10, beta=0.2), d=500)
    {'k': 10, 'beta': 0.2, 'noise': 0.0, 'lambda': 1e-05, 'd': 500}
    """
    values = {
        "k": setting.classes,
        "beta": setting.beta,
        "noise": setting.label_noise,
        "lambda": setting.ridge,
    }
    return values | further


def predict(setting: Setting, rescale: Sequence[float], study: AsymptoticsSettings) -> list[Number]:
    """What both state evolutions say of a setting, at each R, and where the best R is.

    Records of three systems: `printed`, `corrected`, and `convex`, the corrected state evolution of
    the convex twin (`squall.theory.state_evolution`).
    """
    numbers: list[Number] = []
    for R in rescale:
        at = replace(setting, rescale=R)
        condition = condition_text(place(at, R=R))
        printed = solve_printed(at)
        numbers.append(
            Number(
                *("printed", condition, "accuracy", 100 * printed.accuracy), reason=printed.reason
            )
        )
        for system, convex in (("corrected", False), ("convex", True)):
            numbers += _described(solve(at, convex=convex), system, condition, R)
    corrected = [n.value for n in numbers if (n.system, n.metric) == ("corrected", "accuracy")]
    flat = max(corrected) - min(corrected) < 1e-5  # False for NaN
    numbers += _best_rescale(setting, rescale, flat)
    steps = iterate(
        setting,
        noise=study.vamp.noise * setting.rescale,
        gamma=study.vamp.gamma,
        iterations=study.vamp.followed,
    )
    return numbers + list(_followed(setting, list(steps), "corrected", {}))


def _described(point: FixedPoint, system: str, condition: str, R: float) -> Iterator[Number]:
    values = {
        "accuracy": 100 * point.accuracy,
        "objective": point.objective / R**2,
        "overlap": point.overlap / R,
        "student_noise": point.noise / R,
        "jump": 100 * point.jump,
    }
    for metric, value in values.items():
        yield Number(system, condition, metric, value, reason=point.reason)


def _best_rescale(setting: Setting, rescale: Sequence[float], flat: bool) -> Iterator[Number]:
    """Without a search where accuracy is the same at every R."""
    if len(rescale) < 2:
        return
    for system, predict_one in (("printed", solve_printed), ("corrected", solve)):
        value, reason = math.nan, "accuracy does not depend on R"
        if system == "printed" or not flat:
            best = best_rescale(setting, predict_one, low=rescale[0], high=rescale[-1])
            value, reason = best.rescale, reason if best.flat else "there is no prediction"
        yield Number(system, condition_text(place(setting)), "best_rescale", value, reason=reason)


def _followed(
    setting: Setting, steps: Sequence[Step], system: str, further: Mapping[str, float], n: int = 0
) -> Iterator[Number]:
    for number, step in enumerate(steps, 1):
        condition = condition_text(place(setting, **further, iteration=number))
        for metric, name in (("overlap", "overlap"), ("student_noise", "noise")):
            value = getattr(step, name) / setting.rescale
            yield Number(system, condition, metric, value, n)


def simulate(
    setting: Setting,
    rescale: Sequence[float],
    study: AsymptoticsSettings,
    *,
    features: int,
    seed: int,
) -> list[Number]:
    """Minima from several starts, gradient descent for each R, and the message passing itself.

    Args:
        setting: at the first R, which minima and message passing are found for.
        rescale: R of gradient descent.
        study: the rest.
        features: d.
        seed: of the data; starts and new samples have others that follow from it.
    """
    data = draw_data(setting, features=features, seed=seed)
    settled, steps = _message_passing(setting, data, study, seed)
    numbers = list(_followed(setting, steps, "message_passing", {"d": features}, data.one_hot.size))
    condition = condition_text(place(setting, R=setting.rescale, d=features))
    numbers.append(
        Number("message_passing", condition, "converged", 100.0 * settled.converged, n=1)
    )
    for minimum in _minima(setting, data, study, seed, settled.weights):
        numbers += _of_minimum(minimum, setting, data, study, seed)
    start = initial_weights(
        *("random", data.X, data.one_hot),
        rescale=1.0,
        ridge=setting.ridge,
        scale=study.descent.size,
        seed=seed + _OTHER_SAMPLES,
    )
    for R in rescale:
        weights = gradient_descent(
            *(data.X, data.one_hot),
            rescale=R,
            ridge=setting.ridge,
            start=start,
            steps=study.descent.steps,
        )
        condition = condition_text(place(setting, R=R, d=features))
        accuracy = _accuracy(weights, data, study, seed)
        numbers.append(Number("gradient_descent", condition, "accuracy", accuracy, study.samples))
    return numbers


def _minima(
    setting: Setting, data: TeacherData, study: AsymptoticsSettings, seed: int, last: Array
) -> Iterator[Minimum]:
    options: dict[str, Any] = {"rescale": setting.rescale, "ridge": setting.ridge}
    for name in ("least_squares", "random"):
        start = initial_weights(
            *(name, data.X, data.one_hot), **options, scale=study.small, seed=seed + _OTHER_SAMPLES
        )
        yield minimise(data.X, data.one_hot, **options, start=start, name=name)
    yield minimise(data.X, data.one_hot, **options, start=last, name="vamp")


def _of_minimum(
    found: Minimum, setting: Setting, data: TeacherData, study: AsymptoticsSettings, seed: int
) -> Iterator[Number]:
    condition = condition_text(place(setting, R=setting.rescale, d=len(data.weights)))
    overlaps = measure_overlaps(student=found.weights, teacher=data.weights)
    values = {
        "accuracy": _accuracy(found.weights, data, study, seed),
        "objective": float(found.objective.mean()) / len(data.X) / setting.rescale**2,
        "overlap": overlaps.overlap / setting.rescale,
        "student_noise": overlaps.noise / setting.rescale,
        "converged": 100 * float(found.converged.mean()),
    }
    counts = {"accuracy": study.samples, "converged": setting.classes, "objective": len(data.X)}
    for metric, value in values.items():
        n = counts.get(metric, found.weights.size)
        yield Number(found.start, condition, metric, value, n)


def _message_passing(
    setting: Setting, data: TeacherData, study: AsymptoticsSettings, seed: int
) -> tuple[VampResult, list[Step]]:
    """The damped run to the fixed point, and the first steps of the undamped one."""
    random = np.random.default_rng(seed + 2 * _OTHER_SAMPLES)
    start = study.vamp.noise * setting.rescale * random.standard_normal(data.one_hot.shape)

    def run(iterations: int, **further: Any) -> VampResult:
        return run_vamp(
            *(data.X, data.one_hot),
            rescale=setting.rescale,
            ridge=setting.ridge,
            start=start,
            gamma=study.vamp.gamma,
            iterations=iterations,
            **further,
        )

    settled = run(study.vamp.iterations, damping=study.vamp.damping)
    return settled, run(study.vamp.followed, teacher=data.weights).steps


def _accuracy(weights: Array, data: TeacherData, study: AsymptoticsSettings, seed: int) -> float:
    return 100 * sampled_accuracy(
        student=weights, teacher=data.weights, seed=seed + _OTHER_SAMPLES, samples=study.samples
    )
