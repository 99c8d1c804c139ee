"""Enhancement of a stream: the same as of a file once the level is known, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from squall.audio.features import LevelOver, level_gain
from squall.engine.tasks import open_experiment
from squall.enhance.enhancer import Enhancer
from squall.enhance.settings import EnhancementConfig
from squall.enhance.stream import EnhancementStream

RATE_HZ = 16000


@pytest.fixture(scope="module")
def enhancer(tiny_enhancer: Path) -> Enhancer:
    config = open_experiment(tiny_enhancer, EnhancementConfig).config
    return Enhancer.load(tiny_enhancer / "train" / "all", config)


def _noise(length: int, *, seed: int = 0) -> np.ndarray:
    time_s = np.arange(length) / RATE_HZ
    noise = np.random.default_rng(seed).standard_normal(length)
    return (0.05 * noise * (1 + np.sin(2 * np.pi * time_s / 0.7))).astype(np.float32)


def _stream(enhancer: Enhancer, noisy: np.ndarray, sizes: Iterable[int]) -> np.ndarray:
    stream, parts, place = EnhancementStream(enhancer), [], 0
    for size in sizes:
        parts.append(stream.push(noisy[place : place + size]))
        place += size
        late = min(place, len(noisy)) - sum(map(len, parts))
        assert 0 <= late <= stream.latency_s * RATE_HZ
    return np.concatenate([*parts, stream.finish()])


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[1600] * 65, [100000], [1, 31999, 0, 7, 80000]])
def test_a_stream_gives_what_a_file_gives_at_the_same_level(
    enhancer: Enhancer, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = _noise(6 * RATE_HZ + 123)
    whole = enhancer(noisy)
    monkeypatch.setattr(EnhancementStream, "_gain", lambda self: level_gain(noisy))
    result = _stream(enhancer, noisy, sizes)
    assert len(result) == len(noisy)
    assert np.abs(result - whole).max() < 1e-3 * np.abs(whole).max()


@pytest.mark.slow
@pytest.mark.parametrize("remove_mean", [False, True])
@pytest.mark.parametrize("level_over", ["whole", "active"])
def test_of_steady_noise_the_level_is_soon_that_of_the_whole(
    enhancer: Enhancer, remove_mean: bool, level_over: LevelOver
) -> None:
    features = enhancer.config.features.model_copy(update={"level_over": level_over})
    settings = {"remove_mean": remove_mean, "features": features}
    changed = replace(enhancer, config=enhancer.config.model_copy(update=settings))
    noisy = 0.3 * _noise(8 * RATE_HZ) + np.float32(0.02 if remove_mean else 0.0)
    result, whole = _stream(changed, noisy, [4000] * 32), changed(noisy)
    later = slice(4 * RATE_HZ, None)
    assert np.abs(result - whole)[later].max() < 0.05 * np.abs(whole).max()


def test_memory_does_not_grow(enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the features and the model: what the stream itself keeps."""
    monkeypatch.setattr(
        EnhancementStream, "_next", lambda self, count: _skip(self, count), raising=True
    )
    stream, chunk = EnhancementStream(enhancer), _noise(RATE_HZ)
    for _ in range(70):
        stream.push(chunk)
    tracemalloc.start()
    for _ in range(60):
        stream.push(chunk)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1e6


def _skip(stream: EnhancementStream, count: int) -> np.ndarray:
    stream._measure()
    place = stream._done - stream._start
    return stream._advance(stream._heard[place : place + count])


@pytest.mark.parametrize("length", [0, 1, 159, 321, 8001])
def test_any_length_is_kept(enhancer: Enhancer, length: int) -> None:
    result = _stream(enhancer, _noise(length), [length])
    assert result.shape == (length,)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()


def test_silence_stays_silence(enhancer: Enhancer) -> None:
    assert not _stream(enhancer, np.zeros(20000, np.float32), [20000]).any()


def test_a_sample_that_is_not_finite_is_named(enhancer: Enhancer) -> None:
    chunk = _noise(100)
    chunk[7] = np.nan
    with pytest.raises(ValueError, match="sample 7 of the signal is nan"):
        EnhancementStream(enhancer).push(chunk)


def test_the_delay_is_below_a_second(enhancer: Enhancer) -> None:
    assert 0.5 < EnhancementStream(enhancer).latency_s < 1.0
