"""Ideal masks: values by hand, and what holds for all energies."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from squall.audio import masks
from squall.audio.masks import ideal_binary_mask, ideal_ratio_mask

ENERGIES = hnp.arrays(
    np.float32, (3, 4), elements=st.floats(0, float(np.finfo(np.float32).max), width=32)
)
BINARY = partial(ideal_binary_mask, local_criterion_db=-5.0)
MASKS = [ideal_ratio_mask, BINARY]


def test_ratio_by_hand() -> None:
    mask = ideal_ratio_mask(speech=[[9.0, 0.0, 1.0, 0.0]], noise=[[16.0, 1.0, 0.0, 0.0]])
    np.testing.assert_allclose(mask, [[0.6, 0.0, 1.0, 0.0]], rtol=1e-6)
    assert mask.dtype == np.float32


def test_binary_by_hand() -> None:
    """The criterion itself is not passed: above, not at."""
    speech, noise = [[10.1, 10.0, 9.9, 1.0, 0.0]], [[1.0, 1.0, 1.0, 0.0, 0.0]]
    mask = ideal_binary_mask(speech=speech, noise=noise, local_criterion_db=10.0)
    np.testing.assert_array_equal(mask, [[1, 0, 0, 1, 0]])
    assert mask.dtype == np.float32


@pytest.mark.slow
@given(ENERGIES, ENERGIES, st.floats(0.1, 4))
def test_masks_are_in_0_to_1(speech: np.ndarray, noise: np.ndarray, beta: float) -> None:
    ratio = ideal_ratio_mask(speech=speech, noise=noise, beta=beta)
    assert ((ratio >= 0) & (ratio <= 1)).all()
    assert set(np.unique(BINARY(speech=speech, noise=noise))) <= {0, 1}


@pytest.mark.parametrize("mask", MASKS)
@given(ENERGIES, ENERGIES, st.floats(1, 100, width=32))
def test_masks_rise_with_the_snr(
    mask: Callable[..., np.ndarray], speech: np.ndarray, noise: np.ndarray, factor: float
) -> None:
    now = mask(speech=speech.astype(np.float64), noise=noise)
    assert (mask(speech=speech.astype(np.float64) * factor, noise=noise) >= now).all()
    assert (mask(speech=speech, noise=noise.astype(np.float64) * factor) <= now).all()


@given(ENERGIES, ENERGIES, st.floats(0.1, 4))
def test_ratios_of_speech_and_noise_complete_each_other(
    speech: np.ndarray, noise: np.ndarray, beta: float
) -> None:
    here = ideal_ratio_mask(speech=speech, noise=noise, beta=beta).astype(np.float64)
    there = ideal_ratio_mask(speech=noise, noise=speech, beta=beta).astype(np.float64)
    total = here ** (1 / beta) + there ** (1 / beta)
    np.testing.assert_allclose(total, (speech + noise.astype(np.float64)) > 0, atol=1e-4)


@pytest.mark.slow
@given(ENERGIES, ENERGIES)
def test_binary_masks_of_speech_and_noise_complete_each_other(
    speech: np.ndarray, noise: np.ndarray
) -> None:
    here = ideal_binary_mask(speech=speech, noise=noise, local_criterion_db=0.0)
    there = ideal_binary_mask(speech=noise, noise=speech, local_criterion_db=0.0)
    np.testing.assert_array_equal(here + there, speech != noise)


@given(ENERGIES, ENERGIES, st.integers(-20, 20))
def test_the_level_of_both_changes_nothing(
    speech: np.ndarray, noise: np.ndarray, exponent: int
) -> None:
    gain = 2.0**exponent
    for mask in MASKS:
        louder = mask(speech=speech.astype(float) * gain, noise=noise.astype(float) * gain)
        np.testing.assert_array_equal(louder, mask(speech=speech, noise=noise))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("speech", "noise", "message"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), r"\(2, 3\), noise \(3, 2\)"),
        (np.array([-1.0]), np.array([1.0]), "of the speech is -1.0"),
        (np.array([1.0]), np.array([np.nan]), "of the noise is nan"),
        (np.array([np.inf]), np.array([1.0]), "of the speech is inf"),
    ],
)
def test_what_are_no_energies_is_refused(
    mask: Callable[..., Any], speech: np.ndarray, noise: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mask(speech=speech, noise=noise)


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan, np.inf])
def test_beta_is_positive(beta: float) -> None:
    with pytest.raises(ValueError, match="beta is"):
        ideal_ratio_mask(speech=[1.0], noise=[1.0], beta=beta)


def test_the_criterion_is_a_number() -> None:
    with pytest.raises(ValueError, match="local_criterion_db is nan"):
        ideal_binary_mask(speech=[1.0], noise=[1.0], local_criterion_db=np.nan)


def test_examples() -> None:
    assert doctest.testmod(masks).failed == 0
