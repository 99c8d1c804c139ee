"""Minima and descent from the products of samples, against those from the samples themselves."""

from __future__ import annotations

import numpy as np
import pytest

from squall.theory.gram import gradient_descent_gram, minimise_gram
from squall.theory.minimise import gradient_descent, initial_weights, minimise
from squall.theory.setting import Setting
from squall.theory.teacher import draw_data

RIDGE = 1e-3


def drawn(beta: float, features: int = 30):
    """Samples whose features have scales from 1 to 1/30."""
    data = draw_data(Setting(classes=4, beta=beta), features=features, seed=1)
    return data.X / np.arange(1, features + 1), data.one_hot


def start(X, scale=1.0):
    return scale * np.random.default_rng(5).standard_normal((X.shape[1], 4))


def gradient(X, y, w):
    """Of f, term by term."""
    found = RIDGE * w
    for x, target in zip(X, y, strict=True):
        if x @ w > 0:
            found = found + 2 * (x @ w - target) * x
    return found


@pytest.mark.parametrize("beta", [0.5, 3.0])
@pytest.mark.parametrize("begin", ["random", "least_squares"])
def test_the_end_is_a_minimum_that_descent_does_not_leave(beta: float, begin: str) -> None:
    X, Y = drawn(beta)
    options = {"rescale": 2.0, "ridge": RIDGE}
    first = initial_weights(begin, X, Y, **options, scale=1.0)
    found = minimise_gram(X @ X.T, Y, **options, start_outputs=X @ first)
    assert found.converged.all()
    assert found.steps.max() > 1
    weights = X.T @ found.coefficients
    for k in range(4):
        assert np.linalg.norm(gradient(X, 2.0 * Y[:, k], weights[:, k])) < 1e-7
    again = minimise(X, Y, **options, start=weights)
    np.testing.assert_allclose(again.weights, weights, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found.objective, again.objective, rtol=1e-10)
    np.testing.assert_array_equal(found.alive, again.alive)


def test_where_no_class_is_lost_it_is_the_one_minimum_of_the_convex_twin() -> None:
    X, Y = drawn(0.5)
    options = {"rescale": 1.0, "ridge": RIDGE}
    first = initial_weights("least_squares", X, Y, **options)
    found = minimise_gram(X @ X.T, Y, **options, start_outputs=X @ first)
    assert (found.alive == 1).all()
    twin = minimise(X, Y, **options, start=np.zeros((30, 4)), convex=True)
    np.testing.assert_allclose(X.T @ found.coefficients, twin.weights, rtol=1e-5, atol=1e-8)


def test_r_changes_the_size_of_minima_and_nothing_else() -> None:
    X, Y = drawn(0.5)
    one, many = (
        minimise_gram(X @ X.T, Y, rescale=R, ridge=RIDGE, start_outputs=X @ start(X))
        for R in (1.0, 50.0)
    )
    np.testing.assert_allclose(many.coefficients, 50 * one.coefficients, rtol=1e-10)
    np.testing.assert_allclose(many.objective, 50**2 * one.objective, rtol=1e-10)


def test_an_output_without_positive_samples_stays_at_zero() -> None:
    X, Y = drawn(0.5)
    outputs = X @ start(X)
    outputs[:, 1] = -1.0
    found = minimise_gram(X @ X.T, Y, rescale=1.0, ridge=RIDGE, start_outputs=outputs)
    assert not found.coefficients[:, 1].any()
    assert found.coefficients[:, 0].any()
    assert (found.converged[1], found.alive[1]) == (True, 0)
    assert found.objective[1] == Y[:, 1].sum()


def test_an_output_that_is_given_up_is_told() -> None:
    X, Y = drawn(3.0)
    found = minimise_gram(
        X @ X.T, Y, rescale=1.0, ridge=RIDGE, start_outputs=X @ start(X), max_steps=1
    )
    assert not found.converged.any()
    assert (found.steps == 1).all()


@pytest.mark.parametrize("beta", [0.5, 3.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_descent_is_that_of_the_samples(beta: float, dtype: str) -> None:
    X, Y = drawn(beta)
    options = {"rescale": 3.0, "ridge": 0.1, "steps": 40}
    expected = gradient_descent(X, Y, **options, start=start(X))
    a, share = gradient_descent_gram(
        (X @ X.T).astype(dtype), Y, **options, start_outputs=X @ start(X)
    )
    assert a.dtype == dtype
    assert share < 0.99  # so that it matters
    close = {"rtol": 1e-9, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(X.T @ a + share * start(X), expected, **close)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rescale": 0.0}, "rescale .* is 0"),
        ({"ridge": -1.0}, "ridge .* is -1"),
        ({"start_outputs": np.ones((2, 4))}, r"start_outputs \(2, 4\)"),
        ({"ridge": 1e-300}, "rounding makes 0 beside"),
    ],
)
def test_what_cannot_be_is_refused(change, told) -> None:
    X, Y = drawn(3.0)
    options = {"rescale": 1.0, "ridge": RIDGE, "start_outputs": np.ones(Y.shape), **change}
    with pytest.raises(ValueError, match=told):
        minimise_gram(X @ X.T, Y, **options)
