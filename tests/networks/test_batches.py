"""Batches: every sample once an epoch, in orders that depend on the stream alone."""

from __future__ import annotations

import pytest
import torch

from squall.networks.batches import Batches, Problem
from squall.networks.stack import random_stream


def problem(samples: int, first: int, *, weights: bool = False) -> Problem:
    """A problem whose samples tell who they are: input and weight are number, class its rest."""
    numbers = torch.arange(first, first + samples)
    inputs = torch.stack([numbers, -numbers], 1).double()
    return Problem(inputs, numbers % 3, ("p",), numbers.float() if weights else None)


PROBLEMS = [problem(7, 0), problem(12, 100, weights=True), problem(4, 200)]


def batches(size: int, problems: list[Problem] | None = None) -> Batches:
    given = PROBLEMS if problems is None else problems
    return Batches(given, [random_stream("s", n) for n in range(len(given))], size)


@pytest.mark.parametrize("size", [1, 4, 5, 12, 100])
def test_an_epoch_has_every_sample_once_and_in_step(size: int) -> None:
    data = batches(size)
    orders = []
    for _ in range(2):
        steps = list(data.steps())
        assert [step.targets.shape[1] for step in steps[:-1]] == [size] * (len(steps) - 1)
        assert sum(step.targets.shape[1] for step in steps) == 12
        for number, given in enumerate(PROBLEMS):
            seen = []
            for place, step in enumerate(steps):
                expected = min(size, max(0, len(given.inputs) - place * size))
                assert int(step.counts[number]) == expected
                assert (step.idle is not None and number in step.idle) == (expected == 0)
                inputs = step.inputs[number, :expected]
                assert torch.equal(inputs[:, 0], -inputs[:, 1])
                assert torch.equal(inputs[:, 0].long() % 3, step.targets[number, :expected])
                wanted = torch.ones(expected) if given.row_weights is None else inputs[:, 0]
                weights = expected * step.weights[number, :expected]
                torch.testing.assert_close(weights, wanted.double())
                for padded in (step.inputs, step.targets, step.weights):
                    assert not padded[number, expected:].any()
                seen += inputs[:, 0].tolist()
            assert sorted(seen) == given.inputs[:, 0].tolist()
            orders.append(seen)
    assert orders[1] != orders[4]  # the second problem, in the first and second epoch


def test_an_order_depends_on_its_stream_alone() -> None:
    alone = Batches([PROBLEMS[2]], [random_stream("s", 2)], 100)
    for _ in range(3):
        together = next(iter(batches(100).steps())).inputs[2, :4]
    stream = random_stream("s", 2)
    order = torch.randperm(4, generator=stream)
    assert torch.equal(next(iter(alone.steps())).inputs[0], PROBLEMS[2].inputs[order])
    assert torch.equal(together, PROBLEMS[2].inputs[order])


def test_without_row_weights_all_samples_of_a_step_weigh_alike() -> None:
    first, last = batches(4, [problem(5, 0), problem(5, 10)]).steps()
    assert (first.weights == 0.25).all()
    assert (last.weights == 1).all()
    assert first.idle is last.idle is None
