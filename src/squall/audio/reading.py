"""Reading audio: any container to one channel at the rate asked for, or all channels in blocks."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from squall.audio.containers import (
    AudioError,
    TruncatedError,
    conversion_hint,
    count_frames,
    decode_shorten,
    inspect,
    mended,
    sphere_header,
)
from squall.audio.doubts import Doubts
from squall.audio.frames import whole_hz
from squall.audio.raw_pcm import RawFormat, read_raw

__all__ = [
    "AUDIO_SUFFIXES",
    "END_TOLERANCE_S",
    "SAMPLE_RATE_HZ",
    "UNREAD_SUFFIXES",
    "Audio",
    "AudioError",
    "AudioInfo",
    "AudioStream",
    "RawFormat",
    "audio_below",
    "audio_info",
    "conversions_of",
    "mixed_down",
    "open_audio",
    "read_audio",
    "unread_below",
    "unread_hint",
]

SAMPLE_RATE_HZ = 16000
"""Recognition, enhancement and mixing work at this rate."""

END_TOLERANCE_S = 0.02
"""How far behind its file a stretch may end."""

AUDIO_SUFFIXES = (
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".sph", ".wv1", ".wv2", ".aif", ".aiff",
    ".au", ".w64",
)  # fmt: skip
"""Endings, in lower case, by which audio is found in folders; a file that is named needs none."""

UNREAD_SUFFIXES = (
    ".3gp", ".aac", ".ac3", ".amr", ".ape", ".avi", ".caf", ".m4a", ".m4b", ".mka", ".mkv", ".mov",
    ".mp2", ".mp4", ".ra", ".spx", ".voc", ".webm", ".wma", ".wv",
)  # fmt: skip
"""Endings, in lower case, of sound and video that has to be converted first."""

_HEADERLESS = (".raw", ".pcm")
_POSITIVE = re.compile("0*[1-9][0-9]{0,11}")
# libsndfile 1.2.2 seeks to wrong places in the last page of an Ogg Vorbis file, which has at most
# 255 packets; an Opus decoder still hears 20 s later that it did not begin at the start.
_OGG_RUN_UP_S = 60
_BLOCK_FRAMES = 1 << 20
_LOSSY = ("MP3", "OGG")


@dataclass(frozen=True)
class Audio:
    """One channel of audio.

    Args:
        samples: (N,) 32-bit float; integer files give [-1, 1), float files what they hold.
        sample_rate_hz: the sampling rate of `samples`.
        conversions: what was done to the file's samples, in words; empty where nothing was.
        doubts: what is wrong with the samples, in words: they go beyond full scale, or the channels
            cancel in their mean. Empty for nearly all files.
    """

    samples: NDArray[np.float32]
    sample_rate_hz: int
    conversions: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return len(self.samples) / self.sample_rate_hz


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds, as it lies on disk.

    Args:
        duration_s: length in seconds.
        sample_rate_hz: sampling rate.
        channels: number of channels.
        frames: number of samples in one channel.
    """

    duration_s: float
    sample_rate_hz: int
    channels: int
    frames: int


