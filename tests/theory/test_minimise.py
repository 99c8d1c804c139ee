from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize

from squall.theory.minimise import (
    best_minimum,
    gradient_descent,
    initial_weights,
    minimise,
)
from squall.theory.setting import Setting
from squall.theory.teacher import draw_data

RIDGE = 1e-3


def small(beta: float, seed: int = 0, classes: int = 3, features: int = 20):
    data = draw_data(Setting(classes=classes, beta=beta), features=features, seed=seed)
    return data.X, data.one_hot


def objective(X, y, w, R, ridge, convex=False):
    """f of one output, and its gradient, term by term."""
    value, gradient = ridge / 2 * w @ w, ridge * w
    for x, label in zip(X, y, strict=True):
        z = x @ w
        kept = z if convex and label else max(z, 0.0)
        value += (R * label - kept) ** 2
        if z > 0 or (convex and label):
            gradient = gradient + 2 * (z - R * label) * x
    return value, gradient


@pytest.mark.parametrize("beta", [0.5, 3.0])
@pytest.mark.parametrize("convex", [False, True])
def test_the_end_is_a_minimum_of_the_objective(beta: float, convex: bool) -> None:
    X, Y = small(beta)
    start = initial_weights("least_squares", X, Y, rescale=2.0, ridge=RIDGE)
    found = minimise(X, Y, rescale=2.0, ridge=RIDGE, start=start, convex=convex)
    assert found.converged.all()
    rng = np.random.default_rng(0)
    for output in range(3):
        w = found.weights[:, output]
        value, gradient = objective(X, Y[:, output], w, 2.0, RIDGE, convex)
        assert value == pytest.approx(found.objective[output], rel=1e-12)
        assert np.linalg.norm(gradient) < 1e-8
        for direction in rng.standard_normal((10, len(w))):
            near, _ = objective(X, Y[:, output], w + 1e-5 * direction, 2.0, RIDGE, convex)
            assert near > value
    members = Y > 0
    alive = [((X @ found.weights)[members[:, k], k] > 0).mean() for k in range(3)]
    np.testing.assert_allclose(found.alive, alive)


def test_the_convex_twin_is_what_another_method_finds() -> None:
    X, Y = small(3.0)
    found = minimise(X, Y, rescale=1.0, ridge=RIDGE, start=np.zeros((20, 3)), convex=True)
    for output in range(3):
        other = scipy_minimize(
            lambda w, k=output: objective(X, Y[:, k], w, 1.0, RIDGE, True),
            np.ones(20),
            jac=True,
            method="L-BFGS-B",
            options={"gtol": 1e-10, "ftol": 1e-15, "maxiter": 2000},
        )
        assert found.objective[output] == pytest.approx(other.fun, rel=1e-9)
        np.testing.assert_allclose(found.weights[:, output], other.x, atol=1e-4)


def test_stubborn_outputs_are_solved_directly() -> None:
    """As many active samples as features: conjugate gradients do not get there."""
    X, Y = small(2.0, features=150)
    start = initial_weights("least_squares", X, Y, rescale=1.0, ridge=1e-8)
    found = minimise(X, Y, rescale=1.0, ridge=1e-8, start=start)
    assert found.converged.all()
    assert found.gradient_norm.max() <= 1e-8


def test_nothing_moves_from_zero() -> None:
    X, Y = small(2.0)
    start = initial_weights("zero", X, Y, rescale=1.0, ridge=RIDGE)
    found = minimise(X, Y, rescale=1.0, ridge=RIDGE, start=start, name="zero")
    assert not found.weights.any()
    assert found.start == "zero"
    assert found.steps.max() == 0
    np.testing.assert_array_equal(found.objective, Y.sum(axis=0))
    np.testing.assert_array_equal(found.alive, 0)
    np.testing.assert_array_equal(
        gradient_descent(X, Y, rescale=1.0, ridge=RIDGE, start=start, steps=5), 0
    )


