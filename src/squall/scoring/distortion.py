"""Distortion of enhanced speech against its clean original: SDR, segmental SNR, spectra.

As in `squall.scoring.speech_quality`, a signal that a measure is not defined for has NaN and a
reason. The levels of both signals count, but in SDR.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squall.scoring.speech_quality import SI_SDR_LIMIT_DB, score_pesq
from squall.scoring.speech_signals import (
    Score,
    Signal,
    as_signals,
    finite_score,
    import_package,
    unfit,
)

__all__ = [
    "score_composite",
    "score_llr",
    "score_log_spectral_distance",
    "score_sdr",
    "score_segmental_snr",
    "score_wss",
]

# Frames of all measures of Loizou's book: 30 ms, three quarters shared with the next.
_FRAME_S = 0.030
_SHARED = 4
_SNR_LIMITS_DB = (-10.0, 35.0)
_KEPT = 0.95  # of the frames in LLR and WSS: the worst 5 % are left out
_EPS = float(np.finfo(np.float64).eps)

_LSD_FRAME_S = 0.032
_LSD_RANGE_DB = 50.0

_SDR_FILTER = 512

# Critical bands of WSS: centres and widths in Hz (Klatt 1982, as tabulated by Loizou).
_CENTRES_HZ = (
    50, 120, 190, 260, 330, 400, 470, 540, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30,
    1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17,
    3597.63,
)  # fmt: skip
_WIDTHS_HZ = (
    70, 70, 70, 70, 70, 70, 70, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423,
    153.823, 168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465,
    346.136,
)  # fmt: skip
_PEAK_DB = 20.0  # Klatt's weight of the distance to the largest peak
_NEAR_PEAK_DB = 1.0  # and to the nearest


def score_sdr(
    *,
    reference: ArrayLike,
    estimate: ArrayLike,
    sample_rate_hz: int = 16000,
    remove_mean: bool = True,
) -> Score:
    """Signal-to-distortion ratio of BSS-eval in dB: what a filter of 512 taps explains is signal.

        10 log10(|P x|^2 / |x - P x|^2)

    where P projects the estimate x on the reference and its delays of 0 to 511 samples.

    Args:
        reference: (N,) the clean speech.
        estimate: (N,) the noisy or enhanced speech, aligned with it.
        sample_rate_hz: not used; here so that all scores are called alike.
        remove_mean: take the mean of each signal away first.

    Returns:
        Decibels, the higher the better, from -100 to 100. NaN where a signal has fewer than 1,024
        samples, is silent (constant), or a sample is not finite.

    Raises:
        ValueError: the signals are not vectors of one length.
        ImportError: `fast-bss-eval` is not installed.

    Convention: below twice the filter's length a filter explains nearly anything: no score.

    Source: Vincent, Gribonval, Fevotte 2006, with one source; computed by `fast-bss-eval`
    (Scheibler 2022).
    """
    clean, enhanced = as_signals(reference, estimate)
    if reason := unfit(reference=clean, estimate=enhanced):
        return Score(math.nan, reason)
    if len(clean) < 2 * _SDR_FILTER:
        return Score(math.nan, f"shorter than {2 * _SDR_FILTER} samples")
    if remove_mean:
        clean, enhanced = clean - clean.mean(), enhanced - enhanced.mean()
    clean, enhanced = clean / np.abs(clean).max(), enhanced / np.abs(enhanced).max()
    package = import_package("fast_bss_eval", "SDR", "enhance")
    # Without a limit it fails on a perfect estimate (findings/fast_bss_eval_numpy.sh).
    ratio_db = package.sdr(
        clean[None], enhanced[None], filter_length=_SDR_FILTER, clamp_db=SI_SDR_LIMIT_DB
    )
    return finite_score(float(np.squeeze(ratio_db)), "SDR")


def score_segmental_snr(
    *,
    reference: ArrayLike,
    estimate: ArrayLike,
    sample_rate_hz: int = 16000,
    remove_mean: bool = True,
) -> Score:
    """Segmental SNR in dB: the mean over frames of each frame's SNR, held to -10 to 35 dB.

        mean_l clip(10 log10(sum_n s_l(n)^2 / sum_n (s_l(n) - x_l(n))^2), -10, 35)

    Args:
        reference: (N,) the clean speech s.
        estimate: (N,) the noisy or enhanced speech x, aligned with it and of the same level.
        sample_rate_hz: of both.
        remove_mean: take the mean of each signal away first.

    Returns:
        Decibels, the higher the better. NaN where a signal is shorter than 37.5 ms (two frames of
        30 ms, 7.5 ms apart, the last of which is left out), silent, or a sample is not finite.

    Raises:
        ValueError: the signals are not vectors of one length.

    Convention: Hann windows of 30 ms every 7.5 ms; the last whole frame is left out, as the source
    does. Frames in which nobody speaks count, with -10 dB.

    Source: Hansen, Pellom 1998; Loizou, Speech Enhancement, 2nd edition 2013, section 11.1.
    """
    clean, enhanced = as_signals(reference, estimate)
    if reason := _unframed(clean, enhanced, sample_rate_hz):
        return Score(math.nan, reason)
    if remove_mean:
        clean, enhanced = clean - clean.mean(), enhanced - enhanced.mean()
    signal = np.square(_frames(clean, sample_rate_hz)).sum(axis=1)
    noise = np.square(_frames(clean - enhanced, sample_rate_hz)).sum(axis=1)
    ratios_db = 10 * np.log10(signal / (noise + _EPS) + _EPS)
    return finite_score(float(np.clip(ratios_db, *_SNR_LIMITS_DB).mean()), "segmental SNR")


def score_log_spectral_distance(
    *,
    reference: ArrayLike,
    estimate: ArrayLike,
    sample_rate_hz: int = 16000,
    remove_mean: bool = True,
) -> Score:
    """Log-spectral distance in dB: root mean square over frequency, mean over frames.

        mean_l sqrt(mean_k (L S(l,k) - L X(l,k))^2)   with L S = max(20 log10 |S|, top - 50)

    where top is the largest 20 log10 |S| of that signal.

    Args:
        reference: (N,) the clean speech.
        estimate: (N,) the noisy or enhanced speech, aligned with it and of the same level.
        sample_rate_hz: of both.
        remove_mean: take the mean of each signal away first.

    Returns:
        Decibels, the lower the better, 0 for equal signals. NaN where a signal is shorter than
        one frame of 32 ms, silent, or a sample is not finite.

    Raises:
        ValueError: the signals are not vectors of one length.

    Convention: Hann windows of 32 ms every 8 ms. Without the range of 50 dB what lies far below the
    speech, rounding included, would decide the distance.

    Source: Cohen, Gannot 2008, Springer Handbook of Speech Processing, chapter 44; Gray, Markel
    1976 without the range.
    """
    clean, enhanced = as_signals(reference, estimate)
    if reason := unfit(reference=clean, estimate=enhanced):
        return Score(math.nan, reason)
    frame = round(_LSD_FRAME_S * sample_rate_hz)
    if len(clean) < frame:
        return Score(math.nan, "shorter than 32 ms")
    if remove_mean:
        clean, enhanced = clean - clean.mean(), enhanced - enhanced.mean()
    window = np.hanning(frame + 1)[:-1]
    levels = [_levels_db(signal, window, frame // _SHARED) for signal in (clean, enhanced)]
    distances = np.sqrt(np.square(levels[0] - levels[1]).mean(axis=1))
    return finite_score(float(distances.mean()), "log-spectral distance")


def score_llr(
    *,
    reference: ArrayLike,
    estimate: ArrayLike,
    sample_rate_hz: int = 16000,
    remove_mean: bool = True,
) -> Score:
    """Log-likelihood ratio of the linear predictors of both signals, a part of the composite.

        mean_l ln(a_x' R_s a_x / a_s' R_s a_s)

    where R_s is the autocorrelation of a clean frame, and a_s and a_x predict the clean and the
    enhanced frame (order 16, or 10 below 10 kHz).

    Args:
        reference: (N,) the clean speech.
        estimate: (N,) the noisy or enhanced speech, aligned with it.
        sample_rate_hz: of both.
        remove_mean: take the mean of each signal away first.

    Returns:
        A distance, the lower the better, 0 for equal signals. NaN as in `score_segmental_snr`.

    Raises:
        ValueError: the signals are not vectors of one length.

    Convention: the mean of the lowest 95 % of the frames. Not held to 2 in a frame, as it is in the
    measure on its own: the composite was fitted to it without that.

    Source: Quackenbush, Barnwell, Clements 1988; Loizou 2013, section 11.2; Hu, Loizou 2008.
    """
    clean, enhanced = as_signals(reference, estimate)
    if reason := _unframed(clean, enhanced, sample_rate_hz):
        return Score(math.nan, reason)
    if remove_mean:
        clean, enhanced = clean - clean.mean(), enhanced - enhanced.mean()
    order = 10 if sample_rate_hz < 10000 else 16
    lags, predictor = _predict(_frames(clean + _EPS, sample_rate_hz), order)
    _, other = _predict(_frames(enhanced + _EPS, sample_rate_hz), order)
    places = np.abs(np.subtract.outer(np.arange(order + 1), np.arange(order + 1)))
    of_clean = lags[:, places]  # (T, order + 1, order + 1), each a Toeplitz matrix
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = _energies(of_clean, other) / _energies(of_clean, predictor)
    ratios = np.where(np.isnan(ratios), np.inf, ratios)
    ratios[ratios <= 0] = 1000.0  # as the source does
    return finite_score(_best_mean(np.log(ratios)), "LLR")


def score_wss(
    *,
    reference: ArrayLike,
    estimate: ArrayLike,
    sample_rate_hz: int = 16000,
    remove_mean: bool = True,
) -> Score:
    """Weighted spectral slope distance, a part of the composite.

        mean_l sum_j W(j) (slope_s(j) - slope_x(j))^2 / sum_j W(j)

    over the slopes in dB between 25 critical bands up to 3.6 kHz, with Klatt's weights: the larger,
    the nearer a band is to the highest and to the nearest peak.

    Args:
        reference: (N,) the clean speech.
        estimate: (N,) the noisy or enhanced speech, aligned with it.
        sample_rate_hz: of both; 8000 or more.
        remove_mean: take the mean of each signal away first.

    Returns:
        A distance, the lower the better, 0 for equal signals. NaN as in `score_segmental_snr`.

    Raises:
        ValueError: the signals are not vectors of one length, or the rate is below 8000.

    Convention: the mean of the lowest 95 % of the frames. The nearest peak is taken one band before
    it where the spectrum rises: so does the code that all published values come from.

    Source: Klatt 1982; Loizou 2013, section 11.2.
    """
    clean, enhanced = as_signals(reference, estimate)
    if sample_rate_hz < 8000:
        raise ValueError(f"WSS takes 8000 Hz or more, not {sample_rate_hz}: resample first")
    if reason := _unframed(clean, enhanced, sample_rate_hz):
        return Score(math.nan, reason)
    if remove_mean:
        clean, enhanced = clean - clean.mean(), enhanced - enhanced.mean()
    bands = [_bands_db(signal + _EPS, sample_rate_hz) for signal in (clean, enhanced)]
    slopes = [np.diff(levels, axis=1) for levels in bands]
    weights = (_weights(bands[0], slopes[0]) + _weights(bands[1], slopes[1])) / 2
    squares = np.square(slopes[0] - slopes[1])
    return finite_score(_best_mean((weights * squares).sum(1) / weights.sum(1)), "WSS")


def score_composite(
    *,
    reference: ArrayLike,
    estimate: ArrayLike,
    sample_rate_hz: int = 16000,
    remove_mean: bool = True,
    pesq: Score | None = None,
) -> dict[str, Score]:
    """The composite measures of Hu and Loizou, which estimate listeners' ratings from 1 to 5.

        CSIG = 3.093 - 1.029 LLR + 0.603 PESQ - 0.009 WSS
        CBAK = 1.634 + 0.478 PESQ - 0.007 WSS + 0.063 segSNR
        COVL = 1.594 + 0.805 PESQ - 0.512 LLR - 0.007 WSS

    Args:
        reference: (N,) the clean speech.
        estimate: (N,) the noisy or enhanced speech, aligned with it and of the same level.
        sample_rate_hz: 16000 or 8000.
        remove_mean: take the mean of each signal away first.
        pesq: what `score_pesq` gave for these signals, wide band at 16 kHz and narrow band at
            8 kHz; None computes it.

    Returns:
        `csig` (distortion of the speech), `cbak` (intrusiveness of the background) and `covl`
        (overall), each held to 1 to 5, the higher the better; NaN where a part of it is.

    Raises:
        ValueError: the signals are not vectors of one length; another rate.
        ImportError: `pesq` is not installed.

    Convention: at 16 kHz the PESQ is wide-band MOS-LQO, as in the tables of the field (VoiceBank
    with DEMAND), although the measures were fitted at 8 kHz to raw P.862 scores, which are taken
    there.

    Source: Hu, Loizou 2008, "Evaluation of objective quality measures for speech enhancement".
    """
    if sample_rate_hz not in (8000, 16000):
        raise ValueError(f"composites take 8000 or 16000 Hz, not {sample_rate_hz}: resample first")
    wide = sample_rate_hz == 16000
    clean, enhanced = as_signals(reference, estimate)
    if pesq is None:
        pesq = score_pesq(
            reference=clean,
            estimate=enhanced,
            sample_rate_hz=sample_rate_hz,
            mode="wb" if wide else "nb",
            remove_mean=remove_mean,
        )
    parts = [pesq if wide else _raw_pesq(pesq)]
    parts += [
        score(
            reference=clean,
            estimate=enhanced,
            sample_rate_hz=sample_rate_hz,
            remove_mean=remove_mean,
        )
        for score in (score_llr, score_wss, score_segmental_snr)
    ]
    if reason := next((part.reason for part in parts if not part.defined), ""):
        return dict.fromkeys(("csig", "cbak", "covl"), Score(math.nan, reason))
    mos, llr, wss, snr = (part.value for part in parts)
    values = {
        "csig": 3.093 - 1.029 * llr + 0.603 * mos - 0.009 * wss,
        "cbak": 1.634 + 0.478 * mos - 0.007 * wss + 0.063 * snr,
        "covl": 1.594 + 0.805 * mos - 0.512 * llr - 0.007 * wss,
    }
    return {name: Score(min(max(value, 1.0), 5.0)) for name, value in values.items()}


def _raw_pesq(pesq: Score) -> Score:
    """The raw P.862 score of a narrow-band MOS-LQO: P.862.1 the other way round."""
    if not pesq.defined:
        return pesq
    return Score((4.6607 - math.log(4.0 / (pesq.value - 0.999) - 1.0)) / 1.4945)


def _unframed(clean: Signal, enhanced: Signal, sample_rate_hz: int) -> str:
    """Why there are no frames of both signals, or an empty text."""
    if reason := unfit(reference=clean, estimate=enhanced):
        return reason
    return "" if _frame_count(len(clean), sample_rate_hz) else "shorter than 37.5 ms"


def _frame_count(samples: int, sample_rate_hz: int) -> int:
    """Whole frames without the last one."""
    frame = round(_FRAME_S * sample_rate_hz)
    return max(0, (samples - frame) // (frame // _SHARED))


def _frames(samples: Signal, sample_rate_hz: int) -> NDArray[np.float64]:
    """(T, 30 ms) under a Hann window whose ends are above 0."""
    frame = round(_FRAME_S * sample_rate_hz)
    windows = np.lib.stride_tricks.sliding_window_view(samples, frame)[:: frame // _SHARED]
    hann = np.hanning(frame + 2)[1:-1]
    framed: NDArray[np.float64] = windows[: _frame_count(len(samples), sample_rate_hz)] * hann
    return framed


def _levels_db(samples: Signal, window: Signal, hop: int) -> NDArray[np.float64]:
    """Log magnitudes (T, K) of the short-time spectra, 50 dB below the largest at the least."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, len(window))[::hop]
    power = np.square(np.abs(np.fft.rfft(frames * window)))
    floor = power.max() * 10 ** (-_LSD_RANGE_DB / 10)
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, max(floor, 1e-300)))
    return levels


