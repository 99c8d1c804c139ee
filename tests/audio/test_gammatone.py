"""Gammatone filterbank: against convolutions in time, other packages, and itself in blocks."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from audio import naive_gammatone as naive
from squall.audio import gammatone
from squall.audio.frames import frame_count
from squall.audio.gammatone import (
    GammatoneFilterbank,
    centre_frequencies,
    erb_hz,
    erb_rate,
    erb_rate_to_hz,
)

BANK = GammatoneFilterbank()
FREQUENCIES = np.arange(1, 8000, 20.0)


def _noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def test_the_scale_and_its_inverse() -> None:
    frequencies = np.array([0.0, 50.0, 1000.0, 8000.0])
    np.testing.assert_allclose(erb_rate_to_hz(erb_rate(frequencies)), frequencies, atol=1e-9)
    # Glasberg and Moore's formulas by hand: 24.7 * 5.37, and 21.4 * log10(5.37).
    assert erb_hz(1000.0) == pytest.approx(132.639)
    assert erb_rate(1000.0) == pytest.approx(15.6214, abs=1e-4)


def test_centres_equal_the_twins() -> None:
    expected = naive.centre_frequencies(64, 50.0, 8000.0)
    np.testing.assert_allclose(BANK.centres_hz, expected, rtol=1e-9)
    assert (BANK.centres_hz[0], BANK.centres_hz[-1]) == (50.0, 8000.0)


def test_centres_equal_other_packages() -> None:
    """Both leave out the upper end, and fall."""
    filters = pytest.importorskip("gammatone.filters")
    ours = centre_frequencies(65, 50.0, 8000.0)
    np.testing.assert_allclose(ours[:-1], filters.erb_space(50, 8000, 64)[::-1], rtol=1e-4)
    spafe = pytest.importorskip("spafe.fbanks.gammatone_fbanks")
    theirs = spafe.generate_center_frequencies(50, 8000, 64)
    np.testing.assert_allclose(ours[:-1], np.sort(theirs), rtol=1e-4)


@pytest.mark.slow
def test_response_is_that_of_the_sampled_impulse_response() -> None:
    ours = BANK.response(FREQUENCIES)
    for channel, centre in enumerate(BANK.centres_hz):
        impulse = naive.impulse_response(centre, 16000)
        n = np.arange(len(impulse))
        theirs = np.exp(-2j * np.pi * np.outer(FREQUENCIES, n) / 16000) @ impulse
        np.testing.assert_allclose(ours[channel], theirs, atol=1e-8)


def test_gain_at_the_centre_is_one_and_the_largest() -> None:
    response = np.abs(BANK.response(BANK.centres_hz))  # (F, F)
    np.testing.assert_allclose(np.diag(response), 1, rtol=1e-9)
    # Near 0 Hz and Nyquist's frequency the mirror image adds a little.
    assert np.abs(BANK.response(FREQUENCIES)).max() < 1.05


def test_magnitude_is_that_of_the_gammatone_package() -> None:
    """Slaney's recursive filters approximate the same shape, to 1 dB where it is above -30 dB."""
    filters = pytest.importorskip("gammatone.filters")
    centres = BANK.centres_hz[3:55]
    impulse = np.zeros(16384)
    impulse[0] = 1
    theirs = filters.erb_filterbank(impulse, filters.make_erb_filters(16000, centres))
    theirs_db = 20 * np.log10(np.abs(np.fft.rfft(theirs, axis=1)) + 1e-12)
    ours = BANK.response(np.fft.rfftfreq(16384, 1 / 16000))[3:55]
    ours_db = 20 * np.log10(np.abs(ours) + 1e-12)
    passed = ours_db > -30
    assert passed.any(axis=1).all()
    assert np.abs(ours_db - theirs_db)[passed].max() < 1.0


# The block of the transform has 16,384 samples; 40,000 need several of them.
@pytest.mark.parametrize("samples", [1, 100, 321, 5000, 40_000])
def test_outputs_equal_the_twins(samples: int) -> None:
    signal = _noise(samples)
    ours = BANK.analyse(signal)
    assert ours.shape == (64, samples)
    assert ours.dtype == np.float32
    for channel in (0, 1, 20, 40, 62, 63):
        theirs = naive.filter_signal(signal, BANK.centres_hz[channel], 16000)
        np.testing.assert_allclose(ours[channel], theirs, atol=2e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("window", ["raised_cosine", "rectangular"])
@pytest.mark.parametrize("samples", [1, 320, 321, 15_999])
def test_energies_are_those_of_the_outputs(samples: int, window: str) -> None:
    signal = _noise(samples)
    ours = BANK.energies(signal, window=window)  # type: ignore[arg-type]
    theirs = naive.energies(BANK.analyse(signal), raised_cosine=window == "raised_cosine")
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape == (frame_count(samples), 64)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_energies_both_ways_are_those_of_what_a_mask_weights() -> None:
    bank = GammatoneFilterbank()
    samples = _noise(2000)
    energies = bank.energies(samples, both_ways=True)
    frames = frame_count(len(samples))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(320) + 0.5) / 320)
    for channel in (0, 20, 63):
        alone = np.zeros((frames, 64), np.float32)
        alone[:, channel] = 1
        output = np.pad(bank.resynthesise(samples, alone), (0, 320))
        expected = [window @ output[160 * t : 160 * t + 320] ** 2 for t in range(frames)]
        np.testing.assert_allclose(energies[:, channel], expected, rtol=1e-2, atol=1e-7)


