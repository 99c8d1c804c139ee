"""Files made of chunks (WAV, RF64, Wave64, AIFF, CAF) and AU: where their samples lie."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["Buffer", "SampleData", "behind_id3", "find_sample_data"]

Buffer = bytes | mmap.mmap

# Sizes that programs write when they stream to a pipe and cannot know the length: a little below
# 2 or 4 GiB.
_OPEN_SIZES = (range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 0x100000000))
# Some programs fill files with zeros up to the next block.
_PADDING_BYTES = 4096
_ID3V1_BYTES = 128
_HOLDS_AUDIO = {b"data", b"SSND", b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"riff", b"caff"}
_CUT_AT_WILL = {b"LIST", b"id3 ", b"ID3 "}


@dataclass(frozen=True)
class SampleData:
    """Where the samples of a file lie.

    Args:
        stated: bytes of samples as the header says; None where it leaves their number open.
        present: bytes of samples that are there. As many as stated where nothing follows but
            chunks, a tag or some zeros; otherwise all up to the end of the file.
        size_at: place of the field with the size.
        size_field: what that field would say of `present`.
        formats: names that `soundfile` has for such a file.
        at: place of the first sample.
        wav_format: the first 16 bytes of a little-endian WAV file's chunk `fmt `; none elsewhere.
    """

    stated: int | None
    present: int
    size_at: int
    size_field: bytes
    formats: tuple[str, ...]
    at: int
    wav_format: bytes = b""


@dataclass(frozen=True)
class _Layout:
    formats: tuple[str, ...]
    first: int  # place of the first chunk
    order: Literal["little", "big"] = "little"
    id_bytes: int = 4
    size_bytes: int = 4
    counted: int = 0  # bytes before a chunk's content that its size counts
    pad: int = 2  # chunks are padded to a multiple of these bytes
    name: bytes = b"data"
    before: int = 0  # bytes of the chunk before its samples


_WAV = ("WAV", "WAVEX", "RF64")
_LAYOUTS = {
    b"RIFF": _Layout(_WAV, 12),
    b"RF64": _Layout(_WAV, 12),
    b"BW64": _Layout(_WAV, 12),
    b"RIFX": _Layout(_WAV, 12, "big"),
    b"FORM": _Layout(("AIFF",), 12, "big", name=b"SSND", before=8),
    b"riff": _Layout(("W64",), 40, id_bytes=16, size_bytes=8, counted=24, pad=8),
    b"caff": _Layout(("CAF",), 8, "big", size_bytes=8, pad=1, before=4),
}


def find_sample_data(data: Buffer) -> SampleData | None:
    """Find the samples of a file.

    Args:
        data: the whole file.

    Returns:
        Their place and number; None for a file of another kind or without a chunk of samples.
    """
    if data[:4] in (b".snd", b"dns."):
        au = _Layout(("AU",), 0, "big" if data[:1] == b"." else "little")
        start, size = (int.from_bytes(data[at : at + 4], au.order) for at in (4, 8))
        return _sample_data(data, au, start, size, size_at=8)
    if (layout := _LAYOUTS.get(data[:4])) is None:
        return None
    long_size_at = None
    wav_format = b""
    for name, start, size in _chunks(data, layout, layout.first):
        if not _is_name(name):
            return None
        if name == b"fmt " and layout.order == "little":
            wav_format = data[start : start + 16]
        elif name == b"ds64":
            long_size_at = start + 8
        elif name == layout.name and size == 0xFFFFFFFF and long_size_at is not None:
            size = int.from_bytes(data[long_size_at : long_size_at + 8], "little")
            return _sample_data(data, layout, start, size, size_at=long_size_at, size_bytes=8)
        elif name == layout.name:
            found = _sample_data(data, layout, start, size, size_at=start - layout.size_bytes)
            return found and replace(found, wav_format=wav_format)
    return None


def _sample_data(
    data: Buffer,
    layout: _Layout,
    start: int,
    size: int,
    *,
    size_at: int,
    size_bytes: int | None = None,
) -> SampleData | None:
    size_bytes = size_bytes or layout.size_bytes
    available = len(data) - start
    if available < layout.before:
        return None
    present = available
    if 0 < size <= available and _is_followed_by_chunks(data, layout, start + size):
        present = size
    if size <= layout.before and _is_followed_by_chunks(data, layout, start + layout.before):
        present = layout.before
    is_open = size > available and _is_open(size, size_bytes)
    # A program that streams may also leave the size at nothing.
    is_open = is_open or (size <= layout.before < present)
    field = min(present + layout.counted, 256**size_bytes - 1).to_bytes(size_bytes, layout.order)
    stated = None if is_open else max(0, size - layout.before)
    at = start + layout.before
    return SampleData(stated, present - layout.before, size_at, field, layout.formats, at)


def _is_open(size: int, size_bytes: int) -> bool:
    if size_bytes == 4:
        return any(size in sizes for sizes in _OPEN_SIZES)
    return size >= 1 << 62  # -1, or the largest signed number


def _chunks(data: Buffer, layout: _Layout, at: int) -> Iterator[tuple[bytes, int, int]]:
    """The name of each chunk, the place of its content and its size."""
    head = layout.id_bytes + layout.size_bytes
    while at + head <= len(data):
        name = data[at : at + 4]
        size = int.from_bytes(data[at + layout.id_bytes : at + head], layout.order)
        size -= layout.counted
        yield name, at + head, size
        at += head + max(0, size)
        at = _next(data, layout, at, size)


def _next(data: Buffer, layout: _Layout, at: int, size: int) -> int:
    """The place of the next chunk; some programs leave out the padding."""
    padded = at + -size % layout.pad
    return padded if _is_name(data[padded : padded + 4]) else at


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _is_followed_by_chunks(data: Buffer, layout: _Layout, at: int) -> bool:
    rest = len(data) - at
    if rest <= -at % layout.pad or _is_padding(data, at):
        return True
    if layout.first == 0:  # AU has nothing behind its samples
        return False
    if rest <= _ID3V1_BYTES + layout.pad and b"TAG" in data[at : at + 3 + layout.pad]:
        return True
    for name, start, size in _chunks(data, layout, _next(data, layout, at, at)):
        if not _is_name(name):
            return _is_padding(data, start - layout.id_bytes - layout.size_bytes)
        if name in _HOLDS_AUDIO or size < 0:
            return False
        if start + size > len(data):
            return name in _CUT_AT_WILL
    return True


def _is_padding(data: Buffer, at: int) -> bool:
    return len(data) - at <= _PADDING_BYTES and not any(data[at:])


def behind_id3(data: Buffer, at: int = 0) -> int:
    """The place behind an ID3v2 tag that starts here; this place where none does."""
    if data[at : at + 3] != b"ID3":
        return at
    size = data[at + 6 : at + 10]
    return at + 10 + sum(byte << 7 * (3 - n) for n, byte in enumerate(size))
