"""What an audio file's header promises: the checks that libsndfile leaves out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AudioError", "check_length", "decode_shorten", "frame_count", "sphere_header"]

# Sizes that a program writes when it streams to a pipe and cannot know the length.
_SMALLEST_UNKNOWN_SIZE = 0x7FFFF000
# The first page of an Ogg file and the first frame of an MP3 file lie well inside these bytes.
_MP3_FIRST_FRAME_BYTES = 4096
# An Ogg page is 27 bytes of header, at most 255 lengths and at most 255 * 255 bytes of data.
_OGG_PAGE_BYTES = 27 + 255 + 255 * 255
_BLOCK_FRAMES = 1 << 20
# MPEG layer III: bits per second / 1000 by index, for version 1 and for versions 2 and 2.5.
_MP3_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_SAMPLE_RATES = (44100, 48000, 32000)


class AudioError(ValueError):
    """An audio file cannot be used; the message names the file and what is wrong with it."""


def sphere_header(path: Path) -> dict[str, str] | None:
    """Read the header of a NIST SPHERE file.

    Returns:
        The fields by name, values as text; None where the file is not a SPHERE file.

    Raises:
        AudioError: the file starts like a SPHERE file but its header is not complete.
    """
    with path.open("rb") as file:
        if file.read(8) != b"NIST_1A\n":
            return None
        size = file.read(8).strip()
        text = file.read(int(size) - 16 if size.isdigit() else 0).decode("latin-1")
    if "end_head" not in text:
        raise AudioError(f"{path}: the NIST SPHERE header is cut off: the file is not complete")
    fields = (line.split(None, 2) for line in text.split("end_head")[0].splitlines())
    return {field[0]: field[2].strip() for field in fields if len(field) == 3}


def decode_shorten(path: Path, header: dict[str, str]) -> NDArray[np.float32]:
    """Decode a shorten-compressed SPHERE file, which libsndfile cannot do, through ffmpeg.

    Args:
        path: the file.
        header: its fields, from `sphere_header`.

    Returns:
        Samples (N, channels), 32-bit float in [-1, 1).

    Raises:
        AudioError: there is no ffmpeg, it fails, or it gives another number of samples than the
            header says.
    """
    if shutil.which("ffmpeg") is None:
        raise AudioError(
            f"{path}: compressed with shorten, which libsndfile cannot read. Put ffmpeg on the "
            "PATH (it then decodes the file), or convert it once with LDC's sph2pipe: "
            f"sph2pipe -p -f wav {path} OUT.wav"
        )
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{path}", "-f", "s16le", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise AudioError(f"{path}: ffmpeg cannot decode it: {reason}")
    channels = int(header.get("channel_count", "1"))
    whole = len(done.stdout) // (2 * channels) * channels
    samples = np.frombuffer(done.stdout, dtype="<i2", count=whole).reshape(-1, channels)
    _compare(path, int(header.get("sample_count", len(samples))), len(samples))
    scaled: NDArray[np.float32] = samples.astype(np.float32) / np.float32(32768)
    return scaled


def frame_count(path: Path, file: Any) -> int:
    """Count the frames of an open sound file, by decoding where its header only has an estimate.

    Args:
        path: the file.
        file: the `soundfile.SoundFile` opened on it; its position is at the start afterwards.

    Raises:
        AudioError: an MP3 of variable bit rate that does not state its length. libsndfile estimates
            the length from the first frames and gives no sample beyond that, so that it can lose
            most of the file.
    """
    if file.format != "MP3" or _mp3_states_its_length(path):
        return int(file.frames)
    if not _mp3_has_constant_rate(path):
        raise AudioError(
            f"{path}: an MP3 of variable bit rate without its length (no Xing or VBRI tag), which "
            f"libsndfile cannot read to its end. Convert it once: ffmpeg -i {path} OUT.wav"
        )
    frames = 0
    while block := len(file.read(_BLOCK_FRAMES, dtype="float32")):
        frames += block
    file.seek(0)
    return frames


def check_length(path: Path, file: Any) -> None:
    """Compare the length in the header of an open sound file with the samples that are there.

    libsndfile shortens its own count, and says nothing, when a WAV, a SPHERE or an Ogg Opus file is
    cut off. A cut FLAC fails in its decoder, and a cut MP3 gives too few samples when it is read.

    Args:
        path: the file.
        file: the `soundfile.SoundFile` opened on it.

    Raises:
        AudioError: samples are missing.
    """
    if file.format in ("WAV", "WAVEX"):
        _check_wav(path, str(file.extra_info))
    elif file.format == "NIST":
        header = sphere_header(path) or {}
        _compare(path, int(header.get("sample_count", file.frames)), file.frames)
    elif file.format == "OGG" and not _ogg_is_complete(path):
        raise AudioError(f"{path}: truncated: the last Ogg page is missing or cut off")


def _check_wav(path: Path, log: str) -> None:
    # libsndfile's log of the header is the one place where it keeps the size that the file states.
    sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", log, flags=re.MULTILINE)
    if sizes and int(sizes[1]) < _SMALLEST_UNKNOWN_SIZE:
        _compare(path, int(sizes[1]), int(sizes[2]), unit="bytes")


def _compare(path: Path, stated: int, present: int, *, unit: str = "samples") -> None:
    if present < stated:
        raise AudioError(
            f"{path}: truncated: its header says {stated} {unit}, {present} are there. "
            "Copy or download the file again"
        )


def _mp3_audio(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:3] != b"ID3":
        return data
    size = (data[6] << 21) | (data[7] << 14) | (data[8] << 7) | data[9]
    return data[10 + size :]


def _mp3_states_its_length(path: Path) -> bool:
    first_frame = _mp3_audio(path)[:_MP3_FIRST_FRAME_BYTES]
    return any(tag in first_frame for tag in (b"Xing", b"Info", b"VBRI"))


def _mp3_has_constant_rate(path: Path) -> bool:
    data = _mp3_audio(path)
    rates, at = set(), 0
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] & 0xE6 == 0xE2:
        version, index = data[at + 1] >> 3 & 3, data[at + 2] >> 4
        sample_rate_index, padding = data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
        if index in (0, 15) or sample_rate_index == 3:
            break
        # Version bits: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5; each halves the sampling rate.
        rate = 1000 * (_MP3_RATES_1 if version == 3 else _MP3_RATES_2)[index]
        sample_rate_hz = _MP3_SAMPLE_RATES[sample_rate_index] >> {3: 0, 2: 1}.get(version, 2)
        rates.add(rate)
        at += (144 if version == 3 else 72) * rate // sample_rate_hz + padding
    return len(rates) == 1


def _ogg_is_complete(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _OGG_PAGE_BYTES))
        tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    is_last = bool(page[5] & 4)
    return is_last and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