@dataclass(frozen=True)
class AudioStream:
    """An open file whose channels are read together, block by block.

    Args:
        path: the file.
        info: its length, sampling rate and channels.
        format: its container as `soundfile` names it, e.g. `WAV`.
        subtype: the coding of its samples as `soundfile` names it, e.g. `PCM_16`.
        conversions: what is done to its samples, in words.
    """

    path: Path
    info: AudioInfo
    format: str
    subtype: str
    _source: Any  # what has `read` as soundfile.SoundFile does
    conversions: tuple[str, ...] = ()
    _cut_off: TruncatedError | None = None  # raised where the readable part ends

    @property
    def is_lossy(self) -> bool:
        """Whether a decoder may overshoot full scale."""
        return self.format in _LOSSY

    def blocks(self, frames: int) -> Iterator[NDArray[np.float32]]:
        """Read on from where the last block ended.

        Args:
            frames: length of a block, at least 1; the last one may be shorter.

        Yields:
            (n, channels) 32-bit floats at the file's own sampling rate.

        Raises:
            AudioError: the file is corrupt, shorter than its header says, or holds NaN or infinite
                samples; what is readable before that has been given.
        """
        rate_hz = self.info.sample_rate_hz
        for first in range(0, self.info.frames, frames):
            count = min(frames, self.info.frames - first)
            try:
                samples = self._source.read(count, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                reason = error.error_string.rstrip(".")
                raise AudioError(
                    f"{self.path}: truncated or corrupt: libsndfile cannot read on from "
                    f"{first / rate_hz:.1f} s: {reason}"
                ) from error
            _check_finite(self.path, samples, first / rate_hz, rate_hz)
            if len(samples):
                yield samples
            _check_count(self.path, self.info.frames, first, count, len(samples))
        if self._cut_off is not None:
            raise self._cut_off


@dataclass(frozen=True)
class _Decoded:
    samples: NDArray[np.float32]  # (N, channels)
    sample_rate_hz: int
    notes: tuple[str, ...] = ()
    is_lossy: bool = False


def read_audio(
    path: str | Path,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    sample_rate_hz: int | None = SAMPLE_RATE_HZ,
    raw: RawFormat | None = None,
) -> Audio:
    """Read a file, or a stretch of it, as one channel at one sampling rate.

    WAV, RF64, Wave64, AIFF, AU, CAF, FLAC, MP3, Ogg and NIST SPHERE are told apart by their
    content, not by their name: TIMIT's `.WAV` files are SPHERE. Shorten-compressed SPHERE needs
    `ffmpeg` on the PATH. Other kinds, M4A among them, are refused with the command that converts
    them.

    Args:
        path: the file.
        start_s: where to start, in seconds.
        duration_s: how much to read, in seconds; None reads to the end. A stretch may end up to
            `END_TOLERANCE_S` behind the file, as times in lists do that were rounded or counted in
            frames; what is there is read.
        sample_rate_hz: the sampling rate wanted; None keeps the file's own.
        raw: the format of a headerless file; None for a file with a header.

    Returns:
        The samples and, in words, the conversions that made them and the doubts about them.

    Raises:
        AudioError: the file is missing, empty, corrupt, shorter or longer than its header says,
            made of several recordings, or of a kind that is not read; it holds NaN or infinite
            samples; or the stretch asked for does not lie inside it. A file cut off in its
            compressed data is noticed when the reading reaches that place. A header that leaves the
            length open, as that of a streamed WAV, is no error: all samples are read.
        ValueError: the sampling rate is not a whole number of Hz above 0.

    Convention:
        Channels are averaged, as in librosa and lhotse; Kaldi recipes take the first. Resampling is
        soxr's HQ, librosa's default. Samples are not scaled and not clipped: resampling can
        overshoot full scale slightly.
    """
    path = _existing(path)
    if sample_rate_hz is not None:
        sample_rate_hz = whole_hz(sample_rate_hz)
    if raw is not None:
        samples, order = read_raw(path, raw)
        note = (f"read as {order}-endian 16-bit samples",)
        decoded = _cut(
            path, _Decoded(samples, whole_hz(raw.sample_rate_hz), note), start_s, duration_s
        )
    elif (header := _shorten_header(path)) is not None:
        samples, rate_hz = decode_shorten(path, header), int(header["sample_rate"])
        whole = _Decoded(samples, rate_hz, ("decoded from shorten by ffmpeg",))
        decoded = _cut(path, whole, start_s, duration_s)
    else:
        decoded = _decode(path, start_s, duration_s)
    _check_finite(path, decoded.samples, start_s, decoded.sample_rate_hz)
    return _convert(decoded, sample_rate_hz)


@contextmanager
def open_audio(path: str | Path, *, cut_off: bool = False) -> Iterator[AudioStream]:
    """Open a file to read all its channels in blocks, with the checks of `read_audio`.

    Nothing is mixed down and nothing resampled. Memory does not grow with the file, but for
    shorten-compressed SPHERE, which is decoded at once.

    Args:
        path: the file, of any kind that `read_audio` takes.
        cut_off: open a truncated file too, as far as it is readable: the length is then what
            libsndfile makes of it, and `AudioStream.blocks` ends in the error.

    Raises:
        AudioError: as `read_audio`; while a file is being read also from `AudioStream.blocks`.
    """
    path = _existing(path)
    if (header := _shorten_header(path)) is not None:
        whole = _Whole(decode_shorten(path, header))
        info = _info(len(whole.samples), int(header["sample_rate"]), whole.samples.shape[1])
        how = ("decoded from shorten by ffmpeg",)
        yield AudioStream(path, _not_empty(path, info), "NIST", "PCM_16", whole, how)
        return
    with ExitStack() as opened:
        cut: TruncatedError | None = None
        try:
            file, frames, notes = opened.enter_context(_open(path))
        except TruncatedError as error:
            if not cut_off:
                raise
            file, cut = opened.enter_context(_readable_part(path, error)), error
            frames, notes = file.frames, ()
        info = _not_empty(path, _info(frames, file.samplerate, file.channels))
        yield AudioStream(path, info, file.format, file.subtype, file, notes, cut)


def audio_below(folder: Path) -> list[Path]:
    """The audio files of a folder and of those inside it, by their suffix, sorted.

    Hidden files are left out, and folders behind symbolic links.

    Raises:
        FileNotFoundError: there is none.
    """
    paths = _visible_below(folder)
    found = [path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES]
    if not found:
        looked_for = ", ".join(AUDIO_SUFFIXES)
        raise FileNotFoundError(
            f"{folder}: no audio in this folder (looked for {looked_for}){unread_hint(paths)}"
        )
    return found


def unread_below(folder: Path) -> str:
    """`unread_hint` of the files below a folder, hidden ones left out, as a line of its own."""
    return unread_hint(_visible_below(folder)).removeprefix(". ")


def _visible_below(folder: Path) -> list[Path]:
    return sorted(
        Path(inside) / name
        for inside, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".")
    )


