"""What a family of models has to offer, and the one that the settings name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from squall.engine.experiment import data_dir
from squall.studies.text.dataset import Ragged, Texts
from squall.studies.text.settings import EncoderSettings, TextConfig

__all__ = ["Family", "load_family", "open_family"]


class Family(Protocol):
    """A way from texts to logits: tokens, batches of them, networks."""

    def fit(self, texts: Texts) -> str:
        """Learn what tokens there are from the training texts, where that is not known before.

        Returns:
            What was learnt, in words; nothing where there was nothing to learn.
        """

    def encode(self, texts: Texts) -> tuple[dict[str, Ragged], int]:
        """The tokens of texts, and how many texts were cut."""

    def batch(
        self, inputs: dict[str, Ragged], rows: Sequence[int] | NDArray[np.int64]
    ) -> dict[str, Tensor]:
        """Some of the encoded texts as the arguments of a network."""

    def network(self, *, classes: int) -> nn.Module:
        """A network before its training; what it draws, it draws from torch's generator.

        Its `forward` takes what `batch` gives and returns logits (B, C).
        """

    def save(self, folder: Path, network: nn.Module | None) -> None:
        """Write all that `load_family` and `load_network` need into a folder; without a network
        what `fit` has learnt."""

    def load_network(self, folder: Path, *, classes: int) -> nn.Module:
        """The trained network that `save` wrote."""


def open_family(config: TextConfig, *, download: bool = False) -> Family:
    """The family of an experiment, as it is before the training.

    Args:
        config: the experiment.
        download: whether a model may be fetched from Hugging Face's hub.

    Raises:
        ImportError: the package of the family is not installed.
        ValueError: the pretrained model cannot be had or used; the message says why.
    """
    if isinstance(config.model, EncoderSettings):
        from squall.studies.text.encoder import EncoderFamily

        return EncoderFamily.pretrained(config.model, config.max_length, download=download)
    from squall.studies.text.pairs import PairFamily

    return PairFamily(config.model, config.max_length, data_dir())


def load_family(config: TextConfig, folder: Path) -> Family:
    """The family of an experiment with all that `Family.save` wrote into a folder."""
    if isinstance(config.model, EncoderSettings):
        from squall.studies.text.encoder import EncoderFamily

        return EncoderFamily.saved(folder, config.max_length)
    from squall.studies.text.pairs import PairFamily

    return PairFamily.saved(config.model, config.max_length, folder)
