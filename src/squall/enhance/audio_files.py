"""Enhancing files: every channel, at the file's own sampling rate, in bounded memory."""

from __future__ import annotations

import io
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from squall.audio.frames import HOP_S
from squall.audio.offset import describe_offset
from squall.audio.reading import (
    AUDIO_SUFFIXES,
    SAMPLE_RATE_HZ,
    AudioError,
    AudioStream,
    audio_below,
    open_audio,
)
from squall.enhance.enhancer import Enhancer
from squall.enhance.frames import features_of
from squall.enhance.nearest import nearest_model
from squall.enhance.settings import EnhancementConfig
from squall.files import atomic_path

__all__ = ["EnhancementJob", "enhance_file", "nearest_to_file", "plan_outputs"]

Samples = NDArray[np.float32]

_FORMATS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".sph": "NIST",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".au": "AU",
    ".w64": "W64",
}
# Codings of 8 bits and less would add noise of their own, and are not kept.
_KEPT_SUBTYPES = (
    "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_16", "VORBIS", "OPUS", "MPEG_LAYER_III",
)  # fmt: skip
_UNLIMITED_SUBTYPES = ("FLOAT", "DOUBLE")
_PEAK = 0.99
# A WAV's header has 32 bits for its length; above this it is written as RF64, which has 64.
_LONGEST_WAV_BYTES = 2**32 - 2**16
_BLOCK_FRAMES = 1 << 18
_HEARD_S = 30.0  # of a file, to choose a model by


@dataclass(frozen=True)
class EnhancementJob:
    """One file to enhance.

    Args:
        source: the noisy file.
        target: where the enhanced one goes.
    """

    source: Path
    target: Path


def plan_outputs(inputs: Sequence[Path], output: Path) -> list[EnhancementJob]:
    """Where the result of each file goes.

    A file goes into the folder `output` under its own name, the files of a folder under their paths
    in it. Where libsndfile cannot write what the suffix says (`.wv1`), the result is a `.flac`. A
    single file goes to `output` itself if that ends like audio and is no folder.

    Args:
        inputs: files and folders; these are searched as `audio_below` does. What lies in `output`,
            if that is inside such a folder, is left out: it was made by an earlier run.
        output: a folder, which need not exist, or a file.

    Raises:
        FileNotFoundError: an input does not exist, or a folder holds no audio.
        ValueError: a result would overwrite an input, two results would be the same file, or
            several inputs are to become one file.
    """
    if output.suffix.lower() in AUDIO_SUFFIXES and not output.is_dir():
        if len(inputs) > 1 or inputs[0].is_dir():
            raise ValueError(f"{output} is one file, the input is not: give a folder as output")
        jobs = [EnhancementJob(_existing(inputs[0]), output)]
        _format_of(output)
    elif output.exists() and not output.is_dir():
        raise ValueError(f"{output} is neither a folder nor an audio file")
    else:
        jobs = [
            EnhancementJob(path, output / _written_name(name))
            for each in inputs
            for path, name in _named(_existing(each), output)
        ]
    sources = {_identity(job.source) for job in jobs}
    targets: dict[str, Path] = {}
    for job in jobs:
        if job.target.exists() and _identity(job.target) in sources:
            raise ValueError(f"{job.target} is one of the inputs: give another output")
        place = os.path.realpath(job.target)
        if place in targets:
            raise ValueError(
                f"{targets[place]} and {job.source} would both become {job.target}: "
                "enhance them one after the other, into two folders"
            )
        targets[place] = job.source
    return jobs


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    return path


