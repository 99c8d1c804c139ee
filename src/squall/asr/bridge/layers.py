"""Layers in a form that is quicker on a CPU, for those that ESPnet's models have."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from squall.asr.bridge.espnet import Swish

__all__ = ["Dropout", "use_quick_layers"]

_LEVELS = 2**16
_PER_DRAW = 4  # levels in 64 bits


class Dropout(torch.nn.Dropout):
    """`torch.nn.Dropout`, on a CPU with masks of 16 random bits for each element.

    torch draws a whole number of its Mersenne twister for each element, which is a seventh of the
    time of a training step. Here torch's generator gives a seed for each mask, and another one the
    bits, in half the time. The probability is rounded to a multiple of 2^-16, and what is kept is
    divided by the share that is kept.
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped_levels = round(self.p * _LEVELS)
        on_cpu = input.device.type == "cpu" and input.is_floating_point()
        if not (self.training and on_cpu and 0 < dropped_levels < _LEVELS):
            return super().forward(input)
        count = input.numel()
        source = np.random.SFC64(int(torch.randint(2**62, ())))
        drawn = source.random_raw(-(-count // _PER_DRAW)).view(np.int16)[:count]
        kept = torch.from_numpy(drawn).view(input.shape) >= dropped_levels - _LEVELS // 2
        return input * kept.to(input.dtype).mul_(_LEVELS / (_LEVELS - dropped_levels))


def use_quick_layers(model: torch.nn.Module) -> None:
    """Change a model in place: the same functions of the same weights, up to rounding.

    Dropout draws as `Dropout` does. Swish, x sigmoid(x), is torch's, which is one pass over memory
    where ESPnet's is two. Kernels of two dimensions lie with their channels last, the order in
    which CPUs convolve quickest.
    """
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = Dropout
        for name, child in module.named_children():
            if type(child) is Swish:
                setattr(module, name, torch.nn.SiLU())
    model.to(memory_format=torch.channels_last)
