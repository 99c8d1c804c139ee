"""Slow twins of the models of pairs: one pair at a time, word by word, as the papers' equations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squall.studies.text.bilstm import BiLstm
from squall.studies.text.esim import Esim
from squall.studies.text.pwim import Pwim


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


def similarities(one: Tensor, other: Tensor) -> list[Tensor]:
    """The 13 channels of two words, from their states (2 H,)."""
    forward, backward = one.chunk(2), other.chunk(2)
    channels = []
    for x, y in (
        (forward[0], backward[0]),
        (forward[1], backward[1]),
        (one, other),
        (forward[0] + forward[1], backward[0] + backward[1]),
    ):
        channels += [F.cosine_similarity(x, y, 0), -torch.linalg.vector_norm(x - y), x @ y]
    return [*channels, torch.ones_like(channels[0])]


def matched_pairs(values: list[list[float]]) -> set[tuple[int, int]]:
    """The most alike pair first; its row and its column are then gone."""
    rows, columns = len(values), len(values[0])
    order = sorted(
        ((row, column) for row in range(rows) for column in range(columns)),
        key=lambda place: (-values[place[0]][place[1]], place),
    )
    found: set[tuple[int, int]] = set()
    for row, column in order:
        if all(row != other and column != another for other, another in found):
            found.add((row, column))
    return found


def pwim_logits(model: Pwim, a: list[int], b: list[int]) -> Tensor:
    """The logits (C,) of a pair, without dropout, from the whole image."""
    texts = [bilstm_states(model.encoder, [model.embedding.weight[i] for i in t]) for t in (a, b)]
    own, other = (text[: model.size] for text in texts)
    cube = torch.stack(
        [torch.stack([torch.stack(similarities(x, y)) for y in other]) for x in own]
    )  # (L, M, 13)
    in_focus = matched_pairs(cube[:, :, 9].tolist()) | matched_pairs(cube[:, :, 10].tolist())
    image = cube.new_zeros(1, 13, model.size, model.size)
    for row in range(len(own)):
        for column in range(len(other)):
            weight = 1.0 if (row, column) in in_focus else 0.1
            image[0, :, row, column] = weight * cube[row, column]
    for number, layer in enumerate(model.convolutions):
        window = 3 if number == 4 and model.size == 48 else 2
        image = F.max_pool2d(torch.relu(layer(image)), window)
    hidden = torch.relu(model.hidden_layer(image.reshape(128)))
    logits: Tensor = model.output_layer(hidden)
    return logits
