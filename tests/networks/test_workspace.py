"""The passes in kept memory: the gradients of automatic differentiation."""

from __future__ import annotations

import pytest
import torch

from squall.networks.stack import NetworkStack, random_stream
from squall.networks.workspace import Workspace


def draw(sizes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> NetworkStack:
    return NetworkStack.draw(sizes, [random_stream("net", n) for n in range(6)], dtype)


@pytest.mark.parametrize("sizes", [(5, 7, 6, 3), (4, 2), (1, 1, 1, 1, 2)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_gradients_are_those_of_automatic_differentiation(
    sizes: tuple[int, ...], dtype: torch.dtype
) -> None:
    stack = draw(sizes, dtype)
    plain = stack.copy()
    for parameter in plain.parameters():
        parameter.requires_grad_()
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
    spaces = {samples: Workspace(stack, 3, samples) for samples in (9, 4)}
    for samples in (9, 4, 9):  # twice the same, between them another number of samples
        inputs = torch.randn(2, samples, sizes[0], dtype=dtype)
        gradient = torch.randn(3, 2, samples, sizes[-1], dtype=dtype)
        space = spaces[samples]
        space.forward(inputs)
        expected = plain.logits(inputs.repeat(3, 1, 1))
        torch.testing.assert_close(space.logits.flatten(0, 1), expected.detach(), **tolerance)
        space.gradient.copy_(gradient)
        space.backward()
        wanted = torch.autograd.grad(expected, plain.parameters(), gradient.flatten(0, 1))
        for parameter, by_torch in zip(stack.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.grad, by_torch, **tolerance)


def test_workspaces_of_a_stack_share_their_gradients() -> None:
    stack = draw((5, 4, 3))
    first = Workspace(stack, 1, 8)
    before = [parameter.grad for parameter in stack.parameters()]
    Workspace(stack, 1, 2)
    assert all(p.grad is b for p, b in zip(stack.parameters(), before, strict=True))
    first.forward(torch.randn(6, 8, 5, dtype=torch.float64))
    first.gradient.fill_(1.0)
    first.backward()
    assert all(p.grad is b for p, b in zip(stack.parameters(), before, strict=True))
    assert all(b.abs().sum() > 0 for b in before if b is not None)


def test_a_broken_network_breaks_no_other() -> None:
    stack, well = draw((5, 7, 6, 3)), draw((5, 7, 6, 3))
    stack.weights[1][2, 0, 0] = float("nan")
    inputs, gradient = torch.randn(6, 9, 5).double(), torch.randn(1, 6, 9, 3).double()
    for each in (stack, well):
        space = Workspace(each, 1, 9)
        space.forward(inputs)
        space.gradient.copy_(gradient)
        space.backward()
    others = [0, 1, 3, 4, 5]
    for broken, sound in zip(stack.parameters(), well.parameters(), strict=True):
        assert broken.grad is not None
        assert sound.grad is not None
        assert torch.equal(broken.grad[others], sound.grad[others])
    assert not stack.weights[0].grad[2].isfinite().all()  # type: ignore[index]