def test_the_start_decides_and_the_best_is_kept() -> None:
    X, Y = small(3.0, features=30)
    minima = [
        minimise(
            *(X, Y),
            rescale=1.0,
            ridge=RIDGE,
            start=initial_weights(name, X, Y, rescale=1.0, ridge=RIDGE, seed=1),
            name=name,
        )
        for name in ("zero", "least_squares", "random")
    ]
    objectives = np.array([m.objective for m in minima])
    assert np.ptp(objectives, axis=0).min() > 1e-3
    best = best_minimum(minima)
    np.testing.assert_array_equal(best.objective, objectives.min(axis=0))
    for output, chosen in enumerate(objectives.argmin(axis=0)):
        np.testing.assert_array_equal(best.weights[:, output], minima[chosen].weights[:, output])


def test_the_minimum_is_proportional_to_r() -> None:
    """The objective is homogeneous: R changes neither a label nor an accuracy."""
    X, Y = small(3.0)
    start = np.random.default_rng(2).standard_normal((20, 3))
    one = minimise(X, Y, rescale=1.0, ridge=RIDGE, start=start)
    many = minimise(X, Y, rescale=50.0, ridge=RIDGE, start=50 * start)
    np.testing.assert_allclose(many.weights, 50 * one.weights, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(many.objective, 2500 * one.objective, rtol=1e-9)
    steps = gradient_descent(X, Y, rescale=1.0, ridge=RIDGE, start=start, steps=7)
    scaled = gradient_descent(X, Y, rescale=50.0, ridge=RIDGE, start=50 * start, steps=7)
    np.testing.assert_allclose(scaled, 50 * steps, rtol=1e-9)


def test_descent_goes_down_to_the_minimum() -> None:
    X, Y = small(3.0)
    w = initial_weights("random", X, Y, rescale=1.0, ridge=0.1, scale=0.1)
    values = []
    for _ in range(5):
        values.append(sum(objective(X, Y[:, k], w[:, k], 1.0, 0.1)[0] for k in range(3)))
        w = gradient_descent(X, Y, rescale=1.0, ridge=0.1, start=w, steps=3)
    assert values == sorted(values, reverse=True)
    w = gradient_descent(X, Y, rescale=1.0, ridge=0.1, start=w, steps=5000)
    found = minimise(X, Y, rescale=1.0, ridge=0.1, start=w)
    np.testing.assert_allclose(found.weights, w, atol=1e-6)


def test_least_squares_is_the_minimum_without_the_relu() -> None:
    for beta in (0.5, 3.0):
        X, Y = small(beta)
        w = initial_weights("least_squares", X, Y, rescale=2.0, ridge=RIDGE)
        gradient = 2 * X.T @ (X @ w - 2.0 * Y) + RIDGE * w
        np.testing.assert_allclose(gradient, 0, atol=1e-10)


def test_outputs_that_are_given_up_say_so() -> None:
    X, Y = small(3.0)
    start = initial_weights("random", X, Y, rescale=1.0, ridge=RIDGE)
    found = minimise(X, Y, rescale=1.0, ridge=RIDGE, start=start, max_steps=1)
    assert not found.converged.any()
    assert (found.gradient_norm > 1e-8).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rescale": 0.0}, r"rescale \(R\) is 0"),
        ({"ridge": 0.0}, r"ridge \(lambda\) is 0"),
        ({"tolerance": 0.0}, "tolerance is 0"),
        ({"start": np.zeros((3, 2))}, r"start is \(3, 2\)"),
        ({"X": np.zeros((4, 3))}, r"X \(4, 3\)"),
        ({"one_hot": np.zeros((5, 1))}, "1 classes"),
    ],
)
def test_bad_values_are_named(change, named) -> None:
    arguments = {"X": np.zeros((5, 3)), "one_hot": np.eye(5, 3), "start": np.zeros((3, 3))}
    with pytest.raises(ValueError, match=named):
        minimise(**{**arguments, "rescale": 1.0, "ridge": 1.0, **change})


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match="'ones'"):
        initial_weights("ones", np.zeros((5, 3)), np.eye(5, 3), rescale=1.0, ridge=1.0)
