"""PWIM, the pairwise word interaction model.

Source: He and Lin, *Pairwise word interaction modeling with deep neural networks for semantic
similarity measurement*, NAACL 2016.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from squall.studies.text.bilstm import BiLstm
from squall.studies.text.embeddings import embedding_layer
from squall.studies.text.words import PADDING_ID

__all__ = ["Pwim", "focus_weights", "match_greedily", "similarity_cube"]

_CHANNELS = (13, 128, 164, 192, 192, 128)
_UNITS = 128
_FOCUS = slice(9, 11)  # cosine and distance of the summed states
_OUT_OF_FOCUS = 0.1


class Pwim(nn.Module):
    """The likeness of all pairs of words as an image with 13 channels, and a network that reads it.

    - h_a = BiLSTM(a), h_b = BiLSTM(b)
    - cube: `similarity_cube` of both, times `focus_weights` of it, padded with zeros
    - five times: a convolution with 3 x 3 filters (128, 164, 192, 192 and 128 of them), ReLU,
      maximum over 2 x 2 places; 3 x 3 the last time if `size` is 48
    - a layer of 128 units, ReLU, the output layer

    Args:
        embeddings: (V, D) word vectors, that of padding first; they are copied.
        classes: C.
        hidden: H, of each direction of the LSTM.
        dropout: share of the inputs of the LSTM and of the 128 layer's that are set to 0 in
            training; the paper has none.
        train_embeddings: whether the word vectors are trained too.
        size: of the image, 32 or 48; what a text has beyond so many words is read by the LSTM only.

    Raises:
        ValueError: the embeddings have another shape, or it is another size.

    The initial weights and the dropout are drawn from torch's global generator.

    Convention: H, fixed word vectors, `size` per set of data (48 for MRPC) and the initial weights
    of the filters, normal with variance 2 / (9 times their number), are those of the authors'
    program. In it the same weights read in both directions; here each direction has its own, as in
    Lan and Xu's toolkit (2018). The paper's 19 layers are there when convolutions, ReLUs, maxima,
    full layers and the softmax are counted.

    With D = 300, H = 250 and 2 classes there are 2,161,830 parameters beside the word vectors:
    1,104,000 of the LSTM and 1,057,830 of the rest; with shared weights 1,609,830.
    """

    def __init__(
        self,
        embeddings: Tensor,
        classes: int,
        *,
        hidden: int = 250,
        dropout: float = 0.0,
        train_embeddings: bool = False,
        size: Literal[32, 48] = 48,
    ) -> None:
        super().__init__()
        if size not in (32, 48):
            raise ValueError(f"the image's size is {size}; it must be 32 or 48")
        self.size = size
        self.embedding = embedding_layer(embeddings, trainable=train_embeddings)
        self.encoder = BiLstm(embeddings.shape[1], hidden)
        self.convolutions = nn.ModuleList()
        for channels, filters in pairwise(_CHANNELS):
            layer = nn.Conv2d(channels, filters, 3, padding=1)
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (9 * filters)))
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            # Faster on CPUs by a third.
            self.convolutions.append(layer.to(memory_format=torch.channels_last))
        self.windows = (2, 2, 2, 2, size // 16)
        self.hidden_layer = nn.Linear(_CHANNELS[-1], _UNITS)
        self.output_layer = nn.Linear(_UNITS, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The logits of pairs of texts.

        Args:
            a: (B, L) int64 numbers of words, each row with at least one, then zeros.
            b: (B, M), likewise.

        Returns:
            (B, C).
        """
        states, masks = [], []
        for ids in (a, b):
            mask = ids != PADDING_ID
            encoded = self.encoder(self.dropout(self.embedding(ids)), mask)
            states.append(encoded[:, : self.size])
            masks.append(mask[:, : self.size])
        real = masks[0].unsqueeze(2) & masks[1].unsqueeze(1)  # (B, L, M)
        cube = similarity_cube(*states)  # (B, 13, L, M)
        cube = cube * (focus_weights(cube[:, _FOCUS], real) * real).unsqueeze(1)
        features = self.dropout(self._convolve(cube))
        logits: Tensor = self.output_layer(self.hidden_layer(features).relu())
        return logits

    def _convolve(self, cube: Tensor) -> Tensor:
        """What is left of (B, 13, L, M) after the convolutions, (B, 128).

        The image is `size` wide and high, but most of it is padding. What a layer makes of padding
        alone, `empty`, is computed once. Of the pairs only the corner is, in which the words of
        the longest can be seen: it grows by a place with each convolution and ends at a whole
        window of the maximum.
        """
        empty = cube.new_zeros(1, cube.shape[1], self.size, self.size)
        corner = cube
        for layer, window in zip(self.convolutions, self.windows, strict=True):
            seen = [-(-(length + 1) // window) * window for length in corner.shape[2:]]
            frame = empty[:, :, : seen[0] + 1, : seen[1] + 1]
            frame = frame.expand(len(cube), -1, -1, -1)
            frame = frame.clone(memory_format=torch.channels_last)
            frame[:, :, : corner.shape[2], : corner.shape[3]] = corner
            # A last place that fills no window, where the frame's edge shows, is dropped.
            corner = F.max_pool2d(layer(frame), window).relu()
            empty = F.max_pool2d(layer(empty), window).relu()
        return corner.flatten(1)


def similarity_cube(a: Tensor, b: Tensor) -> Tensor:
    """How like each other two words are in their contexts, for each pair of words.

    Three measures (cosine, negative Euclidean distance, dot product) of four vectors per word: its
    forward state, its backward state, both concatenated, both summed.

    Args:
        a, b: (B, L, 2 H) and (B, M, 2 H), forward states first.

    Returns:
        (B, 13, L, M): the measures of the forward states, of the backward ones, of the concatenated
        and of the summed ones, and a channel of ones, which becomes the indicator of padding when
        the others are padded with zeros.

    Convention: squared distances come from dot products, |x|^2 + |y|^2 - 2 x . y, and are at least
    1e-6. In float32, distances of words that are nearly alike have an error of the order of 1e-3.
    """
    halves_a, halves_b = a.chunk(2, 2), b.chunk(2, 2)
    forward = _products(halves_a[0], halves_b[0])
    backward = _products(halves_a[1], halves_b[1])
    both = tuple(one + other for one, other in zip(forward, backward, strict=True))
    total = _products(halves_a[0] + halves_a[1], halves_b[0] + halves_b[1])
    channels = []
    for dots, squares_a, squares_b in (forward, backward, both, total):
        cosines = dots / (squares_a * squares_b).clamp(min=1e-16).sqrt()
        distances = (squares_a + squares_b - 2 * dots).clamp(min=1e-6).sqrt()
        channels += [cosines, -distances, dots]
    return torch.stack([*channels, torch.ones_like(channels[0])], 1)


def _products(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of (B, L, H) and (B, M, H): dot products (B, L, M), squared norms (B, L, 1) and (B, 1, M)."""
    squares_a, squares_b = (x.square().sum(2) for x in (a, b))
    return a @ b.mT, squares_a.unsqueeze(2), squares_b.unsqueeze(1)


def focus_weights(similarities: Tensor, real: Tensor) -> Tensor:
    """The similarity focus layer: 1 for the most important pairs of words, 0.1 for the others.

    Important are those that `match_greedily` finds by any of K similarities.

    Args:
        similarities: (B, K, L, M).
        real: (B, L, M), true where both are words.

    Returns:
        (B, L, M), without a gradient.

    Convention: `Pwim` has K = 2, cosine and distance of the summed states, as Lan and Xu's toolkit
    (2018) and MatchZoo; the authors' program takes those of the concatenated states. All channels
    are weighted, the indicator of padding too, as in the authors' program.
    """
    matched = match_greedily(similarities.detach(), real.unsqueeze(1)).any(1)
    return similarities.new_full((), _OUT_OF_FOCUS).masked_fill(matched, 1.0)


def match_greedily(similarities: Tensor, real: Tensor) -> Tensor:
    """The pairs of words that are matched one to one, the most alike first.

    Of two that are equally alike the one in the higher row comes first, then the one further left.

    A pair that is the best one of its row and of its column is matched sooner or later, whatever
    happens elsewhere: all of these are taken at once, then those of what is left. There are at most
    min(L, M) rounds; for texts of 40 words it takes fewer than ten.

    Args:
        similarities: (..., L, M).
        real: true where both are words; it is expanded to their shape.

    Returns:
        (..., L, M) of bool.
    """
    left = similarities.masked_fill(~real, -torch.inf)
    matched = torch.zeros_like(left, dtype=torch.bool)
    rows = torch.arange(left.shape[-2], device=left.device)
    while True:
        best = left.argmax(-1, keepdim=True)  # (..., L, 1) the column of each row's best
        of_column = left.argmax(-2)  # (..., M) the row of each column's best
        mutual = of_column.gather(-1, best.squeeze(-1)) == rows
        mutual &= left.gather(-1, best).squeeze(-1) > -torch.inf
        if not mutual.any():
            return matched
        found = torch.zeros_like(matched).scatter_(-1, best, mutual.unsqueeze(-1))
        matched |= found
        taken = found.any(-1, keepdim=True) | found.any(-2, keepdim=True)
        left = left.masked_fill_(taken, -torch.inf)
