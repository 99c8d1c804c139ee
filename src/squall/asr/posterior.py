"""From a decoder's logits to the scores that a beam search adds up."""

from __future__ import annotations

from typing import Any

import torch

from squall.asr.bridge.espnet import BatchScorerInterface
from squall.asr.settings import RecognitionConfig
from squall.losses import LogitNormLoss, TokenLoss, build_loss, log_clipped_posterior, square_aim

__all__ = [
    "PosteriorScorer",
    "log_posterior",
    "normalise_output",
    "posterior_of",
]


def posterior_of(config: RecognitionConfig) -> tuple[str, float]:
    """The form of the posterior that an experiment decodes with, and its target value.

    Returns:
        `("softmax", 1.0)` or `("clipped", M)`, where M is what the loss drives the true logit to.
        `auto` gives `clipped` for the square losses and `softmax` for the others; the reason is in
        recipes/an4/README.md, where both are measured.
    """
    aim = square_aim(_loss_of(config))
    form = config.decode.posterior
    if form == "auto":
        form = "softmax" if aim is None else "clipped"
    return form, 1.0 if aim is None else aim


def normalise_output(config: RecognitionConfig, decoder: torch.nn.Module) -> None:
    """Let a decoder give normalised logits where it was trained with `logit_norm`.

    What such a model says of the tokens is the softmax of those (`squall.losses.logit_norm_loss`),
    so that search, confidences and calibration have to see them in the place of its own. They are
    made as the output layer's result, since ESPnet's decoders take its log-softmax themselves.

    Args:
        config: the experiment.
        decoder: an ESPnet decoder whose last layer is `output_layer` or `output`.

    Raises:
        ValueError: the decoder has no such layer.
    """
    loss = _loss_of(config)
    if isinstance(loss, LogitNormLoss):
        hint = "it cannot be decoded with logit_norm"
        _output_layer(decoder, hint).register_forward_hook(
            lambda module, inputs, output: loss.softmax_logits(output)
        )


def _loss_of(config: RecognitionConfig) -> TokenLoss:
    return build_loss(config.loss.name, class_dim=-1, **config.loss.parameters)


def _output_layer(decoder: Any, hint: str) -> torch.nn.Module:
    layer = getattr(decoder, "output_layer", None) or getattr(decoder, "output", None)
    if layer is None:
        raise ValueError(
            f"{type(decoder).__name__} has no output layer to read logits from: {hint}"
        )
    found: torch.nn.Module = layer
    return found


def log_posterior(logits: torch.Tensor, *, form: str, target: float, floor: float) -> torch.Tensor:
    """Log probabilities of the tokens, of shape (..., C) as the logits.

    Args:
        logits: the decoder's output before any softmax, (..., C).
        form: `softmax` or `clipped`.
        target: value that the loss drives the true logit to; only for `clipped`.
        floor: smallest clipped value; only for `clipped`.
    """
    if form == "softmax":
        return torch.log_softmax(logits, dim=-1)
    return log_clipped_posterior(logits, target=target, floor=floor)


class PosteriorScorer(BatchScorerInterface):  # type: ignore[misc]
    """A decoder as a scorer of the beam search, with the clipped posterior as its score.

    ESPnet's decoders apply log-softmax inside their scoring step. This one lets the decoder take
    that step, keeps the logits that its output layer made, and scores those instead. A decoder
    that takes one hypothesis at a time (ESPnet's RNN decoder) is asked for each of a batch in turn.

    Args:
        decoder: an ESPnet decoder whose last layer is `output_layer` or `output`.
        target, floor: as in `log_clipped_posterior`.

    Raises:
        ValueError: the decoder has no such layer.
    """

    def __init__(self, decoder: Any, *, target: float, floor: float) -> None:
        layer = _output_layer(decoder, "set decode.posterior=softmax")
        self._decoder = decoder
        self._target, self._floor = target, floor
        self._logits = torch.empty(0)
        layer.register_forward_hook(self._keep)

    def _keep(self, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self._logits = output

    def init_state(self, x: torch.Tensor) -> Any:
        return self._decoder.init_state(x)

    def batch_init_state(self, x: torch.Tensor) -> Any:
        batched = isinstance(self._decoder, BatchScorerInterface)
        return self._decoder.batch_init_state(x) if batched else self._decoder.init_state(x)

    def select_state(self, state: Any, i: int, new_id: int | None = None) -> Any:
        return self._decoder.select_state(state, i, new_id)

    def final_score(self, state: Any) -> float:
        return float(self._decoder.final_score(state))

    def score(self, y: torch.Tensor, state: Any, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        _, state = self._decoder.score(y, state, x)
        return self._scores().reshape(-1), state

    def batch_score(
        self, ys: torch.Tensor, states: list[Any], xs: torch.Tensor
    ) -> tuple[torch.Tensor, list[Any]]:
        if not isinstance(self._decoder, BatchScorerInterface):
            found = [self.score(*one) for one in zip(ys, states, xs, strict=True)]
            return torch.stack([scores for scores, _ in found]), [state for _, state in found]
        _, states = self._decoder.batch_score(ys, states, xs)
        return self._scores(), states

    def _scores(self) -> torch.Tensor:
        return log_clipped_posterior(self._logits, target=self._target, floor=self._floor)
