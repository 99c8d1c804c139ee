"""Ideal masks: what an estimator learns, made from the energies of speech and noise apart."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["ideal_binary_mask", "ideal_ratio_mask"]


def ideal_ratio_mask(
    *, speech: ArrayLike, noise: ArrayLike, beta: float = 0.5
) -> NDArray[np.float32]:
    """Share of the speech in each time-frequency unit: (S / (S + N))^beta.

    Args:
        speech: (T, F) energies S of the speech alone, at least 0.
        noise: (T, F) energies N of the noise alone, as it is in the mixture.
        beta: the exponent, above 0. With 0.5 the mask is the square root of the Wiener filter,
            which gives the unit the speech's energy where speech and noise are uncorrelated.

    Returns:
        (T, F) in [0, 1]; 0 where both energies are 0.

    Raises:
        ValueError: the shapes differ, an energy is negative or not finite, or beta is not a
            positive number.

    Convention: 0.5 is the sources' choice (Wang, Narayanan and Wang compared others). Srinivasan,
    Roman and Wang used the ratio of the energies itself, beta 1.

    Sources: Srinivasan, Roman and Wang 2006; Wang, Narayanan and Wang 2014, equation 3.

    >>> ideal_ratio_mask(speech=[[3.0, 0.0]], noise=[[1.0, 0.0]], beta=1.0)
    array([[0.75, 0.  ]], dtype=float32)
    """
    if not 0 < beta < math.inf:
        raise ValueError(f"beta is {beta}; it must be a number above 0")
    s, n = _energies(speech, noise)
    both = s + n
    share = np.divide(s, both, out=np.zeros_like(both), where=both > 0)
    return np.asarray(share**beta, dtype=np.float32)


def ideal_binary_mask(
    *, speech: ArrayLike, noise: ArrayLike, local_criterion_db: float
) -> NDArray[np.float32]:
    """1 in the units whose SNR is above a criterion: 10 log10(S / N) > LC, otherwise 0.

    Args:
        speech: (T, F) energies S of the speech alone, at least 0.
        noise: (T, F) energies N of the noise alone, as it is in the mixture.
        local_criterion_db: LC in dB.

    Returns:
        (T, F), each value 0 or 1; 0 where both energies are 0, 1 where only the noise's is.

    Raises:
        ValueError: the shapes differ, an energy is negative or not finite, or LC is not finite.

    Convention: Wang, Narayanan and Wang set LC 5 dB below the SNR of the mixture, so that enough of
    the speech is kept at every SNR; others set LC to 0 dB. There is no default: the SNR of the
    mixture belongs to the call.

    Source: Wang, Narayanan and Wang 2014, section II.

    >>> ideal_binary_mask(speech=[[3.0, 0.5]], noise=[[1.0, 1.0]], local_criterion_db=0.0)
    array([[1., 0.]], dtype=float32)
    """
    if not math.isfinite(local_criterion_db):
        raise ValueError(f"local_criterion_db is {local_criterion_db}; it must be a finite number")
    s, n = _energies(speech, noise)
    return np.asarray(s > n * 10 ** (local_criterion_db / 10), dtype=np.float32)


def _energies(
    speech: ArrayLike, noise: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # In 64 bits the sum of two 32-bit energies neither overflows nor loses the smaller one.
    s, n = np.asarray(speech, dtype=np.float64), np.asarray(noise, dtype=np.float64)
    if s.shape != n.shape:
        raise ValueError(f"speech has shape {s.shape}, noise {n.shape}; they must be the same")
    for name, energies in (("speech", s), ("noise", n)):
        valid = (energies >= 0) & np.isfinite(energies)
        if not valid.all():
            bad = energies.reshape(-1)[int(np.argmin(valid))]
            raise ValueError(f"an energy of the {name} is {bad}; it must be a number of at least 0")
    return s, n
