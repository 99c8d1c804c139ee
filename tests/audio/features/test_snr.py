"""Ratios over the floor of the last 1.5 s."""

import numpy as np
import pytest

from audio.features.signals import speech_like
from squall.audio.features import MARGIN_S
from squall.audio.features.cochleagram import gammatone_energies
from squall.audio.features.snr import snr
from squall.audio.gammatone import centre_frequencies


def naive_snr(samples):
    energies = gammatone_energies(samples).astype(float) ** 3
    ratios = np.empty_like(energies)
    for channel in range(64):
        for t in range(len(energies)):
            means = [
                np.mean([energies[max(u - k, 0), channel] for k in range(9)])
                for u in range(t - 149, t + 1)
            ]
            floor = max(min(means), 1e-12)
            ratio = energies[t, channel] / floor
            ratios[t, channel] = 10 * np.log10(max(ratio, 1e-30))
    return np.clip(ratios, -20, 50)


def test_it_is_the_energy_over_the_least_of_recent_means():
    samples = np.concatenate([0.3 * speech_like(0.3), speech_like(0.4), np.zeros(3000, np.float32)])
    np.testing.assert_allclose(snr(samples), naive_snr(samples), atol=2e-3)


def test_the_spectrum_of_steady_noise_makes_no_difference():
    noise = np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 0.05
    coloured = np.append(noise[:1], noise[1:] - 0.95 * noise[:-1]).astype(np.float32)
    of_energies = np.abs(np.log(gammatone_energies(noise) / gammatone_energies(coloured)))
    assert np.median(of_energies) > 0.2
    assert (
        np.abs(np.median(snr(noise)[20:], axis=0) - np.median(snr(coloured)[20:], axis=0)).max()
        < 1.5
    )


def test_what_rises_out_of_noise_stands_above_zero_where_it_is():
    rng = np.random.default_rng(1)
    samples = rng.standard_normal(32000) * 0.01
    tone_hz = float(centre_frequencies(64, 50.0, 8000.0)[30])
    samples[16000:20000] += 0.1 * np.sin(2 * np.pi * tone_hz * np.arange(4000) / 16000)
    ratios = snr(samples.astype(np.float32))
    assert ratios[110, 30] > 25
    assert abs(np.median(ratios[50:95, 30])) < 6
    assert abs(np.median(ratios[130:, 30])) < 6


def test_noise_that_grew_is_the_floor_after_its_memory():
    rng = np.random.default_rng(2)
    samples = rng.standard_normal(16000 * 5) * np.where(np.arange(16000 * 5) < 32000, 0.001, 0.05)
    ratios = snr(samples.astype(np.float32))
    assert np.median(ratios[210:300]) > 25
    assert np.median(ratios[375:]) < 6


def test_it_forgets_within_the_margin_of_a_block():
    samples = speech_like(6.0)
    first = 16000 * 2
    part = snr(samples[first:])[round(MARGIN_S * 100) :]
    whole = snr(samples)[first // 160 + round(MARGIN_S * 100) :]
    np.testing.assert_allclose(part, whole, atol=0.01)


@pytest.mark.parametrize("samples", [np.zeros(4000), np.eye(1, 4000, 3000)[0]])
def test_silence_has_a_floor(samples):
    ratios = snr(samples.astype(np.float32))
    assert np.isfinite(ratios).all()
    assert ratios.min() >= -20
    assert ratios.max() <= 50


def test_it_does_not_depend_on_the_level():
    samples = speech_like(0.5) + 0.01 * np.random.default_rng(3).standard_normal(8000).astype("f4")
    np.testing.assert_allclose(snr(4 * samples), snr(samples), atol=1e-3)
