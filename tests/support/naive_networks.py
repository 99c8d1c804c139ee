"""The slow twin of the stack: one network at a time with torch's own modules and optimizer."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from squall.losses import TokenLoss
from squall.networks.batches import Problem
from squall.networks.stack import NetworkSettings, NetworkStack, random_stream


def module_of(stack: NetworkStack, number: int) -> nn.Sequential:
    """One network of a stack as torch's modules."""
    layers: list[nn.Module] = []
    for weights, offsets in zip(stack.weights, stack.offsets, strict=True):
        linear = nn.Linear(weights.shape[1], weights.shape[2], dtype=weights.dtype)
        with torch.no_grad():
            linear.weight.copy_(weights[number].T)
            linear.bias.copy_(offsets[number, 0])
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def draw_module(sizes: tuple[int, ...], stream: torch.Generator, dtype: torch.dtype) -> nn.Module:
    """A network drawn as `NetworkStack.draw` documents it."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        linear = nn.Linear(inputs, outputs)
        with torch.no_grad():
            bound = inputs**-0.5
            weights = torch.rand(inputs, outputs, generator=stream)
            offsets = torch.rand(1, outputs, generator=stream)
            linear.weight.copy_((bound * (2 * weights - 1)).T)
            linear.bias.copy_(bound * (2 * offsets[0] - 1))
        layers += [linear.to(dtype), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train_one(
    problem: Problem, loss: TokenLoss, settings: NetworkSettings, *, classes: int
) -> tuple[nn.Module, list[float]]:
    """Train one network; gives it and the mean loss of each epoch."""
    stream = random_stream(*problem.key)
    sizes = (problem.inputs.shape[1], *settings.hidden, classes)
    network = draw_module(sizes, stream, problem.inputs.dtype)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )
    history = []
    for _ in range(settings.epochs):
        total = 0.0
        order = torch.randperm(len(problem.inputs), generator=stream)
        for rows in order.split(settings.batch_size):
            optimizer.zero_grad()
            value = _mean_loss(network(problem.inputs[rows]), problem, rows, loss)
            total += value.item() * len(rows)
            value.backward()
            optimizer.step()
        history.append(total / len(order))
    return network, history


def _mean_loss(logits: Tensor, problem: Problem, rows: Tensor, loss: TokenLoss) -> Tensor:
    if problem.row_weights is None:
        return loss(logits, problem.targets[rows])
    values = [
        problem.row_weights[row] * loss(logits[place : place + 1], problem.targets[row : row + 1])
        for place, row in enumerate(rows.tolist())
    ]
    return torch.stack(values).mean()
