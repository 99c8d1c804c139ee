"""All that squall takes from ESPnet, of 202511 or of 202611, which keeps its older half elsewhere.

Nothing else imports ESPnet, so that it is always imported as it is here: without `g2p_en`, without
the types of its arguments being checked at run time, and without `transformers`, which its optional
parts look for wherever it is installed. Of the seconds that the import takes the second are half,
as the source of every module is parsed again for it, and the third would be another third. Where
the environment variable `WITH_TRANSFORMERS` is set, those parts are there.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typeguard

from squall.asr.bridge.names import WITH_TRANSFORMERS


def _keep_g2p_out() -> None:
    """ESPnet imports `g2p_en`, which tries two downloads, and recognition has no use for it."""
    if "g2p_en" not in sys.modules:
        stub = types.ModuleType("g2p_en")
        stub.__spec__ = importlib.machinery.ModuleSpec("g2p_en", None)
        sys.modules["g2p_en"] = stub


@contextmanager
def _without_type_checks() -> Iterator[None]:
    def unchecked(target: Any = None, **_: Any) -> Any:
        return unchecked if target is None else target

    checked = typeguard.typechecked
    typeguard.typechecked = unchecked
    try:
        yield
    finally:
        typeguard.typechecked = checked


@contextmanager
def _without_transformers() -> Iterator[None]:
    if "transformers" in sys.modules or os.environ.get(WITH_TRANSFORMERS):
        yield
        return
    sys.modules["transformers"] = None  # type: ignore[assignment]  # an import finds it absent
    try:
        yield
    finally:
        del sys.modules["transformers"]


_keep_g2p_out()
with _without_type_checks(), _without_transformers():
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
    from espnet2.asr.espnet_model import ESPnetASRModel
    from espnet2.samplers.build_batch_sampler import build_batch_sampler
    from espnet2.tasks.asr import ASRTask, model_choices
    from espnet2.tasks.lm import LMTask
    from espnet2.text.build_tokenizer import build_tokenizer
    from espnet2.train.reporter import Reporter, aggregate
    from espnet2.train.trainer import Trainer

    try:
        from espnet2.legacy.nets.batch_beam_search import BatchBeamSearch
        from espnet2.legacy.nets.beam_search import BeamSearch
        from espnet2.legacy.nets.pytorch_backend.conformer.swish import Swish
        from espnet2.legacy.nets.pytorch_backend.transformer.add_sos_eos import add_sos_eos
        from espnet2.legacy.nets.pytorch_backend.transformer.attention import (
            LegacyRelPositionMultiHeadedAttention,
            MultiHeadedAttention,
            RelPositionMultiHeadedAttention,
        )
        from espnet2.legacy.nets.pytorch_backend.transformer.label_smoothing_loss import (
            LabelSmoothingLoss,
        )
        from espnet2.legacy.nets.pytorch_backend.transformer.subsampling import TooShortUttError
        from espnet2.legacy.nets.scorer_interface import BatchScorerInterface
        from espnet2.legacy.nets.scorers.ctc import CTCPrefixScorer
        from espnet2.legacy.nets.scorers.length_bonus import LengthBonus
    except ModuleNotFoundError:
        from espnet.nets.batch_beam_search import BatchBeamSearch
        from espnet.nets.beam_search import BeamSearch
        from espnet.nets.pytorch_backend.conformer.swish import Swish
        from espnet.nets.pytorch_backend.transformer.add_sos_eos import add_sos_eos
        from espnet.nets.pytorch_backend.transformer.attention import (
            LegacyRelPositionMultiHeadedAttention,
            MultiHeadedAttention,
            RelPositionMultiHeadedAttention,
        )
        from espnet.nets.pytorch_backend.transformer.label_smoothing_loss import LabelSmoothingLoss
        from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError
        from espnet.nets.scorer_interface import BatchScorerInterface
        from espnet.nets.scorers.ctc import CTCPrefixScorer
        from espnet.nets.scorers.length_bonus import LengthBonus

__all__ = [
    "ASRTask",
    "BatchBeamSearch",
    "BatchScorerInterface",
    "BeamSearch",
    "CTCPrefixScorer",
    "ESPnetASRModel",
    "LMTask",
    "LabelSmoothingLoss",
    "LegacyRelPositionMultiHeadedAttention",
    "LengthBonus",
    "MultiHeadedAttention",
    "RelPositionMultiHeadedAttention",
    "Reporter",
    "Swish",
    "TooShortUttError",
    "Trainer",
    "TransformerDecoder",
    "add_sos_eos",
    "aggregate",
    "build_batch_sampler",
    "build_tokenizer",
    "model_choices",
]
