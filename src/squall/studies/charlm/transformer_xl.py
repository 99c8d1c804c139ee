"""Transformer-XL: a Transformer decoder that goes through a text segment by segment.

Of each layer's input the last `memory` positions of the segments before are kept, without gradient,
and attended to beside those of the segment at hand; what matters to attention is how far apart two
positions are, so that those of a memory need no number.

Source: Dai, Yang, Yang, Carbonell, Le and Salakhutdinov, *Transformer-XL: attentive language models
beyond a fixed-length context*, 2019; equations by the numbers of its section 3.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from squall.settings import Settings

__all__ = ["Memory", "TransformerXL", "TransformerXLSettings", "distance_waves"]

Memory = tuple[Tensor, ...]
"""The inputs of each layer at the last M positions, (B, M, D), without gradient."""


class TransformerXLSettings(Settings):
    """What a network is made of; the defaults are the paper's 12 layers for text8 and enwik8.

    Args:
        layers: their number N.
        d_model: width D of what goes from layer to layer, an even number.
        heads: attention heads H of each layer.
        d_head: width of a head; None for D / H.
        d_inner: width between the two halves of the feed-forward part.
        dropout: share of the values that are dropped in training, wherever the paper's code does.
        attention_dropout: the same of attention weights.
        memory: positions of the earlier segments that each layer attends to.
        tied: whether the output layer's weights are those of the embedding.
        norm: where layer normalisation stands: `post`, after each sum as in the paper, or `pre`,
            before each part and once at the end.
        initial_std: standard deviation of the weights that a training begins with, 0.02 in the
            paper's code; None for 1 / sqrt(inputs) of each layer, and of the embedding 1 / sqrt(D),
            with which small networks learn sooner.
    """

    layers: int = Field(default=12, ge=1)
    d_model: int = Field(default=512, ge=2, multiple_of=2)
    heads: int = Field(default=8, ge=1)
    d_head: int | None = Field(default=None, ge=1)
    d_inner: int = Field(default=2048, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    memory: int = Field(default=512, ge=0)
    tied: bool = True
    norm: Literal["post", "pre"] = "post"
    initial_std: float | None = Field(default=0.02, gt=0)

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_head is None and self.d_model % self.heads:
            raise ValueError(
                f"d_model {self.d_model} cannot be shared by {self.heads} heads: give d_head"
            )
        return self

    @property
    def head_width(self) -> int:
        """That of one head."""
        return self.d_head or self.d_model // self.heads


class TransformerXL(nn.Module):
    """The network, and the linear layer that makes logits of what it gives.

    Weights are drawn from torch's own generator with a normal distribution; offsets are 0.

    Args:
        classes: number of tokens C.
        settings: its size.

    Attributes:
        head: the output layer, D to C.

    Convention: as in the authors' code embeddings are multiplied by sqrt(D), all layers share u and
    v, the sines of the distances stand before the cosines, the linear layers of attention have no
    offsets, and dropout acts on embeddings, distances, what each part adds, the inner values of the
    feed-forward part, and before the output layer. Unlike theirs, `pre` normalises the last layer's
    output too.
    """

    def __init__(self, classes: int, settings: TransformerXLSettings) -> None:
        super().__init__()
        self.settings = settings
        self.embedding = nn.Embedding(classes, settings.d_model)
        self.u = nn.Parameter(torch.empty(settings.heads, 1, settings.head_width))
        self.v = nn.Parameter(torch.empty(settings.heads, 1, settings.head_width))
        self.layers = nn.ModuleList(_Layer(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.d_model) if settings.norm == "pre" else nn.Identity()
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(settings.d_model, classes)
        if settings.tied:
            self.head.weight = self.embedding.weight
        self._draw_weights()

    def _draw_weights(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                std = self.settings.initial_std or parameter.shape[-1] ** -0.5
                nn.init.normal_(parameter, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self, tokens: Tensor, memory: Memory | None = None, *, keep: int | None = None
    ) -> tuple[Tensor, Memory]:
        """What precedes the output layer, of a segment of each of B texts.

        Args:
            tokens: (B, T) class numbers.
            memory: of the segments before; None at the beginning of the texts.
            keep: length of the memory to give, `settings.memory` by default.

        Returns:
            (B, T, D), of which `head` makes the logits of the tokens that come next; and the memory
            for the next segment: of each layer (B, min(M + T, keep), D), where M is the length of
            the one that was given.
        """
        keep = self.settings.memory if keep is None else keep
        hidden = self.dropout(self.embedding(tokens) * math.sqrt(self.settings.d_model))
        if memory is None:
            memory = (hidden[:, :0],) * len(self.layers)
        past, steps = memory[0].shape[1], tokens.shape[1]
        waves = self.dropout(distance_waves(past + steps, like=hidden))
        later = torch.ones(steps, past + steps, dtype=torch.bool, device=tokens.device)
        later = later.triu(past + 1)
        kept = []
        for layer, earlier in zip(self.layers, memory, strict=True):
            context = torch.cat([earlier, hidden], dim=1)
            kept.append(context[:, max(0, past + steps - keep) :].detach())
            hidden = layer(context, past, waves, self.u, self.v, later)
        return self.dropout(self.norm(hidden)), tuple(kept)


def distance_waves(count: int, *, like: Tensor) -> Tensor:
    """R of section 3.3: sines and cosines of the distances `count` - 1, ..., 1, 0 and -1.

    The last is no distance that is attended to; it makes room for `_at_positions`.

    Args:
        count: longest distance and one.
        like: (..., D), whose width, type and device the result has.

    Returns:
        (count + 1, D), sin(d w_k) before cos(d w_k), w_k = 10000^(-2k / D).
    """
    width = like.shape[-1]
    distances = torch.arange(count - 1, -2, -1, device=like.device).to(like.dtype)
    places = torch.arange(0, width, 2, device=like.device).to(like.dtype)
    angles = distances[:, None] * 10000.0 ** (-places / width)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class _Layer(nn.Module):
    """Attention over memory and segment, and the feed-forward part."""

    def __init__(self, settings: TransformerXLSettings) -> None:
        super().__init__()
        width, inner = settings.d_model, settings.heads * settings.head_width
        self.heads, self.head_width = settings.heads, settings.head_width
        self.norm_first = settings.norm == "pre"
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.distance = nn.Linear(width, inner, bias=False)
        self.output = nn.Linear(inner, width, bias=False)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, settings.d_inner),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.d_inner, width),
            nn.Dropout(settings.dropout),
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(settings.dropout)
        self.attention_dropout = nn.Dropout(settings.attention_dropout)

    def forward(
        self, context: Tensor, past: int, waves: Tensor, u: Tensor, v: Tensor, later: Tensor
    ) -> Tensor:
        """The layer's output (B, T, D).

        Args:
            context: (B, M + T, D), memory and segment.
            past: M.
            waves: (M + T + 1, D), as `distance_waves` has them.
            u, v: (H, 1, d), added to the queries for the content and for the distance.
            later: (T, M + T), which positions lie after each one of the segment.
        """
        hidden = context[:, past:]
        if self.norm_first:
            hidden = hidden + self._attend(self.attention_norm(context), past, waves, u, v, later)
            given: Tensor = hidden + self.feed_forward(self.feed_forward_norm(hidden))
        else:
            hidden = self.attention_norm(hidden + self._attend(context, past, waves, u, v, later))
            given = self.feed_forward_norm(hidden + self.feed_forward(hidden))
        return given

    def _attend(
        self, context: Tensor, past: int, waves: Tensor, u: Tensor, v: Tensor, later: Tensor
    ) -> Tensor:
        """softmax(A / sqrt(d)) times the values, A_ij = (q_i + u) k_j' + (q_i + v) (W R_(i-j))'."""
        query = self._of_heads(self.query(context[:, past:]))  # (B, H, T, d)
        keys, values = self.key_value(context).chunk(2, dim=-1)
        keys, values = self._of_heads(keys), self._of_heads(values)  # (B, H, S, d)
        distances = self._of_heads(self.distance(waves))  # (H, S + 1, d)
        scale = self.head_width**-0.5
        # Not torch's scaled_dot_product_attention: its mask would have a gradient, with which it is
        # no quicker on a CPU, and in bfloat16 1.6 times as slow.
        by_content = torch.matmul((query + u) * scale, keys.transpose(-1, -2))
        by_distance = torch.matmul((query + v) * scale, distances.transpose(-1, -2))
        scores = (by_content + _at_positions(by_distance)).masked_fill(later, -math.inf)
        weights = self.attention_dropout(scores.softmax(dim=-1))
        attended = torch.matmul(weights, values).transpose(1, 2).flatten(2)
        mixed: Tensor = self.dropout(self.output(attended))
        return mixed

    def _of_heads(self, values: Tensor) -> Tensor:
        """(..., S, H d) as (..., H, S, d)."""
        return values.view(*values.shape[:-1], self.heads, self.head_width).transpose(-3, -2)


def _at_positions(by_distance: Tensor) -> Tensor:
    """From what stands at each distance to what stands at each position (the paper's appendix B).

    Args:
        by_distance: (..., T, S + 1), in row i at place s what belongs to the distance S - 1 - s.

    Returns:
        (..., T, S), in row i at place j what belongs to the distance S - T + i - j, that of
        position j from the row's own; what lies after it has no meaning. It is a view: row i begins
        T - 1 - i places further on, so that in one line of all rows S places lie between the
        beginnings of two.
    """
    *outer, steps, width = by_distance.shape
    line = by_distance.flatten(-2)[..., steps - 1 : steps - 1 + steps * (width - 1)]
    return line.view(*outer, steps, width - 1)