def unread_hint(paths: Iterable[Path]) -> str:
    """Ends an error by what of the paths is sound or video that is not read; empty if none is."""
    unread = sorted(path for path in paths if path.suffix.lower() in UNREAD_SUFFIXES)
    if not unread:
        return ""
    counts = sorted(Counter(path.suffix.lower() for path in unread).items())
    endings = ", ".join(f"{count} {suffix}" for suffix, count in counts)
    return f". Not read: {endings}. {conversion_hint(unread[0])}"


def audio_info(path: str | Path, *, raw: RawFormat | None = None) -> AudioInfo:
    """Read a file's length, sampling rate and channels, from its header where that can be trusted.

    Args:
        path: the file.
        raw: the format of a headerless file; None for a file with a header.

    Raises:
        AudioError: the file is missing, empty, not audio, or visibly shorter than its header says.
    """
    path = _existing(path)
    if raw is not None:
        return _info(path.stat().st_size // 2, whole_hz(raw.sample_rate_hz), 1)
    if (header := _shorten_header(path)) is not None:
        fields = ("sample_count", "sample_rate", "channel_count")
        return _info(*(int(header[field]) for field in fields))
    with _open(path) as (file, frames, _):
        return _info(frames, file.samplerate, file.channels)


def _info(frames: int, sample_rate_hz: int, channels: int) -> AudioInfo:
    return AudioInfo(frames / sample_rate_hz, sample_rate_hz, channels, frames)


def _not_empty(path: Path, info: AudioInfo) -> AudioInfo:
    if info.frames == 0:
        raise AudioError(f"{path}: it holds no samples")
    return info


def _readable_part(path: Path, error: TruncatedError) -> soundfile.SoundFile:
    """What libsndfile makes of a file that is cut off, if anything."""
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        raise error from None


class _Whole:
    """Samples in memory, read in blocks as a file is."""

    def __init__(self, samples: NDArray[np.float32]) -> None:
        self.samples = samples
        self._at = 0

    def read(self, frames: int, **_: object) -> NDArray[np.float32]:
        self._at += frames
        return self.samples[self._at - frames : self._at]


def _check_count(path: Path, stated: int, first: int, count: int, present: int) -> None:
    if present < count:
        raise AudioError(
            f"{path}: truncated or corrupt: its header says {stated} samples, "
            f"reading stops at {first + present}"
        )


def _check_finite(
    path: Path, samples: NDArray[np.float32], start_s: float, sample_rate_hz: int
) -> None:
    finite = np.isfinite(samples)
    if not finite.all():
        at_s = start_s + int(np.argmin(finite.all(axis=1))) / sample_rate_hz
        raise AudioError(f"{path}: the sample at {at_s:.4f} s is not a finite number")


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise AudioError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: the file is empty")
    return path


def _shorten_header(path: Path) -> dict[str, str] | None:
    try:
        header = sphere_header(path)
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror}") from error
    if header is None or "shorten" not in header.get("sample_coding", ""):
        return None
    for name in ("sample_rate", "channel_count", "sample_count"):
        if not _POSITIVE.fullmatch(header.get(name, "")):
            raise AudioError(f"{path}: a bad or missing field in its header: {name!r}")
    return header


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, int, tuple[str, ...]]]:
    """A file, the number of its frames and what is done to its samples."""
    if path.suffix.lower() in _HEADERLESS:
        raise AudioError(
            f"{path}: by its name it has no header, so that nothing tells its sampling rate: "
            "rename it if it has one, else convert it, e.g. sox -t raw -r 16000 -e signed -b 16 "
            f"-c 1 {path.name} {path.stem}.wav (in Python give raw=RawFormat(...))"
        )
    found = inspect(path)
    try:
        with mended(path, found) as source, soundfile.SoundFile(source) as file:
            yield file, count_frames(path, file, found), found.conversions
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        hint = "" if found.formats else f". {conversion_hint(path)}, if it is audio"
        raise AudioError(f"{path}: libsndfile cannot read it: {reason}{hint}") from error


