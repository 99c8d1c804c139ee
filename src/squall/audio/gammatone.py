"""Gammatone filterbank: filters a whole signal, measures its energies, and puts it together again.

A filter of centre frequency f and bandwidth b has the impulse response (Patterson et al. 1987)

    g(t) = t^(n-1) exp(-2 pi b t) cos(2 pi f t),    n = 4,    b = 1.019 ERB(f),

sampled at the signal's rate. The response of the sampled filter is known in closed form, so the
work is done on the Fourier transform of the signal, in blocks that overlap by what a filter rings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from squall.audio.frames import HOP_S, as_signal, frame_count

__all__ = [
    "EnergyWindow",
    "GammatoneFilterbank",
    "centre_frequencies",
    "erb_hz",
    "erb_rate",
    "erb_rate_to_hz",
]

EnergyWindow = Literal["raised_cosine", "rectangular"]

_ORDER = 4
# Patterson's ratio of b to ERB, with which a filter of order 4 has the bandwidth that is asked for.
_B_PER_ERB = 1.019
# The envelope t^3 exp(-2 pi b t) has fallen to 6.6e-5 of its peak when 2 pi b t = 18; that of the
# filter applied in both directions to 8e-6.
_DECAY = 18.0


def erb_hz(frequency_hz: ArrayLike) -> NDArray[np.float64]:
    """Equivalent rectangular bandwidth of the auditory filter: 24.7 (4.37 f / 1000 + 1), in Hz.

    Source: Glasberg and Moore 1990, equation 3.

    >>> float(erb_hz(1000).round(3))
    132.639
    """
    return 24.7 * (4.37e-3 * np.asarray(frequency_hz, dtype=np.float64) + 1)


def erb_rate(frequency_hz: ArrayLike) -> NDArray[np.float64]:
    """Number of ERBs below a frequency: 21.4 log10(4.37 f / 1000 + 1).

    Source: Glasberg and Moore 1990, equation 4.
    """
    rate: NDArray[np.float64] = 21.4 * np.log10(4.37e-3 * np.asarray(frequency_hz, np.float64) + 1)
    return rate


def erb_rate_to_hz(rate: ArrayLike) -> NDArray[np.float64]:
    """The frequency at a place of the ERB-rate scale: the inverse of `erb_rate`."""
    frequency: NDArray[np.float64] = (10 ** (np.asarray(rate, np.float64) / 21.4) - 1) / 4.37e-3
    return frequency


def centre_frequencies(channels: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Frequencies at equal distances on the ERB-rate scale, both ends included.

    Args:
        channels: how many, F, at least 2.
        low_hz: the first.
        high_hz: the last.

    Returns:
        (F,) in Hz, rising.

    Raises:
        ValueError: fewer than 2 channels, or not 0 < low_hz < high_hz.

    >>> centre_frequencies(3, 50.0, 8000.0).round(1)
    array([  50. , 1285.9, 8000. ])
    """
    if channels < 2:
        raise ValueError(f"channels is {channels}; a filterbank has at least 2")
    if not 0 < low_hz < high_hz < np.inf:
        raise ValueError(f"low_hz is {low_hz}, high_hz {high_hz}; it must be 0 < low_hz < high_hz")
    centres = erb_rate_to_hz(np.linspace(erb_rate(low_hz), erb_rate(high_hz), channels))
    # The way to ERB-rate and back must not carry the last centre beyond Nyquist's frequency.
    centres[0], centres[-1] = low_hz, high_hz
    return centres


