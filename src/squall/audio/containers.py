"""What an audio file's header promises: the checks that libsndfile leaves out."""

from __future__ import annotations

import io
import mmap
import shlex
import shutil
import subprocess
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.audio.chunks import Buffer, behind_id3, find_sample_data
from squall.audio.flac import read_flac_length
from squall.audio.line_ends import are_converted, restore
from squall.audio.mpeg import read_mpeg_length
from squall.audio.ogg import read_links

__all__ = [
    "SAMPLE_BYTES",
    "AudioError",
    "Inspected",
    "TruncatedError",
    "conversion_hint",
    "count_frames",
    "decode_shorten",
    "inspect",
    "mended",
    "sphere_header",
]

SAMPLE_BYTES = {
    "PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4,
    "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
"""Bytes of a sample by its coding, as `soundfile` names it, where each has the same number."""

_SPHERE_NUMBERS = (
    "channel_count", "sample_rate", "sample_n_bytes", "sample_sig_bits", "sample_count"
)  # fmt: skip
_LONGEST_SPHERE_HEADER = 1 << 20  # bytes; it has 1,024 as a rule
_SPHERE_TEXTS = ("sample_coding", "sample_byte_format")
# A decoder gives up to two frames less than there are.
_MPEG_TOLERANCE_S = 0.15
# A page that is lost takes a tenth of a second or more with it. One has at most 255 packets, of
# 4,096 samples at most.
_OGG_TOLERANCE_S, _LONGEST_OGG_PAGE_S = 0.05, 30.0
# Counting the frames of an hour of MP3 takes half a second; of long files many stretches are read.
_LONG_BYTES = 1 << 20
_BLOCK_FRAMES = 1 << 20
_FRAMES_UNKNOWN = (1 << 63) - 1
# In a chunk `fmt `: integers (1) of one channel; 14 bytes later the bits of a sample, 16.
_WAV_16_BIT_MONO = b"\1\0\1\0" + b"\x10\0"
_CONVERTED = (
    "damaged: it has no byte 13 and too many 10, as of a program that took it for text and "
    "converted its line ends. Copy or download the file again, as binary"
)
_RESTORED = ("restored: a program took it for text and converted its line ends",)
_WRITE_AGAIN = "Write it again with the program that made it"


class AudioError(ValueError):
    """An audio file cannot be used; the message names the file and what is wrong with it."""


class TruncatedError(AudioError):
    """An audio file is cut off; its beginning may be sound."""


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
        length = int(size) if size.isdigit() else 0
        text = file.read(min(max(0, length - 16), _LONGEST_SPHERE_HEADER)).decode("latin-1")
    if length > _LONGEST_SPHERE_HEADER:
        raise AudioError(f"{path}: bad NIST SPHERE header: it says that it has {length} bytes")
    if "end_head" not in text:
        raise AudioError(f"{path}: the NIST SPHERE header is cut off: the file is not complete")
    fields = (line.split(None, 2) for line in text.split("end_head")[0].splitlines())
    return {field[0]: field[2].strip() for field in fields if len(field) == 3}


def decode_shorten(path: Path, header: dict[str, str]) -> NDArray[np.float32]:
    """Decode a shorten-compressed SPHERE file, which libsndfile cannot do, through ffmpeg.

    Args:
        path: the file.
        header: its fields, from `sphere_header`, with `channel_count` and `sample_count`.

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
    channels = int(header["channel_count"])
    whole = len(done.stdout) // (2 * channels) * channels
    samples = np.frombuffer(done.stdout, dtype="<i2", count=whole).reshape(-1, channels)
    stated = int(header["sample_count"])
    _compare(path, stated, min(stated, len(samples)), "samples")
    scaled: NDArray[np.float32] = samples.astype(np.float32) / np.float32(32768)
    return scaled


@dataclass(frozen=True)
class Inspected:
    """What was found in a file without libsndfile.

    Args:
        formats: the names that `soundfile` may have for it; none for a kind that is not read.
        mend: a place in the file and the bytes that libsndfile has to see there, since it would
            misread what the file has.
        data_bytes: bytes of samples; None where they are not known.
        frames: samples in one channel; None where they are not known.
        mpeg_s: the length in seconds of an MP3 that does not state it; None for all else.
        ogg_s: the length in seconds by the pages of an Ogg file; None for all else.
        conversions: what `mend` does to the samples, in words; empty where it does nothing to them.
    """

    formats: tuple[str, ...] = ()
    mend: tuple[int, bytes] | None = None
    data_bytes: int | None = None
    frames: int | None = None
    mpeg_s: float | None = None
    ogg_s: float | None = None
    conversions: tuple[str, ...] = ()


def inspect(path: Path) -> Inspected:
    """Compare the length that a file's header states with the samples that are there.

    libsndfile goes by one of the two and says nothing. Of a header that leaves the length open, as
    programs write it that stream to a pipe, `mended` makes one that states it; of 16-bit samples
    whose line ends were converted, those that `squall.audio.line_ends` guesses.

    Raises:
        AudioError: the two differ, since the file is cut off, recordings were joined or the header
            is wrong; line ends in it were converted, and its samples are not 16-bit ones of one
            channel; or it is an MP3 of variable bit rate without its length, of which libsndfile
            reads only a part.
    """
    status = path.stat()
    if status.st_size < _LONG_BYTES:
        return _inspect(path, status.st_size)
    return _inspect_long(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _inspect_long(path: Path, size: int, _modified: int) -> Inspected:
    return _inspect(path, size)


def _inspect(path: Path, size: int) -> Inspected:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = behind_id3(data)
        if data[:8] == b"NIST_1A\n":
            return _inspect_sphere(path, data)
        if data[:4] == b"OggS":
            return _inspect_ogg(path, data)
        if data[start : start + 4] == b"fLaC":
            return _inspect_flac(path, data)
        if start or (data[0] == 0xFF and data[1:2] >= b"\xe0"):
            return _inspect_mpeg(path, data)
        return _inspect_chunks(path, data)


def _inspect_sphere(path: Path, data: mmap.mmap) -> Inspected:
    """libsndfile finds a field by its name anywhere in the header, in `orig_sample_rate` too: it
    is shown a header that has only the fields that it needs.
    """
    header = sphere_header(path) or {}
    first = data[:16]
    header_bytes = int(first[8:])
    if header_bytes > len(data):
        raise TruncatedError(f"{path}: the NIST SPHERE header is cut off: the file is not complete")
    try:
        numbers = {name: int(header[name]) for name in _SPHERE_NUMBERS if name in header}
        frame_bytes = numbers["channel_count"] * numbers["sample_n_bytes"]
        numbers["sample_rate"] = int(header["sample_rate"])
        present = (len(data) - header_bytes) // frame_bytes
        numbers.setdefault("sample_count", present)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise AudioError(f"{path}: a bad or missing field in its header: {error}") from error
    _compare(path, numbers["sample_count"], present, "samples")
    texts = {name: header[name] for name in _SPHERE_TEXTS if name in header}
    lines = [f"{name} -i {number}" for name, number in numbers.items()]
    lines += [f"{name} -s{len(text)} {text}" for name, text in texts.items()]
    clean = first + "\n".join([*lines, "end_head\n"]).encode("latin-1")
    clean = clean.ljust(header_bytes)
    end = header_bytes + present * frame_bytes
    if not are_converted(data, header_bytes, end):
        return Inspected(("NIST",), (0, clean), end - header_bytes, present)
    is_16_bit = numbers["sample_n_bytes"] == 2 and "pcm" in header.get("sample_coding", "pcm")
    if not is_16_bit or numbers["channel_count"] > 1 or texts.get("sample_byte_format") != "01":
        raise AudioError(f"{path}: {_CONVERTED}")
    mend = (0, clean + restore(data[header_bytes:end]))
    return Inspected(("NIST",), mend, end - header_bytes, present, conversions=_RESTORED)


def _inspect_ogg(path: Path, data: Buffer) -> Inspected:
    links = read_links(data)
    if not links:
        return Inspected()
    if not links[-1].is_complete:
        raise TruncatedError(f"{path}: truncated: the last Ogg page is missing or cut off")
    if len(links) > 1:
        lengths = " and ".join(f"{link.duration_s:.2f} s" for link in links)
        raise AudioError(
            f"{path}: {len(links)} recordings are joined in it, {lengths}, of which libsndfile "
            f"reads the first. {conversion_hint(path)}"
        )
    # Where a stream was recorded from its middle on, positions say nothing of the length.
    from_start = links[0].begins_s <= _LONGEST_OGG_PAGE_S
    return Inspected(("OGG",), ogg_s=links[0].duration_s if from_start else None)


def _inspect_flac(path: Path, data: Buffer) -> Inspected:
    found = read_flac_length(data)
    if found is None:
        return Inspected(("FLAC",))
    if found.is_joined:
        raise AudioError(
            f"{path}: FLAC files are joined in it; its header says {found.stated} samples, which "
            f"are those of the first. {conversion_hint(path)}"
        )
    if found.stated == 0:
        if found.present is None:
            raise AudioError(
                f"{path}: its header does not say how many samples it has. {conversion_hint(path)}"
            )
        return Inspected(("FLAC",), (found.field_at, found.field), frames=found.present)
    if found.present is not None:
        then = conversion_hint(path)
        _compare(path, found.stated, found.present, "samples", then=then)
    return Inspected(("FLAC",), frames=found.stated)


def _inspect_mpeg(path: Path, data: Buffer) -> Inspected:
    found = read_mpeg_length(data)
    if found.stated is None and not found.is_constant:
        raise AudioError(
            f"{path}: an MP3 of variable bit rate without its length (no Xing tag), which "
            f"libsndfile cannot read to its end. {conversion_hint(path)}"
        )
    if found.stated is None:
        return Inspected(("MP3",), mpeg_s=found.duration_s)
    # Some encoders leave the number at nothing, some count one frame less.
    if found.stated in (0, found.frames - 1):
        return Inspected(("MP3",), found.mend)
    _compare(path, found.stated, found.frames, "frames", then=conversion_hint(path))
    return Inspected(("MP3",))


def _inspect_chunks(path: Path, data: Buffer) -> Inspected:
    found = find_sample_data(data)
    if found is None:
        return Inspected()
    converted = are_converted(data, found.at, found.at + found.present)
    if found.stated is None and not converted:
        return Inspected(found.formats, (found.size_at, found.size_field), found.present)
    # ffmpeg too goes by the size in the header, unless it is told not to, which it can be for WAV.
    is_wav = "WAV" in found.formats
    then = conversion_hint(path, "-ignore_length 1 ") if is_wav else _WRITE_AGAIN
    if found.stated is not None:
        _compare(path, found.stated, found.present, "bytes", then=then)
    if not converted:
        return Inspected(found.formats, None, found.present)
    if found.stated is None or found.wav_format[:4] + found.wav_format[14:] != _WAV_16_BIT_MONO:
        raise AudioError(f"{path}: {_CONVERTED}")
    samples = restore(data[found.at : found.at + found.present])
    return Inspected(found.formats, (found.at, samples), found.present, conversions=_RESTORED)


def mended(path: Path, found: Inspected) -> AbstractContextManager[str | io.FileIO]:
    """What to give to `soundfile` for a file: its path, or the file as if it were mended."""
    return nullcontext(str(path)) if found.mend is None else _Mended(path, *found.mend)


class _Mended(io.FileIO):
    """A file of which some bytes read as others."""

    def __init__(self, path: Path, at: int, patch: bytes) -> None:
        super().__init__(path)
        self._at, self._patch = at, patch

    def readinto(self, buffer: Any) -> int:
        start = self.tell()
        count = super().readinto(buffer) or 0
        first, last = max(start, self._at), min(start + count, self._at + len(self._patch))
        if first < last:
            patch = self._patch[first - self._at : last - self._at]
            memoryview(buffer).cast("B")[first - start : last - start] = patch
        return count


def count_frames(path: Path, file: Any, found: Inspected) -> int:
    """Count the frames of an open sound file, by decoding where nothing else tells.

    Args:
        path: the file.
        file: the `soundfile.SoundFile` opened on it; its position is at the start afterwards.
        found: what `inspect` says of the file.

    Raises:
        AudioError: libsndfile has another number of frames than there are, or the file is of a kind
            of which that cannot be known.
    """
    if file.format not in found.formats or (file.format != "MP3" and "MPEG" in file.subtype):
        kind = f"{file.format} with {file.subtype}"
        raise AudioError(f"{path}: {kind} is not read. {conversion_hint(path)}")
    if file.frames == _FRAMES_UNKNOWN:
        raise AudioError(f"{path}: corrupt: libsndfile cannot tell how long it is")
    expected = found.frames
    if found.data_bytes is not None and file.subtype in SAMPLE_BYTES:
        expected = found.data_bytes // (file.channels * SAMPLE_BYTES[file.subtype])
    if expected is not None:
        _compare(path, expected, file.frames, "samples")
    if found.ogg_s and file.frames / file.samplerate < found.ogg_s - _OGG_TOLERANCE_S:
        raise AudioError(
            f"{path}: damaged: its pages have {found.ogg_s:.2f} s, of which libsndfile reads "
            f"{file.frames / file.samplerate:.2f} s. Copy or download the file again"
        )
    if found.mpeg_s is None:
        return int(file.frames)
    frames = 0
    while block := len(file.read(_BLOCK_FRAMES, dtype="float32")):
        frames += block
    file.seek(0)
    if frames / file.samplerate < found.mpeg_s - _MPEG_TOLERANCE_S:
        raise AudioError(
            f"{path}: it has {found.mpeg_s:.2f} s, of which libsndfile reads "
            f"{frames / file.samplerate:.2f} s. {conversion_hint(path)}"
        )
    return frames


def conversion_hint(path: Path, options: str = "") -> str:
    """What to do with a file that cannot be read as it is."""
    return f"Convert it once: ffmpeg {options}-i {shlex.quote(str(path))} OUT.wav"


def _compare(path: Path, stated: int, present: int, unit: str, *, then: str = _WRITE_AGAIN) -> None:
    says = f"its header says {stated} {unit}, {present} are there"
    if present < stated:
        raise TruncatedError(f"{path}: truncated: {says}. Copy or download the file again")
    if present > stated:
        raise AudioError(f"{path}: {says}: the header is wrong or recordings were joined. {then}")
