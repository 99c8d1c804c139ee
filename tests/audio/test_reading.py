"""Reading audio: every container, every way in which a file can be broken, every conversion."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.audio.raw_pcm import find_byte_order
from squall.audio.reading import (
    AudioError,
    RawFormat,
    audio_below,
    audio_info,
    open_audio,
    read_audio,
)

RATE_HZ = 16000
LENGTH = 8000

LOSSLESS = {
    "a.wav": {"format": "WAV", "subtype": "PCM_16"},
    "a b ü.wav": {"format": "WAV", "subtype": "PCM_24"},
    "a.flac": {"format": "FLAC", "subtype": "PCM_16"},
    "little.sph": {"format": "NIST", "subtype": "PCM_16", "endian": "LITTLE"},
    "BIG.WAV": {"format": "NIST", "subtype": "PCM_16", "endian": "BIG"},
}
LOSSY = {
    "a.mp3": {"format": "MP3"},
    "a.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
}


def _speech(length: int = LENGTH) -> np.ndarray:
    """A low tone with some noise, on the 16-bit grid."""
    noise = 0.01 * np.random.default_rng(0).standard_normal(length)
    tone = 0.4 * np.sin(2 * np.pi * 150 * np.arange(length) / RATE_HZ)
    return np.round((tone + noise) * 32767).astype(np.int16)


def _written(folder: Path, name: str, samples: np.ndarray | None = None) -> Path:
    path = folder / name
    samples = _speech() if samples is None else samples
    soundfile.write(path, samples, RATE_HZ, **{**LOSSLESS, **LOSSY}[name])
    return path


def _cut(path: Path, fraction: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_files_give_the_exact_samples(tmp_path: Path, name: str) -> None:
    audio = read_audio(_written(tmp_path, name))
    assert audio.samples.dtype == np.float32
    assert audio.conversions == ()
    np.testing.assert_array_equal(audio.samples, _speech().astype(np.float32) / 32768)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_give_nearly_the_samples(tmp_path: Path, name: str) -> None:
    audio = read_audio(_written(tmp_path, name))
    assert len(audio.samples) == LENGTH
    assert np.corrcoef(audio.samples, _speech())[0, 1] > 0.99


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_info_is_what_reading_gives(tmp_path: Path, name: str) -> None:
    info = audio_info(_written(tmp_path, name))
    assert (info.frames, info.sample_rate_hz, info.channels) == (LENGTH, RATE_HZ, 1)
    assert info.duration_s == 0.5


@pytest.mark.parametrize("fraction", [0.999, 0.5])
@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_a_truncated_file_is_an_error_that_names_it(
    tmp_path: Path, name: str, fraction: float
) -> None:
    path = _written(tmp_path, name)
    _cut(path, fraction)
    with pytest.raises(AudioError, match=name):
        read_audio(path)


def test_truncation_says_how_much_is_missing(tmp_path: Path) -> None:
    path = _written(tmp_path, "little.sph")
    _cut(path, 0.5)
    with pytest.raises(AudioError, match="its header says 8000 samples, 3744 are there"):
        audio_info(path)


def test_a_cut_sphere_header_is_an_error(tmp_path: Path) -> None:
    path = _written(tmp_path, "little.sph")
    _cut(path, 0.003)
    with pytest.raises(AudioError, match="SPHERE header is cut off"):
        read_audio(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_streamed_wav_without_a_length_is_read(tmp_path: Path, size: int) -> None:
    path = _written(tmp_path, "a.wav")
    data = bytearray(path.read_bytes())
    at = data.find(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert len(read_audio(path).samples) == LENGTH


def _mp3_without_its_length(path: Path, *, mode: str) -> None:
    noise = np.random.default_rng(0).normal(0, 3000, 160000).astype(np.int16)
    noise[80000:] = 0
    soundfile.write(path, noise, RATE_HZ, format="MP3", bitrate_mode=mode, compression_level=0.5)
    data = path.read_bytes()
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    assert tag > 0
    path.write_bytes(data[data.index(data[:2], tag + 150) :])


def test_an_mp3_without_a_length_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "constant.mp3"
    _mp3_without_its_length(path, mode="CONSTANT")
    frames = audio_info(path).frames
    assert abs(frames - 160000) < 4000
    assert len(read_audio(path).samples) == frames


def test_an_mp3_whose_end_libsndfile_would_drop_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "variable.mp3"
    _mp3_without_its_length(path, mode="VARIABLE")
    with soundfile.SoundFile(path) as file:
        assert len(file.read()) < 100000
    for read in (read_audio, audio_info):
        with pytest.raises(AudioError, match=r"variable\.mp3: an MP3 of variable bit rate"):
            read(path)


def test_corrupt_flac_is_an_error(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.flac")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"a\.flac"):
        read_audio(path)


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("hello " * 100)
    for name, reason in [
        ("absent.wav", "no such file"),
        ("empty.wav", "the file is empty"),
        ("text.wav", "libsndfile cannot read it: Format not recognised"),
        ("", "not a file"),
    ]:
        for read in (read_audio, audio_info):
            with pytest.raises(AudioError, match=reason):
                read(tmp_path / name)


def test_a_file_without_samples(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.wav", np.zeros(0, np.int16))
    with pytest.raises(AudioError, match="holds no samples"):
        read_audio(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers(tmp_path: Path, value: float) -> None:
    samples = np.zeros(LENGTH, np.float32)
    samples[4000] = value
    soundfile.write(tmp_path / "f.wav", samples, RATE_HZ, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"f\.wav: the sample at 0\.2500 s"):
        read_audio(tmp_path / "f.wav")


@pytest.mark.parametrize("name", [*LOSSLESS, "a.ogg"])
def test_a_stretch_is_that_part_of_the_whole(tmp_path: Path, name: str) -> None:
    path = _written(tmp_path, name)
    whole = read_audio(path).samples
    part = read_audio(path, start_s=0.1, duration_s=0.25).samples
    np.testing.assert_allclose(part, whole[1600:5600], atol=1e-6)


@pytest.mark.parametrize(
    ("start_s", "duration_s"), [(0.6, None), (-0.1, None), (0.4, 0.2), (0.1, 0.0), (0.1, -1.0)]
)
def test_a_stretch_outside_the_file_is_an_error(
    tmp_path: Path, start_s: float, duration_s: float | None
) -> None:
    path = _written(tmp_path, "a.wav")
    with pytest.raises(AudioError, match=r"is not in its 0\.5 s"):
        read_audio(path, start_s=start_s, duration_s=duration_s)


def test_a_stretch_may_end_one_sample_late(tmp_path: Path) -> None:
    audio = read_audio(_written(tmp_path, "a.wav"), start_s=0.25, duration_s=0.25 + 1 / RATE_HZ)
    assert len(audio.samples) == 4000


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_a_stretch_may_end_up_to_20_ms_behind_its_file(tmp_path: Path, name: str) -> None:
    path = _written(tmp_path, name)
    audio = read_audio(path, start_s=0.25, duration_s=0.27)
    np.testing.assert_array_equal(audio.samples, read_audio(path, start_s=0.25).samples)
    for start_s, duration_s in ((0.25, 0.271), (0.5, 0.01)):
        with pytest.raises(AudioError, match=r"is not in its 0\.5 s"):
            read_audio(path, start_s=start_s, duration_s=duration_s)


@pytest.mark.parametrize("factor", [1.1, 30_000.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_beyond_full_scale_are_kept_and_doubted(
    tmp_path: Path, factor: float, channels: int
) -> None:
    samples = np.stack([_speech() / np.float32(32768)] * channels, axis=1)
    samples *= factor / np.abs(samples).max()
    soundfile.write(tmp_path / "f.wav", samples, RATE_HZ, subtype="FLOAT")
    audio = read_audio(tmp_path / "f.wav")
    np.testing.assert_allclose(audio.samples, samples.mean(axis=1), rtol=1e-6)
    assert [doubt.split(" where")[0] for doubt in audio.doubts] == [f"its peak is {factor:.5g}"]


def test_what_is_hardly_there_is_doubted(tmp_path: Path) -> None:
    samples = _speech() / np.float32(32768)
    for peak, told in ((9e-5, "its peak is 9e-05"), (2e-4, None), (0.0, None)):
        loudest = samples * np.float32(peak / np.abs(samples).max())
        soundfile.write(tmp_path / "f.wav", loudest, RATE_HZ, subtype="FLOAT")
        doubts = [doubt.split(" where")[0] for doubt in read_audio(tmp_path / "f.wav").doubts]
        assert doubts == ([] if told is None else [told])


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_full_scale_is_not_beyond_it(tmp_path: Path, name: str) -> None:
    square = np.where(_speech() < 0, -32768, 32767).astype(np.int16)
    audio = read_audio(_written(tmp_path, name, square))
    assert audio.doubts == ()
    if name in ("a.mp3", "a.ogg"):  # what a decoder overshoots
        assert np.abs(audio.samples).max() > 1


@pytest.mark.parametrize(
    ("others", "is_doubted"),
    [
        ([-1.0], True),
        ([-0.9], True),
        ([-0.5], False),
        ([0.0], False),
        ([1.0], False),
        ([-1.0, 0.1, -0.1], True),
        ([0.0, 0.0, 0.0, 0.0, 0.0], False),
    ],
)
def test_channels_that_cancel_in_their_mean_are_doubted(
    tmp_path: Path, others: list[float], is_doubted: bool
) -> None:
    channels = [0.3 + 0.5 * gain * _speech() / 32768 for gain in (1.0, *others)]
    soundfile.write(tmp_path / "s.wav", np.stack(channels, axis=1), RATE_HZ)
    audio = read_audio(tmp_path / "s.wav")
    assert ("channels cancel" in " ".join(audio.doubts)) == is_doubted


def test_channels_without_a_common_part_do_not_cancel(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1600, 8))
    soundfile.write(tmp_path / "s.wav", noise, RATE_HZ)
    assert read_audio(tmp_path / "s.wav").doubts == ()


def test_channels_are_averaged_and_rates_converted_and_both_said(tmp_path: Path) -> None:
    time_s = np.arange(44100) / 44100
    tone = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    soundfile.write(tmp_path / "s.wav", np.stack([tone, 0.5 * tone], axis=1), 44100)
    audio = read_audio(tmp_path / "s.wav")
    assert audio.conversions == ("mixed down from 2 channels", "resampled from 44100 Hz")
    assert (len(audio.samples), audio.sample_rate_hz, audio.duration_s) == (RATE_HZ, RATE_HZ, 1.0)
    expected = 0.375 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)
    np.testing.assert_allclose(audio.samples[800:-800], expected[800:-800], atol=1e-3)
    kept = read_audio(tmp_path / "s.wav", sample_rate_hz=None)
    assert (len(kept.samples), kept.sample_rate_hz) == (44100, 44100)


@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(500, 5000),
    rates=st.tuples(*[st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000])] * 2),
)
def test_resampled_length(
    tmp_path_factory: pytest.TempPathFactory, length: int, rates: tuple[int, int]
) -> None:
    path = tmp_path_factory.mktemp("rates") / "a.wav"
    soundfile.write(path, np.zeros(length), rates[0])
    audio = read_audio(path, sample_rate_hz=rates[1])
    assert abs(len(audio.samples) - length * rates[1] / rates[0]) <= 1


@pytest.mark.parametrize("rate_hz", [16000.0, np.float64(16000), np.int64(16000)])
def test_a_sampling_rate_may_be_a_whole_float(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "a.wav", _speech(), 44100)
    audio = read_audio(tmp_path / "a.wav", sample_rate_hz=rate_hz)
    assert type(audio.sample_rate_hz) is int
    expected = read_audio(tmp_path / "a.wav", sample_rate_hz=16000)
    np.testing.assert_array_equal(audio.samples, expected.samples)


@pytest.mark.parametrize("rate_hz", [16000.5, 0, -8000, np.nan, np.inf])
def test_what_is_no_sampling_rate_is_named(tmp_path: Path, rate_hz: float) -> None:
    path = _written(tmp_path, "a.wav")
    with pytest.raises(ValueError, match=f"sample_rate_hz is {rate_hz}; give a whole number"):
        read_audio(path, sample_rate_hz=rate_hz)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["little", "big"])
def test_headerless_files(tmp_path: Path, order: str) -> None:
    path = tmp_path / "an4.raw"
    path.write_bytes(_speech().astype("<i2" if order == "little" else ">i2").tobytes())
    audio = read_audio(path, raw=RawFormat(RATE_HZ))
    assert audio.conversions == (f"read as {order}-endian 16-bit samples",)
    np.testing.assert_array_equal(audio.samples, _speech().astype(np.float32) / 32768)
    assert audio_info(path, raw=RawFormat(RATE_HZ)).frames == LENGTH
    stretch = read_audio(path, raw=RawFormat(RATE_HZ), start_s=0.1, duration_s=0.1)
    np.testing.assert_array_equal(stretch.samples, audio.samples[1600:3200])


def test_headerless_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.raw"
    noise = np.random.default_rng(0).integers(-32768, 32767, 100000, dtype=np.int16)
    path.write_bytes(noise.tobytes())
    with pytest.raises(AudioError, match="byte order cannot be told"):
        read_audio(path, raw=RawFormat(RATE_HZ))
    given_order = read_audio(path, raw=RawFormat(RATE_HZ, "little"))
    np.testing.assert_array_equal(given_order.samples, noise.astype(np.float32) / 32768)
    with pytest.raises(AudioError, match=r"it has no header.* -c 1 x.raw x.wav "):
        read_audio(path)
    path.write_bytes(b"abc")
    with pytest.raises(AudioError, match="not a whole number of samples"):
        read_audio(path, raw=RawFormat(RATE_HZ))
    path.write_bytes(bytes(200))
    assert not read_audio(path, raw=RawFormat(RATE_HZ)).samples.any()


def _shorten(folder: Path) -> Path:
    path = folder / "w.wv1"
    fields = (
        "NIST_1A\n   1024\nsample_count -i 8000\nsample_rate -i 16000\nchannel_count -i 1\n"
        "sample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    )
    path.write_bytes(fields.encode().ljust(1024) + b"ajkg" + bytes(100))
    return path


def _stand_in_ffmpeg(folder: Path, samples: np.ndarray, status: int = 0) -> None:
    (folder / "out.s16").write_bytes(samples.astype("<i2").tobytes())
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\necho broken >&2\n/bin/cat '{folder}/out.s16'\nexit {status}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_shorten_without_ffmpeg_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match=r"w\.wv1: compressed with shorten.*ffmpeg.*sph2pipe"):
        read_audio(_shorten(tmp_path))
    assert audio_info(_shorten(tmp_path)).frames == LENGTH


def test_shorten_goes_through_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _stand_in_ffmpeg(tmp_path, _speech())
    audio = read_audio(_shorten(tmp_path), start_s=0.1)
    assert audio.conversions == ("decoded from shorten by ffmpeg",)
    np.testing.assert_array_equal(audio.samples, _speech()[1600:].astype(np.float32) / 32768)
    _stand_in_ffmpeg(tmp_path, _speech()[:4000])
    with pytest.raises(AudioError, match="its header says 8000 samples, 4000 are there"):
        read_audio(_shorten(tmp_path))
    _stand_in_ffmpeg(tmp_path, _speech(), status=1)
    with pytest.raises(AudioError, match="ffmpeg cannot decode it: broken"):
        read_audio(_shorten(tmp_path))


@pytest.mark.slow
@pytest.mark.corpus
def test_byte_order_of_every_an4_recording() -> None:
    root = Path(os.environ.get("SQUALL_DATA", "../shared/data")) / "an4"
    recordings = sorted(root.rglob("*.flac"))
    if not recordings:
        pytest.skip(f"no AN4 in {root}")
    for recording in recordings:
        samples, _ = soundfile.read(recording, dtype="int16")
        assert find_byte_order(samples.astype("<i2").tobytes()) == "little", recording
        assert find_byte_order(samples.astype(">i2").tobytes()) == "big", recording


def _blocks(path: Path, frames: int = 3000) -> np.ndarray:
    with open_audio(path) as stream:
        return np.concatenate(list(stream.blocks(frames)))


@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_blocks_are_the_whole_file(tmp_path: Path, name: str) -> None:
    path = _written(tmp_path, name)
    whole = read_audio(path).samples
    for frames in (100, 3000, LENGTH, 100000):
        np.testing.assert_allclose(_blocks(path, frames)[:, 0], whole, atol=1e-6)
    with open_audio(path) as stream:
        assert stream.info == audio_info(path)
        assert [len(block) for block in stream.blocks(3000)] == [3000, 3000, 2000]


def test_channels_are_kept_and_so_is_the_rate(tmp_path: Path) -> None:
    samples = np.stack([_speech(), -_speech(), 0 * _speech()], axis=1)
    soundfile.write(tmp_path / "three.wav", samples, 44100, subtype="PCM_24")
    with open_audio(tmp_path / "three.wav") as stream:
        assert (stream.info.channels, stream.info.sample_rate_hz) == (3, 44100)
        assert (stream.format, stream.subtype, stream.conversions) == ("WAV", "PCM_24", ())
        got = np.concatenate(list(stream.blocks(1000)))
    np.testing.assert_array_equal(got, samples.astype(np.float32) / 32768)


@pytest.mark.parametrize("fraction", [0.999, 0.5])
@pytest.mark.parametrize("name", [*LOSSLESS, *LOSSY])
def test_a_truncated_file_is_an_error_in_blocks_too(
    tmp_path: Path, name: str, fraction: float
) -> None:
    path = _written(tmp_path, name)
    _cut(path, fraction)
    with pytest.raises(AudioError, match=name):
        _blocks(path)


def test_the_place_of_a_bad_sample_is_that_in_the_file(tmp_path: Path) -> None:
    samples = np.zeros((LENGTH, 2), np.float32)
    samples[4000, 1] = np.nan
    soundfile.write(tmp_path / "f.wav", samples, RATE_HZ, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"f\.wav: the sample at 0\.2500 s"):
        _blocks(tmp_path / "f.wav")


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    _written(tmp_path, "a.wav", np.zeros(0, np.int16))
    (tmp_path / "text.wav").write_text("hello " * 100)
    for name, reason in [
        ("a.wav", "holds no samples"),
        ("absent.wav", "no such file"),
        ("text.wav", "libsndfile cannot read it"),
    ]:
        with pytest.raises(AudioError, match=reason):
            _blocks(tmp_path / name)


def test_shorten_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _stand_in_ffmpeg(tmp_path, _speech())
    path = _shorten(tmp_path)
    np.testing.assert_array_equal(_blocks(path)[:, 0], _speech().astype(np.float32) / 32768)
    with open_audio(path) as stream:
        assert stream.conversions == ("decoded from shorten by ffmpeg",)


def test_audio_in_folders_is_found_by_its_suffix(tmp_path: Path) -> None:
    for name in ("b.WAV", "a/z.flac", "a/.hidden.wav", "a/notes.txt", "c.wv1", "a.opus"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in audio_below(tmp_path)]
    assert found == ["a/z.flac", "a.opus", "b.WAV", "c.wv1"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: no audio in this folder \(looked for"):
        audio_below(tmp_path / "empty")


def test_a_folder_of_audio_that_is_not_read_says_what_to_do(tmp_path: Path) -> None:
    for name in ("b memo.m4a", "c.MP4", "notes.txt", ".hidden.m4a"):
        (tmp_path / name).touch()
    hint = r"no audio in this .*\. Not read: 1 \.m4a, 1 \.mp4\. .*ffmpeg -i '.*b memo\.m4a'"
    with pytest.raises(FileNotFoundError, match=hint):
        audio_below(tmp_path)