@dataclass(frozen=True)
class GammatoneFilterbank:
    """A bank of gammatone filters of order 4, and the resynthesis that belongs to it.

    Args:
        channels: F, the number of filters.
        low_hz: centre frequency of the first.
        high_hz: centre frequency of the last, at most half the sampling rate.
        sample_rate_hz: of the signals; a multiple of 100, so that a hop is a number of samples.

    Raises:
        ValueError: an argument is out of its range.

    Convention: the centres run from `low_hz` to `high_hz` inclusive, as in Wang's cochleagram
    toolbox, so that with the defaults the last filter sits at Nyquist's frequency, 8 kHz, and only
    its lower half exists. It is kept, so that channel c means the same frequency as in the sources
    and the bank covers the whole band. (Slaney's toolbox leaves the upper end out.) Every filter
    has gain 1 at its centre; Wang's toolbox also applies an equal-loudness gain per channel, which
    cancels in every mask and in normalised features. The output of each channel is advanced by the
    time at which its envelope peaks, 3 / (2 pi b): 15.5 ms at 50 Hz, 0.5 ms at 8 kHz. Without that
    the units of one frame belong to different moments and a mask is applied too early: on speech
    in noise at 0 dB the ideal ratio mask loses 0.01 to 0.04 STOI.

    Sources: Patterson, Nimmo-Smith, Holdsworth and Rice 1987; Glasberg and Moore 1990; Wang and
    Brown, Computational Auditory Scene Analysis, 2006, chapter 1.

    >>> GammatoneFilterbank().analyse(np.ones(800, np.float32)).shape
    (64, 800)
    """

    channels: int = 64
    low_hz: float = 50.0
    high_hz: float = 8000.0
    sample_rate_hz: int = 16000

    def __post_init__(self) -> None:
        centre_frequencies(self.channels, self.low_hz, self.high_hz)
        if self.sample_rate_hz < 100 or self.sample_rate_hz % 100:
            raise ValueError(f"sample_rate_hz is {self.sample_rate_hz}; use a multiple of 100")
        if self.high_hz > self.sample_rate_hz / 2:
            raise ValueError(
                f"high_hz is {self.high_hz}, above half the sampling rate of {self.sample_rate_hz}"
            )

    @property
    def centres_hz(self) -> NDArray[np.float64]:
        """(F,) centre frequencies."""
        return centre_frequencies(self.channels, self.low_hz, self.high_hz)

    @property
    def bandwidths_hz(self) -> NDArray[np.float64]:
        """(F,) the parameter b of each filter, 1.019 ERB."""
        return _B_PER_ERB * erb_hz(self.centres_hz)

    @property
    def delays_samples(self) -> NDArray[np.int64]:
        """(F,) by how many samples each output is advanced: the peak of the filter's envelope."""
        peaks_s = (_ORDER - 1) / (2 * np.pi * self.bandwidths_hz)
        return np.rint(peaks_s * self.sample_rate_hz).astype(np.int64)

    @property
    def hop_samples(self) -> int:
        """Distance of two frames."""
        return round(HOP_S * self.sample_rate_hz)

    @property
    def margin_samples(self) -> int:
        """How far a sample can reach, in either direction; a multiple of the hop."""
        decay_s = _DECAY / (2 * np.pi * float(self.bandwidths_hz[0]))
        return ceil(decay_s / HOP_S) * self.hop_samples

    def response(self, frequencies_hz: ArrayLike) -> NDArray[np.complex128]:
        """Frequency response of the sampled, causal filters, before they are advanced.

        With q = exp((-2 pi b + 2 pi i (f_c - f)) / f_s), the samples n^3 q^n sum up to
        q (1 + 4 q + q^2) / (1 - q)^4; the cosine adds the same with -f_c; then the gain is made 1
        at f_c. No sample of the infinite response is left out.

        Args:
            frequencies_hz: (K,) any.

        Returns:
            (F, K).
        """
        frequencies = np.asarray(frequencies_hz, dtype=np.float64)
        centres = self.centres_hz[:, None]
        gain = np.abs(self._unscaled_response(centres))
        return self._unscaled_response(np.broadcast_to(frequencies, (1, len(frequencies)))) / gain

    def _unscaled_response(self, frequencies: NDArray[np.float64]) -> NDArray[np.complex128]:
        pole = -self.bandwidths_hz[:, None] + 1j * self.centres_hz[:, None]
        turn = 2 * np.pi / self.sample_rate_hz
        total = np.zeros(np.broadcast_shapes(pole.shape, frequencies.shape), np.complex128)
        for one in (pole, pole.conj()):
            q = np.exp(turn * (one - 1j * frequencies))
            total += q * (1 + q * (4 + q)) / (1 - q) ** _ORDER
        return total

    def analyse(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter a signal.

        Args:
            samples: (N,) the signal, taken as 0 before and after.

        Returns:
            (F, N) the real outputs, each advanced by `delays_samples`: 4 F N bytes.

        Raises:
            ValueError: the signal is empty, not one-dimensional, or not finite.
        """
        samples = as_signal(samples)
        output = np.empty((self.channels, len(samples)), np.float32)
        for first, block in self._filter(samples, _tables(self).analysis):
            start = first * self.hop_samples
            flat = block.reshape(self.channels, -1)[:, : len(samples) - start]
            output[:, start : start + flat.shape[1]] = flat
        return output

    def energies(
        self,
        samples: NDArray[np.float32],
        *,
        window: EnergyWindow = "raised_cosine",
        both_ways: bool = False,
    ) -> NDArray[np.float32]:
        """Energy of each channel in each frame: a cochleagram.

        E[t, c] = sum_n w[n] y_c[t hop + n]^2, over the 20 ms of frame t.

        Args:
            samples: (N,) the signal.
            window: the weights w: `raised_cosine` is (1 - cos) / 2, of which two neighbours sum to
                one, so that the energies of a channel add up to its energy; `rectangular` is 1.
            both_ways: take the outputs that `resynthesise` weights, filtered forwards and then
                backwards, instead of those of `analyse`.

        Returns:
            (T, F) at least 0; T is `frame_count(N)`.

        Raises:
            ValueError: the signal is empty, not one-dimensional, or not finite, or there is no
                such window.

        Convention: Wang's toolbox uses the rectangular window, and the raised cosine in resynthesis
        only, and takes the energies of the outputs of analysis. With the same window in both a mask
        is measured where it is applied: the ideal ratio mask gains 0.005 to 0.01 STOI at 0 dB; with
        the outputs of resynthesis besides, another 0.008.
        """
        if window not in get_args(EnergyWindow):
            raise ValueError(f"no window {window!r}; use {' or '.join(get_args(EnergyWindow))}")
        samples = as_signal(samples)
        frames = frame_count(len(samples), self.sample_rate_hz)
        rising = _rising_half(self.hop_samples)
        weights = np.stack([rising, 1 - rising], axis=1)  # (hop, 2)
        if window == "rectangular":
            weights = np.ones_like(weights)
        halves = np.empty((self.channels, frames + 1, 2), np.float32)
        tables = _tables(self)
        response = tables.resynthesis if both_ways else tables.analysis
        for first, block in self._filter(samples, response):
            np.matmul(block * block, weights, out=halves[:, first : first + block.shape[1]])
        return np.ascontiguousarray((halves[:, :-1, 0] + halves[:, 1:, 1]).T)

    def resynthesise(
        self, samples: NDArray[np.float32], mask: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Weight the channels of a signal frame by frame, and sum them.

        Each channel is filtered forwards and then backwards, so that its phase and delay cancel,
        which is the response |H_c|^2. It is weighted by the mask, faded from frame to frame with
        raised cosines of 20 ms that overlap by half, and the channels are summed. Before the first
        and after the last frame's middle the mask stays as it is there.

            y = sum_c w_c ((G |H_c|^2 / sum_k |H_k|^2) * x)

        G is 1 between the first and the last centre frequency, so that a mask of ones leaves this
        band as it is, and falls to 0 as a raised cosine within 2 b of the outermost channels (with
        the defaults from 50 Hz to 0 Hz). No frequency is amplified.

        Args:
            samples: (N,) the signal.
            mask: (T, F) weights; their range is the caller's.

        Returns:
            (N,).

        Raises:
            ValueError: the signal is empty, not one-dimensional, or not finite, or the mask has
                another shape.

        Sources: Weintraub 1985; Wang and Brown 2006, chapter 1.
        """
        samples, mask = as_signal(samples), np.asarray(mask)
        frames, hop = frame_count(len(samples), self.sample_rate_hz), self.hop_samples
        if mask.shape != (frames, self.channels):
            raise ValueError(
                f"the mask has shape {mask.shape}; a signal of {len(samples)} samples needs "
                f"({frames}, {self.channels}), frames and channels"
            )
        held = np.concatenate([mask[:1], mask, mask[-1:]]).astype(np.float32, copy=False)
        rising = _rising_half(hop)
        output = np.empty((frames + 1, hop), np.float32)
        for first, block in self._filter(samples, _tables(self).resynthesis):
            last = first + block.shape[1]
            begins = np.einsum("cts,tc->ts", block, held[first + 1 : last + 1])
            ends = np.einsum("cts,tc->ts", block, held[first:last])
            output[first:last] = ends + (begins - ends) * rising
        return output.reshape(-1)[: len(samples)]

    def _filter(
        self, samples: NDArray[np.float32], response: NDArray[np.generic]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Give (first hop, outputs (F, hops, hop_samples)) of one block after the other.

        Overlap-save: of each transform the margins at both ends, into which a filter's output wraps
        around, are dropped. Outputs past the end of the signal are 0.
        """
        hop, margin, size = self.hop_samples, self.margin_samples, _block_samples(self)
        hops = frame_count(len(samples), self.sample_rate_hz) + 1
        step = (size - 2 * margin) // hop
        for first in range(0, hops, step):
            count = min(step, hops - first)
            block = np.zeros(size, np.float32)
            start = first * hop - margin
            part = samples[max(0, start) : start + size]
            block[max(0, -start) : max(0, -start) + len(part)] = part
            filtered = fft.irfft(fft.rfft(block) * response, size, axis=1)
            filtered = filtered[:, margin : margin + count * hop]
            filtered[:, max(0, len(samples) - first * hop) :] = 0
            yield first, filtered.reshape(self.channels, count, hop)


@dataclass(frozen=True)
class _Tables:
    analysis: NDArray[np.complex64]  # (F, K), with the advance of each channel
    resynthesis: NDArray[np.float32]  # (F, K), its sum over the channels is 1 in the band


def _block_samples(bank: GammatoneFilterbank) -> int:
    # A second, or as much as leaves most of a block valid: the tables stay in the cache's reach,
    # and a power of two suits the transform.
    return int(2 ** ceil(log2(max(bank.sample_rate_hz, 8 * bank.margin_samples))))


@lru_cache(maxsize=4)
def _tables(bank: GammatoneFilterbank) -> _Tables:
    size = _block_samples(bank)
    frequencies = np.linspace(0.0, bank.sample_rate_hz / 2, size // 2 + 1)  # (K,)
    response = bank.response(frequencies)
    turns = np.outer(bank.delays_samples, frequencies) / bank.sample_rate_hz
    power = np.abs(response) ** 2
    gain = power / power.sum(axis=0) * _passed(bank, frequencies)
    # What rings beyond the margins is small but would wrap around: no block is to be reached by it.
    impulse = fft.irfft(gain, size, axis=1)
    impulse[:, bank.margin_samples + 1 : -bank.margin_samples] = 0
    gain = fft.rfft(impulse, axis=1).real
    analysis = (response * np.exp(2j * np.pi * turns)).astype(np.complex64)
    return _Tables(analysis, gain.astype(np.float32))


def _passed(bank: GammatoneFilterbank, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,) gain under a mask of ones: 1 in the band, and half a raised cosine at either side."""
    low_width = min(bank.low_hz, 2 * float(bank.bandwidths_hz[0]))
    high_width = 2 * float(bank.bandwidths_hz[-1])
    below = (bank.low_hz - frequencies) / low_width
    above = (frequencies - bank.high_hz) / high_width
    outside = np.clip(np.maximum(below, above), 0, 1)
    passed: NDArray[np.float64] = 0.5 + 0.5 * np.cos(np.pi * outside)
    return passed


def _rising_half(hop: int) -> NDArray[np.float32]:
    """The first half of a raised cosine of two hops, which with its mirror image sums to one."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(hop) + 0.5) / hop)).astype(np.float32)
