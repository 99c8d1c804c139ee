"""Targets in few directions: exact where all are kept, and none that matters is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kernels.regression_data import draw
from squall.kernels import SubbandKernelMachine, components, squared_distances
from squall.kernels.components import Components, Sketch, find_components
from squall.kernels.functions import ExponentialPowerKernel

GROUPS = [slice(0, 30), slice(30, 50)]
KERNEL = ExponentialPowerKernel(1.0, 30.0)


def _mixed(n: int, seed: int, noise: float = 0.3) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features, and 50 channels of 6 functions of them with noise in every channel."""
    x, y = draw(n, seed=seed)
    mixing = np.random.default_rng(5).standard_normal((6, 50)) / 2
    noise_of_each = noise * np.random.default_rng(seed).standard_normal((n, 50))
    return x, (y @ mixing + noise_of_each).astype(np.float32)


def _found(noise: float, s: int = 400, v: int = 300) -> Components:
    (x, y), (held_x, held_y) = _mixed(s, 0, noise), _mixed(v, 1, noise)
    mean = y.mean(0)
    points, others = torch.from_numpy(x), torch.from_numpy(held_x)
    return find_components(
        torch.from_numpy(y - mean),
        KERNEL(squared_distances(points)),
        KERNEL(squared_distances(others, points)),
        torch.from_numpy(held_y - mean),
        GROUPS,
    )


def test_directions_of_little_noise_are_left_out() -> None:
    counts = [part.stop - part.start for part in _found(0.05).columns]
    assert all(6 <= count <= 9 for count in counts)


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_noise_as_strong_as_the_signal_is_kept(noise: float) -> None:
    """A twentieth of a sample's variance is the most that is left out."""
    found = _found(noise)
    _, y = _mixed(4000, 3, noise)
    targets = torch.from_numpy(y - y.mean(0))
    for left, group in zip(found.rest(targets), GROUPS, strict=True):
        assert left < 0.2 * targets[:, group].square().sum(1).mean()


def test_channels_of_unequal_size_are_left_as_they_are() -> None:
    x, y = _mixed(1500, 0, 0.05)
    held, held_y = _mixed(500, 1, 0.05)
    sizes = np.ones(50, np.float32)
    sizes[:8] = 1e6
    model, plain = (
        SubbandKernelMachine(subbands=1, gamma=1.0, bandwidth=1.0).fit(
            x, part, validation=(held, other)
        )
        for part, other in ((y * sizes, held_y * sizes), (y[:, 8:], held_y[:, 8:]))
    )
    found, alone = model.predict(held)[:, 8:], plain.predict(held)
    errors = [((part - held_y[:, 8:]) ** 2).mean() for part in (found, alone)]
    assert errors[0] < 1.1 * errors[1]