def _decode(path: Path, start_s: float, duration_s: float | None) -> _Decoded:
    with _open(path) as (file, frames, notes):
        first, count = _span(path, (start_s, duration_s), frames, file.samplerate)
        _go_to(file, first)
        samples = file.read(count, dtype="float32", always_2d=True)
        _check_count(path, frames, first, count, len(samples))
        return _Decoded(samples, int(file.samplerate), notes, is_lossy=file.format in _LOSSY)


def _go_to(file: Any, first: int) -> None:
    """Go to a frame, by decoding what lies before it where libsndfile cannot seek to it exactly."""
    at = first if file.seekable() else 0
    if file.format == "OGG":
        at = max(0, first - round(_OGG_RUN_UP_S * file.samplerate))
    if at:
        file.seek(at)
    while at < first and (block := file.read(min(_BLOCK_FRAMES, first - at), dtype="float32")).size:
        at += len(block)


def _cut(path: Path, whole: _Decoded, start_s: float, duration_s: float | None) -> _Decoded:
    span = (start_s, duration_s)
    first, count = _span(path, span, len(whole.samples), whole.sample_rate_hz)
    return _Decoded(whole.samples[first : first + count], whole.sample_rate_hz, whole.notes)


def _span(
    path: Path, span: tuple[float, float | None], frames: int, rate_hz: int
) -> tuple[int, int]:
    start_s, duration_s = span
    if frames == 0:
        raise AudioError(f"{path}: it holds no samples")
    first = round(start_s * rate_hz)
    last = frames if duration_s is None else round((start_s + duration_s) * rate_hz)
    latest = frames + max(1, round(END_TOLERANCE_S * rate_hz))
    if not (0 <= first < last <= latest and first < frames):
        asked = "the end" if duration_s is None else f"{start_s + duration_s:g} s"
        raise AudioError(f"{path}: {start_s:g} s to {asked} is not in its {frames / rate_hz:g} s")
    return first, min(last, frames) - first


def _convert(decoded: _Decoded, sample_rate_hz: int | None) -> Audio:
    samples, notes = decoded.samples, list(decoded.notes)
    doubts = Doubts(is_lossy=decoded.is_lossy)
    doubts.add(samples)
    rate_hz = sample_rate_hz or decoded.sample_rate_hz
    notes += conversions_of(samples.shape[1], decoded.sample_rate_hz, rate_hz)
    mono = mixed_down(samples)
    if rate_hz != decoded.sample_rate_hz:
        mono = soxr.resample(mono, decoded.sample_rate_hz, rate_hz, quality="HQ")
    return Audio(mono, rate_hz, tuple(notes), doubts.words())


def conversions_of(channels: int, from_hz: int, to_hz: int) -> list[str]:
    """What makes one channel at a rate, in words; empty where nothing has to be done."""
    mixed = [f"mixed down from {channels} channels"] if channels > 1 else []
    return mixed + ([f"resampled from {from_hz} Hz"] if from_hz != to_hz else [])


def mixed_down(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the channels of (N, channels), (N,)."""
    return np.ascontiguousarray(samples.mean(axis=1, dtype=np.float32))
