"""SDR, segmental SNR, spectral distances and composites: slow twins, and what they mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import naive
from squall.scoring import (
    Score,
    score_composite,
    score_llr,
    score_log_spectral_distance,
    score_sdr,
    score_segmental_snr,
    score_wss,
)

pytest.importorskip("scipy")

Array = np.ndarray[Any, np.dtype[np.float64]]
MEASURES: list[Callable[..., Score]] = [
    score_sdr,
    score_segmental_snr,
    score_log_spectral_distance,
    score_llr,
    score_wss,
]


def _speech(samples: int = 16000) -> Array:
    """Noise through a resonance, under a slow envelope."""
    noise = np.random.default_rng(0).standard_normal(samples)
    for k in range(2, samples):
        noise[k] += 1.6 * noise[k - 1] - 0.8 * noise[k - 2]
    return 0.02 * noise * (1.1 + np.sin(2 * np.pi * 4 * np.arange(samples) / 16000))


SPEECH = _speech()
SPEECH -= SPEECH.mean()


def _add_noise(snr_db: float) -> Array:
    noise = np.random.default_rng(1).standard_normal(len(SPEECH))
    noise -= noise.mean()
    return SPEECH + noise * math.sqrt((SPEECH @ SPEECH) / (noise @ noise) / 10 ** (snr_db / 10))


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@pytest.mark.parametrize("snr_db", [-5, 10])
@pytest.mark.parametrize("measure", MEASURES[1:])
def test_measures_are_their_slow_twins(
    measure: Callable[..., Score], snr_db: float, rate_hz: int
) -> None:
    noisy = _add_noise(snr_db)
    found = measure(reference=SPEECH, estimate=noisy, sample_rate_hz=rate_hz)
    twin = getattr(naive, measure.__name__.removeprefix("score_"))
    assert found.value == pytest.approx(twin(SPEECH, noisy, rate_hz), rel=1e-9)


def test_sdr_is_what_the_best_filter_leaves() -> None:
    filtered = np.convolve(SPEECH, [0.5, 0, -0.3, 0.2])[: len(SPEECH)]
    for estimate in (_add_noise(0)[:3000], filtered[:3000] + 0.1 * _add_noise(5)[:3000]):
        found = score_sdr(reference=SPEECH[:3000], estimate=estimate).value
        assert found == pytest.approx(naive.sdr(SPEECH[:3000], estimate), abs=0.01)


def test_sdr_forgives_a_filter_and_a_level() -> None:
    filtered = np.convolve(SPEECH, [0.5, 0, -0.3, 0.2])[: len(SPEECH)]
    assert score_sdr(reference=SPEECH, estimate=3 * filtered).value > 30
    noisy = _add_noise(5)
    one, other = (score_sdr(reference=SPEECH, estimate=g * noisy).value for g in (1, 1e-9))
    assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_a_gain_moves_all_log_spectra_alike(gain: float) -> None:
    """But where the range of 50 dB ends: it ends with the signal's own level."""
    score = score_log_spectral_distance(reference=SPEECH, estimate=gain * SPEECH)
    assert score.value == pytest.approx(abs(20 * math.log10(gain)), rel=1e-9)


def test_equal_signals_have_no_distance() -> None:
    pair = {"reference": SPEECH, "estimate": SPEECH}
    for measure in MEASURES[2:]:
        assert measure(**pair).value == pytest.approx(0, abs=1e-9)
    assert score_segmental_snr(**pair).value == 35
    assert score_sdr(**pair).value > 90


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_the_composites_are_sums_with_their_printed_weights(rate_hz: int) -> None:
    noisy = _add_noise(25)
    how = {"reference": SPEECH, "estimate": noisy, "sample_rate_hz": rate_hz}
    raw = 2.9
    # P.862.1, which narrow-band scores have gone through.
    mapped = 0.999 + 4 / (1 + math.exp(-1.4945 * raw + 4.6607))
    found = score_composite(**how, pesq=Score(raw if rate_hz == 16000 else mapped))
    llr, wss, snr = (score(**how).value for score in (score_llr, score_wss, score_segmental_snr))
    expected = {
        "csig": 3.093 - 1.029 * llr + 0.603 * raw - 0.009 * wss,
        "cbak": 1.634 + 0.478 * raw - 0.007 * wss + 0.063 * snr,
        "covl": 1.594 + 0.805 * raw - 0.512 * llr - 0.007 * wss,
    }
    assert all(1 < value < 5 for value in expected.values())
    assert {name: score.value for name, score in found.items()} == pytest.approx(expected)