def test_energies_of_the_raised_cosine_add_up() -> None:
    signal = _noise(48_000)
    signal[:160] = signal[-3200:] = 0
    total = (BANK.analyse(signal)[:, 160:].astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(BANK.energies(signal).sum(axis=0), total, rtol=2e-3)


def test_a_click_is_in_one_frame_of_all_channels() -> None:
    """Without the advance of the outputs the low channels lag behind by a frame or more."""
    click = np.zeros(16_000, np.float32)
    click[8000 + 160] = 1
    assert set(BANK.energies(click).argmax(axis=0)) == {50}


def test_resynthesis_equals_the_twin() -> None:
    bank = GammatoneFilterbank(channels=6, low_hz=100.0)
    signal = _noise(20_000)
    mask = np.random.default_rng(1).uniform(size=(frame_count(20_000), 6)).astype(np.float32)
    weights = naive.mask_weights(mask, 20_000)
    # The sum of the channels is levelled by one filter, which commutes with the two of a channel.
    grid = np.arange(32769) * 16000 / 65536
    power = (np.abs(bank.response(grid)) ** 2).sum(axis=0)
    low = np.clip((100 - grid) / min(100, 2 * 1.019 * 24.7 * 1.437), 0, 1)
    level = (1 + np.cos(np.pi * low)) / 2 / power
    padded = np.zeros(65536)
    padded[12_000:32_000] = signal
    levelled = np.fft.irfft(np.fft.rfft(padded) * level)
    expected = np.zeros(20_000)
    for channel, centre in enumerate(bank.centres_hz):
        twice = naive.filter_forwards_and_backwards(levelled, centre, 16000)
        expected += weights[channel] * twice[12_000:32_000]
    ours = bank.resynthesise(signal, mask)
    np.testing.assert_allclose(ours, expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("bank", [BANK, GammatoneFilterbank(8, 300.0, 3000.0, 8000)])
def test_gain_is_one_in_the_band_and_nowhere_more(bank: GammatoneFilterbank) -> None:
    size = bank.sample_rate_hz
    click = np.zeros(size, np.float32)
    click[size // 2] = 1
    mask = np.ones((frame_count(size, size), bank.channels), np.float32)
    gain = np.abs(np.fft.rfft(bank.resynthesise(click, mask)))  # one bin per Hz
    band = gain[int(bank.low_hz) : int(bank.high_hz) + 1]
    np.testing.assert_allclose(band, 1, atol=1e-3)
    assert gain.max() < 1.001
    assert gain[0] < 0.5


def test_resynthesis_reaches_no_further_than_its_margin() -> None:
    bank = GammatoneFilterbank(low_hz=20.0)
    click = np.zeros(16_000, np.float32)
    click[8000] = 1
    mask = np.ones((frame_count(16_000), 64), np.float32)
    mask[:, 1:] = 0  # the narrowest channel rings longest
    heard = np.abs(bank.resynthesise(click, mask))
    reached = np.flatnonzero(heard > 1e-6 * heard.max())
    assert 8000 - bank.margin_samples <= reached[0] < 8000 - bank.margin_samples // 2
    assert 8000 + bank.margin_samples // 2 < reached[-1] <= 8000 + bank.margin_samples


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 1}, "channels is 1"),
        ({"low_hz": 0.0}, "low_hz is 0.0"),
        ({"low_hz": 9000.0}, "low_hz is 9000.0"),
        ({"high_hz": 8001.0}, "above half the sampling rate"),
        ({"sample_rate_hz": 22_050}, "multiple of 100"),
        ({"high_hz": float("nan")}, "high_hz nan"),
    ],
)
def test_impossible_banks_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GammatoneFilterbank(**arguments)  # type: ignore[arg-type]


def test_an_unknown_window_is_refused() -> None:
    with pytest.raises(ValueError, match="raised_cosine or rectangular"):
        BANK.energies(_noise(10), window="hann")  # type: ignore[arg-type]


def test_examples() -> None:
    assert doctest.testmod(gammatone).failed == 0
