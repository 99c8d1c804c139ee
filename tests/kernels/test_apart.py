"""Centres apart from samples: what they converge to, what they read, what they keep."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kernels.naive_kernels as naive
from kernels.regression_data import draw
from little_space import file_sizes_up_to
from squall.kernels import EigenProRegressor, SubbandKernelMachine, apart, components, machine
from squall.kernels.components import Components
from squall.kernels.functions import ExponentialPowerKernel, Points
from squall.kernels.plan import Plan, Subband
from squall.kernels.projected import factorise
from squall.kernels.samples import Samples
from squall.kernels.solver import Task

X, Y = draw(3000)
HELD = draw(300, seed=1)
NEW, NEW_Y = draw(500, seed=2)


def _fit(**parameters: Any) -> EigenProRegressor:
    return EigenProRegressor(**{"centres": 200, **parameters}).fit(X, Y, validation=HELD)


def _error(model: Any) -> float:
    return float(((model.predict(NEW) - NEW_Y) ** 2).mean())


def test_iteration_is_that_of_the_twin() -> None:
    """Three batches against float64 matrices, each system solved as it is written."""
    samples, centres = X[:120], X[200:260]
    targets = Y[:120] - Y[:120].mean(0)
    band = Subband(0, 6, gamma=1.0, bandwidth=1.0, sigma=20.0)
    plan = Plan((band,), Components.all([slice(0, 6)]), 1.0, 1.0, np.inf, 40, 40, 10**9)
    machine = apart.Apart.of(plan, Points.of(torch.from_numpy(centres)))
    machine.measure(Points.of(torch.from_numpy(samples[:40])))
    (head,) = machine.heads
    read = [torch.from_numpy(part) for part in (samples, targets)]
    none = torch.zeros(0, 6)
    data = Samples(samples, targets)
    machine.train(
        data,
        lambda rows: (read[0][rows], read[1][rows]),
        Task.of(plan.components, read[1], none),
        machine.centres[:0],
        seed=3,
        epochs=range(1),
        on_epoch=lambda *_: None,
    )
    alpha, average = naive.projected_eigenpro(
        samples,
        targets,
        centres,
        lambda a, b: naive.kernel_matrix(a, b, 1.0, 20.0),
        s=40,
        q=head.preconditioner.q,
        step=head.step,
        batches=[list(rows) for rows in data.batches(40, seed=3, turn=0)],
    )
    assert head.preconditioner.q > 0
    np.testing.assert_allclose(head.alpha, alpha, atol=2e-3 * np.abs(alpha).max())
    np.testing.assert_allclose(machine.alpha(), average, atol=2e-3 * np.abs(average).max())


@pytest.mark.slow
@pytest.mark.parametrize("centres", [3000, 10**6, 1.0])
def test_all_samples_as_centres_are_solved_as_before(centres: float) -> None:
    few = EigenProRegressor(centres=centres, epochs=3).fit(X, Y, validation=HELD)
    plain = EigenProRegressor(epochs=3).fit(X, Y, validation=HELD)
    assert np.array_equal(few.alpha_, plain.alpha_)
    assert "centres" not in few.history_[0]


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.7, 1.0])
def test_it_comes_to_the_least_squares_solution_of_the_centres(gamma: float) -> None:
    """Whose error is far below that of the same centres as the only samples."""
    model = _fit(gamma=gamma, epochs=60, patience=None)
    assert [entry["centres"] for entry in model.history_] == [200] * 61
    assert [entry["epoch"] for entry in model.history_] == list(range(61))
    centres = model.centres_ + model.feature_mean_
    mean = Y.mean(0)
    among = naive.kernel_matrix(centres, X, gamma, model.sigma_).T
    exact = np.linalg.lstsq(among, Y - mean, rcond=None)[0]
    best = naive.kernel_matrix(NEW, centres, gamma, model.sigma_) @ exact + mean
    reached, least = _error(model), float(((best - NEW_Y) ** 2).mean())
    assert reached < 1.05 * least
    own = _places(model)
    alone = naive.predict_exactly(X[own], Y[own], NEW, gamma, model.sigma_)
    assert reached < 0.65 * float(((alone - NEW_Y) ** 2).mean())


def _places(model: Any) -> list[int]:
    """The rows of X that are centres."""
    rows = model.centres_ + model.feature_mean_
    return [int(((X - row) ** 2).sum(1).argmin()) for row in rows]


def test_passes_begin_from_what_the_centres_teach_alone() -> None:
    model = _fit(gamma=1.0, epochs=1)
    own = _places(model)
    width = model.bandwidth
    for _ in range(2):  # in units of the median distance, which is another one for fewer rows
        alone = EigenProRegressor(gamma=1.0, bandwidth=width).fit(X[own], Y[own], validation=HELD)
        width *= model.sigma_ / alone.sigma_
    begun, passed = (entry["validation_mse"] for entry in model.history_)
    assert begun == pytest.approx(alone.subbands_[0].validation_mse, rel=0.02)
    assert passed < 0.9 * begun


def test_where_passes_teach_nothing_the_centres_alone_are_kept() -> None:
    own = _places(_fit(gamma=1.0, bandwidth=1.0))
    y = 30 * np.random.default_rng(0).standard_normal(Y.shape).astype("f4")
    y[own] = Y[own]
    model = EigenProRegressor(gamma=1.0, bandwidth=1.0, centres=200).fit(X, y, validation=HELD)
    (band,) = model.subbands_
    assert band.epoch == 0
    assert band.validation_mse == pytest.approx(model.history_[0]["validation_mse"], rel=1e-4)
    error = ((model.predict(HELD[0]) - HELD[1]) ** 2).mean()
    assert error == pytest.approx(band.validation_mse, rel=1e-3)


def test_the_beginning_of_several_kernels_is_the_best_of_each() -> None:
    rng = np.random.default_rng(0)
    y, held_y = (
        (values + rng.standard_normal(values.shape)).astype("f4") for values in (Y, HELD[1])
    )
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patched:
        begin = apart.Apart.begin_with
        patched.setattr(
            apart.Apart, "begin_with", lambda self, start: (seen.append(start), begin(self, start))
        )
        model = SubbandKernelMachine(
            subbands=2, gamma=[0.7, 1.4], bandwidth=1.0, centres=200, epochs=1
        ).fit(X, y, validation=(HELD[0], held_y))
    errors = [band.validation_mse for band in seen[0].subbands]
    assert model.history_[0]["validation_mse"] == pytest.approx(np.mean(errors), rel=1e-6)


def test_steps_are_measured_on_samples_that_are_no_centres() -> None:
    """Also where there are fewer of them than a batch has rows."""
    model = EigenProRegressor(centres=200, gamma=2.0, bandwidth=2.0)
    model.fit(X[:400], Y[:400], validation=HELD)
    begun = model.history_[0]["validation_mse"]
    assert model.subbands_[0].epoch > 0
    assert model.subbands_[0].validation_mse < 0.95 * begun
    once = EigenProRegressor(centres=200, gamma=2.0, bandwidth=2.0).partial_fit(X[:400], Y[:400])
    assert _error(once) < Y.var()


@pytest.mark.parametrize(
    ("few", "gamma"), [(X[500:501], 2.0), (np.full((300, 40), 0.01, "f4"), 1.0)],
    ids=["one row", "silence"],
)  # fmt: skip
def test_rows_that_say_little_do_not_decide_later_steps(
    few: Any, gamma: float, tmp_path: Path
) -> None:
    EigenProRegressor(centres=400, gamma=gamma).partial_fit(X[:500], Y[:500]).save(tmp_path / "m")
    plain, after = (EigenProRegressor.load(tmp_path / "m") for _ in range(2))
    after.partial_fit(few, after.predict(few))
    for start in range(500, 3000, 500):
        for model in (plain, after):
            model.partial_fit(X[start : start + 500], Y[start : start + 500])
    assert _error(after) < 1.1 * _error(plain)


def test_an_outlier_is_no_divergence(caplog: pytest.LogCaptureFixture) -> None:
    y = Y[:600].copy()
    y[7] += 100
    EigenProRegressor(centres=100, gamma=1.0, patience=None, epochs=20).fit(
        X[:600], y, validation=HELD
    )
    assert "half the step" not in caplog.text


def test_a_diagonal_metric_has_one_weight_for_all_places_of_a_window() -> None:
    frames = np.random.default_rng(0).standard_normal((2004, 6)).astype("f4")
    frames *= np.array([3, 1, 1, 1, 1, 0.1], "f4")
    x = np.concatenate([frames[place : place + 2000] for place in range(5)], 1)
    y = np.tanh(x[:, 12:14])
    model = EigenProRegressor(centres=300, metric="diagonal", epochs=1).fit(x, y)
    assert model.metric_factor_ is not None
    for values in (model.metric_factor_, model.feature_mean_):
        np.testing.assert_allclose(values, np.tile(values[:6], 5), rtol=1e-6)


def test_targets_that_are_learnt_exactly_stop() -> None:
    model = EigenProRegressor(centres=200).fit(X, np.ones(3000, "f4"), validation=(X[:9], [1] * 9))
    assert len(model.history_) <= 3


@pytest.mark.slow
def test_subbands_have_kernels_of_their_own() -> None:
    model = SubbandKernelMachine(subbands=2, gamma=[0.7, 1.2], bandwidth=1.0, centres=300)
    model.fit(X, Y, validation=HELD)
    assert {band.gamma for band in model.subbands_} == {0.7, 1.2}
    errors = ((model.predict(HELD[0]) - HELD[1]) ** 2).mean(0)
    for band in model.subbands_:
        assert band.validation_mse == pytest.approx(errors[band.columns].mean(), rel=1e-3)
        alone = EigenProRegressor(gamma=band.gamma, bandwidth=1.0, centres=300)
        alone.fit(X, Y[:, band.columns], validation=(HELD[0], HELD[1][:, band.columns]))
        assert alone.subbands_[0].validation_mse == pytest.approx(band.validation_mse, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["euclidean", "learned"])
def test_automatic_choices_are_made_as_for_all_centres(metric: Any) -> None:
    model = _fit(gamma="auto", bandwidth="auto", metric=metric, centres=0.1)
    assert model.centres_.shape == (300, 40)
    assert model.search_ is not None
    assert _error(model) < 0.5 * NEW_Y.var(0).mean()


def test_what_memory_does_not_hold_has_fewer_centres_and_says_so() -> None:
    model = EigenProRegressor(memory_gb=0.004).fit(X, Y, validation=HELD)
    number = int(model.history_[0]["centres"])
    assert len(model.centres_) == number
    assert apart.least_memory(number, 1) <= 0.004e9 < apart.least_memory(number + 1, 1)


def test_given_centres_are_used_and_equal_ones_once() -> None:
    given = np.concatenate([X[5:100], X[5:20]])
    model = _fit(centres=given)
    assert len(model.centres_) == 95
    used = model.centres_ + model.feature_mean_
    order = [int(((X[5:100] - row) ** 2).sum(1).argmin()) for row in used]
    assert sorted(order) == list(range(95))
    assert order != sorted(order)  # the first ones are a sample


def test_repeated_rows_are_one_centre() -> None:
    rows = np.random.default_rng(0).integers(0, 12, 5000)[:, None].astype(np.float32)
    model = EigenProRegressor(centres=400).fit(rows, np.sin(rows[:, 0]))
    assert len(model.centres_) == 12
    assert model.score(rows, np.sin(rows[:, 0])) > 0.999


def test_rows_of_a_memory_map_are_read_as_those_of_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]
    found = EigenProRegressor(centres=200, epochs=3).fit(*mapped)
    assert np.array_equal(found.alpha_, EigenProRegressor(centres=200, epochs=3).fit(X, Y).alpha_)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_row_of_a_value_that_is_not_finite_is_named(value: float) -> None:
    x, y = X.copy(), Y.copy()
    x[2711, 3] = y[1234, 2] = value
    with pytest.raises(ValueError, match="row 2711: Input X contains"):
        EigenProRegressor(centres=200).fit(x, Y)
    with pytest.raises(ValueError, match="row 1234: Input y contains"):
        EigenProRegressor(centres=200).fit(X, y)


def test_an_interrupted_fit_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart.Apart.train, "__kwdefaults__", {"epoch_rows": 1100})
    whole = _fit(epochs=7, patience=None)
    assert whole.n_iter_ == 7

    def stop(entry: dict[str, float]) -> None:
        if entry["epoch"] == 4:
            raise KeyboardInterrupt

    path = tmp_path / "folder" / "fit.pt"
    model = EigenProRegressor(centres=200, epochs=7, patience=None)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, validation=HELD, on_progress=stop, checkpoint=path)

    def epochs_of(**parameters: Any) -> list[float]:
        seen: list[float] = []
        model.set_params(**parameters).fit(
            X,
            Y,
            validation=HELD,
            checkpoint=path,
            on_progress=lambda entry: seen.append(entry["epoch"]),
        )
        return seen

    assert epochs_of() == [4, 5, 6, 7]  # the fourth had not been written yet
    assert np.array_equal(model.alpha_, whole.alpha_)
    errors = [[entry["validation_mse"] for entry in one.history_] for one in (model, whole)]
    assert errors[0] == errors[1]
    # More epochs go on from it, another fit does not.
    assert epochs_of(epochs=8) == [8]
    assert epochs_of(gamma=0.8) == [*range(9)]


def test_partial_fit_forgets_samples_and_keeps_what_they_taught(tmp_path: Path) -> None:
    model = EigenProRegressor(centres=200)
    errors = []
    for start in range(0, 3000, 500):
        model.partial_fit(X[start : start + 500], Y[start : start + 500])
        assert model.centres_.shape == (200, 40)
        errors.append(_error(model))
    assert errors[-1] < 0.7 * errors[0]
    assert len(model.history_) == 6
    # After it was saved too, from the average of the coefficients.
    model.save(tmp_path / "model.npz")
    copies = [EigenProRegressor.load(tmp_path / "model.npz"), deepcopy(model)]
    for copy in copies:
        copy.partial_fit(X[:500], Y[:500])
        assert copy.centres_.shape == (200, 40)
        assert _error(copy) < 1.3 * errors[-1]


def test_partial_fit_after_fit_keeps_what_was_learnt() -> None:
    model = _fit()
    before = _error(model)
    for rows in (10, 100, 1000):
        copy = deepcopy(model).partial_fit(X[:rows], Y[:rows])
        assert _error(copy) < 1.02 * before
        assert not np.array_equal(copy.alpha_, model.alpha_)


def test_a_batch_near_the_mean_is_no_divergence() -> None:
    model = EigenProRegressor(centres=200)
    for start in range(0, 2500, 500):
        model.partial_fit(X[start : start + 500], Y[start : start + 500])
    before = _error(model)
    model.partial_fit(X[2500:2600], np.broadcast_to(model.intercept_, (100, 6)))
    model.partial_fit(X[2600:], Y[2600:])
    assert _error(model) < 1.2 * before


def test_outputs_that_the_first_batch_does_not_show_are_learnt() -> None:
    """Nine classes as columns of 0 and 1, five of them in the first batch."""
    scores = X @ np.random.default_rng(0).standard_normal((40, 9))
    labels = scores.argmax(1)
    y = (labels[:, None] == np.arange(9)).astype("f4")
    first = np.flatnonzero(labels < 5)[:600]
    model = EigenProRegressor(centres=300, batch_size=64).partial_fit(X[first], y[first])
    for _ in range(10):
        model.partial_fit(X, y)
    late = model.predict(X)[:, 5:]
    shares = 1 - ((late - y[:, 5:]) ** 2).mean(0) / y[:, 5:].var(0)
    assert (shares > 0.05).all()


def test_an_interrupted_pass_leaves_the_model_as_it_was() -> None:
    model = EigenProRegressor(centres=200).partial_fit(X[:500], Y[:500])
    before, once = model.predict(NEW), deepcopy(model)
    wrong = X[500:1000].astype("f8")
    wrong[400] *= 1e40
    with pytest.raises(ValueError, match="range of float32"):
        model.partial_fit(wrong, Y[500:1000])
    assert np.array_equal(model.predict(NEW), before)
    further = [one.partial_fit(X[500:1000], Y[500:1000]).predict(NEW) for one in (model, once)]
    np.testing.assert_allclose(*further, atol=1e-5)


def test_a_failed_fit_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _fit()
    before = model.predict(NEW)
    monkeypatch.setattr(machine, "solve_together", None)  # it is said before anything is learnt
    with pytest.raises(ValueError, match="does not hold 300 centres"):
        model.set_params(memory_gb=1e-4, centres=300).fit(3 * X + 100, 7 * Y + 50)
    model.set_params(memory_gb=4.0)  # on which the blocks of a prediction depend
    assert np.array_equal(model.predict(NEW), before)


@pytest.mark.parametrize("content", [b"", b"text", b"PK damaged"])
def test_a_damaged_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "fit.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"fit\.pt is no checkpoint .* remove it to begin anew"):
        EigenProRegressor(centres=200).fit(X, Y, checkpoint=path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r"fit\.pt is no checkpoint"):
        EigenProRegressor(centres=200).fit(X, Y, checkpoint=path)


def test_a_fit_that_starts_again_goes_on_to_the_same_bits_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begin = apart.Apart.begin_with

    def with_long_steps(self: apart.Apart, start: Any) -> None:
        begin(self, start)
        for head in self.heads:
            head.step *= 16

    monkeypatch.setattr(apart.Apart, "begin_with", with_long_steps)
    whole = _fit(epochs=6, patience=None, gamma=1.0)
    assert "again with half the step" in caplog.text
    path = tmp_path / "fit.pt"
    for epochs in (1, 6):
        model = EigenProRegressor(centres=200, epochs=epochs, patience=None, gamma=1.0)
        model.fit(X, Y, validation=HELD, checkpoint=path)
    assert np.array_equal(model.alpha_, whole.alpha_)


@pytest.mark.fault(
    "Disk",
    "a checkpoint of a kernel machine whose place cannot be written to",
    "told before the work",
)
def test_a_checkpoint_that_cannot_be_written_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "solve_together", None)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a folder; a checkpoint is a file"):
        EigenProRegressor(centres=200).fit(X, Y, checkpoint=tmp_path)
    with pytest.raises(OSError, match="file"):
        EigenProRegressor(centres=200).fit(X, Y, checkpoint=tmp_path / "file" / "fit.pt")


@pytest.mark.fault(
    "Disk",
    "no space for a kernel machine or its checkpoint",
    "an error with the file's name; what was there stays, and nothing else",
)
def test_a_full_disk_is_told_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "machine.npz"
    model = EigenProRegressor(centres=200, epochs=1, gamma=1.0).fit(X, Y)
    model.save(path)
    before = path.read_bytes()
    message = r"\.(npz|pt) cannot be written .*: is there space on the disk\?"
    with file_sizes_up_to(1000), pytest.raises(OSError, match=message):
        model.save(path)
    again = EigenProRegressor(centres=200, epochs=1, gamma=1.0)
    with file_sizes_up_to(1000), pytest.raises(OSError, match=message):
        again.fit(X, Y, checkpoint=tmp_path / "fit.pt")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_of_other_labels_is_replaced(tmp_path: Path) -> None:
    """That have the same mean."""
    path, labels = tmp_path / "fit.pt", (Y > 0.5).astype("f4")
    one = EigenProRegressor(centres=200, epochs=2, gamma=1.0)
    for y in (labels, labels[::-1].copy()):
        one.fit(X, y, validation=HELD, checkpoint=path)
        plain = EigenProRegressor(centres=200, epochs=2, gamma=1.0).fit(X, y, validation=HELD)
        assert np.array_equal(one.alpha_, plain.alpha_)


def test_a_checkpoint_belongs_to_its_data_and_directions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fit.pt"
    wide = np.tile(Y, 3) + 0.01 * np.random.default_rng(0).standard_normal((3000, 18))
    held = HELD[0], np.tile(HELD[1], 3)

    def epochs_made(validation: Any) -> list[float]:
        seen: list[float] = []
        EigenProRegressor(centres=200, epochs=2, patience=None).fit(
            X, wide, validation=validation, checkpoint=path,
            on_progress=lambda entry: seen.append(entry["epoch"]),
        )  # fmt: skip
        return seen

    assert epochs_made(held) == [0, 1, 2]
    assert epochs_made(held) == []
    assert epochs_made((held[0], held[1] + 1)) == [0, 1, 2]
    basis = components._basis

    def mirrored(*parts: torch.Tensor) -> torch.Tensor:
        found = basis(*parts)
        assert found is not None
        return -found

    monkeypatch.setattr(components, "_basis", mirrored)  # as of another library
    assert epochs_made((held[0], held[1] + 1)) == [0, 1, 2]


def test_a_kernel_that_has_stopped_counts_after_a_resumption(tmp_path: Path) -> None:
    parameters: dict[str, Any] = {
        "subbands": 2, "gamma": [0.7, 1.2], "bandwidth": 1.0, "centres": 200, "patience": 1,
    }  # fmt: skip
    y = Y.copy()
    y[:, 3:] = np.random.default_rng(0).standard_normal((3000, 3))  # where nothing can be learnt
    whole = SubbandKernelMachine(**parameters, epochs=12).fit(X, y, validation=HELD)
    stop = whole.subbands_[1].epoch + 2
    assert len(whole.history_) > stop
    path = tmp_path / "fit.pt"
    SubbandKernelMachine(**parameters, epochs=stop).fit(X, y, validation=HELD, checkpoint=path)
    model = SubbandKernelMachine(**parameters, epochs=12)
    model.fit(X, y, validation=HELD, checkpoint=path)
    for mine, other in zip(model.history_, whole.history_, strict=True):
        assert (mine["train_mse"], mine["validation_mse"]) == (
            other["train_mse"], other["validation_mse"],
        )  # fmt: skip
    seconds = [entry["seconds"] for entry in model.history_]
    assert seconds == sorted(seconds)


def test_rows_held_out_leave_the_others_in_their_order() -> None:
    model = EigenProRegressor(centres=200)
    samples, held = model._hold_out(Samples(X, Y), np.random.RandomState(0))
    assert samples.used is not None
    assert (np.diff(samples.used) > 0).all()
    assert len(samples) + len(held) == 3000


def test_a_batch_larger_than_memory_allows_is_made_smaller() -> None:
    model = EigenProRegressor(centres=300, batch_size=3000, epochs=2).fit(X, Y)
    assert np.isfinite([entry["train_mse"] for entry in model.history_]).all()


def test_partial_fit_with_too_few_first_rows_has_them_as_centres() -> None:
    model = EigenProRegressor(centres=200).partial_fit(X[:150], Y[:150])
    assert model.partial_fit(X[150:300], Y[150:300]).centres_.shape == (300, 40)


def test_batches_are_all_rows_in_an_order_of_seed_and_turn() -> None:
    samples = Samples(X, Y, np.arange(0, 3000, 2))
    batches = samples.batches(64, seed=1, turn=0)
    together = np.concatenate(batches)
    assert sorted(together) == list(range(1500))
    assert max(map(len, batches)) == 64
    again = samples.batches(64, seed=1, turn=0)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    other = np.concatenate(samples.batches(64, seed=1, turn=1))
    assert not np.array_equal(together, other)


def test_neighbouring_rows_are_read_together_and_come_into_different_batches() -> None:
    samples = Samples(np.zeros((100_000, 1)), np.zeros(100_000))
    batches = samples.batches(500, seed=0, turn=0)
    for batch in batches[:20]:
        assert (np.diff(batch) < 4).mean() < 0.25  # 0.02 where all rows are shuffled
    some = np.unique(np.concatenate(batches[:16]) // 16)  # blocks that 16 batches read
    assert len(some) < 1.1 * 16 * 500 / 16


def test_frames_that_follow_each_other_are_learnt_as_well_as_shuffled_ones() -> None:
    """Each row is much like the next; with neighbours in a batch, steps are too long."""
    rng = np.random.default_rng(0)
    x = np.repeat(X, 10, 0) + 0.05 * rng.standard_normal((30_000, 40)).astype("f4")
    y = np.repeat(Y, 10, 0)
    order = rng.permutation(len(x))
    errors = []
    for rows in (slice(None), order):
        model = EigenProRegressor(gamma=1.0, bandwidth=1.0, centres=1000, epochs=1)
        errors.append(_error(model.fit(x[rows], y[rows], validation=HELD)))
    assert errors[0] < 1.03 * errors[1]


def test_factor_is_that_of_the_kernel_matrix() -> None:
    kernel = ExponentialPowerKernel(1.0, 20.0)
    factor = factorise(kernel, Points.of(torch.from_numpy(X[:150]))).numpy().astype(np.float64)
    expected = naive.kernel_matrix(X[:150], X[:150], 1.0, 20.0)
    np.testing.assert_allclose(factor @ factor.T, expected, atol=5e-5)
    assert np.array_equal(factor, np.tril(factor))


def test_matrix_that_rounding_makes_indefinite_gets_a_ridge() -> None:
    rows = torch.linspace(0, 1, 400)[:, None]
    factor = factorise(ExponentialPowerKernel(2.0, 9.0), Points.of(rows - rows.mean()))
    assert torch.isfinite(factor).all()


MEASURE = r"""
import re, sys
import numpy as np, torch
from squall.kernels import SubbandKernelMachine
torch.set_num_threads(1)
folder, n = sys.argv[1], int(sys.argv[2])
x = np.load(folder + "/x.npy", mmap_mode="r")[:n]
y = np.load(folder + "/y.npy", mmap_mode="r")[:n]
parameters = dict(subbands=2, gamma=[0.7, 1.0], bandwidth=1.0, subsample_size=500, epochs=1)
SubbandKernelMachine(**parameters).fit(x[:600], y[:600])

def anonymous_kb():  # without pages of the files
    return int(re.search(r"RssAnon:\s+(\d+)", open("/proc/self/status").read()).group(1))

import threading, time
peak, before, ended = 0, anonymous_kb(), threading.Event()
def watch():
    global peak
    while not ended.is_set():
        peak = max(peak, anonymous_kb())
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
held = np.array(x[-900:]), np.array(y[-900:])
SubbandKernelMachine(**parameters, memory_gb=0.1, centres=2000).fit(x, y, validation=held)
ended.set(); watcher.join()
print(peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_within_the_bound_and_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    """Ten times as many samples, of 58 MB instead of 6, within a tenth of the same memory."""
    x, y = draw(90_000, features=160, outputs=8)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    used = []
    for n in (9_000, 90_000):
        command = [sys.executable, "-c", MEASURE, str(tmp_path), str(n)]
        # A heap that grows where it finds no gap of the right size makes measurements of luck.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        used.append(int(re.findall(r"\d+", done.stdout)[-1]) * 1024 / 1e9)
    few, many = used
    assert many < 0.1 + 0.02  # the validation rows are beside the bound
    assert many < 1.1 * few + 0.01  # the further samples have 52 MB
