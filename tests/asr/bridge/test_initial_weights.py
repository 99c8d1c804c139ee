"""The initial weights of ESPnet 1."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("espnet2")

import tiny
from squall.asr.bridge.initial_weights import initialize_as_espnet1
from squall.asr.needs import _build_model


class _Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(500, 30)
        self.conv = torch.nn.Conv2d(20, 40, 5)
        self.linear = torch.nn.Linear(300, 200)
        self.lstm = torch.nn.LSTM(30, 40, num_layers=2, bidirectional=True)
        self.gru = torch.nn.GRU(30, 40)
        self.cell = torch.nn.LSTMCell(30, 8)


def test_weights_have_the_variance_of_their_inputs_and_forget_gates_are_open() -> None:
    torch.manual_seed(1)
    model = _Model()
    initialize_as_espnet1(model)
    for weight, inputs in (
        (model.conv.weight, 20 * 5 * 5),
        (model.linear.weight, 300),
        (model.lstm.weight_hh_l1, 40),
        (model.gru.weight_ih_l0, 30),
    ):
        assert float(weight.std()) == pytest.approx(1 / math.sqrt(inputs), rel=0.03)
    assert float(model.embed.weight.std()) == pytest.approx(1, rel=0.03)
    gates = torch.tensor([0.0, 1, 0, 0]).repeat_interleave(40)
    for name, bias in model.lstm.named_parameters():
        if "bias" in name:
            torch.testing.assert_close(bias.data, gates)
    torch.testing.assert_close(
        model.cell.bias_ih.data, torch.tensor([0.0, 1, 0, 0]).repeat_interleave(8)
    )
    for bias in (model.linear.bias, model.conv.bias, model.gru.bias_ih_l0, model.gru.bias_hh_l0):
        assert not bias.data.any()


def test_a_recogniser_takes_them_by_espnets_name() -> None:
    torch.manual_seed(2)
    model = _build_model(tiny.config(espnet__init="chainer", **_rnn()))
    assert any(
        "bias" in name and 0 < float(p.mean()) < 1
        for module in model.modules()
        if isinstance(module, torch.nn.LSTM | torch.nn.LSTMCell)
        for name, p in module.named_parameters()
    )
    with pytest.raises(ValueError, match="Unknown initialization"):
        _build_model(tiny.config(espnet__init="kaffee"))


def _rnn() -> dict[str, object]:
    return {key.replace(".", "__"): value for key, value in tiny.RNN.items()}
