"""Scoring: error rates with their counts and alignments, speech quality, masks."""

from squall.scoring.alignment import Alignment, ErrorCounts, Step, align
from squall.scoring.error_rates import (
    METRIC_OF_UNIT,
    ErrorReport,
    Tally,
    Unit,
    UtteranceErrors,
    format_alignments,
    score_texts,
    tokenize,
    write_csv,
)
from squall.scoring.masks import MaskCounts, MaskError, ibm_scores, mask_mse
from squall.scoring.speech_quality import (
    SI_SDR_LIMIT_DB,
    MetricSummary,
    Score,
    SpeechPair,
    SpeechScores,
    score_pairs,
    score_pesq,
    score_si_sdr,
    score_speech,
    score_stoi,
    summarise_metric,
)

__all__ = [
    "METRIC_OF_UNIT",
    "SI_SDR_LIMIT_DB",
    "Alignment",
    "ErrorCounts",
    "ErrorReport",
    "MaskCounts",
    "MaskError",
    "MetricSummary",
    "Score",
    "SpeechPair",
    "SpeechScores",
    "Step",
    "Tally",
    "Unit",
    "UtteranceErrors",
    "align",
    "format_alignments",
    "ibm_scores",
    "mask_mse",
    "score_pairs",
    "score_pesq",
    "score_si_sdr",
    "score_speech",
    "score_stoi",
    "score_texts",
    "summarise_metric",
    "tokenize",
    "write_csv",
]
