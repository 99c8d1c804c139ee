"""Quality and intelligibility of enhanced speech against its clean original: STOI, PESQ, SI-SDR.

A signal that a metric is not defined for has the score NaN and a reason in words: a corpus is
scored to its end, and what was left out of a mean can be named. Only wrong calls are errors.

STOI needs `pystoi` and PESQ needs `pesq`, both in `pip install 'squall[enhance]'`.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.speech_signals import (
    Score,
    as_signals,
    finite_score,
    import_package,
    unfit,
)

__all__ = ["SI_SDR_LIMIT_DB", "score_pesq", "score_si_sdr", "score_stoi"]

SI_SDR_LIMIT_DB = 100.0
"""Largest absolute SI-SDR reported; beyond it the rounding of 16-bit samples is measured."""

# P.862's reference code holds 50 utterances in fixed arrays and writes beyond them without a check.
# Two of its utterances are at least 404 ms apart, so that no shorter signal can have a 51st.
_PESQ_ALWAYS_SAFE_S = 20.0
_PESQ_UTTERANCES = 50
_PESQ_WINDOW_S = 0.004
_PESQ_CLICK_WINDOWS = 4
_PESQ_GAP_WINDOWS = 50
_PESQ_UTTERANCE_WINDOWS = 50


def score_stoi(
    *,
    reference: ArrayLike,
    estimate: ArrayLike,
    sample_rate_hz: int = 16000,
    extended: bool = False,
    remove_mean: bool = True,
) -> Score:
    """Short-time objective intelligibility: correlation of short-time third-octave envelopes.

    Args:
        reference: (N,) the clean speech.
        estimate: (N,) the noisy or enhanced speech, aligned with it.
        sample_rate_hz: of both; other rates than 10 kHz are resampled inside.
        extended: whether to give ESTOI, which suits maskers that change quickly.
        remove_mean: take the mean of each signal away first. With a constant offset in the
            reference its pauses are within 40 dB of its loudest frame, and are not left out.

    Returns:
        A score up to 1, the higher the better; near 0 and also slightly below where the signals
        have nothing in common. NaN where the reference has fewer than 30 frames (0.4 s) within
        40 dB of its loudest one, a signal is silent, or a sample is not finite.

    Raises:
        ValueError: the signals are not vectors of one length, or the rate is not a positive whole
            number.
        ImportError: `pystoi` is not installed.

    Convention: `pystoi`, which follows the authors' code; silent frames are removed first. Removing
    the mean is ours: without it an offset of 0.003 in the reference takes up to 0.18 off. Where
    there is too little speech that package gives 1e-5 and a warning; here that is NaN.

    Source: Taal, Hendriks, Heusdens, Jensen 2011; Jensen, Taal 2016 for the extended one.
    """
    clean, enhanced = as_signals(reference, estimate)
    if not (sample_rate_hz > 0 and float(sample_rate_hz).is_integer()):
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; it must be a whole number above 0")
    if reason := unfit(reference=clean, estimate=enhanced):
        return Score(math.nan, reason)
    if remove_mean:
        clean, enhanced = clean - clean.mean(), enhanced - enhanced.mean()
    # STOI does not depend on the levels, but pystoi adds 2e-16 to what it divides by.
    clean, enhanced = clean / np.abs(clean).max(), enhanced / np.abs(enhanced).max()
    pystoi = import_package("pystoi", "STOI", "enhance")
    too_short = Score(math.nan, "less than 0.4 s of speech")
    # A frame of 256 samples at 10 kHz, below which pystoi fails instead of warning.
    if len(clean) < 0.03 * sample_rate_hz:
        return too_short
    # pystoi adds rounding-level noise from numpy's global generator to the extended measure.
    state = np.random.get_state()
    np.random.seed(0)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Not enough STFT frames")
            value = float(pystoi.stoi(clean, enhanced, int(sample_rate_hz), extended=extended))
    except RuntimeWarning:
        return too_short
    finally:
        np.random.set_state(state)
    return finite_score(value, "STOI")


def score_pesq(
    *,
    reference: ArrayLike,
    estimate: ArrayLike,
    sample_rate_hz: int = 16000,
    mode: Literal["nb", "wb"] = "wb",
    remove_mean: bool = True,
) -> Score:
    """Perceptual evaluation of speech quality, as a mean opinion score (MOS-LQO).

    Args:
        reference: (N,) the clean speech.
        estimate: (N,) the noisy or enhanced speech, aligned with it.
        sample_rate_hz: 16000, or 8000 in narrow band; resampling is the caller's task.
        mode: `nb` narrow band (P.862, 300 to 3400 Hz), `wb` wide band (P.862.2, 50 to 7000 Hz).
        remove_mean: take the mean of each signal away first. PESQ's filters let no constant offset
            through, but the package scales the largest magnitude to 16 bits before, and a large
            offset leaves few of them to the speech.

    Returns:
        A score from 1.0 to 4.55 (nb) or 4.64 (wb), the higher the better. NaN where the signal is
        shorter than 0.25 s, PESQ finds no speech in it, a signal is silent or a sample not finite,
        and where a signal of more than 20 s may have more than 50 utterances.

    Raises:
        ValueError: the signals are not vectors of one length; unknown mode; a rate PESQ has not.
        ImportError: `pesq` is not installed.

    Convention: both modes give MOS-LQO, never the raw P.862 score of -0.5 to 4.5: narrow band is
    mapped by P.862.1, 0.999 + 4 / (1 + exp(-1.4945 x + 4.6607)), wide band by P.862.2,
    0.999 + 4 / (1 + exp(-1.3669 x + 3.8224)). The two scales are not comparable. Narrow band is
    computed at the rate given: at 16 kHz the signals pass the filter of a telephone receiver (IRS),
    they are not brought to 8 kHz first, which gives slightly other scores. Older papers report the
    raw score. Level is normalised inside. P.862's code keeps 50 utterances (stretches of 0.2 s of
    speech and more, 0.2 s apart) and overwrites its memory beyond, which ends in a wrong score or a
    crash: signals that may have more are refused here.

    Source: ITU-T P.862 (2001), P.862.1 (2003), P.862.2 (2007), in the `pesq` package.
    """
    clean, enhanced = as_signals(reference, estimate)
    _check_pesq(mode, sample_rate_hz)
    if reason := unfit(reference=clean, estimate=enhanced):
        return Score(math.nan, reason)
    if len(clean) < 0.25 * sample_rate_hz:
        return Score(math.nan, "shorter than 0.25 s")
    if _may_overflow(clean, sample_rate_hz):
        return Score(math.nan, "too many utterances for PESQ: score shorter stretches")
    if remove_mean:
        clean, enhanced = clean - clean.mean(), enhanced - enhanced.mean()
    pesq = import_package("pesq", "PESQ", "enhance")
    try:
        value = float(pesq.pesq(sample_rate_hz, clean, enhanced, mode))
    except pesq.NoUtterancesError:
        return Score(math.nan, "PESQ finds no speech")
    except (pesq.PesqError, ValueError) as error:
        return Score(math.nan, f"PESQ fails: {_message(error)}")
    return finite_score(value, "PESQ")


def score_si_sdr(
    *, reference: ArrayLike, estimate: ArrayLike, sample_rate_hz: int = 16000
) -> Score:
    """Scale-invariant signal-to-distortion ratio in dB.

        10 log10(|a s|^2 / |a s - x|^2)   with a = <x, s> / |s|^2

    where s is the reference and x the estimate, both without their means.

    Args:
        reference: (N,) the clean speech.
        estimate: (N,) the noisy or enhanced speech, aligned with it.
        sample_rate_hz: not used; here so that all metrics are called alike.

    Returns:
        Decibels, the higher the better, from -100 to 100. NaN where a signal is silent (constant)
        or a sample is not finite.

    Raises:
        ValueError: the signals are not vectors of one length.

    Convention: computed in float64 and held to +-100 dB (`SI_SDR_LIMIT_DB`): a perfect estimate has
    +inf and one orthogonal to the reference -inf, which no mean survives, and beyond 100 dB one
    measures the rounding of the samples. Others add a small number to both energies, which gives a
    value that depends on level. Means are removed, as the source does; not all others do so.

    Source: Le Roux, Wisdom, Erdogan, Hershey 2019, equations 3 to 5.

    >>> score_si_sdr(reference=[1.0, -1.0, 1.0, -1.0], estimate=[3.0, -1.0, 1.0, -3.0]).value
    6.020599913279623
    """
    clean, enhanced = as_signals(reference, estimate)
    if reason := unfit(reference=clean, estimate=enhanced):
        return Score(math.nan, reason)
    # Scaled first, so that the squares of very quiet signals do not underflow.
    s, x = (signal / np.abs(signal).max() for signal in (clean, enhanced))
    s, x = s - s.mean(), x - x.mean()
    target = (x @ s) / (s @ s) * s
    distortion = target - x
    signal_energy, distortion_energy = float(target @ target), float(distortion @ distortion)
    if distortion_energy == 0.0:
        return Score(SI_SDR_LIMIT_DB)
    if signal_energy == 0.0:
        return Score(-SI_SDR_LIMIT_DB)
    ratio_db = 10.0 * (math.log10(signal_energy) - math.log10(distortion_energy))
    return Score(max(-SI_SDR_LIMIT_DB, min(SI_SDR_LIMIT_DB, ratio_db)))


def _check_pesq(mode: str, sample_rate_hz: int) -> None:
    if mode not in ("nb", "wb"):
        raise ValueError(f"unknown PESQ mode {mode!r}; use nb or wb")
    rates = (16000,) if mode == "wb" else (8000, 16000)
    if sample_rate_hz not in rates:
        allowed = " or ".join(str(rate) for rate in rates)
        raise ValueError(f"PESQ {mode} takes {allowed} Hz, not {sample_rate_hz}: resample first")


def _may_overflow(samples: NDArray[np.float64], sample_rate_hz: int) -> bool:
    """Whether P.862's code may find more utterances in the reference than it has room for."""
    if len(samples) <= _PESQ_ALWAYS_SAFE_S * sample_rate_hz:
        return False
    # The margin is for the filter that P.862 puts in front of its speech detector.
    return _most_utterances(samples, sample_rate_hz) > 0.8 * _PESQ_UTTERANCES


def _most_utterances(samples: NDArray[np.float64], sample_rate_hz: int) -> int:
    """The most utterances that P.862 can find, whatever level its detector takes for speech."""
    window = round(_PESQ_WINDOW_S * sample_rate_hz)
    # Its filters let no constant offset through.
    windows = (samples - samples.mean())[: len(samples) // window * window].reshape(-1, window)
    energy = np.square(windows).mean(axis=1)
    levels = energy.max() * 10.0 ** np.arange(-4.0, 0.0, 0.1)
    return max(_count_utterances(energy > level) for level in levels)


def _count_utterances(active: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], active, [False])).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    kept = ends - starts > _PESQ_CLICK_WINDOWS
    starts, ends = starts[kept], ends[kept]
    if not len(starts):
        return 0
    apart = starts[1:] - ends[:-1] > _PESQ_GAP_WINDOWS
    starts, ends = starts[np.append(True, apart)], ends[np.append(apart, True)]
    return int(np.count_nonzero(ends - starts >= _PESQ_UTTERANCE_WINDOWS))


def _message(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)
