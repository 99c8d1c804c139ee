"""Settings of the recipe `charlm`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from squall.engine.config import ExperimentConfig
from squall.engine.loss import LossSettings
from squall.losses import LINEAR_LOSSES
from squall.networks.precision import Precision
from squall.settings import Settings
from squall.studies.charlm.transformer_xl import TransformerXLSettings

__all__ = [
    "CharlmConfig",
    "EvaluationSettings",
    "LanguageLoss",
    "TextSettings",
    "TrainingSettings",
]

# Classes from on which a step with the loss and the output layer in one is no slower, and its
# memory is no longer that of all logits: as for recognisers, see benchmarks/linear_losses.py.
_FUSED_FROM = 2000


class TextSettings(Settings):
    """What is predicted.

    Args:
        units: `byte`, which for text8 is a character, or `subword`, pieces of a sentencepiece
            unigram model.
        vocabulary_size: number of pieces; only for `subword`.
        ngrams: lengths of the n-grams of the models that the network is put beside.
    """

    units: Literal["byte", "subword"] = "byte"
    vocabulary_size: int = Field(default=8000, ge=8)
    ngrams: tuple[int, ...] = (5,)


class LanguageLoss(LossSettings):
    """The loss of the next token.

    Args:
        name, scale: as in `LossSettings`.
        fused: whether training takes the loss together with the output layer, so that no tensor of
            all logits is made: true, false, or `auto`, which does so for vocabularies of at least
            2,000 tokens; never with a baseline. It changes rounding alone, and is no part of the
            experiment's name.
    """

    fused: bool | Literal["auto"] = "auto"

    def is_fused(self, classes: int) -> bool:
        """Whether it is, with so many classes.

        Raises:
            ValueError: it is to be, and the loss is a baseline.
        """
        if self.fused is True and self.name not in LINEAR_LOSSES:
            raise ValueError(
                f"loss.fused=true needs one of {', '.join(LINEAR_LOSSES)}; {self.name} is a "
                "baseline without a form that has the output layer in it: set loss.fused=auto"
            )
        if self.fused == "auto":
            return classes >= _FUSED_FROM and self.name in LINEAR_LOSSES
        return self.fused


class TrainingSettings(Settings):
    """How the network is trained, by Adam.

    Args:
        batch: streams B: the training text is cut into so many, which are gone through side by
            side, segment by segment.
        segment: tokens T of each stream in a step.
        steps: in all; the text begins anew as often as they take.
        steps_per_epoch: steps between two looks at the development part. Memories are empty at the
            beginning of each.
        learning_rate: the largest one. It rises to it in a line over `warmup` steps, and falls like
            a cosine to 0 at the last step.
        warmup: steps.
        clip: largest norm of the gradient of all weights.
        dev_tokens: of the development part so many are looked at, the first; None for all.
        precision: of the matrix products in a step on a CPU, whose weights and losses are float32
            in any case; it is part of the experiment's name where it is not `auto`.
    """

    batch: int = Field(default=8, ge=1)
    segment: int = Field(default=70, ge=1)
    steps: int = Field(default=400_000, ge=1)
    steps_per_epoch: int = Field(default=4000, ge=1)
    learning_rate: float = Field(default=2.5e-4, gt=0)
    warmup: int = Field(default=0, ge=0)
    clip: float = Field(default=0.25, gt=0)
    dev_tokens: int | None = Field(default=None, ge=2)
    precision: Precision = "auto"


class EvaluationSettings(Settings):
    """How a trained network goes through the development and test parts; it is not trained again.

    Args:
        streams: into so many a part is cut; each begins without a memory.
        segment: tokens of each stream in a step.
        memory: positions that each layer attends to beside the segment; None for as many as in
            training.
        dev_tokens: of the development part so many are used to fit the temperature, the first; None
            for all. It is one number, which needs few.
        floor: smallest value of a clipped logit, in (0, 1); see
            `squall.losses.log_clipped_posterior`.
        block: characters of the pieces of text that stand for one observation where two systems are
            compared: neighbours are alike, so that single characters do not.
    """

    streams: int = Field(default=16, ge=1)
    segment: int = Field(default=128, ge=1)
    memory: int | None = Field(default=None, ge=0)
    dev_tokens: int | None = Field(default=100_000, ge=2)
    floor: float = Field(default=1e-3, gt=0, lt=1)
    block: int = Field(default=500, ge=1)


class CharlmConfig(ExperimentConfig):
    """Everything that decides the numbers of one language model."""

    task: Literal["charlm"] = "charlm"
    text: TextSettings = TextSettings()
    loss: LanguageLoss = LanguageLoss()
    network: TransformerXLSettings = TransformerXLSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    variant_group: ClassVar[str] = "evaluation"

    def hashed(self) -> dict[str, Any]:
        """As those of every experiment, without what changes rounding alone, or no network."""
        settings = super().hashed()
        del settings["loss"]["fused"], settings["text"]["ngrams"]
        if self.training.precision == "auto":
            del settings["training"]["precision"]
        return settings

    @property
    def system(self) -> str:
        """The loss with the parameters that the settings give it."""
        return self.loss.label