@pytest.mark.slow
@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_little_signal_in_much_noise_is_found_as_without_components(
    noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixteen functions, each in a channel of its own."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8000, 5)).astype("f4")
    clean = np.tanh(x @ rng.standard_normal((5, 16)))
    y = (clean + noise * rng.standard_normal((8000, 16))).astype("f4")

    def error() -> Any:
        model = SubbandKernelMachine(subbands=1, gamma=1.0, bandwidth=4.0, centres=300)
        model.fit(x[:6000], y[:6000], validation=(x[6000:7000], y[6000:7000]))
        return ((model.predict(x[7000:]) - clean[7000:]) ** 2).mean(0)

    reduced = error()
    monkeypatch.setattr(components, "FEWEST_CHANNELS", 10**6)
    plain = error()
    assert reduced.mean() < 1.05 * plain.mean()
    assert (reduced < 1.3 * plain).all()


def test_directions_that_are_predicted_are_kept_however_small() -> None:
    """Without noise all six functions count, in each subband."""
    found = _found(0.0)
    assert all(part.stop - part.start >= 6 for part in found.columns)
    _, y = _mixed(200, 2, 0.0)
    targets = torch.from_numpy(y - y.mean(0))
    torch.testing.assert_close(found.back(found.of(targets)), targets, rtol=0, atol=1e-5)


def test_rest_is_what_the_components_leave_out() -> None:
    found = _found(0.3)
    targets = torch.randn(70, 50)
    left = (targets - found.back(found.of(targets))).square()
    expected = [left[:, group].sum(1).mean().item() for group in GROUPS]
    assert found.rest(targets) == pytest.approx(expected, rel=1e-4)


def test_narrow_subbands_and_few_rows_keep_their_channels() -> None:
    assert _found(0.3, v=100).bases == [None, None]
    whole = Components.all(GROUPS)
    targets = torch.randn(5, 50)
    assert torch.equal(whole.of(targets), targets)
    assert torch.equal(whole.back(targets), targets)
    assert whole.rest(targets) == [0, 0]


def _fit(subbands: int, **parameters: Any) -> tuple[SubbandKernelMachine, NDArray[Any], Any]:
    x, y = _mixed(1500, 0, 0.05)
    held = _mixed(500, 1, 0.05)
    model = SubbandKernelMachine(
        subbands=subbands, subsample_size=600, batch_size=64, **parameters
    ).fit(x, y, validation=held)
    return model, *held


def _rotation(targets: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    """All directions."""
    return torch.linalg.eigh((targets.T @ targets).double())[1].to(targets)


@pytest.mark.parametrize("subbands", [1, 3])
def test_all_components_give_the_solution_of_the_channels(
    subbands: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters: dict[str, Any] = {"gamma": 1.0, "bandwidth": 1.0, "epochs": 4, "patience": None}
    monkeypatch.setattr(components, "_basis", _rotation)
    rotated, held, _ = _fit(subbands, **parameters)
    monkeypatch.setattr(components, "FEWEST_CHANNELS", 10**6)
    plain, _, _ = _fit(subbands, **parameters)
    np.testing.assert_allclose(rotated.predict(held), plain.predict(held), atol=1e-4)
    np.testing.assert_allclose(rotated.alpha_, plain.alpha_, atol=1e-3)
    for mine, other in zip(rotated.history_, plain.history_, strict=True):
        for name in ("train_mse", "validation_mse"):
            assert mine[name] == pytest.approx(other[name], rel=1e-4)


@pytest.mark.parametrize("subbands", [1, 3])
def test_fewer_components_do_not_raise_the_error(
    subbands: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters: dict[str, Any] = {"gamma": "auto", "bandwidth": "auto"}
    fewer, held, targets = _fit(subbands, **parameters)
    assert np.linalg.matrix_rank(fewer.alpha_) < 45
    monkeypatch.setattr(components, "FEWEST_CHANNELS", 10**6)
    plain, _, _ = _fit(subbands, **parameters)
    error, other = (((model.predict(held) - targets) ** 2).mean() for model in (fewer, plain))
    assert error < 1.001 * other


def test_recorded_errors_are_those_of_all_channels() -> None:
    model, held, targets = _fit(2, gamma=1.0, bandwidth=1.0)
    errors = ((model.predict(held) - targets) ** 2).mean(0)
    for band in model.subbands_:
        assert band.validation_mse == pytest.approx(errors[band.columns].mean(), rel=1e-4)
    best = min(entry["validation_mse"] for entry in model.history_)
    assert best == pytest.approx(errors.mean(), rel=1e-2)


@pytest.mark.parametrize(("kept", "tolerance"), [(40, 1e-5), (6, 0.1)])
def test_a_sketch_estimates_the_errors_of_all_channels(kept: int, tolerance: float) -> None:
    """Exactly where no more directions are left than it draws (10 of 50; else 16 of 44)."""
    rng = np.random.default_rng(3)
    basis = torch.from_numpy(np.linalg.qr(rng.standard_normal((50, kept)))[0]).float()
    errors = torch.from_numpy(rng.standard_normal((2000, 54)).astype("f4"))
    errors[:, :50] += 3 * torch.from_numpy(rng.standard_normal((2000, kept)).astype("f4")) @ basis.T
    sketch = Sketch.of(Components([slice(0, 50), slice(50, 54)], [basis, None]))
    assert sketch.directions.count == min(kept + 16, 50) + 4
    found = sketch.errors(sketch.directions.of(errors).square().mean(0))
    expected = [errors[:, part].square().mean().item() for part in sketch.directions.groups]
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert found[1] == pytest.approx(expected[1], rel=1e-5)
    again = Sketch.of(Components([slice(0, 50), slice(50, 54)], [basis, None]))
    assert torch.equal(again.directions.of(errors), sketch.directions.of(errors))
