"""Small fully connected networks as one stack, so that many are computed at the price of few calls.

The weights of a layer of all G networks lie in one tensor (G, inputs, outputs), and a layer is one
batched matrix product. `squall.networks.training` trains a stack.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from squall.settings import Settings

__all__ = ["NetworkSettings", "NetworkStack", "multiply_adds", "random_stream"]

_BLOCK_VALUES = 2**22  # of the widest layer, all networks together: 16 MB in float32


class NetworkSettings(Settings):
    """A network and its training by stochastic gradient descent.

    The sources give layers, epochs, learning rate and weight decay, and leave the rest open.

    Args:
        hidden: units of the hidden layers, each followed by a ReLU; 64-128-64 in the source. The
            logits have none: the authors' published script puts a ReLU behind them too, with which
            no logit can be negative.
        epochs: passes over the training part; 400 in the source.
        learning_rate: constant; 0.01 in the source.
        weight_decay: of weights and offsets alike, as in torch; 5e-4 in the source.
        momentum, nesterov: 0.9 with Nesterov's look-ahead, the defaults of the authors' script.
            Without momentum, 400 epochs of a set of 75 samples end before the loss does.
        batch_size: samples of a step; the last of an epoch has the rest. 64 is what the authors'
            script has in a line that it leaves out in favour of steps on all samples together.
            With these, a set has 400 steps whatever its size, and the network of a small
            learning rate is far from trained; 64 is also about where the products on a CPU
            reach their speed.

    Convention: no batch normalisation, which the authors' script has and the thesis does not
    mention.

    Source: Hui 2023 (thesis), section 4.3.3.
    """

    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64, 128, 64)
    epochs: int = Field(default=400, ge=1)
    learning_rate: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    batch_size: int = Field(default=64, ge=1)

    def sizes(self, inputs: int, classes: int) -> tuple[int, ...]:
        """Width of every layer, from the inputs to the logits."""
        return (inputs, *self.hidden, classes)


def multiply_adds(settings: NetworkSettings, *, samples: int, inputs: int, classes: int) -> int:
    """Products that the training of one network takes, forwards and backwards.

    The gradient by the inputs is not computed, so that the first layer takes two products a weight
    and sample and every other layer three.

    >>> multiply_adds(NetworkSettings(epochs=1), samples=1, inputs=4, classes=3)
    50240
    """
    sizes = settings.sizes(inputs, classes)
    weights = sum(a * b for a, b in pairwise(sizes))
    return settings.epochs * samples * (3 * weights - sizes[0] * sizes[1])


def random_stream(*key: str | int) -> torch.Generator:
    """A generator of torch that depends on the key alone.

    >>> a, b = random_stream("iris", 0, 1), random_stream("iris", 0, 1)
    >>> bool(torch.rand((), generator=a) == torch.rand((), generator=b))
    True
    """
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class NetworkStack:
    """G networks of the same shape.

    Args:
        weights: of every layer, (G, inputs, outputs).
        offsets: of every layer, (G, 1, outputs).
    """

    def __init__(self, weights: Sequence[Tensor], offsets: Sequence[Tensor]) -> None:
        self.weights = tuple(weights)
        self.offsets = tuple(offsets)

    @classmethod
    def draw(
        cls, sizes: Sequence[int], streams: Sequence[torch.Generator], dtype: torch.dtype
    ) -> NetworkStack:
        """Networks with weights and offsets drawn as `torch.nn.Linear` draws them.

        Uniform in +-1/sqrt(inputs) of the layer. A network depends on its own stream alone. Drawn
        in float32, so that the numbers are the same in float64.

        Args:
            sizes: width of every layer, from the inputs to the logits.
            streams: one per network.
            dtype: of the weights.
        """
        weights: list[list[Tensor]] = [[] for _ in sizes[1:]]
        offsets: list[list[Tensor]] = [[] for _ in sizes[1:]]
        for stream in streams:
            for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
                bound = inputs**-0.5
                for drawn, rows in ((weights[layer], inputs), (offsets[layer], 1)):
                    values = torch.rand(rows, outputs, generator=stream)
                    drawn.append((bound * (2 * values - 1)).to(dtype))
        return cls([torch.stack(w) for w in weights], [torch.stack(b) for b in offsets])

    def __len__(self) -> int:
        return len(self.weights[0])

    @property
    def classes(self) -> int:
        """The number C of logits."""
        return self.weights[-1].shape[2]

    def parameters(self) -> tuple[Tensor, ...]:
        """Weights and offsets of all layers."""
        return self.weights + self.offsets

    def state_dict(self) -> dict[str, Tensor]:
        """Weights and offsets by names, as the training loop keeps them."""
        return {str(place): parameter for place, parameter in enumerate(self.parameters())}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Tensor], /) -> None:
        """Copy what `state_dict` gave into the weights and offsets."""
        for name, parameter in self.state_dict().items():
            parameter.copy_(state_dict[name])

    def repeated(self, times: int) -> NetworkStack:
        """The stack with copies of all its networks behind it, G * times networks."""
        return NetworkStack(
            [w.repeat(times, 1, 1) for w in self.weights],
            [b.repeat(times, 1, 1) for b in self.offsets],
        )

    def select(self, networks: Sequence[int]) -> NetworkStack:
        """A stack of copies of the networks with these numbers, in this order."""
        chosen = torch.tensor(networks)
        return NetworkStack(
            [w.detach().index_select(0, chosen) for w in self.weights],
            [b.detach().index_select(0, chosen) for b in self.offsets],
        )

    def copy(self) -> NetworkStack:
        """A stack whose weights are its own and ask for no gradient."""
        return NetworkStack(
            [w.detach().clone() for w in self.weights], [b.detach().clone() for b in self.offsets]
        )

    def logits(self, inputs: Tensor) -> Tensor:
        """The logits (G, B, C) of inputs (G, B, D), differentiable."""
        hidden = inputs
        last = len(self.weights) - 1
        for layer, (weights, offsets) in enumerate(zip(self.weights, self.offsets, strict=True)):
            hidden = torch.baddbmm(offsets, hidden, weights)
            if layer < last:
                hidden = torch.relu_(hidden)
        return hidden

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> NDArray[np.floating]:
        """The logits (G, N, C) of inputs (G, N, D) or (N, D), which all networks then share.

        Computed some rows at a time, without gradients.
        """
        if inputs.ndim == 2:
            inputs = inputs.expand(len(self), *inputs.shape)
        widest = max(weights.shape[2] for weights in self.weights)
        rows = max(1, _BLOCK_VALUES // (len(self) * widest))
        blocks = [self.logits(block).numpy() for block in torch.split(inputs, rows, 1)]
        return np.concatenate(blocks, axis=1)

    @torch.no_grad()
    def finite(self) -> NDArray[np.bool_]:
        """Which networks have only finite weights, (G,)."""
        layers = [p.isfinite().flatten(1).all(1) for p in self.parameters()]
        found: NDArray[np.bool_] = torch.stack(layers).all(0).numpy()
        return found
