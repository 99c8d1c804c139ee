from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.regression_data import draw
from squall.kernels import EigenProRegressor, SubbandKernelMachine, split_channels

X, Y = draw(500)
HELD = draw(200, seed=1)
NEW, _ = draw(80, seed=2)


@pytest.mark.parametrize(
    ("outputs", "subbands", "sizes"), [(64, 4, [16] * 4), (10, 3, [4, 3, 3]), (2, 2, [1, 1])]
)
def test_channels_are_split_evenly(outputs: int, subbands: int, sizes: list[int]) -> None:
    groups = split_channels(outputs, subbands)
    assert [group.stop - group.start for group in groups] == sizes
    assert [group.start for group in groups[1:]] == [group.stop for group in groups[:-1]]


@pytest.mark.parametrize("subbands", [0, 7])
def test_number_of_subbands_out_of_range(subbands: int) -> None:
    with pytest.raises(ValueError, match=f"{subbands} subbands of 6 channels"):
        split_channels(6, subbands)


def test_one_subband_is_the_regressor() -> None:
    subbands = SubbandKernelMachine(subbands=1, gamma=0.7, bandwidth=1.5)
    single = EigenProRegressor(gamma=0.7, bandwidth=1.5)
    for model in (subbands, single):
        model.fit(X, Y, validation=HELD)
    assert np.array_equal(subbands.predict(NEW), single.predict(NEW))


@pytest.mark.parametrize("gamma", [[0.7, 1.0, 1.0], [1.0, 1.0, 1.0], [0.5, 0.7, 1.0]])
def test_subbands_are_regressors_of_their_channels(gamma: list[float]) -> None:
    """Shared kernels and distances change neither a subband's coefficients nor when it stops."""
    parameters: dict[str, Any] = {"batch_size": 64, "bandwidth": 0.7}
    model = SubbandKernelMachine(subbands=3, gamma=gamma, **parameters)
    model.fit(X, Y, validation=HELD)
    for band, power in zip(model.subbands_, gamma, strict=True):
        alone = EigenProRegressor(gamma=power, **parameters)
        alone.fit(X, Y[:, band.columns], validation=(HELD[0], HELD[1][:, band.columns]))
        assert alone.subbands_[0].epoch == band.epoch
        assert alone.sigma_ == band.sigma
        np.testing.assert_allclose(
            model.predict(NEW)[:, band.columns], alone.predict(NEW), atol=1e-5
        )


def test_search_runs_per_subband_and_is_timed() -> None:
    model = SubbandKernelMachine(subbands=3).fit(X, Y, validation=HELD)
    assert model.search_ is not None
    for band, best in zip(model.subbands_, model.search_.best, strict=True):
        assert (band.gamma, band.bandwidth) == (best.gamma, best.bandwidth)
    assert model.history_[0]["seconds"] > 0
    error = np.mean((model.predict(HELD[0]) - HELD[1]) ** 2)
    weights = [band.last - band.first for band in model.subbands_]
    mean = np.average([band.validation_mse for band in model.subbands_], weights=weights)
    assert error == pytest.approx(mean, rel=1e-4)


@pytest.mark.slow
def test_subbands_that_need_different_kernels_get_them() -> None:
    """One smooth and one rough function of the same features."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1200, 2)).astype("f4")
    y = np.stack([x[:, 0], np.sign(np.sin(9 * x[:, 0]) * np.sin(9 * x[:, 1]))], axis=1)
    model = SubbandKernelMachine(subbands=2).fit(
        x[:1000], y[:1000], validation=(x[1000:], y[1000:])
    )
    smooth, rough = model.subbands_
    assert smooth.kernel != rough.kernel
    assert smooth.gamma * np.log2(4 + smooth.bandwidth) > rough.gamma


def test_more_subbands_than_channels_is_one_each() -> None:
    model = SubbandKernelMachine(subbands=4, gamma=1.0, bandwidth=1.0).fit(X, Y[:, :2])
    assert [(band.first, band.last) for band in model.subbands_] == [(0, 1), (1, 2)]


def test_saved_model_predicts_the_same(tmp_path: Path) -> None:
    model = SubbandKernelMachine(subbands=2, gamma=[0.7, 1.0], bandwidth=1.0).fit(X, Y)
    model.save(tmp_path / "m.npz")
    loaded = SubbandKernelMachine.load(tmp_path / "m.npz")
    assert np.array_equal(loaded.predict(NEW), model.predict(NEW))
    assert loaded.get_params()["gamma"] == [0.7, 1.0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"subbands": 0}, "subbands is 0"),
        ({"gamma": [1.0, 0.7]}, "2 values of gamma for 4 subbands"),
        ({"gamma": "best"}, "gamma is 'best'"),
        ({"gamma": [0.5, 0.7, 1.0, 1.2]}, "not a list"),
        ({"gamma": 3.0, "bandwidth": 1.0}, "gamma is 3.0"),
        ({"bandwidth": 0.0, "gamma": 1.0}, "sigma is 0.0"),
    ],
)
def test_parameters_out_of_range(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SubbandKernelMachine(**parameters).fit(X, Y)
