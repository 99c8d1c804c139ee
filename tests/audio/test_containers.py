"""What headers promise: no part of a recording is taken for all of it, in any container."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squall.audio.reading import AudioError, audio_info, open_audio, read_audio

RATE_HZ = 8000
LENGTH = 12_000

CONTAINERS = {
    "WAV": "PCM_16",
    "WAVEX": "PCM_24",
    "WAV float": "FLOAT",
    "WAV A-law": "ALAW",
    "WAV ADPCM": "MS_ADPCM",
    "WAV GSM": "GSM610",
    "WAV G.721": "G721_32",
    "RF64": "PCM_16",
    "W64": "PCM_16",
    "AIFF": "PCM_16",
    "AU": "PCM_16",
    "CAF": "PCM_16",
    "CAF ALAC": "ALAC_16",
    "NIST": "PCM_16",
    "FLAC": "PCM_16",
    "OGG": "VORBIS",
    "OGG Opus": "OPUS",
    "MP3": "MPEG_LAYER_III",
}


def _noise(length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, length).astype(np.float32)


@functools.cache
def _bytes(name: str, length: int = LENGTH) -> bytes:
    """A file of noise, which never ends in zeros and never looks like a chunk."""
    file = io.BytesIO()
    form = name.split()[0]
    soundfile.write(file, _noise(length), RATE_HZ, format=form, subtype=CONTAINERS[name])
    return file.getvalue()


@functools.cache
def _length(name: str) -> int:
    """Some codings have blocks of samples, so that a file has some more."""
    with soundfile.SoundFile(io.BytesIO(_bytes(name))) as file:
        return int(file.frames)


def _read(folder: Path, data: bytes) -> np.ndarray:
    path = folder / "a.file"
    path.write_bytes(data)
    return read_audio(path, sample_rate_hz=None).samples


def _all_or_an_error(folder: Path, data: bytes, name: str) -> None:
    try:
        samples = _read(folder, data)
    except AudioError:
        return
    assert len(samples) >= _length(name)


each_container = pytest.mark.parametrize("name", CONTAINERS)
in_one_folder = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@each_container
def test_a_sound_file_is_read_whole(tmp_path: Path, name: str) -> None:
    samples = _read(tmp_path, _bytes(name))
    assert len(samples) == audio_info(tmp_path / "a.file").frames == _length(name)
    assert LENGTH <= len(samples) < LENGTH + 1100
    assert np.corrcoef(samples[:LENGTH], _noise())[0, 1] > 0.9 or name in ("MP3", "WAV GSM")


@pytest.mark.slow
@each_container
@in_one_folder
@given(first=st.integers(0, LENGTH - 51) | st.integers(LENGTH - 1500, LENGTH - 51))
def test_a_stretch_is_that_part_of_the_whole(tmp_path: Path, name: str, first: int) -> None:
    whole = _read(tmp_path, _bytes(name))
    stretch = read_audio(
        tmp_path / "a.file", start_s=first / RATE_HZ, duration_s=50 / RATE_HZ, sample_rate_hz=None
    )
    np.testing.assert_allclose(stretch.samples, whole[first : first + 50], atol=1e-5)


@each_container
@in_one_folder
@given(data=st.data())
def test_a_file_cut_anywhere_is_an_error(tmp_path: Path, name: str, data: st.DataObject) -> None:
    whole = _bytes(name)
    at = data.draw(st.one_of(st.integers(1, len(whole) - 1), st.integers(-9, -1)))
    _all_or_an_error(tmp_path, whole[:at], name)


@each_container
def test_two_recordings_in_one_file_are_not_read_as_one(tmp_path: Path, name: str) -> None:
    both = _bytes(name, 4000) + _bytes(name)
    with pytest.raises(AudioError, match=r"joined|No 'RIFF'|bad 'FORM'"):
        _read(tmp_path, both)
    with pytest.raises(AudioError, match=r"joined|No 'RIFF'|bad 'FORM'"):
        _read(tmp_path, _bytes(name) * 2)


def _put(data: bytes, at: int, field: bytes) -> bytes:
    return data[:at] + field + data[at + len(field) :]


def _put_flac(data: bytes, total: int) -> bytes:
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36
    return _put(data, 18, (packed | total).to_bytes(8, "big"))


def _put_sphere(data: bytes, count: int) -> bytes:
    return (
        re.sub(rb"sample_count -i \d+\n *", b"sample_count -i %d\n" % count, data[:1024]).ljust(
            1024
        )
        + data[1024:]
    )


# By container: how to put another length into its header, the true one, and the bits of the field.
LIES: dict[str, tuple[Callable[[bytes, int], bytes], int, int]] = {
    "WAV": (lambda b, n: _put(b, b.index(b"data") + 4, struct.pack("<I", n)), 2 * LENGTH, 32),
    "RF64": (lambda b, n: _put(b, 28, struct.pack("<Q", n)), 2 * LENGTH, 63),
    "W64": (
        lambda b, n: _put(b, b.index(b"data") + 16, struct.pack("<Q", n)),
        2 * LENGTH + 24,
        63,
    ),
    "AIFF": (lambda b, n: _put(b, b.index(b"SSND") + 4, struct.pack(">I", n)), 2 * LENGTH + 8, 32),
    "AU": (lambda b, n: _put(b, 8, struct.pack(">I", n)), 2 * LENGTH, 32),
    "CAF": (lambda b, n: _put(b, b.index(b"data") + 4, struct.pack(">Q", n)), 2 * LENGTH + 4, 63),
    "NIST": (_put_sphere, LENGTH, 31),
    "FLAC": (_put_flac, LENGTH, 36),
    "MP3": (lambda b, n: _put(b, b.index(b"Xing") + 8, struct.pack(">I", n)), 23, 32),
}


@pytest.mark.parametrize("name", LIES)
def test_the_true_length_is_where_the_lies_are_put(tmp_path: Path, name: str) -> None:
    put, true, _ = LIES[name]
    assert put(_bytes(name), true) == _bytes(name)


@pytest.mark.parametrize("name", LIES)
@in_one_folder
@given(data=st.data())
def test_a_wrong_length_in_the_header_loses_nothing(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    put, true, bits = LIES[name]
    near = st.integers(0, 2 * true)
    stated = data.draw(st.one_of(near, st.integers(0, 2**bits - 1), st.just(2**bits - 1)))
    _all_or_an_error(tmp_path, put(_bytes(name), stated), name)


@pytest.mark.parametrize("name", LIES)
def test_a_length_that_is_too_small_is_told_with_the_true_one(tmp_path: Path, name: str) -> None:
    put, true, _ = LIES[name]
    with pytest.raises(AudioError, match=r"header says \d+ (bytes|samples|frames), \d+ are there"):
        _read(tmp_path, put(_bytes(name), true // 2))


@pytest.mark.parametrize("name", sorted(LIES.keys() - {"NIST"}))
def test_a_streamed_file_without_its_length_is_read_whole(tmp_path: Path, name: str) -> None:
    """Programs that write to a pipe leave the length at 0."""
    data = LIES[name][0](_bytes(name), 0)
    np.testing.assert_array_equal(_read(tmp_path, data), _read(tmp_path, _bytes(name)))
    assert audio_info(tmp_path / "a.file").frames == LENGTH
    with open_audio(tmp_path / "a.file") as stream:
        assert sum(len(block) for block in stream.blocks(777)) == LENGTH


def test_a_wav_beyond_4_gib_whose_size_has_wrapped_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(_put(_bytes("WAV"), 4, bytes(4)))
    with path.open("r+b") as file:  # a sparse file
        file.truncate((1 << 32) + 24_044)
    with pytest.raises(AudioError, match="header says 24000 bytes, 4294991296 are there"):
        audio_info(path)


@pytest.mark.parametrize(
    "tail",
    [
        b"LIST\x04\0\0\0INFO",
        b"LIST\xff\0\0\0INFO",
        b"id3 \x03\0\0\0abc\0",
        b"TAG" + b"a" * 125,
        bytes(500),
        b"LIST\x04\0\0\0INFO" + bytes(99),
    ],
)
@pytest.mark.parametrize("length", [LENGTH, LENGTH - 1])
def test_what_may_follow_the_samples_of_a_wav(tmp_path: Path, tail: bytes, length: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, _noise(length), RATE_HZ, format="WAV", subtype="PCM_U8")
    assert len(_read(tmp_path, file.getvalue() + tail)) == length


def test_a_second_chunk_of_samples_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="says 24000 bytes, 24012 are there"):
        _read(tmp_path, _bytes("WAV") + b"data\x04\0\0\0abcd")


def _mp3(mode: str = "VARIABLE") -> tuple[bytes, int]:
    """An MP3 and the place of its first frame with sound."""
    file = io.BytesIO()
    sound = np.concatenate([_noise(20_000), np.zeros(20_000)])
    soundfile.write(file, sound, 16000, format="MP3", bitrate_mode=mode, compression_level=0.5)
    data = file.getvalue()
    return data, data.index(data[:2], 100)


def test_the_tags_of_other_mp3_encoders(tmp_path: Path) -> None:
    """VBRI, which libsndfile does not know, and Xing without a number of frames."""
    data, first = _mp3()
    vbri = data[:4] + bytes(32) + b"VBRI"
    at = data.index(b"Xing")
    for other in (vbri.ljust(first, b"\1") + data[first:], _put(data, at + 4, bytes(4))):
        assert abs(len(_read(tmp_path, other)) - 40_000) < 2000


def test_tags_around_an_mp3_are_not_its_sound(tmp_path: Path) -> None:
    data, _ = _mp3()
    id3 = b"ID3\x03\0\0\0\0\x01\x05" + b"\xff\xf3\x88\xc4" * 33 + b"\0"
    assert len(_read(tmp_path, id3 + data + b"TAG" + bytes(125))) == 40_000


def test_mp3s_without_tags_can_be_joined(tmp_path: Path) -> None:
    data, first = _mp3("CONSTANT")
    frames = data[first:]
    one = len(_read(tmp_path, frames))
    assert abs(len(_read(tmp_path, frames + frames)) - 2 * one) < 2000


def _vorbis(length: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, _noise(length), 16000, format="OGG", subtype="VORBIS")
    return file.getvalue()


@pytest.mark.parametrize("length", [40_000, 80_000])
def test_the_end_of_an_ogg_vorbis_file_is_read_from_its_place(tmp_path: Path, length: int) -> None:
    """libsndfile 1.2.2 seeks to wrong places in the last page."""
    whole = _read(tmp_path, _vorbis(length))
    for first in range(length - 12_000, length, 487):
        stretch = read_audio(tmp_path / "a.file", start_s=first / 16_000).samples
        np.testing.assert_allclose(stretch, whole[first:], atol=1e-6)


@pytest.mark.parametrize("name", ["OGG", "OGG Opus"])
def test_a_lost_page_of_an_ogg_file_is_an_error(tmp_path: Path, name: str) -> None:
    """libsndfile leaves out the page, or one whose checksum is wrong, and says nothing."""
    whole = _bytes(name, 10 * RATE_HZ)
    pages = [found.start() for found in re.finditer(b"OggS", whole)]
    first, behind = pages[len(pages) // 2], pages[len(pages) // 2 + 1]
    flipped = bytearray(whole)
    flipped[(first + behind) // 2] ^= 1
    for number, damaged in enumerate((whole[:first] + whole[behind:], bytes(flipped))):
        path = tmp_path / f"{number}.ogg"
        path.write_bytes(damaged)
        with pytest.raises(AudioError, match=rf"{number}\.ogg: "):
            read_audio(path)


def test_a_chain_of_ogg_recordings_is_told_with_their_lengths(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"2 recordings .* 2\.00 s and 5\.00 s, .*ffmpeg -i "):
        _read(tmp_path, _vorbis(32_000) + _vorbis(80_000))


@pytest.mark.corpus
def test_a_stretch_of_real_speech_in_ogg_opus(real_data: Path) -> None:
    """The decoder's state differs for many seconds after a seek."""
    for path in sorted((real_data / "speech").rglob("*.opus"))[::150]:
        whole = read_audio(path, sample_rate_hz=None)
        half_s = whole.duration_s / 2
        stretch = read_audio(path, start_s=half_s, duration_s=0.5, sample_rate_hz=None).samples
        first = round(half_s * whole.sample_rate_hz)
        np.testing.assert_allclose(stretch, whole.samples[first:][: len(stretch)], atol=1e-6)


