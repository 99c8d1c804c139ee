"""The whole set: shapes, time, level, blocks, extreme signals, errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.features.signals import speech_like
from squall.audio.features import (
    FEATURE_SETS,
    MARGIN_S,
    extract,
    feature_dimensions,
    level_gain,
)
from squall.audio.features.deltas import regression_deltas
from squall.audio.features.smoothing import arma
from squall.audio.frames import HOP_S, frame_count
from squall.audio.offset import subtract_mean
from squall.audio.reading import read_audio

HOP = 160
EXTREMES = {
    "silence": np.zeros(4000),
    "one sample of silence": np.zeros(1),
    "one sample": np.ones(1),
    "constant": np.full(4000, 0.5),
    "very quiet": 1e-4 * speech_like(0.3),
    "denormal": np.full(4000, 1e-42),
    "huge": 1e30 * speech_like(0.3),
    "full-scale square wave": np.sign(np.sin(np.arange(4000) / 30)),
    "click after silence": np.eye(1, 4000, 3000)[0],
    "tone that starts": np.sin(np.arange(4000)) * (np.arange(4000) > 2000),
}


def assert_close_in_deviations(actual, expected, deviation, *, tolerance):
    # Deltas of nearly constant columns would otherwise be compared with nothing.
    worst = np.abs((actual - expected) / np.maximum(deviation, 1e-6)).max()
    assert worst < tolerance


@given(samples=st.integers(1, 3000))
@settings(max_examples=40, deadline=None)
def test_every_set_has_the_common_frames(samples):
    signal = np.random.default_rng(samples).uniform(-0.5, 0.5, samples).astype(np.float32)
    for feature in FEATURE_SETS.values():
        features = feature.function(signal, 16000)
        assert features.shape == (frame_count(samples), feature.dimensions)
        assert features.dtype == np.float32
        assert np.isfinite(features).all()


def test_the_sources_dimensions():
    assert {name: feature.dimensions for name, feature in FEATURE_SETS.items()} == {
        "ams": 15,
        "rasta_plp": 13,
        "mfcc": 31,
        "gammatone": 64,
        "snr": 64,
    }
    assert feature_dimensions() == extract(speech_like(0.2)).shape[1] == 246
    assert feature_dimensions(["mfcc", "ams"], deltas=False) == 46


def test_sets_then_deltas_then_smoothing():
    samples = speech_like(0.5)
    plain = np.concatenate(
        [FEATURE_SETS[name].function(samples, 16000) for name in ("mfcc", "ams")], axis=1
    )
    expected = arma(np.concatenate([plain, regression_deltas(plain)], axis=1), 2)
    np.testing.assert_array_equal(extract(samples, ("mfcc", "ams"), gain=1.0), expected)
    bare = extract(samples, ["mfcc", "ams"], deltas=False, arma_order=0, gain=1.0)
    np.testing.assert_array_equal(bare, plain)


def test_same_samples_same_bits_and_untouched():
    samples = speech_like(0.5)
    before = samples.copy()
    np.testing.assert_array_equal(extract(samples), extract(samples))
    np.testing.assert_array_equal(samples, before)


@pytest.mark.parametrize("gain", [2.0**-13, 1e-4, 0.3, 20.0])
def test_the_recordings_level_has_no_effect(gain):
    samples = speech_like(1.0)
    expected = extract(samples)
    scaled = extract(np.float32(gain) * samples)
    assert_close_in_deviations(scaled, expected, expected.std(axis=0), tolerance=1e-3)


def test_level_is_the_rms_asked_for():
    samples = speech_like(0.3)
    levelled = level_gain(samples, 0.2) * samples
    assert np.sqrt(np.mean(levelled.astype(np.float64) ** 2)) == pytest.approx(0.2)
    assert level_gain(np.zeros(5, np.float32)) == 1.0
    np.testing.assert_array_equal(
        extract(samples, level_rms=0.2, remove_mean=False),
        extract(samples, gain=level_gain(samples, 0.2)),
    )


@pytest.mark.parametrize("offset", [-0.257, 0.003])
def test_a_constant_offset_changes_no_feature(offset):
    samples = speech_like(1.0)
    expected = extract(samples)
    shifted = extract(samples + np.float32(offset))
    assert_close_in_deviations(shifted, expected, expected.std(axis=0), tolerance=1e-3)
    kept = extract(samples + np.float32(offset), remove_mean=False)
    assert np.abs((kept - expected) / expected.std(axis=0)).max() > 0.1


def test_neither_a_click_nor_silence_changes_the_active_level():
    samples = np.float32(0.02) * speech_like(4.0)
    gain = level_gain(samples, over="active")
    clicked = samples.copy()
    clicked[20000] = 1.0
    zeros = np.zeros(120 * 16000, np.float32)
    for changed in (clicked, np.concatenate([zeros, samples]), np.concatenate([samples, zeros])):
        assert abs(20 * np.log10(level_gain(changed, over="active") / gain)) < 0.1
        assert abs(20 * np.log10(level_gain(changed) / level_gain(samples))) > 3


def test_the_active_level_of_steady_noise_is_its_rms():
    noise = np.random.default_rng(0).standard_normal(64000).astype(np.float32)
    assert level_gain(noise, over="active") == pytest.approx(level_gain(noise), rel=0.01)


def test_an_unknown_part_to_level_is_named():
    with pytest.raises(ValueError, match="over is 'speech': use 'whole' or 'active'"):
        level_gain(speech_like(0.1), over="speech")


def test_a_shift_by_one_hop_shifts_the_features_by_one_frame():
    samples = speech_like(4.0)
    features, later = (extract(part, gain=1.0) for part in (samples, samples[HOP:]))
    # Behind RASTA's memory of the start and before what deltas and smoothing see of the end.
    inner = slice(round(MARGIN_S / HOP_S), -8)
    deviation = features.std(axis=0)
    assert_close_in_deviations(later[inner], features[1:][inner], deviation, tolerance=1e-3)


@pytest.mark.parametrize("start", [300, 411])
def test_with_the_margin_a_block_has_the_features_of_the_file(start):
    samples = speech_like(9.0)
    samples[: round(2.5 * 16000)] = 0.0  # RASTA remembers the jump from digital silence
    check_block(samples, start, start + 150)


def check_block(samples, start, stop):
    samples = subtract_mean(samples)
    gain, margin = level_gain(samples), round(MARGIN_S / HOP_S)
    whole = extract(samples)
    first = max(0, start - margin)
    block = extract(samples[first * HOP : (stop + margin) * HOP], gain=gain)
    assert_close_in_deviations(
        block[start - first : stop - first], whole[start:stop], whole.std(axis=0), tolerance=1e-3
    )


@pytest.mark.corpus
def test_with_the_margin_a_block_of_a_recording_has_the_features_of_the_file(real_data):
    path = min((real_data / "librispeech-sample").rglob("*.flac"))
    samples = read_audio(path).samples
    check_block(samples, 400, 600)


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_signals_have_finite_features(name):
    samples = EXTREMES[name].astype(np.float32)
    features = extract(samples)
    assert features.shape == (frame_count(len(samples)), 246)
    assert np.isfinite(features).all()


@pytest.mark.parametrize("name", [name for name in EXTREMES if name != "huge"])
def test_features_of_extreme_levels_are_finite(name):
    assert np.isfinite(extract(EXTREMES[name].astype(np.float32), gain=1.0)).all()


def test_the_sampling_rate_may_be_a_whole_float():
    samples = np.random.default_rng(0).standard_normal(1600).astype(np.float32)
    np.testing.assert_array_equal(extract(samples, sample_rate_hz=16000.0), extract(samples))


def test_wrong_samples_are_refused():
    broken = np.ones(100, np.float32)
    broken[7] = np.nan
    for feature in (extract, *(f.function for f in FEATURE_SETS.values())):
        with pytest.raises(ValueError, match="sample 7"):
            feature(broken)
        with pytest.raises(ValueError, match="empty"):
            feature(np.zeros(0, np.float32))
        with pytest.raises(ValueError, match=r"\(2, 50\)"):
            feature(np.ones((2, 50), np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sets": ("mfcc", "plp")}, "'plp'; choose from ams, rasta_plp, mfcc, gammatone, snr"),
        ({"sets": ()}, "no feature set"),
        ({"sets": ("mfcc", "mfcc")}, "twice"),
        ({"arma_order": -1}, "-1"),
        ({"level_rms": 0.0}, r"not 0\.0"),
        ({"gain": -1.0}, r"not -1\.0"),
        ({"gain": float("nan")}, "nan"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        extract(np.ones(1000, np.float32), **arguments)
