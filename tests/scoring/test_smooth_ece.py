"""Smooth calibration error: by hand, a slow twin, the authors' package, edges."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from squall.scoring import score_smooth_ece, smooth_ece

# smECE, and smECE_sigma at 0.01, 0.05, 0.1, of relplot 1.0.3.
RELPLOT = {
    (50, 1.0, 1.0): (0.042766, 0.243548, 0.040499, 0.028200),
    (1000, 1.0, 1.0): (0.016585, 0.025394, 0.009540, 0.006127),
    (1000, 2.0, 1.0): (0.168763, 0.169020, 0.168424, 0.168579),
    (1000, 0.5, 1.0): (0.163894, 0.164386, 0.163691, 0.163805),
    (1000, 3.0, 0.2): (0.209443, 0.210065, 0.208295, 0.208878),
    (10000, 1.2, 0.1): (0.016542, 0.016780, 0.015877, 0.015958),
}


def _samples(count: int, power: float, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, of which a share of confidence^power is right; without a random generator."""
    k = np.arange(1, count + 1)
    confidences = (k * 0.6180339887498949 % 1.0) ** sharpness
    return confidences, (k * 0.4142135623730951 % 1.0) < confidences**power


def _slowly(confidences: np.ndarray, correct: np.ndarray, width: float) -> float:
    """The integral of its definition, with every mirror image of every sample."""
    grid = np.linspace(0, 1, 4001)
    total = np.zeros_like(grid)
    for c, right in zip(confidences, correct, strict=True):
        for shift in range(-8, 9, 2):
            for image in (shift + c, shift - c):
                kernel = np.exp(-0.5 * ((grid - image) / width) ** 2)
                total += kernel / (width * math.sqrt(2 * math.pi)) * (right - c)
    return float(np.trapezoid(np.abs(total), grid)) / len(confidences)


@pytest.mark.parametrize("width", [0.01, 0.1, 0.7])
def test_against_the_definition(width: float) -> None:
    confidences, correct = _samples(40, 1.5, 0.5)
    confidences[:2] = 0.0, 1.0  # the ends have mirror images too
    found = score_smooth_ece(confidences=confidences, correct=correct, width=width)
    assert found == pytest.approx(_slowly(confidences, correct, width), rel=1e-4)


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_error_and_width_agree(power: float) -> None:
    confidences, correct = _samples(200, power)
    error = score_smooth_ece(confidences=confidences, correct=correct)
    assert _slowly(confidences, correct, error) == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize("case", RELPLOT)
def test_against_the_package_of_the_authors(case: tuple[int, float, float]) -> None:
    confidences, correct = _samples(*case)
    error, *of_widths = RELPLOT[case]
    found = score_smooth_ece(confidences=confidences, correct=correct)
    assert found == pytest.approx(error, abs=1e-3)
    for width, expected in zip((0.01, 0.05, 0.1), of_widths, strict=True):
        found = score_smooth_ece(confidences=confidences, correct=correct, width=width)
        assert found == pytest.approx(expected, rel=0.008)


def test_a_gap_of_one_sign_is_that_of_the_means() -> None:
    """Nothing cancels, whatever the width."""
    confidences = np.linspace(0.6, 1.0, 50)
    correct = np.zeros(50, dtype=np.bool_)
    assert score_smooth_ece(confidences=confidences, correct=correct) == pytest.approx(0.8)


def test_certainty() -> None:
    assert score_smooth_ece(confidences=[1.0, 0.0], correct=[True, False]) == 0.0
    assert score_smooth_ece(confidences=[1.0, 1.0], correct=[False] * 2) == pytest.approx(1.0)


def test_it_falls_with_the_width() -> None:
    confidences, correct = _samples(300, 1.3)
    errors = [
        score_smooth_ece(confidences=confidences, correct=correct, width=width)
        for width in (0.001, 0.01, 0.1, 1.0)
    ]
    assert errors == sorted(errors, reverse=True)


def test_the_order_of_the_samples_changes_no_bit() -> None:
    confidences, correct = _samples(500, 1.2)
    confidences = confidences.round(2)
    order = np.random.default_rng(0).permutation(500)
    first = score_smooth_ece(confidences=confidences, correct=correct)
    assert score_smooth_ece(confidences=confidences[order], correct=correct[order]) == first


def test_the_widest_kernel_leaves_the_gap_of_the_means() -> None:
    error = score_smooth_ece(confidences=[0.2, 0.9], correct=[True, False], width=1e300)
    assert error == pytest.approx(0.05)


def test_no_samples_have_no_error() -> None:
    assert math.isnan(score_smooth_ece(confidences=[], correct=[]))


@pytest.mark.parametrize("width", [0.0, -1.0, 1e-9, math.inf, math.nan])
def test_a_wrong_width_is_named(width: float) -> None:
    with pytest.raises(ValueError, match=f"the width is {width}; it must be 0.0001 at least"):
        score_smooth_ece(confidences=[0.5], correct=[True], width=width)


def test_the_example_holds() -> None:
    found = doctest.testmod(smooth_ece)
    assert (found.attempted, found.failed) == (1, 0)