SPHERE_FIELDS = [
    "orig_sample_rate -i 16000",
    "orig_channel_count -i 2",
    "orig_sample_n_bytes -i 1",
    "orig_sample_byte_format -s2 10",
    "orig_sample_coding -s4 ulaw",
    "orig_sample_count -i 7",
    "recording_note -s21 sample_rate -i 11025 ",
]


@pytest.mark.parametrize("field", SPHERE_FIELDS)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_field_with_another_in_its_name_is_not_taken_for_it(
    tmp_path: Path, field: str, place: str
) -> None:
    head, samples = _bytes("NIST")[:1024], _bytes("NIST")[1024:]
    at = 16 if place == "before" else head.index(b"end_head")
    changed = (head[:at] + field.encode() + b"\n" + head[at:])[:1024]
    got = _read(tmp_path, changed + samples)
    info = audio_info(tmp_path / "a.file")
    assert (info.sample_rate_hz, info.channels, info.frames) == (RATE_HZ, 1, LENGTH)
    np.testing.assert_array_equal(got, _read(tmp_path, head + samples))


def test_a_sphere_header_without_a_needed_field_is_an_error(tmp_path: Path) -> None:
    head, samples = _bytes("NIST")[:1024], _bytes("NIST")[1024:]
    for name in (b"sample_rate", b"channel_count"):
        with pytest.raises(AudioError, match=f"missing field in its header: '{name.decode()}'"):
            _read(tmp_path, head.replace(name, b"x" * len(name)) + samples)


