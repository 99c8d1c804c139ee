"""Settings of a recognition experiment."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from squall.engine.config import ExperimentConfig
from squall.engine.loss import LossSettings
from squall.networks.precision import Precision
from squall.settings import Settings
from squall.text.tokens import PHONE_UNITS

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
        units: `char`, `bpe` (a sentencepiece unigram model), `word`, or for corpora with TIMIT's
            phones `phone48` or `phone39` (the classes of Lee and Hon 1989); recognised phones are
            scored as 39 classes from either.
        vocabulary_size: number of sentencepiece pieces; only for `bpe`.
        normalization: the form of Unicode in which transcripts are both learnt and scored:
            `identity` takes them as they are, `nfc` composes accents with their letters, `nfkc`
            spells full-width digits, half-width kana, ligatures and fractions plainly, too.
        max_unlearnable: largest share of a split's tokens that may be unknown from training, and of
            its utterances that may be too short for CTC, in [0, 1]; stage 2 stops above it. It is
            not part of the hash.
    """

    units: Literal["char", "bpe", "word", "phone48", "phone39"] = "char"
    vocabulary_size: int = Field(default=1000, ge=8)
    normalization: Literal["identity", "nfc", "nfkc"] = "identity"
    max_unlearnable: float = Field(default=0.25, ge=0, le=1)

    @property
    def espnet_type(self) -> str:
        """ESPnet's `token_type`: it takes phones, which are separated by spaces, as words."""
        return "word" if self.units in PHONE_UNITS else self.units


class LossConfig(LossSettings):
    """The loss of the attention branch; its scale is the balance with CTC.

    Args:
        name, scale: as in `LossSettings`.
        normalize: `token` divides by the tokens of the batch, `utterance` takes each utterance's
            mean and then the mean of those, `batch` divides the sum by the number of utterances
            (what ESPnet does unless `length_normalized_loss` is set).
        fused: whether training takes the loss together with the decoder's output layer, so that no
            tensor of all logits is made: true, false, or `auto`, which does so for transformer
            decoders of at least 2,000 tokens; never with a baseline. It changes rounding alone, and
            is no part of the experiment's name. Accuracy is then known on the development set only.

    Every further key (alpha, k, M, w, label_smoothing, gamma) goes to the loss, which checks it.
    """

    normalize: Literal["token", "utterance", "batch"] = "batch"
    fused: bool | Literal["auto"] = "auto"


class LanguageModelConfig(Settings):
    """A language model for shallow fusion, trained by ESPnet.

    Args:
        espnet: ESPnet's settings of the language model task, passed through unchanged.
        units: `tokens`, those of the recogniser, or `word`, whose probabilities the search looks
            ahead to at every character (`squall.asr.look_ahead`); for `tokens.units` char alone.
        vocabulary_size: largest number of words, those most frequent in the text; the others are
            `<unk>`. Only for `word`.
        text: what it is trained on instead of the training transcripts: a text file (plain or gzip,
            UTF-8, a sentence in each line) by its path, relative to `SQUALL_DATA`, or by its
            address (http, https, file), which `--download` fetches.
        text_checksum: `sha256:` or `md5:` and the digest of the text; None accepts any.
    """

    espnet: dict[str, Any]
    units: Literal["tokens", "word"] = "tokens"
    vocabulary_size: int = Field(default=65000, ge=1)
    text: str | None = None
    text_checksum: str | None = None

    @property
    def text_url(self) -> str | None:
        """The address of the text, None where it is given by its path."""
        return self.text if re.match("(https?|file)://", self.text or "") else None


class DecodeConfig(Settings):
    """Joint CTC/attention beam search.

    Args:
        beam_size: number of hypotheses kept; no more than there are tokens.
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
        precision: of the products and convolutions in a training step on a CPU, whose weights,
            features and losses are float32 in any case: `float32`, `bfloat16`, or `auto`, which
            takes bfloat16 where the processor multiplies it (twice as fast). It is part of the hash
            where it is not `auto`. On a GPU it is ESPnet's `use_amp` that decides.
        espnet: ESPnet's own training settings, passed through unchanged.
    """

    task: Literal["recognition"] = "recognition"
    tokens: TokensConfig = TokensConfig()
    loss: LossConfig = LossConfig()
    lm: LanguageModelConfig | None = None
    decode: DecodeConfig = DecodeConfig()
    precision: Precision = "auto"
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

    @model_validator(mode="after")
    def _words_are_spelled(self) -> RecognitionConfig:
        if self.lm is not None and self.lm.units == "word" and self.tokens.units != "char":
            raise ValueError(
                f"lm.units is word, and tokens.units is {self.tokens.units}: a language model over "
                "words is for a recogniser of characters. Set tokens.units to char or lm.units to "
                "tokens"
            )
        return self

    def hashed(self) -> dict[str, Any]:
        """The settings that name the experiment directory, without ESPnet's number of epochs.

        Of the language model's text it is the name that counts, not the place; whether it is still
        the same text, its digest tells.
        """
        settings = super().hashed()
        del settings["tokens"]["max_unlearnable"], settings["loss"]["fused"]
        if self.precision == "auto":
            del settings["precision"]
        if self.tokens.normalization == "identity":  # experiments made before have no other name
            del settings["tokens"]["normalization"]
        if self.lm is not None:
            del settings["lm"]["text"], settings["lm"]["text_checksum"]
            if self.lm.units == "tokens":  # as before there were others
                del settings["lm"]["units"], settings["lm"]["vocabulary_size"]
            if self.lm.text is not None:
                settings["lm"]["text"] = self.lm.text.rsplit("/", 1)[-1]
        for key in ("max_epoch", "num_workers", "log_interval", "use_tensorboard"):
            settings["espnet"].pop(key, None)
        return settings

    @property
    def fold(self) -> int | None:
        """The fold that is tested (`corpus.options.fold`), None where none is named."""
        fold: int | None = self.corpus.options.get("fold")
        return fold

    @property
    def system(self) -> str:
        """The loss with the parameters that the settings give it."""
        return self.loss.label
