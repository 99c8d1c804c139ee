"""ESPnet's hybrid CTC/attention model with the attention loss of one's choice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch

from squall.asr.bridge.espnet import ESPnetASRModel, add_sos_eos
from squall.asr.bridge.layers import use_quick_layers
from squall.losses import LINEAR_LOSSES, build_loss, scale_of_ce

__all__ = ["AttentionLoss", "SquallModel", "TrainingDivergedError"]

# Tokens from which on a step with the loss and the output layer in one is no slower.
# `benchmarks/linear_losses.py --sizes 1024,256,1000 1024,256,2000 1024,256,5000`.
_FUSED_FROM = 2000

_DECIDED_BY_LOSS = {
    "lsm_weight": "loss.label_smoothing",
    "length_normalized_loss": "loss.normalize=token",
}


class TrainingDivergedError(RuntimeError):
    """The training loss is not a finite number."""


class AttentionLoss(torch.nn.Module):
    """A loss of `squall.losses` on the decoder's output, in ESPnet's length conventions.

    Args:
        name: name of the loss.
        scale: factor on the result; `ce` for `squall.losses.scale_of_ce` with these `classes`.
        normalize: how the token losses l_bi of utterance b become one number:
            `token` sum_bi l_bi / sum_b L_b; `utterance` mean_b (sum_i l_bi / L_b);
            `batch` sum_bi l_bi / B.
        ignore_index: target of padding.
        parameters: the loss's own parameters.
        classes: number of tokens; only for a scale of `ce`.

    Raises:
        ValueError: there is no such loss, parameter or value, or no scale brings it to that of ce.

    Convention:
        ESPnet 2 takes `batch`, or `token` under `length_normalized_loss`. ESPnet 1, which the
        sources used, multiplied the token mean by the mean target length minus one.
    """

    def __init__(
        self,
        *,
        name: str,
        scale: float | Literal["ce"] = 1.0,
        normalize: str = "batch",
        ignore_index: int = -1,
        parameters: dict[str, Any] | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        parameters = parameters or {}
        if scale == "ce":
            if classes is None:
                raise ValueError("scale is 'ce', which needs the number of classes")
            scale = scale_of_ce(name, classes, **parameters)
        self.normalize = normalize
        self.ignore_index = ignore_index
        shared: dict[str, Any] = {
            "scale": scale,
            "ignore_index": ignore_index,
            "reduction": "none" if normalize == "utterance" else "sum",
            **parameters,
        }
        self.loss = build_loss(name, class_dim=-1, **shared)
        self.linear_loss: torch.nn.Module | None = None
        if name in LINEAR_LOSSES:
            self.linear_loss = LINEAR_LOSSES[name](**shared)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch.

        Args:
            logits: the decoder's output before any softmax, (B, L, C).
            targets: token ids, (B, L), `ignore_index` where padded.

        Returns:
            A scalar in float32 or wider.
        """
        return self._mean(self.loss(logits, targets), targets)

    def of_layer(
        self, hidden: torch.Tensor, layer: torch.nn.Linear, targets: torch.Tensor
    ) -> torch.Tensor:
        """The same of the layer that makes the logits from hidden (B, L, D), in less memory.

        Only where there is a `linear_loss`: of the baselines there is none.
        """
        assert self.linear_loss is not None
        return self._mean(self.linear_loss(hidden, layer.weight, targets, layer.bias), targets)

    def _mean(self, losses: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of the sum of the token losses, or of all of them, (B, L)."""
        if self.normalize == "batch":
            return losses / len(targets)
        lengths = (targets != self.ignore_index).sum(dim=-1)  # (B,)
        if self.normalize == "token":
            return losses / lengths.sum().clamp(min=1)
        return (losses.sum(dim=-1) / lengths.clamp(min=1)).mean()


class SquallModel(ESPnetASRModel):  # type: ignore[misc]
    """`ESPnetASRModel` whose `criterion_att` is an `AttentionLoss`.

    Args:
        loss: arguments of `AttentionLoss` except `ignore_index` and `classes`.
        fused: whether a training step takes the loss together with the decoder's output layer, and
            makes no tensor of all logits; the step then tells no accuracy. `auto`: where the
            decoder's output layer is its last, the loss is no baseline, and there are so many
            tokens that a step is no slower.
        precision: of the matrix products and convolutions of a training step on a CPU, `float32` or
            `bfloat16`; weights, features, losses and everything in validation are in float32.
        args, kwargs: as `ESPnetASRModel`, except for what the loss decides here.

    Raises:
        ValueError: `lsm_weight` or `length_normalized_loss` is set (they are `loss.label_smoothing`
            and `loss.normalize`), there is no attention decoder, or it cannot be `fused`.
    """

    def __init__(
        self,
        *args: Any,
        loss: dict[str, Any],
        fused: bool | Literal["auto"] = "auto",
        precision: Literal["float32", "bfloat16"] = "float32",
        **kwargs: Any,
    ) -> None:
        for key, instead in _DECIDED_BY_LOSS.items():
            if kwargs.get(key):
                raise ValueError(f"espnet.model_conf.{key} is {kwargs[key]}: set {instead} instead")
        super().__init__(*args, **kwargs)
        if self.decoder is None or not hasattr(self, "criterion_att"):
            raise ValueError(
                "the model has no attention decoder, whose loss is what squall sets: take an "
                "attention decoder and espnet.model_conf.ctc_weight below 1"
            )
        self.criterion_att = AttentionLoss(
            ignore_index=self.ignore_id, classes=self.vocab_size, **loss
        )
        if fused is True and self.criterion_att.linear_loss is None:
            raise ValueError(
                f"loss.fused=true needs one of {', '.join(LINEAR_LOSSES)}; {loss['name']} is a "
                "baseline without a form that has the output layer in it: set loss.fused=auto"
            )
        layer: Any = getattr(self.decoder, "output_layer", None)
        possible = (
            isinstance(layer, torch.nn.Linear)
            and self.lang_token_id is None
            and self.criterion_att.linear_loss is not None
        )
        if fused is True and not possible:
            raise ValueError(
                "loss.fused=true needs a transformer decoder, whose output layer is its last; this "
                f"one is {type(self.decoder).__name__}: set loss.fused=auto"
            )
        self.precision = precision
        use_quick_layers(self)
        self.fused = possible and (layer.out_features >= _FUSED_FROM if fused == "auto" else fused)

    def forward(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """As `ESPnetASRModel.forward`.

        Raises:
            TrainingDivergedError: the loss is infinite or not a number.
        """
        in_bfloat16 = self.training and self.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16) if in_bfloat16 else nullcontext():
            loss, stats, weight = super().forward(
                speech, speech_lengths, text, text_lengths, **kwargs
            )
        if not torch.isfinite(loss).all():
            parts = ", ".join(
                f"{key} {float(stats[key]):g}"
                for key in ("loss_ctc", "loss_att")
                if stats.get(key) is not None
            )
            first = (kwargs.get("utt_id") or ["unknown"])[0]
            raise TrainingDivergedError(
                f"the training loss is {float(loss.detach().mean()):g} ({parts}) in the batch of "
                f"utterance {first}. The last checkpoint is kept. Lower espnet.optim_conf.lr or "
                "espnet.grad_clip, or lengthen the warm-up, and run the same command again; it is "
                "a new experiment, because these settings are part of its name"
            )
        return loss, stats, weight

    def _extract_feats(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", enabled=False):
            found: tuple[torch.Tensor, torch.Tensor] = super()._extract_feats(
                speech, speech_lengths
            )
        return found

    def _calc_att_loss(
        self,
        encoder_out: torch.Tensor,
        encoder_out_lens: torch.Tensor,
        ys_pad: torch.Tensor,
        ys_pad_lens: torch.Tensor,
    ) -> tuple[torch.Tensor, Any, Any, Any]:
        """The loss, and in validation accuracy, CER and WER of the attention decoder."""
        if not (self.training and self.fused):
            found: tuple[torch.Tensor, Any, Any, Any] = super()._calc_att_loss(
                encoder_out, encoder_out_lens, ys_pad, ys_pad_lens
            )
            return found
        inputs, targets = add_sos_eos(ys_pad, self.sos, self.eos, self.ignore_id)
        with _without_output_layer(self.decoder) as layer:
            hidden, _ = self.decoder(encoder_out, encoder_out_lens, inputs, ys_pad_lens + 1)
        return self.criterion_att.of_layer(hidden, layer, targets), None, None, None


@contextmanager
def _without_output_layer(decoder: Any) -> Iterator[torch.nn.Linear]:
    """A transformer decoder that gives its hidden features; and the layer that it lacks."""
    layer = decoder.output_layer
    decoder.output_layer = None
    try:
        yield layer
    finally:
        decoder.output_layer = layer