@pytest.mark.parametrize("form", ["VOC", "IRCAM", "PAF", "SVX", "MAT5"])
def test_containers_whose_length_cannot_be_checked_are_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / "it's.file"
    soundfile.write(path, _noise(), RATE_HZ, format=form, subtype="PCM_16")
    with pytest.raises(AudioError, match=rf"{form}.* is not read.*ffmpeg -i '.*it'\"'\"'s\.file'"):
        read_audio(path)


@pytest.mark.slow
@each_container
@in_one_folder
@given(data=st.data())
def test_a_damaged_file_is_read_or_an_error(tmp_path: Path, name: str, data: st.DataObject) -> None:
    damaged = bytearray(_bytes(name, 2000))
    places = st.integers(0, min(299, len(damaged) - 1)) | st.integers(0, len(damaged) - 1)
    for at in data.draw(st.lists(places, min_size=1, max_size=3)):
        damaged[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(AudioError):
        assert len(_read(tmp_path, damaged)) > 0


def test_a_wav_of_zeros_is_looked_through_quickly(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"a\.file: "):
        _read(tmp_path, _bytes("WAV")[:12] + bytes(1 << 24))


def test_m4a_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "memo.m4a"
    path.write_bytes(b"\0\0\0\x1cftypM4A " + bytes(500))
    with pytest.raises(AudioError, match=r"not recognised.*ffmpeg -i .*memo\.m4a OUT\.wav"):
        read_audio(path)
