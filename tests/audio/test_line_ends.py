"""Samples that a program took for text are noticed and restored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import lfilter

from squall.asr.export import export_split
from squall.audio.containers import AudioError
from squall.audio.line_ends import are_converted, restore
from squall.audio.reading import audio_info, open_audio, read_audio
from squall.corpora.manifest import Utterance

RATE_HZ = 16000
Integers = NDArray[np.int16]


def as_text(data: bytes) -> bytes:
    """What version control makes of a file with `eol=native`."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def like_speech(*, seed: int = 0, seconds: float = 4.0, peak: float = 12000) -> Integers:
    """Noise of a vowel's spectrum whose level comes and goes."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(round(seconds * RATE_HZ))
    signal = lfilter([1], [1, -1.7, 0.8], noise)
    signal *= np.sin(2 * np.pi * 1.5 * np.arange(len(signal)) / RATE_HZ) ** 2
    signal *= peak / np.abs(signal).max()
    samples: Integers = np.round(signal + rng.normal(0, 2, len(signal))).astype("<i2")
    return samples


def write_as_text(path: Path, samples: Integers, **how: str) -> int:
    """Write a WAV file whose samples went through a text filter; tells how many bytes it lost."""
    soundfile.write(path, samples, RATE_HZ, **how)
    data = path.read_bytes()
    head = data.index(b"data") + 8
    converted = as_text(data[head:])
    kept = converted[: len(converted) // 4 * 4]
    sizes = (len(kept) + head - 8).to_bytes(4, "little"), len(kept).to_bytes(4, "little")
    path.write_bytes(data[:4] + sizes[0] + data[8 : head - 4] + sizes[1] + kept)
    return len(data) - head - len(converted)


def share_wrong(found: Integers, expected: Integers) -> float:
    length = min(len(found), len(expected))
    off = np.abs(found[:length].astype(int) - expected[:length])
    return float(np.mean(off > 3))


@pytest.mark.parametrize("seed", range(5))
def test_lost_bytes_and_high_bytes_come_back(seed: int) -> None:
    samples = like_speech(seed=seed)
    data = as_text(samples.tobytes())
    lost = 2 * len(samples) - len(data)
    assert lost > 0
    data = data[: len(data) // 2 * 2]
    assert are_converted(data, 0, len(data))
    assert share_wrong(np.frombuffer(data, "<i2"), samples) > 0.2
    assert share_wrong(np.frombuffer(restore(data), "<i2"), samples) < 0.01


def test_without_a_lost_byte_only_high_bytes_change() -> None:
    samples = like_speech(peak=6000)
    halves = samples.view(np.uint8).copy()
    halves[halves == 0x0D] = 0x0A
    restored = np.frombuffer(restore(halves.tobytes()), "<i2")
    changed = restored != halves.view("<i2")
    assert changed.any()
    assert set((restored - halves.view("<i2"))[changed]) == {0x300}
    assert share_wrong(restored, samples) < share_wrong(halves.view("<i2"), samples) / 3


@pytest.mark.parametrize(
    "samples",
    [
        like_speech(),
        like_speech(peak=30),
        np.zeros(16000, "<i2"),
        like_speech()[:200],
        (like_speech() & ~15).astype("<i2"),
    ],
    ids=["loud", "quiet", "silent", "short", "coarse"],
)
def test_an_intact_recording_is_left_alone(samples: Integers) -> None:
    data = samples.tobytes()
    assert not are_converted(data, 0, len(data))


@pytest.mark.parametrize("text", [b"", b"\x00\x01", b"\n\n", b"\x00\n"])
def test_next_to_nothing_is_no_recording(text: bytes) -> None:
    assert not are_converted(text, 0, len(text))
    assert len(restore(text)) == len(text)


def test_every_way_of_reading_gives_the_restored_samples(tmp_path: Path) -> None:
    samples = like_speech()
    path = tmp_path / "a.wav"
    assert write_as_text(path, samples) > 0
    audio = read_audio(path)
    assert audio.conversions == (
        "restored: a program took it for text and converted its line ends",
    )
    assert not audio.doubts
    found = (audio.samples * 32768).astype("<i2")
    assert share_wrong(found, samples) < 0.01
    assert audio_info(path).frames == len(found)
    part = read_audio(path, start_s=1.0, duration_s=0.5)
    np.testing.assert_array_equal(part.samples, audio.samples[16000:24000])
    with open_audio(path) as stream:
        assert stream.conversions == audio.conversions
        blocks = np.concatenate(list(stream.blocks(1000)))
    np.testing.assert_array_equal(blocks[:, 0], audio.samples)


def test_a_sphere_file_is_restored_too(tmp_path: Path) -> None:
    samples = like_speech()
    path = tmp_path / "SA1.WAV"
    soundfile.write(path, samples, RATE_HZ, format="NIST", subtype="PCM_16", endian="LITTLE")
    data = path.read_bytes()
    converted = as_text(data[1024:])
    kept = converted[: len(converted) // 2 * 2]
    count = f"sample_count -i {len(samples)}".encode()
    assert count in data
    head = data[:1024].replace(count, f"sample_count -i {len(kept) // 2}".encode())
    path.write_bytes(head + kept)
    audio = read_audio(path)
    assert audio.conversions
    assert share_wrong((audio.samples * 32768).astype("<i2"), samples) < 0.01


@pytest.mark.parametrize("how", [{"subtype": "PCM_24"}, {"subtype": "FLOAT"}])
def test_other_samples_cannot_be_restored(tmp_path: Path, how: dict[str, str]) -> None:
    path = tmp_path / "a.wav"
    write_as_text(path, like_speech(), **how)
    with pytest.raises(AudioError, match=r"a\.wav: damaged: it has no byte 13 and too many 10"):
        read_audio(path)


def test_two_channels_cannot_be_restored(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_as_text(path, np.stack([like_speech(), like_speech(seed=1)], axis=1))
    with pytest.raises(AudioError, match="as binary"):
        audio_info(path)


def test_a_recogniser_is_trained_on_the_restored_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write_as_text(path, like_speech())
    duration_s = audio_info(path).duration_s
    utterance = Utterance(
        id="a",
        audio_path=str(path),
        start_s=0.0,
        duration_s=duration_s,
        sample_rate_hz=RATE_HZ,
        speaker="s",
        text="A",
    )
    assert export_split([utterance], tmp_path / "data") == 1
    exported = soundfile.read(tmp_path / "data" / "audio" / "a.flac", dtype="float32")[0]
    np.testing.assert_array_equal(exported, read_audio(path).samples)


@pytest.mark.corpus
@pytest.mark.slow
def test_real_speech_comes_back(real_data: Path) -> None:
    """Of 8 readers, as they are and three times as loud: what is wrong falls to a twentieth."""
    folder = real_data / "librispeech-sample" / "LibriSpeech"
    paths = sorted(folder.rglob("*.flac"))[::30][:8]
    assert len(paths) == 8
    before, after = [], []
    for path in paths:
        recorded = soundfile.read(path, dtype="int16")[0].astype(int)
        for factor in (1, 3):
            samples = np.clip(recorded * factor + factor // 2, -32768, 32767).astype("<i2")
            data = as_text(samples.tobytes())
            assert len(data) < 2 * len(samples)
            data = data[: len(data) // 2 * 2]
            before.append(share_wrong(np.frombuffer(data, "<i2"), samples))
            after.append(share_wrong(np.frombuffer(restore(data), "<i2"), samples))
    assert np.mean(before) > 0.5
    assert np.mean(after) < np.mean(before) / 20


@pytest.mark.corpus
@pytest.mark.slow
def test_the_sample_of_timit_is_restored(real_data: Path) -> None:
    """In 33 of the 160 files a stretch is noise at full scale, which speech never is."""

    def noisy(samples: NDArray[np.float32]) -> bool:
        frames = samples[: len(samples) // 400 * 400].reshape(-1, 400)
        return bool((frames.std(axis=1) > 0.37).any())

    paths = sorted((real_data / "timit-nltk").rglob("*.wav"))
    read = [read_audio(path) for path in paths]
    assert sum(noisy(soundfile.read(path, dtype="float32")[0]) for path in paths) == 33
    assert len(read) == sum(len(audio.conversions) for audio in read) == 160
    assert not any(noisy(audio.samples) for audio in read)