def _predict(frames: NDArray[np.float64], order: int) -> tuple[NDArray[np.float64], ...]:
    """Autocorrelation (T, order + 1) and linear predictor (T, order + 1) of each frame.

    Levinson-Durbin for all frames at once.
    """
    length = frames.shape[1]
    lags = np.stack(
        [np.einsum("tn,tn->t", frames[:, : length - k], frames[:, k:]) for k in range(order + 1)], 1
    )
    predictor = np.zeros_like(lags)
    predictor[:, 0] = 1.0
    error = lags[:, 0].copy()
    for step in range(1, order + 1):
        rest = np.einsum("tk,tk->t", predictor[:, :step], lags[:, step:0:-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            reflection = np.where(error == 0.0, -np.inf, -rest / error)
            predictor[:, 1 : step + 1] += (
                reflection[:, None] * predictor[:, step - 1 :: -1][:, :step]
            )
        error *= 1.0 - reflection**2
    return lags, predictor


def _energies(matrices: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    energies: NDArray[np.float64] = np.einsum("ti,tij,tj->t", vectors, matrices, vectors)
    return energies


def _best_mean(distances: NDArray[np.float64]) -> float:
    """Mean of the lowest 95 %."""
    kept = np.sort(distances)[: round(_KEPT * len(distances))]
    return float(kept.mean())


def _bands_db(samples: Signal, sample_rate_hz: int) -> NDArray[np.float64]:
    """Levels (T, 25) of the critical bands, at least -100 dB."""
    frames = _frames(samples, sample_rate_hz)
    bins = 2 ** math.ceil(math.log2(2 * frames.shape[1])) // 2
    power = np.square(np.abs(np.fft.rfft(frames, 2 * bins)[:, :bins]))
    widths = np.array(_WIDTHS_HZ)
    per_hz = bins / (sample_rate_hz / 2)
    centres = np.floor(np.array(_CENTRES_HZ) * per_hz)
    offsets = (np.arange(bins) - centres[:, None]) / (widths * per_hz)[:, None]
    filters = np.exp(-11 * offsets**2 + np.log(widths[0] / widths)[:, None])
    filters[filters <= math.exp(-30.0 / (2 * 2.303))] = 0.0  # -30 dB
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power @ filters.T, 1e-10))
    return levels


def _weights(levels: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Klatt's weights (T, 24) of the slopes."""
    below_top = levels.max(axis=1, keepdims=True) - levels[:, :-1]
    below_near = _near_peaks(levels, slopes) - levels[:, :-1]
    weights: NDArray[np.float64] = _PEAK_DB / (_PEAK_DB + below_top)
    return weights * (_NEAR_PEAK_DB / (_NEAR_PEAK_DB + below_near))


def _near_peaks(levels: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels (T, 24) of the peak that each slope leads to."""
    peaks = np.empty_like(slopes)
    count = slopes.shape[1]
    # Upwards: the last band before the slope turns. Downwards: the first after it rose.
    rising = levels[:, count - 1].copy()
    for band in reversed(range(count)):
        up = slopes[:, band] > 0
        rising = np.where(up, rising, levels[:, max(band - 1, 0)])
        peaks[:, band] = rising
    falling = levels[:, 0].copy()
    for band in range(count):
        up = slopes[:, band] > 0
        falling = np.where(up, levels[:, band + 1], falling)
        peaks[:, band] = np.where(up, peaks[:, band], falling)
    return peaks
