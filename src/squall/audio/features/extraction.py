"""The complementary feature set: several features side by side, with deltas, smoothed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from squall.audio.features.ams import AMS_DIMENSIONS, amplitude_modulation_spectrum
from squall.audio.features.cochleagram import GAMMATONE_DIMENSIONS, gammatone_energies
from squall.audio.features.deltas import regression_deltas
from squall.audio.features.mfcc import MFCC_DIMENSIONS, mel_cepstrum
from squall.audio.features.rasta_plp import RASTA_PLP_DIMENSIONS, rasta_plp
from squall.audio.features.smoothing import arma
from squall.audio.features.snr import SNR_DIMENSIONS, snr
from squall.audio.frames import as_signal, whole_hz
from squall.audio.level import active_rms, frame_powers
from squall.audio.offset import subtract_mean

__all__ = [
    "DEFAULT_SETS",
    "FEATURE_SETS",
    "MARGIN_S",
    "FeatureSet",
    "LevelOver",
    "extract",
    "feature_dimensions",
    "level_gain",
]

LevelOver = Literal["whole", "active"]


@dataclass(frozen=True)
class FeatureSet:
    """One kind of feature.

    Args:
        function: (samples (N,), sample_rate_hz) -> (T, dimensions).
        dimensions: how many values it gives per frame.
    """

    function: Callable[[NDArray[np.float32], int], NDArray[np.float32]]
    dimensions: int


FEATURE_SETS: dict[str, FeatureSet] = {
    "ams": FeatureSet(amplitude_modulation_spectrum, AMS_DIMENSIONS),
    "rasta_plp": FeatureSet(rasta_plp, RASTA_PLP_DIMENSIONS),
    "mfcc": FeatureSet(mel_cepstrum, MFCC_DIMENSIONS),
    "gammatone": FeatureSet(gammatone_energies, GAMMATONE_DIMENSIONS),
    "snr": FeatureSet(snr, SNR_DIMENSIONS),
}

DEFAULT_SETS = ("ams", "rasta_plp", "mfcc", "gammatone")

MARGIN_S = 2.0
"""Seconds to add on each side of a block so that its features are those of the whole file.

The slowest memory is RASTA's pole, 0.94 per frame: what lies 2 s back counts 4e-6; `snr` remembers
1.6 s. Deltas and ARMA reach 6 frames ahead. Features differ by less than 1e-3 of their standard
deviation if the block starts at a multiple of the hop and both calls get the same `gain`.
"""


def extract(
    samples: NDArray[np.float32],
    sets: Sequence[str] = DEFAULT_SETS,
    *,
    deltas: bool = True,
    arma_order: int = 2,
    level_rms: float = 0.05,
    level_over: LevelOver = "whole",
    gain: float | None = None,
    remove_mean: bool | None = None,
    sample_rate_hz: int = 16000,
) -> NDArray[np.float32]:
    """Features of a signal: the sets side by side, then their deltas, then ARMA smoothing.

    Args:
        samples: (N,) the signal.
        sets: names of `FEATURE_SETS`, in the order of the columns.
        deltas: whether to append deltas of all columns.
        arma_order: order of the smoothing; 0 for none.
        level_rms: the RMS to which the signal is scaled first, positive.
        level_over: what that RMS is of, as in `level_gain`.
        gain: a factor to use instead; for blocks of a file, `level_gain` of the whole file.
        remove_mean: take the mean of the samples away first: a constant offset counts in the level,
            and with it |x| of the AMS is no envelope. None does so unless a gain is given: from
            blocks of a file, the mean of the whole file is to be taken before.
        sample_rate_hz: its sampling rate.

    Returns:
        (T, D) float32 with T = frame_count(N) and D = feature_dimensions(sets, deltas=deltas);
        246 for the defaults. Not normalised, without context.

    Raises:
        ValueError: samples are not (N,), empty, or not finite; the rate is not a whole number; a
            set is unknown or named twice, or none is given; the gain or the level is not positive;
            the order is negative.

    Source: Wang, Narayanan, Wang 2014; Wang, Han, Wang 2013.
    """
    functions = [FEATURE_SETS[name].function for name in _checked_sets(sets)]
    samples = as_signal(samples)
    if gain is None if remove_mean is None else remove_mean:
        samples = subtract_mean(samples)
    factor = level_gain(samples, level_rms, over=level_over) if gain is None else gain
    if not 0.0 < factor < np.inf:
        raise ValueError(f"the gain must be positive and finite, not {factor}")
    levelled = (samples.astype(np.float64) * factor).astype(np.float32)
    rate_hz = whole_hz(sample_rate_hz)
    columns = np.concatenate([each(levelled, rate_hz) for each in functions], axis=1)
    if deltas:
        columns = np.concatenate([columns, regression_deltas(columns)], axis=1)
    return arma(columns, arma_order)


def level_gain(
    samples: NDArray[np.float32], level_rms: float = 0.05, *, over: LevelOver = "whole"
) -> float:
    """The factor that brings a signal to an RMS; 1 for digital silence.

    Args:
        samples: (N,) the signal.
        level_rms: the RMS wanted, positive.
        over: what it is the RMS of, the `whole` signal, or its `active` frames as
            `squall.audio.level.active_rms` finds them, which neither silence nor clicks change.

    Raises:
        ValueError: samples are not (N,), empty, or not finite, the level is not positive, or `over`
            is unknown.
    """
    if not 0.0 < level_rms < np.inf:
        raise ValueError(f"the level must be a positive RMS, not {level_rms}")
    if over not in ("whole", "active"):
        raise ValueError(f"over is {over!r}: use 'whole' or 'active'")
    signal = as_signal(samples)
    if over == "active":
        rms = active_rms(frame_powers(signal))
    else:
        rms = float(np.sqrt(np.mean(signal.astype(np.float64) ** 2)))
    return level_rms / rms if rms > 0.0 else 1.0


def feature_dimensions(sets: Sequence[str] = DEFAULT_SETS, *, deltas: bool = True) -> int:
    """How many columns `extract` gives.

    Raises:
        ValueError: a set is unknown, named twice, or none is given.

    Example:
        >>> feature_dimensions(), feature_dimensions(["mfcc"], deltas=False)
        (246, 31)
    """
    dimensions = sum(FEATURE_SETS[name].dimensions for name in _checked_sets(sets))
    return 2 * dimensions if deltas else dimensions


def _checked_sets(sets: Sequence[str]) -> tuple[str, ...]:
    known = ", ".join(FEATURE_SETS)
    names = (sets,) if isinstance(sets, str) else tuple(sets)
    if not names:
        raise ValueError(f"no feature set is given; choose from {known}")
    for name in names:
        if name not in FEATURE_SETS:
            raise ValueError(f"unknown feature set {name!r}; choose from {known}")
    if len(set(names)) < len(names):
        raise ValueError(f"a feature set is named twice: {', '.join(names)}")
    return names
