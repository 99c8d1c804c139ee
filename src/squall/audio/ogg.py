"""The pages of an Ogg file: how many recordings it holds, how long they are, whether it ends."""

from __future__ import annotations

from dataclasses import dataclass

from squall.audio.chunks import Buffer

__all__ = ["OggLink", "read_links"]

_PAGE_HEAD_BYTES = 27
_FIRST, _LAST = 2, 4  # flags of a page
_OPUS_RATE_HZ = 48000


@dataclass
class OggLink:
    """One of the recordings that are joined in a file; most files have one.

    Args:
        duration_s: its length by the positions in its pages.
        begins_s: the position of its first page of sound, which ends there; 0 before it was seen.
        is_complete: its last page is there, and is the one with the last position.
    """

    duration_s: float = 0.0
    begins_s: float = 0.0
    is_complete: bool = False


def read_links(data: Buffer) -> list[OggLink]:
    """The recordings of an Ogg file, in order.

    Args:
        data: the whole file.

    Returns:
        Those in Vorbis, Opus or FLAC; empty for a file of something else.
    """
    links: list[OggLink] = []
    serial, rate_hz, skipped = b"", 1, 0
    at = data.find(b"OggS")
    while at >= 0:
        head = data[at : at + _PAGE_HEAD_BYTES]
        start = at + _PAGE_HEAD_BYTES + head[-1]
        end = start + sum(data[at + _PAGE_HEAD_BYTES : start])
        if len(head) < _PAGE_HEAD_BYTES or max(start, end) > len(data):
            return [*links[:-1], *(OggLink(link.duration_s) for link in links[-1:])]
        if head[5] & _FIRST and (clock := _clock(data[start:end])) is not None:
            links.append(OggLink())
            serial, (rate_hz, skipped) = head[14:18], clock
        elif links and head[14:18] == serial:
            position = int.from_bytes(head[6:14], "little", signed=True)
            reached_s = (position - skipped) / rate_hz if position >= 0 else links[-1].duration_s
            links[-1].is_complete = bool(head[5] & _LAST) and reached_s >= links[-1].duration_s
            links[-1].duration_s = max(reached_s, links[-1].duration_s)
            links[-1].begins_s = links[-1].begins_s or links[-1].duration_s
        at = data.find(b"OggS", end)
    return links


def _clock(packet: bytes) -> tuple[int, int] | None:
    """Positions per second, and the position of the first sample; None for what is not audio."""
    if packet[:7] == b"\x01vorbis":
        return max(1, int.from_bytes(packet[12:16], "little")), 0
    if packet[:8] == b"OpusHead":
        return _OPUS_RATE_HZ, int.from_bytes(packet[10:12], "little")
    if packet[:5] == b"\x7fFLAC":
        return max(1, int.from_bytes(packet[27:30], "big") >> 4), 0
    return None
