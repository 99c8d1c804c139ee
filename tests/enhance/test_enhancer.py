"""The enhancer in memory and in blocks: the same result, at any length; which model is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from squall.audio.features import LevelOver, extract
from squall.audio.offset import subtract_mean
from squall.audio.reading import SAMPLE_RATE_HZ
from squall.engine.tasks import open_experiment
from squall.enhance import enhancer as module
from squall.enhance.enhancer import Enhancer, find_model, shape_mask
from squall.enhance.settings import EnhancementConfig
from squall.files import atomic_write


@pytest.fixture(scope="module")
def enhancer(tiny_enhancer: Path) -> Enhancer:
    config = open_experiment(tiny_enhancer, EnhancementConfig).config
    return Enhancer.load(tiny_enhancer / "train" / "all", config)


def _noise(length: int, *, seed: int = 0) -> np.ndarray:
    """Noise whose level rises and falls every three seconds."""
    time_s = np.arange(length) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(seed).standard_normal(length)
    return (0.05 * noise * (1 + np.sin(2 * np.pi * time_s / 3))).astype(np.float32)


@pytest.mark.slow
def test_blocks_give_what_the_whole_signal_gives(
    enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A loud start: a block that took its level from itself would be far off.
    noisy = _noise(70 * SAMPLE_RATE_HZ + 123)
    noisy[: 10 * SAMPLE_RATE_HZ] *= 20
    in_blocks = enhancer(noisy)
    monkeypatch.setattr(module, "_BLOCK_S", 100.0)
    whole = enhancer(noisy)
    assert len(list(enhancer.blocks(lambda a, b: noisy[a:b], len(noisy)))) == 1
    quiet = slice(10 * SAMPLE_RATE_HZ, None)
    for part in (slice(None), quiet):
        error = np.abs(in_blocks[part] - whole[part]).max()
        assert error < 1e-3 * np.abs(whole[part]).max()


def _trained_with(enhancer: Enhancer, *, remove_mean: bool, level_over: LevelOver) -> Enhancer:
    features = enhancer.config.features.model_copy(update={"level_over": level_over})
    changed = {"remove_mean": remove_mean, "features": features}
    return replace(enhancer, config=enhancer.config.model_copy(update=changed))


@pytest.mark.parametrize("remove_mean", [False, True])
@pytest.mark.parametrize("level_over", ["whole", "active"])
def test_a_short_signal_is_masked_as_in_training(
    enhancer: Enhancer, remove_mean: bool, level_over: LevelOver
) -> None:
    noisy = _noise(3 * SAMPLE_RATE_HZ) * np.float32(0.2) + np.float32(0.02)
    mask = enhancer.model.estimate(extract(noisy, remove_mean=remove_mean, level_over=level_over))
    signal = subtract_mean(noisy) if remove_mean else noisy
    expected = enhancer.front_end.apply_mask(signal, mask)
    enhanced = _trained_with(enhancer, remove_mean=remove_mean, level_over=level_over)(noisy)
    np.testing.assert_allclose(enhanced, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("offset", [-0.26, 0.01])
def test_an_offset_changes_nothing_that_is_heard(enhancer: Enhancer, offset: float) -> None:
    noisy = subtract_mean(_noise(2 * SAMPLE_RATE_HZ))
    changed = _trained_with(enhancer, remove_mean=True, level_over="whole")
    plain = changed(noisy)
    shifted = changed(noisy + np.float32(offset))
    np.testing.assert_allclose(shifted, plain, atol=1e-3 * np.abs(plain).max())


@pytest.mark.slow
@pytest.mark.parametrize("spoilt_by", ["click", "silence"])
def test_neither_a_click_nor_silence_changes_the_level_of_the_rest(
    enhancer: Enhancer, spoilt_by: str
) -> None:
    noisy = _noise(7 * SAMPLE_RATE_HZ) * np.float32(0.02)
    spoilt, zeros = noisy.copy(), 0
    if spoilt_by == "click":
        spoilt[8000] = 1.0
    else:
        zeros = 15 * SAMPLE_RATE_HZ
        spoilt = np.concatenate([np.zeros(zeros, np.float32), noisy])
    rest = slice(4 * SAMPLE_RATE_HZ, None)  # when RASTA has forgotten the jump

    def error(level_over: LevelOver) -> float:
        changed = _trained_with(enhancer, remove_mean=False, level_over=level_over)
        plain = changed(noisy)[rest]
        difference = np.abs(changed(spoilt)[zeros:][rest] - plain).max()
        return float(difference / np.abs(plain).max())

    assert error("active") < 0.01
    assert error("active") < 0.2 * error("whole")


@pytest.mark.slow
def test_no_read_is_longer_than_a_block_with_its_margins(enhancer: Enhancer) -> None:
    noisy, asked = _noise(65 * SAMPLE_RATE_HZ), []

    def read(start: int, stop: int) -> np.ndarray:
        asked.append(stop - start)
        return noisy[start:stop]

    assert sum(len(block) for block in enhancer.blocks(read, len(noisy))) == len(noisy)
    assert max(asked) < 30 * SAMPLE_RATE_HZ


@pytest.mark.parametrize("length", [1, 2, 159, 160, 161, 319, 320, 321, 1000, 16001])
def test_any_length_is_kept(enhancer: Enhancer, length: int) -> None:
    enhanced = enhancer(_noise(length))
    assert enhanced.shape == (length,)
    assert enhanced.dtype == np.float32
    assert np.isfinite(enhanced).all()


@pytest.mark.parametrize("extra", [0, 1, 159, 160, 161])
def test_a_last_block_of_any_length(
    enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    monkeypatch.setattr(module, "_BLOCK_S", 1.0)
    enhancer = _trained_with(enhancer, remove_mean=True, level_over="active")
    noisy = _noise(2 * SAMPLE_RATE_HZ + extra) + np.float32(0.3)
    in_blocks = enhancer(noisy)
    monkeypatch.setattr(module, "_BLOCK_S", 100.0)
    np.testing.assert_allclose(in_blocks, enhancer(noisy), atol=1e-3 * np.abs(in_blocks).max())


def test_silence_stays_silent(enhancer: Enhancer) -> None:
    assert not enhancer(np.zeros(20000, np.float32)).any()


@pytest.mark.parametrize("factor", [1e-6, 100.0])
def test_the_level_scales_the_result_and_nothing_else(enhancer: Enhancer, factor: float) -> None:
    noisy = _noise(2 * SAMPLE_RATE_HZ)
    plain = enhancer(noisy)
    scaled = enhancer(noisy * np.float32(factor)) / np.float32(factor)
    np.testing.assert_allclose(scaled, plain, atol=1e-3 * np.abs(plain).max())


def test_the_model_does_something(enhancer: Enhancer) -> None:
    noisy = _noise(SAMPLE_RATE_HZ)
    assert 0.2 < np.std(enhancer(noisy)) / np.std(noisy) < 0.8


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "the signal is empty"),
        (np.array([0.0, np.nan], np.float32), "sample 1 of the signal is nan"),
        (np.zeros((10, 2), np.float32), "give one channel"),
    ],
)
def test_what_is_no_signal_is_an_error(
    enhancer: Enhancer, samples: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        enhancer(samples)


def test_a_stream_without_samples_is_an_error(enhancer: Enhancer) -> None:
    with pytest.raises(ValueError, match="the signal is empty"):
        list(enhancer.blocks(lambda a, b: np.zeros(b - a, np.float32), 0))


def test_masks_are_cut_and_floored_as_the_settings_say(enhancer: Enhancer) -> None:
    mask = np.array([[0.0, 0.4, 0.6]], np.float32)
    for apply, expected in [
        ({}, [0.0, 0.4, 0.6]),
        ({"floor": 0.1}, [0.1, 0.4, 0.6]),
        ({"binarise": True}, [0.0, 0.0, 1.0]),
        ({"binarise": True, "floor": 0.25}, [0.25, 0.25, 1.0]),
    ]:
        settings = {**enhancer.config.model_dump(), "apply": apply}
        config = EnhancementConfig.model_validate(settings)
        np.testing.assert_array_equal(shape_mask(mask, config), np.float32([expected]))


@pytest.fixture
def train_dir(tmp_path: Path) -> Path:
    return tmp_path / "tiny-1234" / "train"


def _add(train_dir: Path, *names: str) -> None:
    for name in names:
        with atomic_write(train_dir / name / "training.json") as file:
            file.write("{}")


def test_the_model_of_all_conditions_is_taken_unless_another_is_named(train_dir: Path) -> None:
    _add(train_dir, "babble/0dB", "ssn/-5dB", "all")
    assert find_model(train_dir, None) == train_dir / "all"
    assert find_model(train_dir, "ssn/-5dB") == train_dir / "ssn" / "-5dB"


def test_an_only_model_need_not_be_named(train_dir: Path) -> None:
    _add(train_dir, "babble/0dB")
    assert find_model(train_dir, None) == train_dir / "babble" / "0dB"


def test_models_that_are_not_there_are_errors_that_list_those_that_are(train_dir: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no trained model: run the stages"):
        find_model(train_dir, None)
    _add(train_dir, "babble/0dB", "ssn/-5dB")
    listed = r"give --condition, one of \['babble/0dB', 'ssn/-5dB'\]"
    with pytest.raises(ValueError, match="which model is to be used is not said; " + listed):
        find_model(train_dir, None)
    with pytest.raises(ValueError, match="no model 'babble/5dB'; " + listed):
        find_model(train_dir, "babble/5dB")
