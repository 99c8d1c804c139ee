"""The delay between two signals of the same speech, and the stretch that both have in step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["align_signals", "find_lag"]

# What is scored where no other lag is this much better, and good enough not to be chance.
_LEAST_GAIN_DB = 1.0
_LEAST_RATIO_DB = -15.0
_LARGEST_SHARE = 0.25  # of the shorter signal; fewer samples correlate by chance
_ROUNDING = 1e-12


def find_lag(*, reference: ArrayLike, estimate: ArrayLike, max_lag_samples: int) -> int:
    """By how many samples an estimate comes later than its reference.

    The lag l with the largest correlation, of either sign, of s[n] and x[n + l] over the samples
    that both have, each without its mean: that with the largest SI-SDR. It is taken for 0 where it
    is better than no lag by less than 1 dB, as between a mixture and its speech, and where the
    SI-SDR with it is below -15 dB, as between signals that have nothing in common.

    Args:
        reference: (N,) the clean speech s.
        estimate: (M,) the noisy or enhanced speech x.
        max_lag_samples: the largest lag looked for, to either side; not more than a quarter of the
            shorter signal.

    Returns:
        From -max_lag_samples to max_lag_samples; above 0 where the estimate is late. 0 where a
        signal is silent or has samples that are not finite.

    Raises:
        ValueError: a signal is not a vector of samples.

    >>> find_lag(reference=[0, 0, 1, -2, 1, 0, 0, 0], estimate=[0, 0, 0, 1, -2, 1, 0, 0],
    ...          max_lag_samples=2)
    1
    """
    from scipy import fft  # here, as importing the scores is to be cheap

    s, x = _centred("reference", reference), _centred("estimate", estimate)
    largest = min(max_lag_samples, int(_LARGEST_SHARE * min(len(s), len(x))))
    if largest < 1 or not s.any() or not x.any():
        return 0
    # A negative lag is counted from the end of the transform, which has room for both kinds.
    size = fft.next_fast_len(max(len(s), len(x)) + largest, real=True)
    products = fft.irfft(fft.rfft(x, size) * fft.rfft(s, size).conj(), size)
    lags = np.arange(-largest, largest + 1)
    shared = _shared_energy(s, -lags, len(x)) * _shared_energy(x, lags, len(s))
    shares = np.zeros(len(lags))  # squared correlations, (2 largest + 1,)
    np.divide(products[lags] ** 2, shared, out=shares, where=shared > 0)
    ratios_db = 10 * np.log10(np.maximum(shares, _ROUNDING) / np.maximum(1 - shares, _ROUNDING))
    best = int(np.argmax(ratios_db))
    better = ratios_db[best] >= max(ratios_db[largest] + _LEAST_GAIN_DB, _LEAST_RATIO_DB)
    return int(lags[best]) if better else 0


def align_signals(
    *, reference: NDArray[Any], estimate: NDArray[Any], lag_samples: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The stretch of each of two signals in which they are in step.

    Args:
        reference: (N,) samples.
        estimate: (M,) samples, `lag_samples` later.
        lag_samples: what `find_lag` gives.

    Returns:
        Reference and estimate, of one length.
    """
    reference, estimate = reference[max(0, -lag_samples) :], estimate[max(0, lag_samples) :]
    length = min(len(reference), len(estimate))
    return reference[:length], estimate[:length]


def _centred(name: str, samples: ArrayLike) -> NDArray[np.float64]:
    """A signal without its mean, of largest magnitude 1; zeros where it is silent or not finite."""
    signal = np.asarray(samples, dtype=np.float64)
    if signal.ndim != 1:
        raise ValueError(f"the {name} has shape {signal.shape}; give a vector of samples")
    if not len(signal) or not np.isfinite(signal).all() or signal.min() == signal.max():
        return np.zeros(len(signal))
    scaled = signal / np.abs(signal).max()
    centred: NDArray[np.float64] = scaled - scaled.mean()
    return centred


def _shared_energy(
    signal: NDArray[np.float64], starts: NDArray[np.int_], others: int
) -> NDArray[np.float64]:
    """Energy of the part of a signal from each start that another signal's samples lie beside."""
    total = np.concatenate([[0.0], np.cumsum(signal**2)])
    first, last = np.clip(starts, 0, None), np.clip(starts + others, None, len(signal))
    energies: NDArray[np.float64] = total[last] - total[first]
    return energies
