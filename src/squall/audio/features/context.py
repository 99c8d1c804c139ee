"""Context windows: each frame together with its neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["context_window"]


def context_window(
    features: NDArray[np.float32], before: int = 2, after: int = 2
) -> NDArray[np.float32]:
    """Put the features of neighbouring frames beside those of each frame.

    Args:
        features: (T, D) of one utterance. Call it per utterance: in a stack of several, frames
            would get neighbours from another one.
        before: how many earlier frames, at least 0.
        after: how many later frames, at least 0.

    Returns:
        (T, D * (before + 1 + after)) float32, the earliest frame first; at the edges the first or
        last frame is repeated.

    Raises:
        ValueError: features are not (T, D), or before or after is negative.

    Example:
        >>> context_window(np.array([[1.0], [2.0], [3.0]]), before=1, after=1).tolist()
        [[1.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 3.0]]
    """
    if features.ndim != 2:
        raise ValueError(f"features have shape {features.shape}; a context needs (T, D)")
    if before < 0 or after < 0:
        raise ValueError(f"a context has at least 0 frames on a side, not {before} and {after}")
    frames, dimensions = features.shape
    neighbours = np.arange(frames)[:, None] + np.arange(-before, after + 1)  # (T, context)
    chosen: NDArray[np.float32] = features[np.clip(neighbours, 0, frames - 1)]  # (T, context, D)
    flat = chosen.reshape(frames, neighbours.shape[1] * dimensions)
    return flat.astype(np.float32, copy=False)
