"""Slow twins of the language models: Transformer-XL by positions, Kneser-Ney by counting."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from squall.studies.charlm.transformer_xl import TransformerXL


def transformer_xl(
    network: TransformerXL, tokens: Sequence[int], memory: list[list[Tensor]]
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """What precedes the output layer at each place of one text, and the inputs of each layer.

    Args:
        network: in float64 and evaluation mode.
        tokens: of the segment.
        memory: for each layer the vectors of the positions before it, any number of them.

    The sums are those of Dai and others 2019, section 3.3: a score for each pair of positions in
    four terms (a) to (d), with u and v in the place of the absolute positions.
    """
    settings = network.settings
    width = settings.d_model
    hidden = [math.sqrt(width) * network.embedding.weight[token] for token in tokens]
    inputs = []
    for layer, earlier in zip(network.layers, memory, strict=True):
        inputs.append(hidden)
        context = earlier + hidden
        normed = [layer.attention_norm(one) if layer.norm_first else one for one in context]
        given = []
        for place, residual in enumerate(hidden):
            here = len(earlier) + place
            attended = layer.output(_attend(network, layer, normed, here))
            if layer.norm_first:
                middle = residual + attended
                given.append(middle + _feed_forward(layer, layer.feed_forward_norm(middle)))
            else:
                middle = layer.attention_norm(residual + attended)
                given.append(layer.feed_forward_norm(middle + _feed_forward(layer, middle)))
        hidden = given
    return [network.norm(one) for one in hidden], inputs


def _attend(network: TransformerXL, layer: nn.Module, context: list[Tensor], here: int) -> Tensor:
    heads, width = network.settings.heads, network.settings.head_width
    key_weight, value_weight = layer.key_value.weight.chunk(2)
    parts = []
    for head in range(heads):
        rows = slice(head * width, (head + 1) * width)
        query = layer.query.weight[rows] @ context[here]
        u, v = network.u[head, 0], network.v[head, 0]
        scores = []
        for there in range(here + 1):
            key = key_weight[rows] @ context[there]
            distance = layer.distance.weight[rows] @ _wave(here - there, network.settings.d_model)
            terms = query @ key, query @ distance, u @ key, v @ distance
            scores.append(sum(terms) / math.sqrt(width))
        weights = torch.softmax(torch.stack(scores), dim=0)
        values = torch.stack([value_weight[rows] @ context[k] for k in range(here + 1)])
        parts.append((weights[:, None] * values).sum(dim=0))
    return torch.cat(parts)


def _wave(distance: int, width: int) -> Tensor:
    rates = [10000.0 ** (-2 * k / width) for k in range(width // 2)]
    waves = [*(math.sin(distance * r) for r in rates), *(math.cos(distance * r) for r in rates)]
    return torch.tensor(waves, dtype=torch.float64)


def _feed_forward(layer: nn.Module, values: Tensor) -> Tensor:
    first, _, _, second, _ = layer.feed_forward
    inner = (first.weight @ values + first.bias).clamp(min=0)
    result: Tensor = second.weight @ inner + second.bias
    return result


def kneser_ney(
    tokens: Sequence[int], context: Sequence[int], *, classes: int, order: int
) -> list[float]:
    """p of each class after a context of order - 1 tokens, from counts of tuples."""
    grams = {order: Counter(tuple(tokens[k : k + order]) for k in range(len(tokens) - order + 1))}
    for n in range(order - 1, 0, -1):
        grams[n] = Counter(gram[1:] for gram in grams[n + 1])
    probs = [1 / classes] * classes
    for n in range(1, order + 1):
        counts = grams[n]
        of_count = Counter(counts.values())
        discounts = [0.5, 1.0, 1.5]
        if all(of_count[r] for r in (1, 2, 3, 4)):
            y = of_count[1] / (of_count[1] + 2 * of_count[2])
            made = [r - (r + 1) * y * of_count[r + 1] / of_count[r] for r in (1, 2, 3)]
            if all(0 < d < r for r, d in enumerate(made, 1)):
                discounts = made
        before = tuple(context[len(context) - n + 1 :]) if n > 1 else ()
        seen = {gram[-1]: count for gram, count in counts.items() if gram[:-1] == before}
        if not seen:
            continue
        total = sum(seen.values())
        left = sum(discounts[min(count, 3) - 1] for count in seen.values()) / total
        probs = [
            left * probs[w]
            + ((seen[w] - discounts[min(seen[w], 3) - 1]) / total if w in seen else 0.0)
            for w in range(classes)
        ]
    return probs
