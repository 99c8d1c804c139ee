"""What a prediction is made for: the number of classes, n/d, R, the ridge and the label noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Setting"]


@dataclass(frozen=True)
class Setting:
    """The model of Hui 2023, chapter 3, with white features.

    n rows x ~ N(0, I/d), k outputs z = x w*, w*_ij ~ N(0, signal^2), label the arg max of z + e,
    e ~ N(0, label_noise^2) for each output, Y one-hot. The network is (x w)_+, and w minimises
    |R Y - (X w)_+|^2 + (ridge/2) |w|^2.

    Args:
        classes: k, at least 2.
        beta: n/d, positive.
        rescale: R, positive.
        ridge: lambda, positive.
        label_noise: standard deviation, at least 0.
        signal: standard deviation of z, positive.

    Raises:
        ValueError: one of them is out of its range.
    """

    classes: int
    beta: float
    rescale: float = 1.0
    ridge: float = 1e-5
    label_noise: float = 0.0
    signal: float = 1.0

    def __post_init__(self) -> None:
        if self.classes < 2 or self.classes != int(self.classes):
            raise ValueError(f"classes is {self.classes}; there have to be at least two")
        for name in ("beta", "rescale", "ridge", "signal"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; it has to be positive and finite")
        if not 0 <= self.label_noise < math.inf:
            raise ValueError(f"label_noise is {self.label_noise}; it has to be at least 0")

    @property
    def label_correlation(self) -> float:
        """The correlation of a score z with the z + e that the label is the arg max of."""
        return self.signal / math.hypot(self.signal, self.label_noise)
