"""Deltas: how features change over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["regression_deltas"]


def regression_deltas(features: NDArray[np.float32], window: int = 4) -> NDArray[np.float32]:
    """Slope of the least-squares line through each feature's neighbouring frames.

    d_t = sum_{k=1}^{W} k (c_{t+k} - c_{t-k}) / (2 sum_{k=1}^{W} k^2)

    Args:
        features: (T, D).
        window: W, frames on each side, at least 1.

    Returns:
        (T, D) float32, in units per frame.

    Raises:
        ValueError: the window is smaller than 1.

    Convention:
        Nine points (W = 4), as the sources' toolbox has them; HTK's own default is W = 2. The
        toolbox leaves the divisor out, which normalisation undoes. Before the first and after the
        last frame these are repeated.

    Source: Young et al., The HTK book, eq. 5.16.
    """
    if window < 1:
        raise ValueError(f"a delta window has at least 1 frame on each side, not {window}")
    frames = len(features)
    padded = np.pad(features.astype(np.float64), ((window, window), (0, 0)), mode="edge")
    slope = np.zeros(features.shape)
    for k in range(1, window + 1):
        later = padded[window + k : window + k + frames]
        slope += k * (later - padded[window - k : window - k + frames])
    slope /= 2 * sum(k * k for k in range(1, window + 1))
    return slope.astype(np.float32)
