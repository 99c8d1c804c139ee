"""The printed equations one by one: their values, corrected ones, and what is measured.

Each is checked where the printed fixed point lies, with the printed assumptions as its input, so
that an error of one equation does not count against the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.studies.asymptotics.settings import AsymptoticsSettings
from squall.studies.asymptotics.study import place
from squall.studies.simulations import Number, condition_text
from squall.theory import (
    FixedPoint,
    PrintedFixedPoint,
    Setting,
    draw_data,
    draw_outputs,
    initial_weights,
    measure_overlaps,
    minimise,
    rescaled_square_prox,
    solve,
    solve_printed,
    spectral_means,
)
from squall.theory.labels import label_nodes
from squall.theory.printed import assumed_tau_squared, printed_kappa_squared
from squall.theory.prox import scalar_objective, threshold

__all__ = ["EQUATIONS", "Equation", "check_equations"]

Array = NDArray[np.float64]
_DRAWN = 200_000
_COLUMNS = 20


@dataclass(frozen=True)
class Equation:
    """A printed equation or assumption.

    Args:
        correction: what the corrected value is.
        absolute: what difference counts as none; 0 for a share of what is measured. Of limits of
            large d the difference that the size still makes counts as none, too.
    """

    correction: str = ""
    absolute: float = 0.0


EQUATIONS = {
    "T(u)": Equation(),
    "T2(u)": Equation(),
    "T4(u)": Equation(),
    "prox of the objective, y = 1": Equation("g = gamma/2 in place of gamma", 1e-4),
    "prox of the objective, y = 0": Equation("g = gamma/2 in place of gamma", 1e-4),
    "kappa^2, the variance of p - z": Equation(),
    "overlap of p with z": Equation("beta (1 - T) in place of 1", 0.01),
    "mean slope of the prox": Equation("the jump at p* added", 0.01),
    "tau^2, the variance of r - z": Equation("what the same assumptions give"),
    "true class's mean output over its deviation": Equation("the label is the arg max"),
    "correlation of two outputs' noises": Equation("labels exclude each other"),
    "accuracy at 30 R over that at R": Equation("1, as the objective is homogeneous", 1e-3),
}
"""By name, as `check_equations` gives their numbers."""


def check_equations(setting: Setting, study: AsymptoticsSettings, *, seed: int) -> list[Number]:
    """Printed, corrected and measured value of each of `EQUATIONS`, where there is one.

    And of limits of large d, what is not known of them: how much twice the size changes what is
    measured (`shift`), and half of what the two corrected predictions are apart (`gap`).
    """
    at = replace(setting, rescale=study.equations_rescale)
    printed, features = solve_printed(at), study.equations_size
    random = np.random.default_rng(seed)
    checks = list(_minimiser(at, printed, features, seed))
    checks += _prox(2.0)
    if not printed.reason:
        checks += _linear_side(at, printed, features, random)
        checks += _output_side(at, printed, random)
    numbers = []
    for name, *values in checks:
        condition = condition_text(place(at, R=at.rescale), topic=name)
        numbers += [
            Number(system, condition, "equation", value, reason="it says nothing of it")
            for system, value in zip(_VALUES, values, strict=False)
        ]
    return numbers


_VALUES = ("printed", "corrected", "measured", "shift", "gap")
_Check = tuple[str, float, float, float] | tuple[str, float, float, float, float, float]


def _linear_side(
    setting: Setting, printed: PrintedFixedPoint, features: int, random: np.random.Generator
) -> Iterator[_Check]:
    """What goes in is z + N(0, tau^2), as printed."""
    u, beta, n = printed.u, setting.beta, round(setting.beta * features)
    X = random.standard_normal((n, features)) / math.sqrt(features)
    gram = X @ X.T
    values = np.maximum(np.linalg.eigvalsh(gram), 0.0)
    means = spectral_means(u, beta)
    t = float(means.t)
    yield "T(u)", t, math.nan, float(np.mean(u / (values + u)))
    yield "T2(u)", float(means.t2), math.nan, float(np.mean(values / (values + u) ** 2))
    yield "T4(u)", float(means.t4), math.nan, float(np.mean((values / (values + u)) ** 2))
    z = X @ (setting.signal * random.standard_normal((features, _COLUMNS)))
    r = z + printed.tau * random.standard_normal(z.shape)
    p = (gram @ np.linalg.solve(gram + u * np.eye(n), r) - (1 - t) * r) / t
    kappa = printed_kappa_squared(tau_squared=printed.tau**2, u=u, beta=beta, signal=setting.signal)
    yield "kappa^2, the variance of p - z", kappa, math.nan, float(((p - z) ** 2).mean())
    overlap = float((p * z).mean() / (z**2).mean())
    yield "overlap of p with z", 1.0, beta * float(means.complement), overlap


def _output_side(
    setting: Setting, printed: PrintedFixedPoint, random: np.random.Generator
) -> Iterator[_Check]:
    """What goes in is p = z + N(0, kappa^2), with a label independent of it, as printed."""
    gamma, kappa, R = printed.gamma, printed.kappa, setting.rescale
    z = setting.signal * random.standard_normal(_DRAWN)
    p = z + kappa * random.standard_normal(_DRAWN)
    label = random.random(_DRAWN) < 1 / setting.classes
    prox = rescaled_square_prox(p, label=label, rescale=R, gamma=gamma, convention="whole")
    slope = float(spectral_means(printed.u, setting.beta).t)
    variance = setting.signal**2 + kappa**2
    at = float(threshold(rescale=R, pull=gamma))
    density = math.exp(-at * at / variance / 2) / math.sqrt(2 * math.pi * variance)
    jump = (R - at) / (1 + gamma) * density / setting.classes
    # The mean slope by Stein's lemma, which counts jumps.
    measured = float((p * prox).mean()) / variance
    yield "mean slope of the prox", slope, slope + jump, measured
    r = (prox - slope * p) / (1 - slope)
    yield (
        "tau^2, the variance of r - z",
        printed.tau**2,
        assumed_tau_squared(setting, gamma=gamma, kappa=kappa),
        float(((r - z) ** 2).mean()),
    )


def _prox(gamma: float) -> Iterator[_Check]:
    """One value of each branch, and the minimum of the printed eq. 3.14 over a fine grid."""
    grid = np.linspace(-1.0, 2.0, 300_001)
    for label, p in ((1, 0.2), (0, 0.5)):
        options: dict[str, Any] = {"label": label, "rescale": 1.0, "gamma": gamma}
        values = scalar_objective(grid, p, **options, convention="half")
        yield (
            f"prox of the objective, y = {label}",
            float(rescaled_square_prox(p, **options, convention="whole")),
            float(rescaled_square_prox(p, **options, convention="half")),
            float(grid[values.argmin()]),
        )


def _minimiser(
    setting: Setting, printed: PrintedFixedPoint, size: int, seed: int
) -> Iterator[_Check]:
    """What the minimiser from least squares shows of the assumptions, and of R."""
    # In the limit of many features there are many samples, too.
    features = math.ceil(size / min(1.0, setting.beta))
    whole = _measured_minimum(setting, features, seed)
    half = _measured_minimum(setting, features // 2, seed)
    points = [solve(setting), solve(setting, convex=True)]
    for name, which, predicted in (
        (
            "true class's mean output over its deviation",
            "true_mean",
            [_true_mean(setting, point) for point in points],
        ),
        (
            "correlation of two outputs' noises",
            "noise_correlation",
            [point.noise_correlation for point in points],
        ),
    ):
        own, twin = predicted
        corrected = twin if math.isnan(own) else (own + twin) / 2
        shift, gap = whole[which] - half[which], abs(twin - corrected)
        yield name, 0.0, corrected, whole[which], shift, gap
    larger = solve_printed(replace(setting, rescale=30 * setting.rescale)).accuracy
    ratio = whole["accuracy_ratio"]
    yield "accuracy at 30 R over that at R", larger / printed.accuracy, 1.0, ratio


def _measured_minimum(setting: Setting, features: int, seed: int) -> dict[str, float]:
    data = draw_data(setting, features=features, seed=seed)
    found = [_minimum(setting, data.X, data.one_hot, factor) for factor in (1.0, 30.0)]
    random = np.random.default_rng([seed, 1])
    outputs = draw_outputs(np.concatenate([data.weights, *found], axis=1), 20_000, random)
    scores, first, second = np.split(outputs, 3, axis=1)
    best = scores.argmax(axis=1)
    labels = (scores + setting.label_noise * random.standard_normal(scores.shape)).argmax(axis=1)
    true = first[np.arange(len(first)), labels].mean()
    hits = [float((of.argmax(axis=1) == best).mean()) for of in (first, second)]
    overlaps = measure_overlaps(student=found[0], teacher=data.weights)
    return {
        "true_mean": float(true / np.sqrt((first**2).mean())),
        "noise_correlation": overlaps.noise_correlation,
        "accuracy_ratio": hits[1] / hits[0],
    }


def _minimum(setting: Setting, X: Array, one_hot: Array, factor: float) -> Array:
    options: dict[str, Any] = {"rescale": factor * setting.rescale, "ridge": setting.ridge}
    start = initial_weights("least_squares", X, one_hot, **options)
    return minimise(X, one_hot, **options, start=start).weights


def _true_mean(setting: Setting, point: FixedPoint) -> float:
    """E[p | y = 1] over the deviation of p: mu rho E[h | y = 1] / std(p)."""
    h, weights = label_nodes(setting.classes, 400)
    mean = float(weights @ h) * setting.classes
    return point.overlap * setting.label_correlation * mean / math.hypot(point.overlap, point.noise)
