"""The last frames of a FLAC file, which say how many samples there are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from squall.audio.chunks import Buffer, behind_id3

__all__ = ["FlacLength", "read_flac_length"]

# Where the header does not say how large a frame may be. If it is larger, nothing is found.
_FRAME_BYTES = 1 << 16
_HEADER = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_BLOCK_SAMPLES = {1: 192}
_BLOCK_SAMPLES |= {code: 576 << code - 2 for code in range(2, 6)}
_BLOCK_SAMPLES |= {code: 256 << code - 8 for code in range(8, 16)}
_TOTAL_BITS = 36
# Two of sync and flags, two of codes, at most seven, two and two of numbers, one of checksum.
_HEAD_BYTES = 16


@dataclass(frozen=True)
class FlacLength:
    """How many samples a FLAC file has, in one channel.

    Args:
        stated: as its header says; 0 where it does not.
        present: as its last frames say; None where they are not found.
        field_at: place of the 8 bytes of the header that end in the number.
        field: what they would be of `present`.
        is_joined: another FLAC file follows in the same file.
    """

    stated: int
    present: int | None
    field_at: int
    field: bytes
    is_joined: bool


def read_flac_length(data: Buffer) -> FlacLength | None:
    """Read what a FLAC file's header and its last frames say of its length.

    Args:
        data: the whole file.

    Returns:
        None where there is no header.
    """
    header = _HEADER.match(data, behind_id3(data))
    if header is None:
        return None
    at = header.end()
    largest_block = int.from_bytes(data[at + 2 : at + 4], "big")
    packed = int.from_bytes(data[at + 10 : at + 18], "big")
    stated = packed % (1 << _TOTAL_BITS)
    frame_bytes = int.from_bytes(data[at + 7 : at + 10], "big") or _FRAME_BYTES
    present = _last_end(data[max(at, len(data) - 3 * frame_bytes) :], largest_block)
    field = (packed - stated + (present or 0)).to_bytes(8, "big")
    is_joined = _HEADER.search(data, at) is not None
    return FlacLength(stated, present, at + 10, field, is_joined)


def _last_end(tail: bytes, largest_block: int) -> int | None:
    """The end of the last frame, in samples; by chance no two frames fit together."""
    tail += bytes(_HEAD_BYTES)  # a frame of few samples is shorter than a long head
    heads = (tail[m.start() : m.start() + _HEAD_BYTES] for m in _SYNC.finditer(tail))
    spans = [span for head in heads if (span := _frame_span(head, largest_block)) is not None]
    ends = {0, *(end for _, end in spans)}
    return max((end for start, end in spans if start in ends), default=None)


def _frame_span(head: bytes, largest_block: int) -> tuple[int, int] | None:
    """The first sample of a frame and the one after its last; None for what is no header."""
    ones = f"{head[4]:08b}".find("0")
    if ones in (-1, 1):
        return None
    length = max(1, ones)
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    at, size_code, rate_code = 4 + length, head[2] >> 4, head[2] & 15
    size = _BLOCK_SAMPLES.get(size_code, 0)
    if size_code in (6, 7):
        extra = size_code - 5
        size, at = int.from_bytes(head[at : at + extra], "big") + 1, at + extra
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if size == 0 or _crc8(head[:at]) != head[at]:
        return None
    start = number if head[1] & 1 else number * largest_block
    return start, start + size


def _crc8(data: bytes) -> int:
    """CRC-8 with the polynomial x^8 + x^2 + x + 1, as RFC 9639 has it."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ (0x107 if crc & 0x80 else 0)
    return crc
