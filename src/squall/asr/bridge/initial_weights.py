"""The initial weights of ESPnet 1, which the sources' recurrent models began with."""

from __future__ import annotations

import math

import torch

__all__ = ["initialize_as_espnet1"]


def initialize_as_espnet1(model: torch.nn.Module) -> None:
    """Draw all weights of a model anew, in place, as ESPnet 1 did (`init: chainer`).

    Biases are 0, those of the forget gates of LSTMs 1. Weights are normal with variance 1 / n for n
    inputs of a unit (LeCun, Bottou, Orr, Mueller 1998), those of embeddings with variance 1.

    Convention: ESPnet 2 had the same up to 202506, under the same name, and set the gates of a GRU
    as those of an LSTM, where they stand for something else; here those stay 0.
    """
    for name, weight in model.named_parameters():
        if ".bias" in name and weight.dim() == 1:
            weight.data.zero_()
        else:
            inputs = weight[0].numel() if weight.dim() > 1 else len(weight)
            weight.data.normal_(0, 1 / math.sqrt(inputs))
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            module.weight.data.normal_(0, 1)
        elif isinstance(module, torch.nn.LSTMCell):
            _open_forget_gate(module.bias_ih)
        elif isinstance(module, torch.nn.LSTM):
            for name, weight in module.named_parameters():
                if "bias" in name:
                    _open_forget_gate(weight)
        own = getattr(module, "espnet_initialization_fn", None)
        if own is not None:
            own()


def _open_forget_gate(bias: torch.Tensor) -> None:
    """The gates are input, forget, cell and output."""
    bias.data[len(bias) // 4 : len(bias) // 2] = 1.0
