"""Data of the shape that masks have: few latent directions, many correlated features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def draw(
    n: int, *, features: int = 40, outputs: int = 6, latent: int = 5, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features (n, D) and smooth targets (n, F) in [0, 1], the same function for every seed."""
    world, rng = np.random.default_rng(17), np.random.default_rng(seed)
    mixing = world.standard_normal((latent, features))
    weights = world.standard_normal((latent, outputs))
    z = rng.standard_normal((n, latent))
    x = z @ mixing + 0.1 * rng.standard_normal((n, features))
    return x.astype(np.float32), (1 / (1 + np.exp(-2 * np.sin(z @ weights)))).astype(np.float32)
