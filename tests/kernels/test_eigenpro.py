"""The estimator: what it converges to, how it stops, what it keeps and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

import kernels.naive_kernels as naive
from kernels.regression_data import draw
from squall.kernels import EigenProRegressor, SubbandKernelMachine, machine
from squall.kernels.preconditioner import Preconditioner

X, Y = draw(600)
HELD = draw(200, seed=1)
NEW, _ = draw(100, seed=2)


def _fit(**parameters: Any) -> EigenProRegressor:
    return EigenProRegressor(batch_size=64, **parameters).fit(X, Y, validation=HELD)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [
        EigenProRegressor(),
        EigenProRegressor(gamma="auto", bandwidth="auto", metric="learned"),
        SubbandKernelMachine(),
    ],
    ids=["eigenpro", "learned", "subbands"],
)
def test_scikit_learn_contract(estimator: EigenProRegressor) -> None:
    outcomes = check_estimator(estimator, on_fail=None)
    wrong = [outcome for outcome in outcomes if outcome["status"] not in ("passed", "skipped")]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gamma", "bandwidth", "epochs"), [(0.7, 1.0, 40), (1.0, 1.0, 80), (1.4, 0.5, 150)]
)
def test_iteration_reaches_the_direct_solution_of_3000_samples(
    gamma: float, bandwidth: float, epochs: int
) -> None:
    x, y = draw(3000)
    model = EigenProRegressor(
        gamma=gamma, bandwidth=bandwidth, epochs=epochs, patience=None, validation_fraction=0
    ).fit(x, y)
    expected = naive.predict_exactly(x, y, NEW, gamma, model.sigma_)
    error = np.linalg.norm(model.predict(NEW) - expected)
    assert error < 1e-3 * np.linalg.norm(expected - y.mean(0))


def test_iteration_is_that_of_the_twin() -> None:
    """Two epochs, batch by batch, against full float64 matrices."""
    model = EigenProRegressor(
        sigma=20.0,
        epochs=2,
        patience=None,
        validation_fraction=0,
        batch_size=64,
        subsample_size=200,
    ).fit(X, Y)
    rng = np.random.RandomState(0)
    rng.permutation(600)  # of the hold-out, empty here
    order = rng.permutation(600)
    rng.permutation(0)
    seed = rng.randint(2**31 - 1)
    epochs = [
        [
            list(range(64 * turn, min(64 * turn + 64, 600)))
            for turn in np.random.default_rng((seed, epoch)).permutation(10)
        ]
        for epoch in range(2)
    ]
    kernel = naive.kernel_matrix(X[order], X[order], 1.0, 20.0)
    values = np.linalg.eigvalsh(kernel[:200, :200] / 200)[::-1]
    vectors = np.linalg.eigh(kernel[:200, :200])[1][:, ::-1]
    for q in range(50):
        shrink = 1 - values[q] / values[:q]
        beta = (1 - (vectors[:, :q] ** 2) @ (shrink * 200 * values[:q])).max()
        if beta / values[q] + 1 >= 64:
            break
    # The eigenvalue of the last 64 points, which are outside the subsample.
    functions = kernel[-64:, :200] @ vectors[:, :q] / np.sqrt(200 * values[:q])
    measured = np.linalg.eigvalsh(kernel[-64:, -64:] - functions * shrink @ functions.T).max()
    step = min(1 / beta, 1.5 / measured)
    centred = Y[order].astype(np.float64) - Y.mean(0)
    alpha = naive.eigenpro(kernel, centred, s=200, q=q, step=step, epochs=epochs)
    np.testing.assert_allclose(model.alpha_, alpha, rtol=0, atol=2e-4 * np.abs(alpha).max())


def test_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    first, second, other = _fit(), _fit(), _fit(random_state=5)
    assert np.array_equal(first.predict(NEW), second.predict(NEW))
    assert np.array_equal(first.alpha_, second.alpha_)
    assert not np.array_equal(first.predict(NEW), other.predict(NEW))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "learned"])
@pytest.mark.parametrize("kernels", [1, 2])
def test_streamed_rows_give_what_stored_ones_give(
    kernels: int, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gammas = [0.7, 1.0][:kernels]
    parameters: dict[str, Any] = {
        "subbands": kernels, "gamma": gammas, "bandwidth": 1.0, "batch_size": 64,
        "subsample_size": 150, "metric": metric, "centres": 1.0,
    }  # fmt: skip
    stored = SubbandKernelMachine(**parameters).fit(X, Y, validation=HELD)
    # 600 KB hold 250 of the 800 rows.
    streamed = SubbandKernelMachine(**parameters, memory_gb=0.0006 + 1e-7)
    monkeypatch.setattr(machine, "EIGEN_BYTES", 1)  # the same subsample in both
    streamed.fit(X, Y, validation=HELD)
    assert [band.epoch for band in stored.subbands_] == [band.epoch for band in streamed.subbands_]
    np.testing.assert_allclose(stored.predict(NEW), streamed.predict(NEW), atol=2e-5)
    assert len(streamed.history_) <= len(stored.history_)


def test_best_epoch_is_kept() -> None:
    """Noisy targets: the error of other data falls, then grows."""
    rng = np.random.default_rng(0)
    noisy = Y + 0.5 * rng.standard_normal(Y.shape).astype("f4")
    model = EigenProRegressor(batch_size=64, bandwidth=0.5, patience=4).fit(
        X, noisy, validation=HELD
    )
    errors = [entry["validation_mse"] for entry in model.history_]
    best = int(np.argmin(errors))
    assert best < len(errors) - 1
    assert len(errors) == best + 1 + 4
    (band,) = model.subbands_
    assert (band.epoch, model.n_iter_) == (best + 1, len(errors))
    mse = np.mean((model.predict(HELD[0]) - HELD[1]) ** 2)
    assert mse == pytest.approx(errors[best], rel=1e-4)
    assert band.validation_mse == pytest.approx(errors[best], rel=1e-6)


def test_history_and_progress() -> None:
    seen: list[dict[str, float]] = []
    model = EigenProRegressor(epochs=3, patience=None).fit(X, Y, on_progress=seen.append)
    assert seen == model.history_
    assert [entry["epoch"] for entry in seen] == [1, 2, 3]
    seconds = [entry["seconds"] for entry in seen]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert set(seen[0]) == {"epoch", "seconds", "train_mse", "validation_mse"}


def test_without_validation_all_epochs_are_made() -> None:
    model = EigenProRegressor(epochs=7, validation_fraction=0).fit(X, Y)
    assert model.n_iter_ == 7
    assert "validation_mse" not in model.history_[0]
    assert len(model.centres_) == 600


def test_held_out_rows_are_no_centres() -> None:
    assert len(EigenProRegressor(validation_fraction=0.25).fit(X, Y).centres_) == 450


def test_a_step_that_is_too_long_is_halved(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = _fit()
    monkeypatch.setattr(Preconditioner, "step_size", lambda self, m, measured: 40 / measured)
    model = _fit()
    assert "half the step" in caplog.text
    assert model.subbands_[0].validation_mse < 1.2 * right.subbands_[0].validation_mse


def test_bandwidth_is_relative_to_the_median_and_sigma_is_not() -> None:
    model = _fit(gamma=0.7, bandwidth=1.5)
    centres = model.centres_[:500].astype(np.float64)
    squared = naive.squared_distances(centres[:100], centres[100:300])
    assert model.sigma_ == pytest.approx(1.5 * np.median(squared) ** 0.35, rel=0.05)
    scaled = EigenProRegressor(batch_size=64, gamma=0.7, bandwidth=1.5).fit(
        8 * X, Y, validation=(8 * HELD[0], HELD[1])
    )
    np.testing.assert_allclose(model.predict(NEW), scaled.predict(8 * NEW), atol=1e-4)
    assert _fit(gamma=0.7, sigma=3.25).sigma_ == pytest.approx(3.25)


def test_far_offsets_and_constant_columns_change_nothing() -> None:
    moved = [
        np.hstack([x.astype(np.float64) + 1e6, np.ones((len(x), 2))]) for x in (X, HELD[0], NEW)
    ]
    model = EigenProRegressor(batch_size=64).fit(moved[0], Y, validation=(moved[1], HELD[1]))
    np.testing.assert_allclose(model.predict(moved[2]), _fit().predict(NEW), atol=2e-3)


def test_prediction_in_blocks_is_that_of_single_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _fit()
    together = model.predict(NEW)
    assert together.shape == (100, 6)
    assert together.dtype == np.float32
    single = np.concatenate([model.predict(row[None]) for row in NEW])
    np.testing.assert_allclose(single, together, atol=2e-5)
    monkeypatch.setattr(machine, "PREDICT_ROWS", 7)
    np.testing.assert_allclose(model.predict(NEW), together, atol=2e-5)


def test_single_output_is_a_vector() -> None:
    model = EigenProRegressor().fit(X, Y[:, 0])
    assert model.predict(NEW).shape == (100,)
    assert EigenProRegressor().fit(X, Y[:, :1]).predict(NEW).shape == (100, 1)


@pytest.mark.parametrize(
    "parameters", [{}, {"metric": "learned"}, {"random_state": np.random.RandomState(3)}]
)
def test_saved_model_predicts_the_same(tmp_path: Path, parameters: dict[str, Any]) -> None:
    model = _fit(**parameters)
    model.save(tmp_path / "model.npz")
    loaded = EigenProRegressor.load(tmp_path / "model.npz")
    assert np.array_equal(loaded.predict(NEW), model.predict(NEW))
    assert loaded.subbands_ == model.subbands_
    assert loaded.history_ == model.history_
    assert loaded.get_params()["batch_size"] == 64
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]
    with pytest.raises(ValueError, match="holds a EigenProRegressor"):
        SubbandKernelMachine.load(tmp_path / "model.npz")


def test_names_of_columns_are_saved(tmp_path: Path) -> None:
    """Columns in another order are refused after loading as they are before."""
    frame = pandas.DataFrame(X, columns=[f"f{index}" for index in range(X.shape[1])])
    model = EigenProRegressor().fit(frame, Y)
    model.save(tmp_path / "model.npz")
    loaded = EigenProRegressor.load(tmp_path / "model.npz")
    assert list(loaded.feature_names_in_) == list(frame.columns)
    assert np.array_equal(loaded.predict(frame), model.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.iloc[:, ::-1])


def test_another_fit_leaves_no_names_of_columns() -> None:
    frame = pandas.DataFrame(X, columns=[f"f{index}" for index in range(X.shape[1])])
    model = EigenProRegressor(epochs=1).fit(frame, Y).fit(X, Y)
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize(
    "model",
    [
        EigenProRegressor(
            gamma=np.float32(1),
            bandwidth=np.float64(2),
            epochs=np.int64(3),
            patience=np.int32(2),
            batch_size=np.int64(64),
            random_state=np.int64(4),
            metric=np.str_("learned"),
            metric_rank=np.int16(8),
        ),
        SubbandKernelMachine(
            subbands=np.int64(2), gamma=np.array([0.7, 1.0]), bandwidth=np.float32(1.5)
        ),
        SubbandKernelMachine(subbands=np.int64(2), gamma=np.float32(1), bandwidth=(1, 2)),
    ],
    ids=["one kernel", "list of gamma", "list of bandwidths"],
)
def test_parameters_of_numpy_are_saved(model: Any, tmp_path: Path) -> None:
    model.fit(X, Y).save(tmp_path / "model.npz")
    loaded = type(model).load(tmp_path / "model.npz")
    assert np.array_equal(loaded.predict(NEW), model.predict(NEW))
    assert loaded.subbands_ == model.subbands_
    np.testing.assert_equal(
        {name: np.asarray(value).tolist() for name, value in loaded.get_params().items()},
        {name: np.asarray(value).tolist() for name, value in model.get_params().items()},
    )
    assert np.array_equal(clone(loaded).fit(X, Y).predict(NEW), model.predict(NEW))


def test_a_search_over_the_grid_of_numpy_is_saved(tmp_path: Path) -> None:
    grid = {"gamma": np.float32([0.7, 1.0]), "epochs": np.arange(2, 4), "batch_size": [64]}
    best = GridSearchCV(EigenProRegressor(), grid, cv=2).fit(X, Y).best_estimator_
    best.save(tmp_path / "model.npz")
    loaded = EigenProRegressor.load(tmp_path / "model.npz")
    assert np.array_equal(loaded.fit(X, Y).predict(NEW), best.predict(NEW))


def test_saved_file_has_no_pickle(tmp_path: Path) -> None:
    _fit().save(tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file)
        assert json.loads(str(file["metadata"]))["class"] == "EigenProRegressor"
    assert zipfile.is_zipfile(tmp_path / "model.npz")


def test_another_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.ones(2))
    with pytest.raises(ValueError, match=r"other\.npz is no saved kernel machine"):
        EigenProRegressor.load(tmp_path / "other.npz")


def test_partial_fit_learns_from_every_batch() -> None:
    model = EigenProRegressor(batch_size=64)
    errors = []
    for start in range(0, 600, 200):
        model.partial_fit(X[start : start + 200], Y[start : start + 200])
        errors.append(np.mean((model.predict(HELD[0]) - HELD[1]) ** 2))
    assert len(model.centres_) == 600
    assert len(model.history_) == 3
    assert errors[2] < 0.8 * errors[0]
    with pytest.raises(ValueError, match="2 outputs, but 6"):
        model.partial_fit(X[:50], Y[:50, :2])


def test_partial_fit_is_the_pass_of_fit() -> None:
    parameters: dict[str, Any] = {"batch_size": 64, "random_state": 1}
    whole = EigenProRegressor(epochs=1, validation_fraction=0, **parameters)
    # `fit` draws once more, for its hold-out.
    rng = np.random.RandomState(1)
    rng.permutation(600)
    part = EigenProRegressor(**parameters | {"random_state": rng})
    np.testing.assert_array_equal(whole.fit(X, Y).predict(NEW), part.partial_fit(X, Y).predict(NEW))


def test_fit_after_partial_fit_starts_anew() -> None:
    model = EigenProRegressor(batch_size=64).partial_fit(X, Y)
    assert np.array_equal(model.fit(X, Y, validation=HELD).alpha_, _fit().alpha_)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gamma": 0.0}, "gamma is 0.0"),
        ({"gamma": 2.5}, "gamma is 2.5"),
        ({"bandwidth": -1.0}, "sigma is -"),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"gamma": "auto", "sigma": 1.0}, "needs a gamma"),
        ({"gamma": "Auto"}, "gamma is 'Auto'"),
        ({"gamma": "auto", "bandwidth": "x"}, "bandwidth is 'x'"),
        ({"epochs": 0}, "epochs is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"batch_size": -4}, "batch_size is -4"),
        ({"subsample_size": 0}, "subsample_size is 0"),
        ({"metric_power": 0.0}, "metric_power is 0.0"),
        ({"memory_gb": 0}, "memory_gb is 0"),
        ({"memory_gb": 1e-5, "centres": 1.0}, "memory_gb = 1e-05 holds no batch"),
        ({"centres": 0}, "centres is 0; use"),
        ({"centres": 1.5}, "centres is 1.5; use"),
        ({"centres": True}, "centres is True; use"),
        ({"centres": "all"}, "centres is 'all'; use"),
        ({"centres": np.zeros((9, 7))}, "centres have 7 columns, X has 40"),
        ({"centres": np.full((9, 40), np.nan)}, "centres contains NaN"),
        ({"centres": 500, "memory_gb": 0.001}, "does not hold 500 centres of 1 kernel"),
        ({"memory_gb": 1e-5}, "memory_gb = 1e-05 holds 4 centres; use at least 0.00024"),
        ({"metric": "manhattan"}, "metric is 'manhattan'"),
        ({"metric_rounds": 1.5}, "metric_rounds is 1.5; use a whole number"),
        ({"batch_size": 16.0}, "batch_size is 16.0; use 'auto' or a whole number"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
    ],
)
def test_parameters_out_of_range(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EigenProRegressor(**parameters).fit(X, Y)


def test_data_that_do_not_fit() -> None:
    broken = X.copy()
    broken[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        EigenProRegressor().fit(broken, Y)
    targets = Y.copy()
    targets[0, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        EigenProRegressor().fit(X, targets)
    with pytest.raises(ValueError, match="inconsistent"):
        EigenProRegressor().fit(X, Y[:-1])
    with pytest.raises(ValueError, match="validation targets"):
        EigenProRegressor().fit(X, Y, validation=(HELD[0], HELD[1][:, :2]))
    with pytest.raises(ValueError, match="39 features"):
        EigenProRegressor().fit(X, Y, validation=(HELD[0][:, 1:], HELD[1]))
    with pytest.raises(ValueError, match="NaN"):
        _fit().predict(broken)
    with pytest.raises(ValueError, match=r"a value of 4e\+200 is too large to square"):
        EigenProRegressor().fit(np.full((9, 2), 4e200), np.arange(9))
    with pytest.raises(ValueError, match="a feature exceeds the range of float32"):
        EigenProRegressor().partial_fit(X, Y).partial_fit(X.astype(np.float64) * 1e60, Y)
    with pytest.raises(ValueError, match="a target exceeds the range of float32"):
        EigenProRegressor().partial_fit(X, Y).partial_fit(X, Y.astype(np.float64) * 1e60)


@pytest.mark.parametrize("y", [["a", "b"] * 300, np.array(["a", "b"] * 300, dtype=object)])
def test_labels_are_refused(y: Any) -> None:
    refused = pytest.raises(ValueError, match=r"'a'.*give labels as columns of 0 and 1")
    with refused:
        EigenProRegressor().fit(X, y)
    with refused:
        EigenProRegressor().fit(X, Y[:, 0], validation=(X, y))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("x_scale", "x_offset", "y_scale", "y_offset"),
    [
        (1, 0, 1, 3e10),
        (1, 0, 2e19, 0),
        (1, 0, 1e-30, 0),
        (1, 0, 1e140, 1e141),
        (1e-23, 0, 1, 0),
        (1e20, 1e21, 1, 0),
        (1e100, 0, 1e-60, 0),
        (1, 1e8, 1, 0),
    ],
)
@pytest.mark.parametrize("parameters", [{}, {"gamma": "auto"}, {"metric": "learned"}], ids=str)
def test_scale_and_offset_of_the_data_change_nothing(
    x_scale: float, x_offset: float, y_scale: float, y_offset: float, parameters: dict[str, Any]
) -> None:
    x, y, held_x, held_y, new = (part.astype(np.float64) for part in (X, Y, *HELD, NEW))
    plain = _fit(**parameters)
    model = EigenProRegressor(batch_size=64, **parameters).fit(
        x * x_scale + x_offset,
        y * y_scale + y_offset,
        validation=(held_x * x_scale + x_offset, held_y * y_scale + y_offset),
    )
    predicted = (model.predict(new * x_scale + x_offset) - y_offset) / y_scale
    np.testing.assert_allclose(predicted, plain.predict(new), atol=2e-3)
    assert model.sigma_ == pytest.approx(plain.sigma_ * x_scale**plain.gamma_, rel=1e-3)
    for name in ("train_mse", "validation_mse"):
        error = model.history_[0][name] / y_scale**2
        assert error == pytest.approx(plain.history_[0][name], rel=1e-3)
    assert model.subbands_[0].validation_mse / y_scale**2 == pytest.approx(
        plain.subbands_[0].validation_mse, rel=1e-2
    )
    again = EigenProRegressor(gamma=model.gamma_, sigma=model.sigma_).fit(x * x_scale + x_offset, y)
    assert again.sigma_ == pytest.approx(model.sigma_)


def test_rows_and_columns_in_any_order_of_memory() -> None:
    model = _fit()
    np.testing.assert_allclose(model.predict(NEW[::-1]), model.predict(NEW)[::-1], atol=1e-4)
    assert np.array_equal(model.predict(np.asfortranarray(NEW)), model.predict(NEW))
    np.testing.assert_allclose(
        EigenProRegressor().fit(X[:, ::-1], Y[::1]).predict(NEW[:, ::-1]),
        EigenProRegressor().fit(X, Y).predict(NEW),
        atol=1e-4,
    )
    EigenProRegressor().fit(X[::-1], Y[::-1], validation=(HELD[0][::-1], HELD[1][::-1]))


def test_clone_has_the_parameters_and_nothing_fitted() -> None:
    copy = clone(_fit(gamma=0.7))
    assert copy.get_params()["gamma"] == 0.7
    assert not hasattr(copy, "alpha_")


MEASURE = r"""
import re, sys
import numpy as np, torch
from squall.kernels import SubbandKernelMachine
torch.set_num_threads(1)
rng = np.random.default_rng(0)
x, y = rng.standard_normal((8000, 20), dtype="f4"), rng.standard_normal((8000, 4), dtype="f4")
parameters = dict(subbands=2, gamma=[0.7, 1.0], bandwidth=1.0, subsample_size=500, epochs=1)
SubbandKernelMachine(**parameters).fit(x[:600], y[:600])

def peak_kb():  # unlike ru_maxrss, not inherited from the process that started this one
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read()).group(1))

before = peak_kb()
model = SubbandKernelMachine(**parameters, memory_gb=float(sys.argv[1])).fit(x, y)
model.predict(x)
print(peak_kb() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("memory_gb", "least"), [(0.08, 0.0), (0.3, 0.2), (0.6, 0.4)])
def test_memory_bound_is_honoured(memory_gb: float, least: float) -> None:
    """Both distances and values of 8,000 points take 0.5 GB; a fraction is used where so asked."""
    command = [sys.executable, "-c", MEASURE, str(memory_gb)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    used_gb = int(done.stdout) * 1024 / 1e9
    assert least <= used_gb <= memory_gb + 0.05


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_what_the_cpu_gives() -> None:
    cpu, cuda = (_fit(device=device, metric="learned") for device in ("cpu", "cuda"))
    np.testing.assert_allclose(cuda.predict(NEW), cpu.predict(NEW), atol=1e-3)
