"""The bidirectional LSTM of the models of pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BiLstm"]


class BiLstm(nn.Module):
    """Two LSTMs, one from left to right and one from right to left (Graves, Schmidhuber 2005).

    For the second each text is turned round within its own length, so that padding stays behind
    the words for both, where it reaches none of them. Packing the texts instead costs more than
    the work it saves: in torch 2.14 its gradient on a CPU fills a tensor of the whole batch with
    zeros for every time step.

    Args:
        inputs: D.
        hidden: H, cells of each direction.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.rightward = nn.LSTM(inputs, hidden, batch_first=True)
        self.leftward = nn.LSTM(inputs, hidden, batch_first=True)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """The states of both directions at each word.

        Args:
            values: (B, L, D).
            mask: (B, L) true where there is a word; all words of a text stand before its padding.

        Returns:
            (B, L, 2 H), those of the first LSTM first; at padding of no meaning, but finite.
        """
        places = torch.arange(values.shape[1], device=values.device)
        last = mask.sum(1, keepdim=True) - 1
        turned = torch.where(places <= last, last - places, places).unsqueeze(2)  # (B, L, 1)
        right, _ = self.rightward(values)
        left, _ = self.leftward(values.gather(1, turned.expand_as(values)))
        return torch.cat([right, left.gather(1, turned.expand_as(left))], 2)
