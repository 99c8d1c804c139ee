"""A transformer decoder, one token at a time, without computing anything twice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from squall.asr.bridge.espnet import MultiHeadedAttention, TransformerDecoder

__all__ = ["DecoderSteps", "decodes_in_steps"]


def decodes_in_steps(decoder: Any) -> bool:
    """Whether a decoder is ESPnet's plain transformer, whose layers `DecoderSteps` knows."""
    return type(decoder) is TransformerDecoder and all(
        type(layer.self_attn) is MultiHeadedAttention
        and type(layer.src_attn) is MultiHeadedAttention
        and not layer.concat_after
        and getattr(layer, "sequential_attn", None) is None
        for layer in decoder.decoders
    )


class DecoderSteps:
    """ESPnet's transformer decoder over the hypotheses of several utterances.

    Keys and values of the encoder's frames are computed once for each utterance, and those of a
    token once for each hypothesis. ESPnet's own step computes the former anew for every hypothesis
    and token, which is most of its time.

    Each of the B utterances has K hypotheses, which lie utterance after utterance, N = B K.

    Args:
        decoder: one that `decodes_in_steps`.
        encoded: the encoder's output, (B, T, D).
        lengths: how many of the T frames each utterance has, (B,).
    """

    def __init__(self, decoder: Any, encoded: Tensor, lengths: Tensor) -> None:
        self._decoder = decoder
        frames = torch.arange(encoded.size(1), device=encoded.device)
        heard = frames < lengths[:, None]  # (B, T)
        mask = None if bool(heard.all()) else heard[:, None, None]  # (B, 1, 1, T)
        self._layers = [_LayerSteps(layer, encoded, mask) for layer in decoder.decoders]

    def logits(self, tokens: Tensor) -> Tensor:
        """Those of the next token, (N, C), after one more token of each hypothesis.

        Args:
            tokens: all tokens of the hypotheses, (N, L), of which the last is new.
        """
        x = self._decoder.embed(tokens)[:, -1]  # (N, D)
        for layer in self._layers:
            x = layer(x)
        if self._decoder.normalize_before:
            x = self._decoder.after_norm(x)
        logits: Tensor = self._decoder.output_layer(x)
        return logits

    def select(self, hypotheses: Tensor) -> None:
        """Go on with these of the N hypotheses, (N,)."""
        for layer in self._layers:
            layer.select(hypotheses)


class _LayerSteps:
    """One layer, with the keys and values that it attends to: (., heads, length, D / heads)."""

    def __init__(self, layer: Any, encoded: Tensor, mask: Tensor | None) -> None:
        self._layer, self._mask = layer, mask
        self._frames = layer.src_attn.forward_qkv(encoded[:, :1], encoded, encoded)[1:]
        self._tokens: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        layer = self._layer
        for norm, sublayer in (
            (layer.norm1, self._attend_to_tokens),
            (layer.norm2, self._attend_to_frames),
            (layer.norm3, layer.feed_forward),
        ):
            x = x + sublayer(norm(x)) if layer.normalize_before else norm(x + sublayer(x))
        return x

    def _attend_to_tokens(self, x: Tensor) -> Tensor:
        attention, new = self._layer.self_attn, x[:, None]
        query, key, value = attention.forward_qkv(new, new, new)  # (N, H, 1, D / H)
        if self._tokens is not None:
            key = torch.cat([self._tokens[0], key], dim=2)  # (N, H, L, D / H)
            value = torch.cat([self._tokens[1], value], dim=2)
        self._tokens = key, value
        found = F.scaled_dot_product_attention(query, key, value)
        return self._merged(attention, found, len(x))

    def _attend_to_frames(self, x: Tensor) -> Tensor:
        attention, (key, value) = self._layer.src_attn, self._frames
        by_utterance = x.view(key.size(0), -1, x.size(1))  # (B, K, D)
        query, _, _ = attention.forward_qkv(by_utterance, by_utterance[:, :0], by_utterance[:, :0])
        found = F.scaled_dot_product_attention(query, key, value, self._mask)  # (B, H, K, D / H)
        return self._merged(attention, found, len(x))

    @staticmethod
    def _merged(attention: Any, found: Tensor, hypotheses: int) -> Tensor:
        merged: Tensor = attention.linear_out(found.transpose(1, 2).reshape(hypotheses, -1))
        return merged

    def select(self, hypotheses: Tensor) -> None:
        if self._tokens is not None:
            key, value = self._tokens
            self._tokens = key[hypotheses], value[hypotheses]
