"""Front ends: from a signal to the energies of its time-frequency units, and back under a mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from squall.audio.frames import FRAME_S, HOP_S, as_signal, frame_count, frame_signal
from squall.audio.gammatone import EnergyWindow, GammatoneFilterbank

__all__ = ["FRONT_ENDS", "FrontEnd", "GammatoneFrontEnd", "StftFrontEnd", "build_front_end"]


class FrontEnd(Protocol):
    """What analyses a signal into T frames of F channels, and applies a mask of that shape to it.

    All front ends share the frames of `squall.audio.frames`; channel 0 is the lowest frequency.
    """

    @property
    def channels(self) -> int:
        """F."""

    @property
    def sample_rate_hz(self) -> int:
        """Of the signals."""

    @property
    def margin_samples(self) -> int:
        """Context that makes the result of a part of a signal equal to that of the whole.

        It is a multiple of the hop. Who cuts a long signal into blocks, at multiples of the hop,
        adds so many samples on each side (where the signal has them) and drops their frames and
        samples afterwards; the difference is then below 1e-4 of the largest value.
        """

    def energies(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Energy of each time-frequency unit.

        A constant offset is energy of the lowest channels, in which a mask then takes it for
        speech; `squall.audio.offset.subtract_mean` takes it away.

        Args:
            samples: (N,) the signal.

        Returns:
            (T, F) at least 0.

        Raises:
            ValueError: the signal is empty, not one-dimensional, or not finite.
        """

    def apply_mask(
        self, samples: NDArray[np.float32], mask: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Make a signal again from the units of another, each weighted.

        Args:
            samples: (N,) the signal, e.g. noisy speech.
            mask: (T, F) the weight of each unit in [0, 1].

        Returns:
            (N,) the masked signal.

        Raises:
            ValueError: the signal is empty, not one-dimensional, or not finite, or the mask has
                another shape or a value outside [0, 1].
        """


@dataclass(frozen=True)
class GammatoneFrontEnd:
    """Cochleagram and its resynthesis: channels as wide as the ear's, on the ERB-rate scale.

    Args:
        channels: F, the number of filters.
        low_hz: centre frequency of the first.
        high_hz: centre frequency of the last, at most half the sampling rate.
        sample_rate_hz: of the signals; a multiple of 100.
        window, both_ways: of the energies, as in `GammatoneFilterbank.energies`, which says what
            others use. By default a mask is measured on the very units that it is applied to.

    Raises:
        ValueError: an argument is out of its range.

    `squall.audio.gammatone` has the definitions and their sources. A mask of ones leaves speech as
    it is, apart from what lies below `low_hz` or above `high_hz`.

    >>> import numpy as np
    >>> front_end = GammatoneFrontEnd()
    >>> front_end.energies(np.ones(16000, np.float32)).shape
    (99, 64)
    """

    channels: int = 64
    low_hz: float = 50.0
    high_hz: float = 8000.0
    sample_rate_hz: int = 16000
    window: EnergyWindow = "raised_cosine"
    both_ways: bool = True

    def __post_init__(self) -> None:
        # Wrong settings are to be found here, not with the first signal.
        self.filterbank.energies(np.zeros(1, np.float32), window=self.window)

    @property
    def filterbank(self) -> GammatoneFilterbank:
        """The filters."""
        return GammatoneFilterbank(self.channels, self.low_hz, self.high_hz, self.sample_rate_hz)

    @property
    def margin_samples(self) -> int:
        """Context on each side of a block, as in `FrontEnd`: 100 ms with the default channels."""
        # A sample is reached by the filters, and by the frame before its own.
        return self.filterbank.margin_samples + self.filterbank.hop_samples

    def energies(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Energy of each channel in each frame, as in `FrontEnd`."""
        return self.filterbank.energies(samples, window=self.window, both_ways=self.both_ways)

    def apply_mask(
        self, samples: NDArray[np.float32], mask: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Filter forwards and backwards, weight and sum, as in `FrontEnd`."""
        samples = as_signal(samples)
        return self.filterbank.resynthesise(samples, _checked(mask, samples, self))


@dataclass(frozen=True)
class StftFrontEnd:
    """Short-time Fourier transform: n_fft / 2 + 1 channels of equal width.

    Frames of 20 ms every 10 ms, with the square root of a raised cosine as window in both
    directions, so that a mask of ones gives the signal back.

    Args:
        n_fft: length of the transform, at least that of a frame; None is the frame's own length,
            320 samples and 161 channels at 16 kHz. Longer ones interpolate between the channels.
        sample_rate_hz: of the signals; a multiple of 100.

    Raises:
        ValueError: an argument is out of its range.

    Source: Griffin and Lim 1984 (weighted overlap-add).

    >>> StftFrontEnd(n_fft=512).channels
    257
    """

    n_fft: int | None = None
    sample_rate_hz: int = 16000

    def __post_init__(self) -> None:
        if self.sample_rate_hz < 100 or self.sample_rate_hz % 100:
            raise ValueError(f"sample_rate_hz is {self.sample_rate_hz}; use a multiple of 100")
        if self._transform_samples < self._frame_samples:
            raise ValueError(f"n_fft is {self.n_fft}; a frame has {self._frame_samples} samples")

    @property
    def channels(self) -> int:
        """F: the bins from 0 Hz to half the sampling rate."""
        return self._transform_samples // 2 + 1

    @property
    def margin_samples(self) -> int:
        """Context on each side of a block, as in `FrontEnd`: one hop."""
        return round(HOP_S * self.sample_rate_hz)

    @property
    def _frame_samples(self) -> int:
        return round(FRAME_S * self.sample_rate_hz)

    @property
    def _transform_samples(self) -> int:
        return self._frame_samples if self.n_fft is None else self.n_fft

    @property
    def _window(self) -> NDArray[np.float32]:
        phase = np.pi * (np.arange(self._frame_samples) + 0.5) / self._frame_samples
        return np.sin(phase).astype(np.float32)  # the root of (1 - cos 2 phase) / 2

    def energies(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """|X|^2 of each frame and bin, as in `FrontEnd`."""
        samples = as_signal(samples)
        spectra = self._transform(samples, before=0)
        energies: NDArray[np.float32] = spectra.real**2 + spectra.imag**2
        return energies

    def apply_mask(
        self, samples: NDArray[np.float32], mask: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Weight the transform, keep its phase, overlap and add, as in `FrontEnd`.

        The first and last 10 ms of the signal lie in one frame only. Another frame is put before
        the first and behind the last, with the same mask as its neighbour: a division by the square
        of the one window would make a click of whatever the mask changes.
        """
        samples = as_signal(samples)
        mask = _checked(mask, samples, self)
        hop = self.margin_samples
        held = np.concatenate([mask[:1], mask, mask[-1:]])  # (T + 2, F)
        spectra = self._transform(samples, before=hop) * held
        frames = fft.irfft(spectra, self._transform_samples, axis=1)[:, : self._frame_samples]
        frames = frames * self._window
        halves = frames.reshape(len(frames), 2, hop)
        signal = halves[1:, 0] + halves[:-1, 1]  # (T + 1, hop), from sample 0
        return np.ascontiguousarray(signal.reshape(-1)[: len(samples)], dtype=np.float32)

    def _transform(self, samples: NDArray[np.float32], *, before: int) -> NDArray[np.complex64]:
        """(T, F) spectra of the frames; with `before` a hop, also of a frame at either end."""
        hop = self.margin_samples
        frames = frame_count(len(samples), self.sample_rate_hz) + 2 * (before // hop)
        cut = frame_signal(
            samples,
            frame_samples=self._frame_samples,
            hop_samples=hop,
            frames=frames,
            before=before,
        )
        spectra: NDArray[np.complex64] = fft.rfft(
            cut * self._window, self._transform_samples, axis=1
        )
        return spectra


FRONT_ENDS: Mapping[str, type[GammatoneFrontEnd] | type[StftFrontEnd]] = MappingProxyType(
    {"gammatone": GammatoneFrontEnd, "stft": StftFrontEnd}
)
"""The front ends by the names used in configs."""


def build_front_end(name: str, **parameters: object) -> FrontEnd:
    """Build a front end from its name and parameters.

    Args:
        name: a key of `FRONT_ENDS`.
        parameters: its arguments; what is not given has its default.

    Raises:
        ValueError: a name, parameter or value that does not exist; the message lists those that do.

    >>> build_front_end("gammatone", channels=32).channels
    32
    >>> build_front_end("gamatone")
    Traceback (most recent call last):
    ValueError: no front end is called 'gamatone'; did you mean 'gammatone'? \
There are: gammatone, stft
    """
    if name not in FRONT_ENDS:
        raise ValueError(f"no front end is called {name!r}{_suggest(name, FRONT_ENDS)}")
    known = [field.name for field in fields(FRONT_ENDS[name])]
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(f"{name} has no parameter {parameter!r}{_suggest(parameter, known)}")
    return FRONT_ENDS[name](**parameters)  # type: ignore[arg-type]  # the class checks the values


def _suggest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = get_close_matches(str(word), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} There are: {', '.join(known)}"


def _checked(
    mask: NDArray[np.float32], samples: NDArray[np.float32], front_end: FrontEnd
) -> NDArray[np.float32]:
    mask = np.asarray(mask, dtype=np.float32)
    needed = (frame_count(len(samples), front_end.sample_rate_hz), front_end.channels)
    if mask.shape != needed:
        raise ValueError(
            f"the mask has shape {mask.shape}; a signal of {len(samples)} samples needs {needed}, "
            "frames and channels"
        )
    # Written so that NaN fails.
    inside = (mask >= 0) & (mask <= 1)
    if not inside.all():
        frame, channel = np.unravel_index(int(np.argmin(inside)), mask.shape)
        raise ValueError(
            f"the mask is {mask[frame, channel]:.6g} in frame {frame}, channel {channel}; "
            "it must be 0 to 1"
        )
    return mask
