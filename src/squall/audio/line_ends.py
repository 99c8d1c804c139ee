"""16-bit samples that went through a program which took them for text.

Version control and file transfer in text mode make one line end of the others: a byte 13 (carriage
return, CR) becomes a 10 (line feed, LF), and of the two together one is lost, behind which the
halves of the samples are exchanged and the rest of the file is noise at full scale. No reader of
audio notices. NLTK's sample of TIMIT was distributed so in 2006: none of its 160 files has a byte
13, and a fifth of them ends in noise.
"""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray

__all__ = ["are_converted", "restore"]

_LF, _CR = 0x0A, 0x0D
_FEWEST = 100  # of the bytes 12 and 14 together, for having no 13 to say anything
_MORE = 1.2
_SIZE_OF_CR = (_CR - _LF) << 8  # what a sample lacks whose high byte was a CR

# What a lost CR has to gain in the sum of log(1 + |step|) over the samples behind it; where the
# halves of samples are exchanged, each has some 3 more in loud speech, and more in soft.
_PENALTY = 25.0


def are_converted(data: bytes | mmap.mmap, start: int, end: int) -> bool:
    """Whether the line ends among some 16-bit samples were converted.

    Args:
        data: a file.
        start, end: where its samples are.

    Returns:
        Whether it has no byte 13, though many of 12 and 14, and more of 10 than of 9 and 11. In a
        recording neighbours are about as frequent.
    """
    if data.find(b"\r", start, end) >= 0:
        return False
    counts = np.bincount(np.frombuffer(data, np.uint8, end - start, start), minlength=256)
    beside_lf, beside_cr = (int(counts[byte - 1] + counts[byte + 1]) for byte in (_LF, _CR))
    return beside_cr >= _FEWEST and int(counts[_LF]) > _MORE * beside_lf / 2


def restore(data: bytes) -> bytes:
    """Guess the samples whose line ends were converted.

    A CR is put back before those LF from which on the halves of the samples fit together better (of
    all choices the one whose steps from sample to sample have the least sum of logarithms), and in
    place of the LF in a sample's high byte where the sample then lies nearer to its neighbours. In
    low bytes, where the difference is 3 of 65,536, an LF stays.

    Args:
        data: (2 N,) bytes of 16-bit samples of one channel, the low byte first.

    Returns:
        The same number of bytes; what was put in pushed out as much at the end.
    """
    before = _lost(data)
    parts = np.split(np.frombuffer(data, np.uint8), before)
    joined = np.concatenate([parts[0]] + [np.append(np.uint8(_CR), part) for part in parts[1:]])
    samples = joined[: len(data) // 2 * 2].view("<i2")
    return _with_high_bytes(samples.astype(np.int32)).astype("<i2").tobytes()


def _lost(data: bytes) -> NDArray[np.intp]:
    """The places of the LF before which a CR was lost: the best path through two states, whether an
    even or an odd number of bytes was lost so far.
    """
    raw = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(raw == _LF)
    if not len(places):
        return places
    # Cost of all samples up to a byte, if samples begin at even, and if they begin at odd places.
    costs = np.stack([_cost_before(raw, parity) for parity in (0, 1)])  # (2, 2N + 1)
    ends = np.append(places, len(raw))
    gained = np.diff(costs[:, ends], axis=1)  # (2, places), of the bytes from each LF to the next
    best = np.array([costs[0, places[0]], np.inf])
    switched = np.zeros((len(places), 2), np.bool_)
    for number in range(len(places)):
        other = best[::-1] + _PENALTY
        switched[number] = other < best
        best = np.minimum(best, other) + gained[:, number]
    state = int(best[1] < best[0])
    found = []
    for number in range(len(places) - 1, -1, -1):
        if switched[number, state]:
            found.append(places[number])
            state = 1 - state
    return np.array(found[::-1], np.intp)


def _cost_before(raw: NDArray[np.uint8], parity: int) -> NDArray[np.float64]:
    """(bytes + 1,) sum of log(1 + |step|) over the samples that end before each byte."""
    samples = raw[parity : parity + (len(raw) - parity) // 2 * 2].view("<i2").astype(np.int32)
    steps = np.log1p(np.abs(np.diff(samples, prepend=samples[:1])))
    cost = np.zeros(len(raw) + 1)
    # A sample that begins at a byte has ended two bytes later.
    cost[parity + 2 : parity + 2 + 2 * len(steps) : 2] = steps
    return np.cumsum(cost)


def _with_high_bytes(samples: NDArray[np.int32]) -> NDArray[np.int32]:
    """Add what is missing where a sample's high byte is an LF and a CR fits better."""
    restored: NDArray[np.int32] = samples.copy()
    for place in np.flatnonzero(samples >> 8 == _LF).tolist():
        before = restored[max(place - 1, 0)]
        after = samples[min(place + 1, len(samples) - 1)]
        choices = (after, after + _SIZE_OF_CR) if after >> 8 == _LF else (after,)
        off = [abs(2 * samples[place] - before - other) for other in choices]
        off_as_cr = [abs(2 * (samples[place] + _SIZE_OF_CR) - before - other) for other in choices]
        if min(off_as_cr) < min(off):
            restored[place] += _SIZE_OF_CR
    return restored
