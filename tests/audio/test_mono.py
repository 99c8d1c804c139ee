"""A file in blocks as one channel: the same samples as the whole file has, and what is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from squall.audio.mono import MonoStream, open_mono
from squall.audio.reading import AudioError, open_audio, read_audio

SECONDS = 7.3


def _written(path: Path, rate_hz: int, channels: int = 1, **kind: str) -> Path:
    t = np.arange(round(SECONDS * rate_hz)) / rate_hz
    noise = np.random.default_rng(0).standard_normal((len(t), channels))
    samples = 0.3 * np.sin(2 * np.pi * 440 * t)[:, None] + 0.02 * noise
    soundfile.write(path, samples, rate_hz, **kind)
    return path


def _read(path: Path) -> tuple[np.ndarray, MonoStream]:
    with open_mono(path) as stream:
        return np.concatenate(list(stream.blocks())), stream


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"),
    [
        ("a.wav", 16000, 1),
        ("b.flac", 16000, 2),
        ("c.wav", 44100, 1),
        ("d.wav", 8000, 3),
        ("e.mp3", 44100, 2),
        ("f.ogg", 16000, 1),
    ],
)
def test_blocks_are_the_file(tmp_path: Path, name: str, rate_hz: int, channels: int) -> None:
    path = _written(tmp_path / name, rate_hz, channels)
    whole = read_audio(path)
    samples, stream = _read(path)
    assert samples.dtype == np.float32
    assert stream.duration_s == pytest.approx(whole.duration_s, abs=1e-3)
    assert (stream.conversions, stream.doubts) == (whole.conversions, whole.doubts)
    assert stream.problem is None
    assert len(samples) == len(whole.samples)
    tolerance = 0 if rate_hz == 16000 else 1e-5
    np.testing.assert_allclose(samples, whole.samples, atol=tolerance)


def test_doubts_are_of_all_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one = 0.1 * rng.standard_normal(160000)
    one[:1000] *= 100
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([one, -0.97 * one], axis=1), 16000, subtype="FLOAT")
    _, stream = _read(path)
    assert stream.doubts == read_audio(path).doubts
    assert len(stream.doubts) == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.wav", {}), ("a.sph", {"format": "NIST", "subtype": "PCM_16"}), ("a.aiff", {})],
)
def test_of_a_file_that_is_cut_off_what_is_there_is_read(
    tmp_path: Path, name: str, kind: dict[str, str]
) -> None:
    path = _written(tmp_path / name, 16000, **kind)
    whole = read_audio(path).samples
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3])
    with pytest.raises(AudioError, match="truncated"), open_audio(path):
        pass
    samples, stream = _read(path)
    assert len(samples) == pytest.approx(len(whole) / 3, rel=0.02)
    np.testing.assert_array_equal(samples, whole[: len(samples)])
    assert stream.duration_s == len(samples) / 16000
    assert isinstance(stream.problem, AudioError)
    assert str(stream.problem).startswith(f"{path}: truncated: its header says")


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_damage_in_compressed_data_ends_the_reading_there(tmp_path: Path, rate_hz: int) -> None:
    path = _written(tmp_path / "a.flac", rate_hz)
    whole = read_audio(path).samples
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    samples, stream = _read(path)
    assert str(stream.problem).startswith(f"{path}: truncated or corrupt: ")
    assert 0.3 < len(samples) / len(whole) < 0.52
    near_end = 400  # where the resampler hears that nothing follows
    kept = len(samples) - near_end
    np.testing.assert_allclose(samples[:kept], whole[:kept], atol=1e-5)


def test_samples_before_one_that_is_no_number_are_read(tmp_path: Path) -> None:
    samples = np.full(80000, 0.1)
    samples[40000] = np.nan
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    found, stream = _read(path)
    assert len(found) == 32000
    assert str(stream.problem) == f"{path}: the sample at 2.5000 s is not a finite number"


def test_a_file_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\x00\x10\x00\x00WAVEfmt ")
    with pytest.raises(AudioError), open_mono(path):
        pass
