"""Slow twins of the models of pairs: one pair at a time, word by word, as the papers' equations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from squall.studies.text.bilstm import BiLstm
from squall.studies.text.esim import Esim


def lstm_states(lstm: nn.LSTM, inputs: list[Tensor]) -> list[Tensor]:
    """The states (H,) of an LSTM at each of the inputs (D,)."""
    state = memory = inputs[0].new_zeros(lstm.hidden_size)
    states = []
    for vector in inputs:
        sums = lstm.weight_ih_l0 @ vector + lstm.bias_ih_l0
        sums = sums + lstm.weight_hh_l0 @ state + lstm.bias_hh_l0
        enter, keep, new, leave = sums.split(lstm.hidden_size)
        memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
        state = leave.sigmoid() * memory.tanh()
        states.append(state)
    return states


def bilstm_states(encoder: BiLstm, inputs: list[Tensor]) -> list[Tensor]:
    right = lstm_states(encoder.rightward, inputs)
    left = lstm_states(encoder.leftward, inputs[::-1])[::-1]
    return [torch.cat(both) for both in zip(right, left, strict=True)]


def esim_logits(model: Esim, a: list[int], b: list[int]) -> Tensor:
    """The logits (C,) of a pair, without dropout."""
    texts = [bilstm_states(model.encoder, [model.embedding.weight[i] for i in t]) for t in (a, b)]
    pooled = []
    for own, other in (texts, texts[::-1]):
        inputs = []
        for word in own:
            weights = torch.stack([word @ others for others in other]).softmax(0)
            aligned = sum(
                (weight * others for weight, others in zip(weights, other, strict=True)),
                torch.zeros_like(word),
            )
            enhanced = torch.cat([word, aligned, word - aligned, word * aligned])
            inputs.append(torch.relu(model.projection(enhanced)))
        states = torch.stack(bilstm_states(model.composition, inputs))
        pooled += [states.mean(0), states.max(0).values]
    hidden = torch.tanh(model.hidden_layer(torch.cat(pooled)))
    logits: Tensor = model.output_layer(hidden)
    return logits
