"""Arrays of what is given to a score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_array"]


def as_array(values: Any) -> NDArray[Any]:
    """Values as an array of numpy, without a copy if possible.

    Args:
        values: array-like; or a tensor of torch on any device, whose gradient is left behind. Its
            bfloat16, which numpy lacks, becomes float32.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
    return np.asarray(values)
