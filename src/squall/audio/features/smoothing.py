"""ARMA smoothing of feature trajectories."""

from __future__ import annotations

import numpy as np
import scipy.signal
from numpy.typing import NDArray

__all__ = ["arma"]


def arma(features: NDArray[np.float32], order: int = 2) -> NDArray[np.float32]:
    """Smooth features over time with an auto-regressive moving average.

    c'_t = (c'_{t-M} + ... + c'_{t-1} + c_t + ... + c_{t+M}) / (2 M + 1)

    Args:
        features: (T, D).
        order: M; 0 leaves the features as they are.

    Returns:
        (T, D) float32; the first and last M frames are those of the input.

    Raises:
        ValueError: the order is negative.

    Convention:
        The sources filter after mean and variance normalisation. The filter is linear and passes
        constants, so here it comes before, and only the variance that is normalised to one is
        another: that of the smoothed feature.

    Source: Chen and Bilmes 2007.
    """
    if order < 0:
        raise ValueError(f"an ARMA order is at least 0, not {order}")
    smoothed = features.astype(np.float32)
    frames = len(features)
    if order == 0 or frames <= 2 * order:
        return smoothed
    weight = 1.0 / (2 * order + 1)
    exact = features.astype(np.float64)
    ahead = sum(exact[order + k : frames - order + k] for k in range(order + 1))
    past = exact[order - 1 :: -1][:order]  # (M, D), the latest first
    # State of the transposed direct form after the unfiltered first frames.
    state = weight * np.cumsum(past, axis=0)[::-1]
    smoothed[order : frames - order], _ = scipy.signal.lfilter(
        [weight], [1.0, *[-weight] * order], ahead, axis=0, zi=state
    )
    return smoothed
