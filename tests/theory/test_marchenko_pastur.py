from __future__ import annotations

from decimal import Decimal, getcontext

import numpy as np
import pytest

from squall.theory.marchenko_pastur import density, share_of_zeros, spectral_means, support

BETAS = [0.2, 0.9, 1.0, 1.5, 5.0]


def integrate(function, beta: float) -> float:
    """A mean over the eigenvalues of X X': the trapezoidal rule in the angle of x = c + r cos."""
    least, largest = support(beta)
    angles = (np.arange(8000) + 0.5) * np.pi / 8000
    x = (least + largest) / 2 + (largest - least) / 2 * np.cos(angles)
    weight = density(x, beta) * (largest - least) / 2 * np.sin(angles) * np.pi / 8000
    return float((function(x) * weight).sum() + share_of_zeros(beta) * function(0.0))


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("u", [0.01, 0.3, 1.0, 20.0])
def test_means_are_integrals_over_the_density(beta: float, u: float) -> None:
    means = spectral_means(u, beta)
    assert integrate(lambda x: u / (x + u), beta) == pytest.approx(float(means.t), abs=1e-10)
    assert integrate(lambda x: x / (x + u), beta) == pytest.approx(
        float(means.complement), abs=1e-10
    )
    assert integrate(lambda x: x / (x + u) ** 2, beta) == pytest.approx(float(means.t2), abs=1e-10)
    assert integrate(lambda x: (x / (x + u)) ** 2, beta) == pytest.approx(
        float(means.t4), abs=1e-10
    )


@pytest.mark.parametrize("beta", BETAS)
def test_the_density_has_the_moments_of_the_matrix(beta: float) -> None:
    # E tr(X X')/n = 1 and E tr(X X')^2/n = 1 + beta for n rows of variance 1/d
    assert integrate(lambda x: x + 0 * x, beta) == pytest.approx(1.0, abs=1e-10)
    assert integrate(lambda x: x**2, beta) == pytest.approx(1 + beta, abs=1e-10)


@pytest.mark.parametrize("beta", [0.4, 2.5])
def test_means_of_random_matrices(beta: float) -> None:
    d, u = 200, 0.5
    n = round(beta * d)
    measured = []
    for seed in range(8):
        X = np.random.default_rng(seed).standard_normal((n, d)) / np.sqrt(d)
        s2 = np.zeros(n)
        s2[: min(n, d)] = np.linalg.svd(X, compute_uv=False) ** 2
        measured.append(
            [np.mean(v) for v in (u / (s2 + u), s2 / (s2 + u) ** 2, (s2 / (s2 + u)) ** 2)]
        )
    means = spectral_means(u, beta)
    expected = np.array([means.t, means.t2, means.t4])
    error = np.std(measured, axis=0, ddof=1) / np.sqrt(8)
    # the limit is reached as 1/n
    assert np.all(np.abs(np.mean(measured, axis=0) - expected) < 3 * error + 0.3 / n)
    assert np.all(error < 0.01 * expected)


@pytest.mark.parametrize("beta", BETAS)
def test_t2_is_the_derivative_of_t(beta: float) -> None:
    u = np.geomspace(0.01, 100, 9)
    step = 1e-4 * u
    # Richardson's combination of central differences: an error of step^4
    d1 = (spectral_means(u + step, beta).t - spectral_means(u - step, beta).t) / (2 * step)
    d2 = (spectral_means(u + 2 * step, beta).t - spectral_means(u - 2 * step, beta).t) / (4 * step)
    means = spectral_means(u, beta)
    np.testing.assert_allclose((4 * d1 - d2) / 3, means.t2, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(means.t4, 1 - means.t - u * means.t2, rtol=0, atol=1e-13)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("u", [1e-12, 1e-5, 1e7])
def test_no_digits_are_lost(beta: float, u: float) -> None:
    """The printed formulas in fifty digits."""
    getcontext().prec = 50
    b, x = Decimal(beta), Decimal(u)
    root = ((1 - b + x) ** 2 + 4 * b * x).sqrt()
    t = (root - (1 - b + x)) / (2 * b)
    t2 = ((1 - b + x + 2 * b) / root - 1) / (2 * b)
    means = spectral_means(u, beta)
    for value, exact in (
        (means.t, t),
        (means.complement, 1 - t),
        (means.t2, t2),
        (means.t4, 1 - t - x * t2),
    ):
        assert float(value) == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize(
    ("u", "beta", "named"),
    [(0.0, 1.0, "u is 0"), (1.0, 0.0, "beta is 0"), (1.0, -2.0, "beta is -2")],
)
def test_bad_values_are_named(u: float, beta: float, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        spectral_means(u, beta)
    if beta <= 0:
        for function in (support, share_of_zeros):
            with pytest.raises(ValueError, match=named):
                function(beta)
