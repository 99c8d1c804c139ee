"""ESPnet's layers in a form that is quicker on a CPU: the same functions."""

from __future__ import annotations

import copy

import pytest
import torch

pytest.importorskip("espnet2")

from squall.asr.bridge.espnet import Swish
from squall.asr.bridge.layers import Dropout, use_quick_layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(dtype: torch.dtype, p: float) -> None:
    torch.manual_seed(0)
    values = torch.ones(400_001, dtype=dtype, requires_grad=True)
    dropped = Dropout(p)(values)
    kept = dropped != 0
    assert dropped.dtype == dtype
    assert float(kept.double().mean()) == pytest.approx(1 - p, abs=0.004)  # five deviations
    assert float(dropped.double().mean()) == pytest.approx(1, rel=0.02)
    assert len(dropped.detach().unique()) == 2
    dropped.backward(torch.full_like(dropped, 3.0))
    torch.testing.assert_close(values.grad, 3 * dropped.detach())


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(1000, 400)) != 0).double()
    for shift in (1, 2, 3, 4, 400):
        flat = kept.flatten()
        together = float((flat[shift:] * flat[:-shift]).mean())
        assert together == pytest.approx(0.25, abs=0.004)


def test_a_seed_gives_a_mask_and_the_next_is_another() -> None:
    layer, values = Dropout(0.3), torch.ones(50, 7)
    torch.manual_seed(2)
    first, second = layer(values), layer(values)
    torch.manual_seed(2)
    assert torch.equal(layer(values), first)
    assert torch.equal(layer(values), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.0, 1e-6, 1.0])
def test_nothing_or_everything_is_dropped_as_by_torch(p: float) -> None:
    values = torch.randn(3, 5)
    torch.testing.assert_close(Dropout(p)(values), torch.nn.Dropout(p)(values), atol=1e-5, rtol=0)


def test_nothing_is_dropped_outside_of_training() -> None:
    values = torch.randn(3, 5)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.5)(torch.empty(0, 4)).shape == (0, 4)


def test_a_model_stays_the_same_function_with_the_same_weights() -> None:
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), Swish(), torch.nn.Dropout(0.2), torch.nn.Conv2d(4, 2, 3)
    )
    quick = copy.deepcopy(model)
    use_quick_layers(quick)
    assert [type(layer) for layer in quick[1:3]] == [torch.nn.SiLU, Dropout]
    assert quick.state_dict().keys() == model.state_dict().keys()
    images = torch.randn(2, 1, 9, 8)
    torch.testing.assert_close(quick.eval()(images), model.eval()(images))
    quick.load_state_dict(model.state_dict())
    torch.testing.assert_close(quick(images), model(images))
