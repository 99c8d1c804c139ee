"""ESPnet's hybrid CTC/attention model with the attention loss of one's choice."""

from __future__ import annotations

from typing import Any

import torch
from espnet2.asr.espnet_model import ESPnetASRModel

from squall.losses import build_loss

__all__ = ["AttentionLoss", "SquallModel", "TrainingDivergedError"]


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
        scale: factor on the result.
        normalize: how the token losses l_bi of utterance b become one number:
            `token` sum_bi l_bi / sum_b L_b; `utterance` mean_b (sum_i l_bi / L_b);
            `batch` sum_bi l_bi / B.
        ignore_index: target of padding.
        parameters: the loss's own parameters.

    Convention:
        ESPnet 2 takes `batch`, or `token` under `length_normalized_loss`. ESPnet 1, which the
        sources used, multiplied the token mean by the mean target length minus one.
    """

    def __init__(
        self,
        *,
        name: str,
        scale: float = 1.0,
        normalize: str = "batch",
        ignore_index: int = -1,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.ignore_index = ignore_index
        self.loss = build_loss(
            name,
            scale=scale,
            ignore_index=ignore_index,
            class_dim=-1,
            reduction="none",
            **(parameters or {}),
        )

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch.

        Args:
            logits: the decoder's output before any softmax, (B, L, C).
            targets: token ids, (B, L), `ignore_index` where padded.

        Returns:
            A scalar in float32 or wider.
        """
        token_losses: torch.Tensor = self.loss(logits, targets)  # (B, L)
        if self.normalize == "batch":
            return token_losses.sum() / len(targets)
        lengths = (targets != self.ignore_index).sum(dim=-1)  # (B,)
        if self.normalize == "token":
            return token_losses.sum() / lengths.sum().clamp(min=1)
        return (token_losses.sum(dim=-1) / lengths.clamp(min=1)).mean()


class SquallModel(ESPnetASRModel):  # type: ignore[misc]
    """`ESPnetASRModel` whose `criterion_att` is an `AttentionLoss`.

    Args:
        loss: arguments of `AttentionLoss` except `ignore_index`.
        args, kwargs: as `ESPnetASRModel`, except for what the loss decides here.

    Raises:
        ValueError: `lsm_weight` or `length_normalized_loss` is set (they are `loss.label_smoothing`
            and `loss.normalize`), or there is no attention decoder.
    """

    def __init__(self, *args: Any, loss: dict[str, Any], **kwargs: Any) -> None:
        for key, instead in _DECIDED_BY_LOSS.items():
            if kwargs.get(key):
                raise ValueError(f"espnet.model_conf.{key} is {kwargs[key]}: set {instead} instead")
        super().__init__(*args, **kwargs)
        if self.decoder is None or not hasattr(self, "criterion_att"):
            raise ValueError(
                "the model has no attention decoder, whose loss is what squall sets: take an "
                "attention decoder and espnet.model_conf.ctc_weight below 1"
            )
        self.criterion_att = AttentionLoss(ignore_index=self.ignore_id, **loss)

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
        loss, stats, weight = super().forward(speech, speech_lengths, text, text_lengths, **kwargs)
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
