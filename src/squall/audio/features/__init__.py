"""Features of noisy speech for mask estimation: AMS, RASTA-PLP, MFCC and gammatone energies."""

from squall.audio.features.context import context_window
from squall.audio.features.extraction import (
    DEFAULT_SETS,
    FEATURE_SETS,
    MARGIN_S,
    FeatureSet,
    LevelOver,
    extract,
    feature_dimensions,
    level_gain,
)
from squall.audio.features.normalization import Normalizer

__all__ = [
    "DEFAULT_SETS",
    "FEATURE_SETS",
    "MARGIN_S",
    "FeatureSet",
    "LevelOver",
    "Normalizer",
    "context_window",
    "extract",
    "feature_dimensions",
    "level_gain",
]
