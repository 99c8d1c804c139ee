"""What squall takes from ESPnet's older half, which 202611 keeps in another place than 202511."""

from __future__ import annotations

try:
    from espnet2.legacy.nets.batch_beam_search import BatchBeamSearch
    from espnet2.legacy.nets.beam_search import BeamSearch
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
    "BatchBeamSearch",
    "BatchScorerInterface",
    "BeamSearch",
    "CTCPrefixScorer",
    "LabelSmoothingLoss",
    "LegacyRelPositionMultiHeadedAttention",
    "LengthBonus",
    "MultiHeadedAttention",
    "RelPositionMultiHeadedAttention",
    "TooShortUttError",
    "add_sos_eos",
]