def test_composites_are_held_to_the_scale_of_the_listeners() -> None:
    worst = score_composite(reference=SPEECH, estimate=_add_noise(-20), pesq=Score(1.0))
    best = score_composite(reference=SPEECH, estimate=SPEECH, pesq=Score(4.64))
    assert [worst[name].value for name in ("csig", "covl")] == [1, 1]
    assert [score.value for score in best.values()] == [5, 5, 5]


def test_a_composite_without_pesq_has_its_reason() -> None:
    pesq = Score(math.nan, "PESQ finds no speech")
    found = score_composite(reference=SPEECH, estimate=_add_noise(5), pesq=pesq)
    assert {score.reason for score in found.values()} == {"PESQ finds no speech"}


def test_composites_have_no_other_rate() -> None:
    with pytest.raises(ValueError, match="composites take 8000 or 16000 Hz, not 44100"):
        score_composite(reference=SPEECH, estimate=SPEECH, sample_rate_hz=44100, pesq=Score(2.0))


@pytest.mark.parametrize("measure", MEASURES)
def test_scores_change_with_the_noise_and_not_with_an_offset(measure: Callable[..., Score]) -> None:
    values = [measure(reference=SPEECH, estimate=_add_noise(db)).value for db in (-5, 5, 15, 25)]
    rising = measure in (score_sdr, score_segmental_snr)
    assert values == sorted(values, reverse=not rising)
    assert abs(values[0] - values[-1]) > 1
    shifted = measure(reference=SPEECH + 0.2, estimate=_add_noise(5) - 0.1)
    assert shifted.value == pytest.approx(values[1], abs=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r, e: (0 * r, e), "the reference is silent"),
        (lambda r, e: (r, 0 * e), "the estimate is silent"),
        (lambda r, e: (r, np.where(e == e[7], np.nan, e)), "the estimate has samples that are not"),
        (lambda r, e: (r[:0], e[:0]), "no samples"),
        (lambda r, e: (r[:100], e[:100]), "shorter than"),
    ],
)
def test_signals_without_a_score_have_a_reason(
    measure: Callable[..., Score], spoil: Callable[..., tuple[Array, Array]], reason: str
) -> None:
    reference, estimate = spoil(SPEECH, _add_noise(5))
    score = measure(reference=reference, estimate=estimate)
    assert not score.defined
    assert score.reason.startswith(reason)


def test_the_shortest_signal_has_two_frames() -> None:
    reference, estimate = SPEECH[:600], _add_noise(5)[:600]  # 37.5 ms
    assert score_segmental_snr(reference=reference, estimate=estimate).defined
    shorter = score_segmental_snr(reference=reference[:-1], estimate=estimate[:-1])
    assert shorter.reason == "shorter than 37.5 ms"


@pytest.mark.parametrize("measure", MEASURES)
def test_pauses_without_any_sound_are_scored(measure: Callable[..., Score]) -> None:
    gated = np.where(np.arange(len(SPEECH)) % 8000 < 4000, SPEECH, 0.0)
    score = measure(reference=gated, estimate=gated * 0.5)
    assert score.defined


@pytest.mark.parametrize("measure", MEASURES)
def test_wrong_shapes_are_named(measure: Callable[..., Score]) -> None:
    with pytest.raises(ValueError, match="reference has 16000 samples, estimate 15999"):
        measure(reference=SPEECH, estimate=SPEECH[:-1])


def test_wss_has_no_bands_below_8_khz() -> None:
    with pytest.raises(ValueError, match="WSS takes 8000 Hz or more, not 4000"):
        score_wss(reference=SPEECH, estimate=SPEECH, sample_rate_hz=4000)
