"""The frames of an MPEG audio file (MP3): how many there are, and how many its first one states."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from squall.audio.chunks import Buffer, behind_id3

__all__ = ["MpegLength", "read_mpeg_length"]

# Bits per second / 1000 by index, by version (1; 2 and 2.5) and layer.
_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = (44100, 48000, 32000)
_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_TAG = re.compile(rb"Xing|Info|VBRI")
# A frame's head, at most 32 bytes of side information and the name of a tag.
_UP_TO_TAG_BYTES = 40


@dataclass(frozen=True)
class MpegLength:
    """How long an MPEG audio file is.

    Args:
        frames: number of whole frames with sound.
        duration_s: their length together.
        is_constant: all have the same bit rate.
        stated: the number of frames that a Xing or Info tag says; 0 where it says none, or where
            the tag is one that libsndfile does not know (VBRI); None without a tag.
        mend: a place in the tag and what has to stand there to state the number; None without a
            tag.
    """

    frames: int
    duration_s: float
    is_constant: bool
    stated: int | None
    mend: tuple[int, bytes] | None


@dataclass(frozen=True)
class _Frame:
    size: int
    before_tag: int  # bytes of its head and its side information
    kind: tuple[int, int, int]  # version, layer, samples per second
    rate: int
    duration_s: float


def read_mpeg_length(data: Buffer) -> MpegLength:
    """Count the frames of an MPEG audio file.

    Args:
        data: the whole file.
    """
    count, duration_s, rates = 0, 0.0, set()
    tag = None
    tagged = range(0)
    for index, (at, frame) in enumerate(_frames(data)):
        if index == 0 and (tag := _TAG.search(data, at, at + _UP_TO_TAG_BYTES)):
            tagged = range(at + frame.before_tag, at + frame.size)
            continue
        count, duration_s = count + 1, duration_s + frame.duration_s
        rates.add(frame.rate)
    is_constant = len(rates) == 1
    if tag is None:
        return MpegLength(count, duration_s, is_constant, None, None)
    number = count.to_bytes(4, "big")
    if tag[0] != b"VBRI" and data[tag.end() + 3] & 1:
        stated = int.from_bytes(data[tag.end() + 4 : tag.end() + 8], "big")
        return MpegLength(count, duration_s, is_constant, stated, (tag.end() + 4, number))
    new = (b"Xing\x00\x00\x00\x01" + number).ljust(len(tagged), b"\x00")
    return MpegLength(count, duration_s, is_constant, 0, (tagged.start, new))


def _frames(data: Buffer) -> Iterator[tuple[int, _Frame]]:
    at = _next_frame(data, 0)
    while at is not None and (frame := _frame(data, at)) is not None:
        if at + frame.size <= len(data):
            yield at, frame
        at = _next_frame(data, at + frame.size)


def _next_frame(data: Buffer, at: int) -> int | None:
    """The place of the next frame; what lies before it (tags, damage) is passed over."""
    at = behind_id3(data, at)
    if _frame(data, at) is not None:
        return at
    for sync in _SYNC.finditer(data, at):
        frame = _frame(data, sync.start())
        if frame is not None:
            following = _frame(data, sync.start() + frame.size)
            if following is not None and following.kind == frame.kind:
                return sync.start()
    return None


def _frame(data: Buffer, at: int) -> _Frame | None:
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = {3: 1, 2: 2, 0: 3}.get(head[1] >> 3 & 3), 4 - (head[1] >> 1 & 3)
    rate_index, hz_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version is None or layer == 4 or rate_index in (0, 15) or hz_index == 3:
        return None
    # Version 3 stands for 2.5. Each version halves the sampling rate of the one before.
    hz = _SAMPLE_RATES[hz_index] >> version - 1
    rate = 1000 * _RATES[min(version, 2), layer][rate_index - 1]
    samples = 384 if layer == 1 else 576 if layer == 3 and version > 1 else 1152
    slot = 4 if layer == 1 else 1
    size = (samples // 8 * rate // hz // slot + padding) * slot
    is_mono = head[3] >> 6 == 3
    side_bytes = (17 if is_mono else 32) if version == 1 else (9 if is_mono else 17)
    return _Frame(size, 4 + side_bytes, (version, layer, hz), rate, samples / hz)
