"""Which inputs can be standardised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["varying_inputs"]


def varying_inputs(inputs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which columns of (N, D) inputs have a standard deviation to be divided by, (D,).

    Convention: both are asked, since rounding gives equal numbers a deviation above 0, and nearly
    equal ones one of 0.
    """
    found: NDArray[np.bool_] = (inputs != inputs[0]).any(axis=0) & (inputs.std(axis=0) > 0)
    return found
