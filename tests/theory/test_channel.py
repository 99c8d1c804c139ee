from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from squall.theory.channel import bivariate_normal_cdf, channel_means, residual_correlation
from squall.theory.prox import rescaled_square_prox

N = 200_000
# classes, rho, mu, nu, correlation of two noises, pull
CASES = [
    (2, 1.0, 0.8, 0.6, -0.4, 0.2),
    (3, 0.7, 0.5, 0.4, 0.3, 0.3),
    (10, 0.8, 0.3, 0.2, -0.05, 1.5),
]


@pytest.mark.parametrize("convex", [False, True])
@pytest.mark.parametrize(("k", "rho", "mu", "nu", "q", "pull"), CASES)
def test_means_of_drawn_samples(k, rho, mu, nu, q, pull, convex) -> None:
    rng = np.random.default_rng(k)
    z = rng.standard_normal((N, k))
    label = (rho * z + math.sqrt(1 - rho * rho) * rng.standard_normal((N, k))).argmax(axis=1)
    g = (z - z.mean(axis=1, keepdims=True))[:, :2] * math.sqrt(k / (k - 1))
    s = rng.standard_normal((N, 2))
    s[:, 1] = q * s[:, 0] + math.sqrt(1 - q * q) * s[:, 1]
    p, y = mu * g + nu * s, label[:, None] == np.arange(2)
    prox = rescaled_square_prox(p, label=y, rescale=1.0, gamma=2 * pull, convex=convex)
    G = (1 + pull) * (prox - p)
    kept = prox if convex else np.maximum(prox, 0)
    kept = np.where(y, kept, np.maximum(prox, 0))
    found = channel_means(
        classes=k, label_correlation=rho, pull=pull, overlap=mu, noise=nu, convex=convex
    )
    product = residual_correlation(
        classes=k,
        label_correlation=rho,
        pull=pull,
        overlap=mu,
        noise=nu,
        noise_correlation=q,
        convex=convex,
    )
    for value, samples in (
        (found.power, G[:, 0] ** 2),
        (found.alignment, g[:, 0] * G[:, 0]),
        (found.divergence, -s[:, 0] * G[:, 0] / nu),  # Stein, which sees the jump
        (found.loss, (y[:, 0] - kept[:, 0]) ** 2),
        (found.alive / k, y[:, 0] & (prox[:, 0] > 0)),
        (product, G[:, 0] * G[:, 1]),
    ):
        error = samples.std() / math.sqrt(N)
        assert abs(samples.mean() - value) < 4.5 * error


def test_the_jump_counts() -> None:
    k, rho, mu, nu, _, pull = CASES[1]
    found = channel_means(classes=k, label_correlation=rho, pull=pull, overlap=mu, noise=nu)
    assert found.jump > 0.01
    twin = channel_means(
        classes=k, label_correlation=rho, pull=pull, overlap=mu, noise=nu, convex=True
    )
    assert twin.jump == 0


@pytest.mark.parametrize("case", CASES)
def test_nodes_do_not_matter(case) -> None:
    k, rho, mu, nu, q, pull = case
    options = {"classes": k, "label_correlation": rho, "pull": pull, "overlap": mu, "noise": nu}
    coarse, fine = (channel_means(**options, nodes=nodes) for nodes in (120, 600))
    for name in ("divergence", "power", "alignment", "loss"):
        assert getattr(coarse, name) == pytest.approx(getattr(fine, name), rel=1e-9)
    pairs = [residual_correlation(**options, noise_correlation=q, nodes=n) for n in (36, 70)]
    assert pairs[0] == pytest.approx(pairs[1], abs=1e-9)


@pytest.mark.parametrize("r", [-0.95, -0.3, 0.0, 0.6, 0.999])
def test_bivariate_normal_against_scipy(r: float) -> None:
    points = np.array([-2.5, -0.4, 0.0, 0.7, 3.0])
    x, y = (values.ravel() for values in np.meshgrid(points, points))
    expected = multivariate_normal([0, 0], [[1, r], [r, 1]]).cdf(np.stack([x, y], axis=-1))
    np.testing.assert_allclose(bivariate_normal_cdf(x, y, r), expected, atol=2e-7)
    assert float(bivariate_normal_cdf(np.zeros(1), np.zeros(1), r)[0]) == pytest.approx(
        0.25 + math.asin(r) / (2 * math.pi), abs=1e-14
    )