def _identity(path: Path) -> tuple[int, int]:
    """The same for two paths of one file, whether by links or by a file system without case."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _named(path: Path, output: Path) -> Iterator[tuple[Path, Path]]:
    """The files of an input, and their paths below the output."""
    if not path.is_dir():
        yield path, Path(path.name)
        return
    results = Path(os.path.realpath(output))
    inside = Path(os.path.realpath(path)) in results.parents
    for found in audio_below(path):
        if not (inside and results in Path(os.path.realpath(found)).parents):
            yield found, found.relative_to(path)


def _written_name(name: Path) -> Path:
    return name if name.suffix.lower() in _FORMATS else name.with_suffix(".flac")


def _format_of(target: Path) -> str:
    suffix = target.suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"{target}: no {suffix} can be written; use one of {', '.join(_FORMATS)}")
    return _FORMATS[suffix]


def enhance_file(
    enhancer: Enhancer,
    job: EnhancementJob,
    *,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[str, ...]:
    """Enhance a file of any length, sampling rate and number of channels.

    The model works at 16 kHz. A band above 8 kHz is let through as far as the model leaves what is
    between 4 and 8 kHz, in each 10 ms. The result has the file's sampling rate, channels and number
    of frames, and appears as a whole or not at all; the noisy file is only read. Beside it, 4 bytes
    per sample of disk are needed while this works. Each channel is enhanced on its own, with its
    own level.

    Args:
        enhancer: the model.
        job: what to read and what to write; `target` decides the container by its suffix.
        on_progress: told the share that is done, in [0, 1].

    Returns:
        What was done to the samples besides, in words.

    Raises:
        AudioError: the file cannot be read, or its format cannot hold the result.
        OSError: the disk is full.

    Convention:
        Samples are coded as in the noisy file where that has 16 bits or more and the container can
        hold it, otherwise with 16 bits (Ogg, Opus and MP3 as libsndfile does by default). Where
        the result would exceed full scale, the file as a whole is scaled to a peak of 0.99; 32- and
        64-bit floats can exceed it and are not scaled. There is no dither. Tags are not copied.
    """
    report = on_progress or (lambda share: None)
    with atomic_path(job.target) as part:
        folder = part.parent
        with tempfile.TemporaryFile(dir=folder) as result:
            with tempfile.TemporaryFile(dir=folder) as noisy, open_audio(job.source) as stream:
                sink = _Sink(job.target, stream)
                length, offsets = _spool(stream, noisy)
                # Once more from its beginning, for the band that the model does not hear.
                above = stream.info.sample_rate_hz > SAMPLE_RATE_HZ
                with open_audio(job.source) if above else nullcontext(stream) as source:
                    peak = _enhance(enhancer, noisy, result, source, length, report)
            if not math.isfinite(peak):
                raise AudioError(f"{job.source}: its samples are too large to be enhanced")
            scale = _PEAK / peak if peak > 1.0 and sink.limited else 1.0
            sink.write(part, result, scale)
    report(1.0)
    return _offsets_in_words(offsets, enhancer) + _in_words(stream, sink, peak, scale)


def nearest_to_file(path: Path, models: Mapping[str, Path], config: EnhancementConfig) -> str:
    """The name of the model that was trained on noise most like a file's, by its first 30 s.

    Args:
        path: the noisy file; its channels are mixed down.
        models: folders of the models, by name.
        config: the settings that they were trained with.

    Raises:
        AudioError: the file cannot be read.
    """
    with open_audio(path) as stream:
        rate_hz = stream.info.sample_rate_hz
        mono = (block.mean(axis=1, keepdims=True) for block in stream.blocks(_BLOCK_FRAMES))
        heard: list[Samples] = []
        for block in _Resampler(rate_hz, SAMPLE_RATE_HZ, 1)(mono):
            heard.append(block[:, 0])
            if sum(map(len, heard)) >= _HEARD_S * SAMPLE_RATE_HZ:
                break
    samples = np.concatenate(heard)[: round(_HEARD_S * SAMPLE_RATE_HZ)]
    if not len(samples):  # one sample at a high rate
        samples = np.zeros(1, np.float32)
    features = features_of(samples, config)
    return nearest_model(models, features)


def _spool(stream: AudioStream, noisy: IO[bytes]) -> tuple[int, list[str]]:
    """Bring a file to 16 kHz: frames (n, channels) on disk; how many, and each channel's offset."""
    channels, rate_hz = stream.info.channels, stream.info.sample_rate_hz
    # Rounded up, so that the way back gives no frame too few.
    length = -(-stream.info.frames * SAMPLE_RATE_HZ // rate_hz)
    resample = _Resampler(rate_hz, SAMPLE_RATE_HZ, channels)
    written, totals, squares = 0, np.zeros(channels), np.zeros(channels)
    for block in resample(stream.blocks(_BLOCK_FRAMES)):
        written += len(block)
        totals += block.sum(axis=0, dtype=np.float64)
        squares += np.square(block, dtype=np.float64).sum(axis=0)
        noisy.write(block.tobytes())
    noisy.write(bytes(4 * channels * max(0, length - written)))
    means = totals / max(written, 1)
    spreads = np.sqrt(np.maximum(squares / max(written, 1) - means**2, 0.0))
    return length, list(map(describe_offset, means.tolist(), spreads.tolist()))


def _enhance(
    enhancer: Enhancer,
    noisy: IO[bytes],
    result: IO[bytes],
    source: AudioStream,
    length: int,
    report: Callable[[float], None],
) -> float:
    """Enhance every channel and bring it back to the file's rate, on disk; the largest value.

    Where the file has a band above 8 kHz, that is what is left of it when its lower band is taken
    away, and goes through the gate of `_gates`.
    """
    info = source.info
    gated = info.sample_rate_hz > SAMPLE_RATE_HZ

    def read(start: int, stop: int, channel: int) -> Samples:
        return _frames(noisy, start, stop - start, info.channels)[:, channel]

    def reader(channel: int) -> Iterator[Samples]:
        return enhancer.blocks(lambda start, stop: read(start, stop, channel), length)

    def blocks() -> Iterator[Samples]:
        done, gates = 0, [_Gate() for _ in range(info.channels)]
        for parts in zip(*map(reader, range(info.channels)), strict=True):
            columns = list(parts)
            if gated:
                end = done + len(parts[0])
                before = [read(done, end, channel) for channel in range(info.channels)]
                columns += before
                columns += [
                    gate(one, other) for gate, one, other in zip(gates, before, parts, strict=True)
                ]
            yield np.stack(columns, axis=1)
            done += len(parts[0])
            report(done / length)

    peak, left, n = 0.0, info.frames, info.channels
    resampled = _Resampler(SAMPLE_RATE_HZ, info.sample_rate_hz, 3 * n if gated else n)(blocks())
    originals = _Pieces(source.blocks(_BLOCK_FRAMES), n) if gated else None
    for block in resampled:
        kept = block[:left]
        left -= len(kept)
        if originals:
            low, before, gain = kept[:, :n], kept[:, n : 2 * n], kept[:, 2 * n :]
            kept = low + np.clip(gain, 0.0, 1.0) * (originals.take(len(kept)) - before)
        result.write(np.ascontiguousarray(kept, np.float32).tobytes())
        # NaN is to be kept, which Python's max would lose.
        peak = float(np.maximum(peak, np.abs(kept).max(initial=0.0)))
    return peak


class _Gate:
    """How much of the band above 8 kHz is let through: as much as was left between 4 and 8 kHz.

    The square root of the ratio of energies in each 10 ms, 1 at the most, reached by a ramp.
    """

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, before: Samples, after: Samples) -> Samples:
        """The gain (n,) for stretches (n,) of the noisy and the enhanced signal at 16 kHz."""
        hop = round(HOP_S * SAMPLE_RATE_HZ)
        energies = []
        for samples in (before, after):
            frames = np.pad(samples, (0, -len(samples) % hop)).reshape(-1, hop)
            upper = np.fft.rfft(frames * np.hanning(hop))[:, hop // 4 :]
            energies.append(np.square(np.abs(upper)).sum(axis=1))
        with np.errstate(divide="ignore", invalid="ignore"):
            gains = np.sqrt(np.minimum(energies[1] / energies[0], 1.0))
        ends = np.append(self._last, np.nan_to_num(gains))
        self._last = float(ends[-1])
        places = np.arange(1, len(before) + 1) / hop
        gain: Samples = np.interp(places, np.arange(len(ends)), ends).astype(np.float32)
        return gain


class _Pieces:
    """Blocks of frames (n, channels), to be taken in pieces of other lengths."""

    def __init__(self, blocks: Iterator[Samples], channels: int) -> None:
        self._blocks, self._left = blocks, np.zeros((0, channels), np.float32)

    def take(self, count: int) -> Samples:
        """The next frames (count, channels)."""
        while len(self._left) < count:
            self._left = np.concatenate([self._left, next(self._blocks)])
        taken, self._left = self._left[:count], self._left[count:]
        return taken


@dataclass(frozen=True)
class _Resampler:
    from_hz: int
    to_hz: int
    channels: int

    def __call__(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        if self.from_hz == self.to_hz:
            yield from blocks
            return
        stream = soxr.ResampleStream(
            self.from_hz, self.to_hz, self.channels, dtype="float32", quality="HQ"
        )
        for block in blocks:
            yield stream.resample_chunk(block).reshape(-1, self.channels)
        rest = np.empty((0, self.channels), np.float32)
        yield stream.resample_chunk(rest, last=True).reshape(-1, self.channels)


def _frames(file: IO[bytes], start: int, count: int, channels: int) -> Samples:
    """(count, channels) 32-bit floats of a file without header, or fewer at its end."""
    file.seek(4 * channels * start)
    data = file.read(4 * channels * count)
    return np.frombuffer(data, np.float32).reshape(-1, channels)


class _Sink:
    """How the result of a file is written.

    Attributes:
        format, subtype: container and coding as `soundfile` names them.
        limited: whether samples beyond full scale would be clipped.
    """

    def __init__(self, target: Path, stream: AudioStream) -> None:
        self.target, self.info = target, stream.info
        self.format = _format_of(target)
        # libsndfile says that WAV may hold MP3, and cannot write it.
        mpeg_elsewhere = stream.subtype.startswith("MPEG") and self.format != "MP3"
        kept = stream.subtype in _KEPT_SUBTYPES and not mpeg_elsewhere
        if kept and soundfile.check_format(self.format, stream.subtype):
            self.subtype = stream.subtype
        elif target.suffix.lower() == ".opus":
            self.subtype = "OPUS"
        elif soundfile.check_format(self.format, "PCM_16"):
            self.subtype = "PCM_16"
        else:
            self.subtype = str(soundfile.default_subtype(self.format))
        self.limited = self.subtype not in _UNLIMITED_SUBTYPES
        sample_bytes = {"DOUBLE": 8, "PCM_16": 2}.get(self.subtype, 4)
        size = self.info.frames * self.info.channels * sample_bytes
        if self.format == "WAV" and size > _LONGEST_WAV_BYTES:
            self.format = "RF64"

        self._refuse_what_cannot_be_written()

    def _refuse_what_cannot_be_written(self) -> None:
        try:
            self._open(io.BytesIO()).close()
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{self.target}: {self.format} cannot hold {self.info.channels} channel(s) at "
                f"{self.info.sample_rate_hz} Hz ({error.error_string}). "
                "Give an output file that ends in .wav"
            ) from error

    def _open(self, place: str | io.BytesIO) -> Any:
        rate_hz, channels = self.info.sample_rate_hz, self.info.channels
        return soundfile.SoundFile(
            place, "w", rate_hz, channels, subtype=self.subtype, format=self.format
        )

    def write(self, path: Path, result: IO[bytes], scale: float) -> None:
        """Write the frames of `result`, each multiplied by `scale`."""
        try:
            with self._open(str(path)) as file:
                for start in range(0, self.info.frames, _BLOCK_FRAMES):
                    block = _frames(result, start, _BLOCK_FRAMES, self.info.channels)
                    file.write(block if scale == 1.0 else block * np.float32(scale))
        except soundfile.LibsndfileError as error:
            raise OSError(
                f"{self.target} could not be written ({error.error_string}): is the disk full?"
            ) from error


def _offsets_in_words(offsets: Sequence[str], enhancer: Enhancer) -> tuple[str, ...]:
    told = []
    for number, offset in enumerate(offsets, start=1):
        if offset:
            where = f"channel {number}: " if len(offsets) > 1 else ""
            taken = enhancer.config.remove_mean
            done = "taken away" if taken else "kept, as where this model was trained"
            told.append(f"{where}{offset}, {done}")
    return tuple(told)


def _in_words(stream: AudioStream, sink: _Sink, peak: float, scale: float) -> tuple[str, ...]:
    info, notes = stream.info, list(stream.conversions)
    if info.channels > 1:
        notes.append(f"each of its {info.channels} channels enhanced on its own")
    if info.sample_rate_hz != SAMPLE_RATE_HZ:
        highest = SAMPLE_RATE_HZ // 2
        above = info.sample_rate_hz > 2 * highest
        gated = f"; what is above {highest} Hz passes a gate, not the model" if above else ""
        notes.append(f"resampled from {info.sample_rate_hz} Hz to 16000 Hz and back{gated}")
    if scale != 1.0:
        gain_db = 20 * math.log10(scale)
        notes.append(f"scaled by {gain_db:.2f} dB, since its peak of {peak:.3f} would be clipped")
    before, after = f"{stream.format} {stream.subtype}", f"{sink.format} {sink.subtype}"
    if before.replace("WAVEX", "WAV") != after:
        notes.append(f"written as {after}, was {before}")
    return tuple(notes)
