"""The bidirectional LSTM beside torch's own on packed texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from squall.studies.text.bilstm import BiLstm

LENGTHS = torch.tensor([3, 7, 1, 5])
MASK = torch.arange(7) < LENGTHS.unsqueeze(1)


def packed_states(encoder: BiLstm, values: Tensor) -> Tensor:
    lstm = nn.LSTM(5, 4, batch_first=True, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        for part, ending in ((encoder.rightward, ""), (encoder.leftward, "_reverse")):
            for name, parameter in part.named_parameters():
                getattr(lstm, name + ending).copy_(parameter)
    packed = pack_padded_sequence(values, LENGTHS, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(lstm(packed)[0], batch_first=True)[0]


def test_states_and_gradients_are_those_of_packed_texts() -> None:
    encoder = BiLstm(5, 4).double()
    values = torch.randn(4, 7, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 7, 8, dtype=torch.float64) * MASK.unsqueeze(2)
    states = encoder(values, MASK)
    expected = packed_states(encoder, values)
    torch.testing.assert_close(states[MASK], expected[MASK])
    gradients = [torch.autograd.grad((x * weights).sum(), values)[0] for x in (states, expected)]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert not gradients[0][~MASK].any()


def test_what_is_at_padding_changes_nothing() -> None:
    encoder = BiLstm(5, 4)
    values = torch.randn(4, 7, 5)
    other = torch.where(MASK.unsqueeze(2), values, 100.0)
    assert torch.equal(encoder(values, MASK)[MASK], encoder(other, MASK)[MASK])
    assert encoder(other, MASK).isfinite().all()
