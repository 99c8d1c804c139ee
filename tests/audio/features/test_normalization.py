"""Normalisation: against NumPy on everything at once, constants, saving, errors."""

import numpy as np
import pytest

from squall.audio.features.normalization import Normalizer


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    scale, offset = [1e-3, 1.0, 50.0], [1000.0, -2.0, 3e5]
    return [
        (rng.standard_normal((n, 3)) * scale + offset).astype(np.float32) for n in (1, 40, 7, 300)
    ]


def test_same_as_numpy_over_all_frames(parts):
    fitted = Normalizer.fit(iter(parts))
    together = np.concatenate(parts).astype(np.float64)
    np.testing.assert_allclose(fitted.mean_, together.mean(axis=0), rtol=1e-12)
    # The first dimension varies by no more than a few steps of float32 at 1000.
    np.testing.assert_allclose(fitted.scale_[1:], together.std(axis=0)[1:], rtol=1e-10)


def test_normalised_features_have_mean_zero_and_variance_one(parts):
    fitted = Normalizer.fit(parts)
    normalised = fitted.apply(np.concatenate(parts))
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised.mean(axis=0, dtype=np.float64), 0.0, atol=1e-6)
    np.testing.assert_allclose(normalised.std(axis=0, dtype=np.float64)[1:], 1.0, rtol=1e-5)


def test_order_and_grouping_have_no_effect(parts):
    together, apart = Normalizer.fit([np.concatenate(parts)]), Normalizer.fit(parts[::-1])
    np.testing.assert_allclose(apart.mean_, together.mean_, rtol=1e-12)
    np.testing.assert_allclose(apart.scale_, together.scale_, rtol=1e-9)


def test_a_constant_dimension_gets_scale_one():
    features = np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32)
    features[:, 1], features[:, 2] = 0.1, 0.0
    fitted = Normalizer.fit([features[:333], features[333:]])
    assert fitted.scale_[1] == fitted.scale_[2] == 1.0
    assert fitted.scale_[0] != 1.0
    np.testing.assert_allclose(fitted.apply(features)[:, 1:], 0.0, atol=1e-7)


def test_variation_by_rounding_alone_counts_as_constant():
    steps = np.nextafter(np.float32(1000), np.float32([0, 1000, 2000] * 50))[:, None]
    assert steps.std(dtype=np.float64) > 0.0
    assert Normalizer.fit([steps]).scale_[0] == 1.0


def test_the_input_stays(parts):
    before = parts[1].copy()
    Normalizer.fit(parts).apply(parts[1])
    np.testing.assert_array_equal(parts[1], before)


def test_saved_and_loaded_it_does_the_same(parts, tmp_path):
    fitted = Normalizer.fit(parts)
    np.savez(tmp_path / "normalization.npz", **fitted.to_arrays())
    with np.load(tmp_path / "normalization.npz", allow_pickle=False) as arrays:
        loaded = Normalizer.from_arrays(arrays)
    np.testing.assert_array_equal(loaded.apply(parts[3]), fitted.apply(parts[3]))


def test_another_number_of_dimensions_is_refused(parts):
    with pytest.raises(ValueError, match=r"\(9, 4\).* 3 dimensions"):
        Normalizer.fit(parts).apply(np.ones((9, 4), np.float32))
    with pytest.raises(ValueError, match=r"array 4 has shape \(9, 4\).* 3 dimensions"):
        Normalizer.fit([*parts, np.ones((9, 4), np.float32)])
    with pytest.raises(ValueError, match=r"array 0 has shape \(3,\)"):
        Normalizer.fit([np.ones(3, np.float32)])


def test_nothing_to_fit_on_is_refused():
    for nothing in ([], [np.ones((0, 3), np.float32)]):
        with pytest.raises(ValueError, match="no frame"):
            Normalizer.fit(nothing)


def test_not_finite_features_are_refused(parts):
    parts[2][3, 1] = np.nan
    with pytest.raises(ValueError, match="array 2"):
        Normalizer.fit(parts)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mean": np.zeros(3)}, "'scale'"),
        ({"mean": np.zeros(3), "scale": np.ones(2)}, r"\(3,\).*\(2,\)"),
        ({"mean": np.zeros(2), "scale": np.array([1.0, 0.0])}, "dimension 1"),
        ({"mean": np.array([np.nan]), "scale": np.ones(1)}, "finite"),
    ],
)
def test_broken_arrays_are_refused(arrays, message):
    with pytest.raises(ValueError, match=message):
        Normalizer.from_arrays(arrays)
