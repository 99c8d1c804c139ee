"""Settings of a recognition experiment."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from squall.config import ExperimentConfig, Settings, parameter_label

__all__ = [
    "DecodeConfig",
    "LanguageModelConfig",
    "LossConfig",
    "RecognitionConfig",
    "TokensConfig",
]


class TokensConfig(Settings):
    """The units that the recogniser writes.

    Args:
        units: `char`, `bpe` (a sentencepiece unigram model) or `word`.
        vocabulary_size: number of sentencepiece pieces; only for `bpe`.
    """

    units: Literal["char", "bpe", "word"] = "char"
    vocabulary_size: int = Field(default=1000, ge=8)


class LossConfig(BaseModel):
    """The loss of the attention branch.

    Args:
        name: one of `squall.losses.LOSSES`.
        scale: factor on the loss, so that the balance with CTC is a visible setting.
        normalize: `token` divides by the tokens of the batch, `utterance` takes each utterance's
            mean and then the mean of those, `batch` divides the sum by the number of utterances
            (what ESPnet does unless `length_normalized_loss` is set).

    Every further key (alpha, k, M, w, label_smoothing) goes to the loss, which checks it.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "ce"
    scale: float = Field(default=1.0, gt=0)
    normalize: Literal["token", "utterance", "batch"] = "batch"

    @property
    def parameters(self) -> dict[str, Any]:
        """The loss's own parameters."""
        return dict(self.model_extra or {})


class LanguageModelConfig(Settings):
    """A language model for shallow fusion, trained by ESPnet on the training text.

    Args:
        espnet: ESPnet's settings of the language model task, passed through unchanged.
    """

    espnet: dict[str, Any]


class DecodeConfig(Settings):
    """Joint CTC/attention beam search.

    Args:
        beam_size: number of hypotheses kept.
        ctc_weight: weight of the CTC prefix score; the decoder has one minus it.
        lm_weight: weight of the language model's log probability; needs `lm`.
        penalty: added for each token (insertion bonus).
        maxlenratio: longest hypothesis in tokens, relative to the encoder's frames; 0 lets the
            search end by itself.
        minlenratio: shortest hypothesis, relative to the encoder's frames.
        posterior: how the decoder's logits become scores: `softmax`, `clipped` (logits divided by
            the target value, cut at `floor` and normalised: for models trained without a softmax)
            or `auto`, which takes `clipped` for the square losses and `softmax` for the others.
        floor: smallest value of a clipped logit, in (0, 1).
        sets: the splits to decode.
    """

    beam_size: int = Field(default=10, ge=1)
    ctc_weight: float = Field(default=0.3, ge=0, le=1)
    lm_weight: float = Field(default=0.0, ge=0)
    penalty: float = 0.0
    maxlenratio: float = Field(default=0.0, ge=0)
    minlenratio: float = Field(default=0.0, ge=0)
    posterior: Literal["auto", "softmax", "clipped"] = "auto"
    floor: float = Field(default=1e-3, gt=0, lt=1)
    sets: tuple[str, ...] = ("dev", "test")


class RecognitionConfig(ExperimentConfig):
    """Everything that decides the numbers of one recognition experiment.

    Args:
        tokens: the units that the recogniser writes.
        loss: the loss of the attention branch.
        lm: a language model, or None.
        decode: the search; it is not part of the hash, see `variant`.
        espnet: ESPnet's own training settings, passed through unchanged.
    """

    task: Literal["recognition"] = "recognition"
    tokens: TokensConfig = TokensConfig()
    loss: LossConfig = LossConfig()
    lm: LanguageModelConfig | None = None
    decode: DecodeConfig = DecodeConfig()
    espnet: dict[str, Any]

    variant_group: ClassVar[str] = "decode"

    @field_validator("espnet")
    @classmethod
    def _no_owned_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        owned = {"seed", "token_list", "token_type", "output_dir", "ngpu", "resume", "model"}
        clash = sorted(owned & value.keys())
        if clash:
            raise ValueError(f"{clash[0]!r} is set by squall; take it out of the espnet part")
        return value

    def hashed(self) -> dict[str, Any]:
        """The settings that name the experiment directory, without ESPnet's number of epochs."""
        settings = super().hashed()
        for key in ("max_epoch", "num_workers", "log_interval", "use_tensorboard"):
            settings["espnet"].pop(key, None)
        return settings

    @property
    def system(self) -> str:
        """The loss with the parameters that the settings give it."""
        shown = {"alpha": "a", "label_smoothing": "ls"}
        scale = f"-scale{self.loss.scale:g}" if self.loss.scale != 1.0 else ""
        return self.loss.name + parameter_label(self.loss.parameters, shown) + scale
