from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import erf

from squall.theory.marchenko_pastur import spectral_means
from squall.theory.printed import (
    assumed_tau_squared,
    printed_kappa_squared,
    solve_printed,
)
from squall.theory.prox import rescaled_square_prox
from squall.theory.setting import Setting

SETTINGS = [
    Setting(classes=60, beta=0.2),
    Setting(classes=10, beta=2.0, rescale=3.0),
    Setting(classes=2, beta=5.0, ridge=0.1, signal=2.0),
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_equations_hold_as_printed(setting: Setting) -> None:
    k, b, R, s, lam = (
        setting.classes,
        setting.beta,
        setting.rescale,
        setting.signal,
        setting.ridge,
    )
    found = solve_printed(setting)
    u, g = found.u, found.gamma
    root = math.sqrt((1 - b + u) ** 2 + 4 * b * u)
    T = (-(1 - b + u) + root) / (2 * b)
    T2 = ((1 - b + u + 2 * b) / root - 1) / (2 * b)
    T4 = 1 - T - u * T2
    p_star = R * (1 - math.sqrt(1 + 1 / g))
    E = erf(-p_star / math.sqrt(2 * (s**2 + found.kappa**2)))
    assert g == pytest.approx(T / u * lam / (1 - T), rel=1e-7)
    assert (2 * k * g + k - E) / (2 * k * (1 + g)) == pytest.approx(T, rel=1e-7)
    kappa2 = (found.tau**2 * (T4 - (1 - T) ** 2) + s**2 * u**2 * T2) / T**2
    assert found.kappa**2 == pytest.approx(kappa2, rel=1e-6)
    bracket = found.kappa**2 * (k * k + k * E - 2 * E) / 2
    bracket += 2 * (1 + E) ** 2 * R**2 + 2 * (k + E) ** 2 * s**2
    assert found.tau**2 == pytest.approx(bracket / (2 * k * g + k - E) ** 2, rel=1e-7)
    assert found.erf_value == pytest.approx(E, abs=1e-9)
    assert found.found == 1
    assert found.residual < 1e-9


def test_kappa_is_the_error_of_the_linear_side() -> None:
    """And its overlap with the truth is beta (1 - T): the errors of p are not free of z."""
    d, beta, u, tau = 400, 0.6, 0.4, 0.7
    n = round(beta * d)
    t = float(spectral_means(u, beta).t)
    squares, overlaps = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, d)) / math.sqrt(d)
        z = X @ rng.standard_normal((d, 20))
        r = z + tau * rng.standard_normal((n, 20))
        gram = X @ X.T
        p = (gram @ np.linalg.solve(gram + u * np.eye(n), r) - (1 - t) * r) / t
        squares.append(((p - z) ** 2).mean())
        overlaps.append((p * z).mean() / (z**2).mean())
    expected = printed_kappa_squared(tau_squared=tau**2, u=u, beta=beta, signal=1.0)
    assert abs(np.mean(squares) - expected) < 4 * np.std(squares) / math.sqrt(10)
    assert np.std(squares) < 0.05 * expected
    assert np.mean(overlaps) == pytest.approx(beta * (1 - t), abs=0.01)
    assert beta * (1 - t) < 0.4


def drawn_output_side(setting: Setting, gamma: float, kappa: float, count: int = 1_000_000):
    """The printed assumptions, drawn: p = z + N(0, kappa^2), a label independent of p."""
    rng = np.random.default_rng(0)
    z = setting.signal * rng.standard_normal(count)
    p = z + kappa * rng.standard_normal(count)
    y = rng.random(count) < 1 / setting.classes
    prox = rescaled_square_prox(
        p, label=y, rescale=setting.rescale, gamma=gamma, convention="whole"
    )
    return z, p, prox


def test_tau_is_not_what_its_assumptions_give() -> None:
    setting = Setting(classes=10, beta=2.0, rescale=3.0)
    found = solve_printed(setting)
    z, p, prox = drawn_output_side(setting, found.gamma, found.kappa)
    means = spectral_means(found.u, setting.beta)
    alpha = float(means.t)
    errors = ((prox - alpha * p) / (1 - alpha) - z) ** 2
    assumed = assumed_tau_squared(setting, gamma=found.gamma, kappa=found.kappa)
    assert abs(errors.mean() - assumed) < 4 * errors.std() / math.sqrt(len(errors))
    assert assumed == pytest.approx(1.84 * found.tau**2, rel=0.01)


def test_the_mean_slope_lacks_the_jump() -> None:
    """Under the printed assumptions themselves, by Stein's lemma."""
    setting = Setting(classes=2, beta=5.0)
    found = solve_printed(setting)
    _, p, prox = drawn_output_side(setting, found.gamma, found.kappa)
    slopes = p * prox / (1 + found.kappa**2)
    error = slopes.std() / math.sqrt(len(slopes))
    printed = float(spectral_means(found.u, setting.beta).t)
    assert slopes.mean() - printed > 0.05
    at = 1 - math.sqrt(1 + 1 / found.gamma)
    sd = math.sqrt(1 + found.kappa**2)
    density = math.exp(-((at / sd) ** 2) / 2) / (sd * math.sqrt(2 * math.pi)) / 2
    jump = (1 - at) / (1 + found.gamma) * density
    assert abs(slopes.mean() - printed - jump) < 4 * error


def test_the_printed_accuracy_depends_on_r() -> None:
    values = [
        solve_printed(Setting(classes=10, beta=0.2, rescale=R)).accuracy for R in (1.0, 10.0, 100.0)
    ]
    assert values == pytest.approx([0.161, 0.132, 0.104], abs=1e-3)


def test_label_noise_moves_the_accuracy_alone() -> None:
    clean, noisy = (solve_printed(Setting(classes=10, beta=0.2, label_noise=e)) for e in (0, 1))
    assert clean.tau == noisy.tau
    assert clean.accuracy == noisy.accuracy == clean.noisy_accuracy > noisy.noisy_accuracy


def test_no_solution_is_said() -> None:
    found = solve_printed(Setting(classes=2, beta=1.0))
    assert math.isnan(found.accuracy)
    assert found.found == 0
    assert "kappa^2" in found.reason
