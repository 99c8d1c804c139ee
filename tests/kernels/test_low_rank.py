"""Matrices of few directions: repeated rows, few distinct values, smooth kernels."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import kernels.naive_kernels as naive
from kernels.regression_data import draw
from squall.kernels import (
    EigenProRegressor,
    ExponentialPowerKernel,
    SubbandKernelMachine,
    squared_distances,
)
from squall.kernels.low_rank import LowRank, count_distinct, has_low_rank
from squall.kernels.preconditioner import choose_preconditioner

Array = NDArray[np.float64]

LEVELS = np.repeat(np.arange(24.0), 40)[:, None]
DIRECT = "numerically singular"


def _one_hot(rng: np.random.Generator, n: int) -> Array:
    return np.eye(7)[rng.integers(0, 7, n)]


def _ratings(rng: np.random.Generator, n: int) -> Array:
    return rng.integers(1, 6, (n, 2)).astype(float)


def _rounded(rng: np.random.Generator, n: int) -> Array:
    return np.round(rng.uniform(0, 3, (n, 1)), 1)


def _yes_no(rng: np.random.Generator, n: int) -> Array:
    return rng.integers(0, 2, (n, 3)).astype(float)


def _jittered(rng: np.random.Generator, n: int) -> Array:
    return np.repeat(rng.standard_normal((n // 8, 4)), 8, axis=0) + 1e-6 * rng.standard_normal(
        (n // 8 * 8, 4)
    )


def _line(rng: np.random.Generator, n: int) -> Array:
    return rng.uniform(-2, 2, (n, 1))


KINDS = {
    "one-hot": (_one_hot, (0.4, 2.0)),
    "ratings": (_ratings, (0.4, 2.0)),
    "rounded": (_rounded, (0.4, 2.0)),
    "yes and no": (_yes_no, (0.4, 2.0)),
    "jitter of a millionth": (_jittered, (1.0, 2.0)),
    "a line": (_line, (2.0, 2.0)),
}


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@example(  # 25 kinds of rows, of which the first 60 lack some
    kind="jitter of a millionth", n=200, where=0.0, bandwidth=8.0, noise=0.0, sample=60, seed=0
)
@example(kind="rounded", n=100, where=0.9975, bandwidth=2.0, noise=0.3, sample=60, seed=1)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    n=st.integers(100, 240),
    where=st.floats(0, 1),
    bandwidth=st.sampled_from([0.5, 2.0, 8.0]),
    noise=st.sampled_from([0.0, 0.3]),
    sample=st.sampled_from([60, 2000]),
    seed=st.integers(0, 2**16),
)
def test_fit_is_the_direct_solution(
    kind: str, n: int, where: float, bandwidth: float, noise: float, sample: int, seed: int
) -> None:
    make, (low, high) = KINDS[kind]
    rng = np.random.default_rng(seed)
    x = make(rng, n)
    y = np.sin(x @ rng.standard_normal((x.shape[1], 2)) + rng.standard_normal(2))
    if kind != "jitter of a millionth":  # whose noise would be learnt by rounding errors
        y += noise * rng.standard_normal(y.shape)
    model = EigenProRegressor(
        gamma=low + where * (high - low),
        bandwidth=bandwidth,
        subsample_size=sample,
        validation_fraction=0,
        random_state=seed,
    )
    _fitted(model, x, y)
    (band,) = model.subbands_
    # Only the jitter needs more rows than a small sample has, and is then left to the iteration.
    assert band.ridge == pytest.approx(1e-6 * len(x)) or kind == "jitter of a millionth"
    assert model.history_[0].get("direct", 0) == (2 if band.ridge else 0)
    exact = naive.predict_exactly(x, y, x, band.gamma, band.sigma, ridge=1e-6 * len(x))
    scale = np.sqrt(np.mean((y - y.mean(0)) ** 2))
    # Noise and gamma near 2: float32's rounding of the kernel weighs, up to 1.8e-3 in 72 draws.
    limit = 4e-3 if noise and band.gamma > 1.9 else 1e-3
    assert np.abs(model.predict(x) - exact).max() < limit * scale
    mse = np.mean((exact - y) ** 2)
    assert model.history_[-1]["train_mse"] == pytest.approx(mse, rel=1e-3, abs=1e-6 * scale**2)


def _fitted(model: Any, x: Array, y: Array, **more: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", f".*{DIRECT}")
        return model.fit(x, y, **more)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        EigenProRegressor(),
        EigenProRegressor(gamma="auto", bandwidth="auto"),
        EigenProRegressor(gamma="auto", metric="learned"),
        SubbandKernelMachine(subbands=2, gamma=[0.7, 1.2], bandwidth=1.0),
        SubbandKernelMachine(),
    ],
    ids=["one kernel", "auto", "learned metric", "two kernels", "subbands"],
)
@pytest.mark.parametrize("levels", [2, 24], ids=["two rows", "24 levels"])
def test_few_levels_are_learnt(model: Any, levels: int) -> None:
    x = np.repeat(np.arange(float(levels)), 40)[:, None]
    y = np.column_stack([np.sin(x[:, 0] / 4), np.cos(x[:, 0] / 4), x[:, 0]])
    score = _fitted(model, x, y).score(x, y)
    assert score > 0.9999


def test_one_distinct_row_gives_the_mean() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal(90)
    model = _fitted(EigenProRegressor(validation_fraction=0), np.full((90, 2), 3.5), y)
    np.testing.assert_allclose(model.predict([[3.5, 3.5]]), y.mean(), atol=1e-6)


def test_partial_fit_of_few_levels() -> None:
    order = np.random.default_rng(0).permutation(len(LEVELS))
    x, y = LEVELS[order], np.sin(LEVELS[order, 0] / 4)
    model = EigenProRegressor()
    with pytest.warns(UserWarning, match=DIRECT) as caught:
        model.partial_fit(x[:300], y[:300])
    assert caught[0].filename == __file__  # the user's line, as that of `fit`
    for start in range(300, 960, 220):
        model.partial_fit(x[start : start + 220], y[start : start + 220])
        assert model.score(x, y) > 0.999


def test_rows_that_the_sample_lacks_are_learnt() -> None:
    """Three rare levels among 400 rows, of which 50 are looked at first."""
    x = np.concatenate([np.repeat([0.0, 1.0], 200), [5.0, 7.0, 9.0]])[:, None]
    y = np.sin(x[:, 0])
    model = _fitted(EigenProRegressor(subsample_size=50, validation_fraction=0), x, y)
    np.testing.assert_allclose(model.predict(x), y, atol=1e-2)
    (band,) = model.subbands_
    exact = naive.predict_exactly(x, y, x, band.gamma, band.sigma, ridge=band.ridge)
    np.testing.assert_allclose(model.predict(x), exact, atol=1e-4)


@pytest.mark.slow
def test_many_repeated_rows_of_few_repeats_are_solved_directly() -> None:
    """700 distinct rows, which a sample of 1,000 rows hardly shows to be repeated."""
    rng = np.random.default_rng(0)
    distinct = rng.standard_normal((700, 4))
    x = distinct[rng.integers(0, 700, 5000)]
    y = np.sin(x[:, 0])
    model = _fitted(EigenProRegressor(), x, y)
    assert model.history_[0]["direct"] == 1
    assert model.score(x, y) > 0.99999
    assert count_distinct(torch.from_numpy(x).float()) == len(np.unique(x, axis=0))
    zeros = torch.tensor([[0.0, 1.0], [-0.0, 1.0], [0.0, 2.0]])
    assert count_distinct(zeros) == 2


@pytest.mark.slow
def test_ridge_is_that_of_the_last_solution() -> None:
    model = EigenProRegressor()
    with pytest.warns(UserWarning, match=DIRECT):
        model.partial_fit(LEVELS, LEVELS[:, 0])
    assert model.subbands_[0].ridge > 0
    assert model.partial_fit(LEVELS, LEVELS[:, 0]).subbands_[0].ridge == 0


def test_validation_chooses_the_ridge() -> None:
    """Noise on a line, which a Gaussian kernel without a ridge follows."""
    rng = np.random.default_rng(0)
    x, held, new = (rng.uniform(-3, 3, (300, 1)) for _ in range(3))
    y, held_y = (np.sin(part[:, 0]) + 0.5 * rng.standard_normal(300) for part in (x, held))
    with_it = _fitted(EigenProRegressor(gamma=2.0, bandwidth=0.02), x, y, validation=(held, held_y))
    without = _fitted(EigenProRegressor(gamma=2.0, bandwidth=0.02, validation_fraction=0), x, y)
    errors = [np.mean((m.predict(new) - np.sin(new[:, 0])) ** 2) for m in (with_it, without)]
    assert errors[0] < 0.7 * errors[1]
    (band,) = with_it.subbands_
    assert band.ridge > without.subbands_[0].ridge == pytest.approx(300e-6)
    mse = np.mean((with_it.predict(held) - held_y) ** 2)
    assert band.validation_mse == pytest.approx(mse, rel=1e-4)
    assert with_it.history_[0]["validation_mse"] == pytest.approx(mse, rel=1e-4)


def test_each_subband_has_its_own_ridge() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (300, 1))
    y = np.column_stack([np.sin(x[:, 0]), np.sin(x[:, 0]) + rng.standard_normal(300)])
    model = _fitted(SubbandKernelMachine(subbands=2, gamma=2.0, bandwidth=0.02), x, y)
    clean, noisy = model.subbands_
    assert clean.ridge < noisy.ridge


def test_data_of_many_directions_are_solved_by_iteration() -> None:
    x, y = draw(600)
    model = EigenProRegressor().fit(x, y)
    assert model.subbands_[0].ridge == 0
    assert "direct" not in model.history_[0]


@pytest.mark.parametrize(("distinct", "low"), [(200, True), (300, True), (700, False)])
def test_half_of_the_rows_may_span_the_others(distinct: int, low: bool) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((distinct, 5))[rng.integers(0, distinct, 2000)]
    squared = squared_distances(torch.from_numpy(rows).float())
    assert has_low_rank(ExponentialPowerKernel(1.0, 3.0), squared) is low


def test_pivots_reproduce_the_matrix() -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.repeat(rng.standard_normal((30, 3)), 5, axis=0)).float()
    kernel = ExponentialPowerKernel(1.0, 2.0)
    squared = squared_distances(x.double())
    matrix = kernel(squared)
    assert has_low_rank(kernel, squared)
    found = LowRank.find(kernel, x, 20)
    assert found is None  # 30 rows do not fit in 20
    found = LowRank.find(kernel, x, 40)
    assert found is not None
    assert len(found) == 30
    ((_, part),) = found.parts(x)
    torch.testing.assert_close(part @ part.T, matrix, rtol=0, atol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 1.9, 2.0])
def test_preconditioner_stays_above_rounding(gamma: float) -> None:
    """In float32, as the iteration has it: step and critical batch size keep their sense."""
    x = torch.linspace(-2, 2, 400)[:, None]
    kernel_matrix = ExponentialPowerKernel(gamma, 2.0)(squared_distances(x))
    chosen = choose_preconditioner(kernel_matrix, batch_size=256)
    first = torch.linalg.eigvalsh(kernel_matrix.double() / 400)[-1].item()
    assert chosen.tail_eigenvalue >= 1e-6 * first
    assert chosen.step_size(256) <= 2 / (255 * chosen.tail_eigenvalue)
    repeated = ExponentialPowerKernel(gamma, 2.0)(squared_distances(x[::100].repeat(100, 1)))
    assert choose_preconditioner(repeated, batch_size=256).q < 4


def test_the_warning_is_of_the_line_that_fits() -> None:
    with pytest.warns(UserWarning, match=DIRECT) as caught:
        EigenProRegressor().fit(LEVELS, np.sin(LEVELS[:, 0] / 4))
    assert caught[0].filename == __file__
