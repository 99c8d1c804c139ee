"""The epoch that does best on the test part, which is what not to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from squall.networks.stack import NetworkStack

__all__ = ["BestEpochs", "HeldOut"]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The test part of a fold, and the networks that were trained on its other rows.

    Args:
        inputs: (N, D).
        targets: (N,).
        networks: (G,) their numbers in the stack.
    """

    inputs: Tensor
    targets: NDArray[np.int64]
    networks: Sequence[int]

    def predict(self, stack: NetworkStack) -> NDArray[np.floating]:
        """The logits (G, N, C) of the fold's networks."""
        return stack.select(self.networks).predict(self.inputs)


class BestEpochs:
    """Keeps the logits of every network from the first of its epochs with the best test accuracy.

    The test part then chooses among as many networks as there are epochs, and its accuracy is the
    largest of them: too high, the more so the fewer its rows.

    Attributes:
        logits: of each test part (G, N, C), after `look` at one epoch at least.
    """

    def __init__(self, parts: Sequence[HeldOut]) -> None:
        self.parts = parts
        self.logits: list[NDArray[np.floating]] = []
        self._accuracy: list[NDArray[np.float64]] = []

    def look(self, stack: NetworkStack) -> None:
        """See what the networks do after an epoch."""
        every = [part.predict(stack) for part in self.parts]
        accuracy = [
            (logits.argmax(2) == part.targets).mean(1)
            for logits, part in zip(every, self.parts, strict=True)
        ]
        if not self.logits:
            self.logits, self._accuracy = every, accuracy
            return
        for place, (logits, now) in enumerate(zip(every, accuracy, strict=True)):
            better = now > self._accuracy[place]
            self.logits[place][better] = logits[better]
            self._accuracy[place][better] = now[better]
