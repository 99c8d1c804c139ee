"""The stack of networks: layers, draws, sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import naive_networks as naive
from squall.networks.stack import (
    NetworkSettings,
    NetworkStack,
    multiply_adds,
    random_stream,
)

SIZES = (5, 7, 6, 3)


def draw(count: int = 4, dtype: torch.dtype = torch.float64) -> NetworkStack:
    return NetworkStack.draw(SIZES, [random_stream("net", n) for n in range(count)], dtype)


def test_logits_are_those_of_torch_modules() -> None:
    stack = draw()
    inputs = torch.randn(4, 11, 5, dtype=torch.float64)
    logits = stack.logits(inputs)
    assert logits.shape == (4, 11, 3)
    for number in range(4):
        expected = naive.module_of(stack, number)(inputs[number])
        torch.testing.assert_close(logits[number], expected, rtol=1e-12, atol=1e-12)
    assert (logits < 0).any()  # no ReLU behind the last layer


def test_gradients_are_those_of_differences() -> None:
    stack = draw(2)
    for parameter in stack.parameters():
        parameter.requires_grad_()
    inputs = torch.randn(2, 4, 5, dtype=torch.float64)

    def logits(*parameters: torch.Tensor) -> torch.Tensor:
        return NetworkStack(parameters[:3], parameters[3:]).logits(inputs)

    assert torch.autograd.gradcheck(logits, stack.parameters())


def test_a_network_is_drawn_as_documented_from_its_stream_alone() -> None:
    stack = draw(4, torch.float32)
    expected = naive.draw_module(SIZES, random_stream("net", 2), torch.float32)
    inputs = torch.randn(8, 5)
    torch.testing.assert_close(naive.module_of(stack, 2)(inputs), expected(inputs))
    in_float64 = draw(4, torch.float64)
    for single, double in zip(stack.parameters(), in_float64.parameters(), strict=True):
        torch.testing.assert_close(single.double(), double, rtol=1e-7, atol=0)


def test_draws_are_as_wide_as_those_of_torch() -> None:
    stack = NetworkStack.draw((100, 400, 2), [random_stream("wide")], torch.float32)
    linear = torch.nn.Linear(100, 400)
    ours, theirs = stack.weights[0].flatten(), linear.weight.detach().flatten()
    assert ours.abs().max() <= 0.1
    assert ours.std() == pytest.approx(float(theirs.std()), rel=0.02)
    assert abs(float(ours.mean())) < 0.001
    assert stack.offsets[0].std() == pytest.approx(float(linear.bias.detach().std()), rel=0.15)


def test_prediction_in_blocks_is_that_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = draw()
    inputs = torch.randn(4, 23, 5, dtype=torch.float64)
    whole = stack.predict(inputs)
    shared = stack.predict(inputs[0])
    monkeypatch.setattr("squall.networks.stack._BLOCK_VALUES", 4 * 7 * 5)  # five rows
    np.testing.assert_allclose(stack.predict(inputs), whole, rtol=1e-12)
    np.testing.assert_allclose(shared[0], whole[0], rtol=1e-12)
    assert np.abs(shared[1] - whole[1]).max() > 1e-3


def test_selected_repeated_and_copied_networks() -> None:
    stack = draw()
    inputs = torch.randn(6, 5, dtype=torch.float64)
    logits = stack.predict(inputs)
    np.testing.assert_array_equal(stack.select([3, 0]).predict(inputs), logits[[3, 0]])
    twice = stack.repeated(2)
    assert len(twice) == 8
    np.testing.assert_array_equal(twice.predict(inputs), np.concatenate([logits, logits]))
    copied = stack.copy()
    with torch.no_grad():
        stack.weights[0].zero_()
    np.testing.assert_array_equal(copied.predict(inputs), logits)
    np.testing.assert_array_equal(twice.predict(inputs)[:4], logits)


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=["nan", "inf"])
def test_networks_that_are_not_finite_are_found(value: float) -> None:
    stack = draw()
    assert stack.finite().tolist() == [True] * 4
    stack.weights[1][2, 0, 0] = value
    stack.offsets[2][3, 0, 1] = value
    assert stack.finite().tolist() == [True, True, False, False]


def test_streams_depend_on_the_whole_key() -> None:
    keys = [("iris", 1, 2), ("iris", 2, 1), ("iris", 12), ("iris", 1, "2"), ("wine", 1, 2)]
    draws = [torch.rand(4, generator=random_stream(*key)) for key in keys]
    for number, draw_ in enumerate(draws):
        assert torch.equal(draw_, torch.rand(4, generator=random_stream(*keys[number])))
        assert not any(torch.equal(draw_, other) for other in draws[number + 1 :])


def test_multiply_adds_are_counted_by_layer() -> None:
    settings = NetworkSettings(hidden=(64, 128, 64), epochs=400)
    forwards = 10 * 64 + 64 * 128 + 128 * 64 + 64 * 3
    backwards = 10 * 64 + 2 * (64 * 128 + 128 * 64 + 64 * 3)
    found = multiply_adds(settings, samples=150, inputs=10, classes=3)
    assert found == 400 * 150 * (forwards + backwards)


def test_the_defaults_are_those_of_the_source() -> None:
    settings = NetworkSettings()
    assert settings.sizes(4, 3) == (4, 64, 128, 64, 3)
    assert (settings.epochs, settings.learning_rate, settings.weight_decay) == (400, 0.01, 5e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"learning_rate": 0},
        {"learning_rate": float("inf")},
        {"momentum": 1},
        {"batch_size": 0},
        {"weight_decay": -1},
        {"hidden": (64, 0)},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        NetworkSettings(**wrong)
