"""Scoring: error rates with their counts and alignments."""

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

__all__ = [
    "METRIC_OF_UNIT",
    "Alignment",
    "ErrorCounts",
    "ErrorReport",
    "Step",
    "Tally",
    "Unit",
    "UtteranceErrors",
    "align",
    "format_alignments",
    "score_texts",
    "tokenize",
    "write_csv",
]
