"""From predictions to metrics, and to sums over blocks of text, in which systems are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.files import read_arrays, write_arrays
from squall.report.comparison import (
    ItemScores,
    ece_scores,
    likelihood_scores,
    rate_scores,
)
from squall.scoring.calibration import TokenScores
from squall.scoring.refinement import Refinement
from squall.scoring.reliability import ReliabilityBins
from squall.scoring.selective import score_risk_coverage
from squall.scoring.smooth_ece import score_smooth_ece
from squall.studies.charlm.predictions import Predictions

__all__ = ["BlockSums", "TestScores", "read_test_scores", "score_predictions"]

_PERCENT = ("accuracy", "ece", "ece_adaptive", "mce", "smooth_ece", "aurc", "e_aurc")
_BINS = 10


@dataclass(frozen=True, eq=False)
class BlockSums:
    """Sums over the tokens of each of U blocks of text, by the softmax of the logits.

    Args:
        tokens, characters, correct: (U,) how many.
        nlls: (U,) negative log-likelihood, in nats.
        scaled_nlls: (U,) the same over the temperature.
        gaps: (U, B) right tokens minus confidences, in bins of confidence.
    """

    tokens: NDArray[np.int64]
    characters: NDArray[np.int64]
    correct: NDArray[np.int64]
    nlls: NDArray[np.float64]
    scaled_nlls: NDArray[np.float64]
    gaps: NDArray[np.float64]

    def item_scores(self) -> tuple[ItemScores, ...]:
        """The metrics that systems are compared in."""
        ids = tuple(f"block {number}" for number in range(len(self.tokens)))
        tokens = self.tokens.astype(np.float64)
        bits = self.nlls / math.log(2)
        nlls = np.column_stack([self.nlls, self.scaled_nlls, tokens])
        return (
            rate_scores("accuracy", ids=ids, groups=(), errors=self.correct, lengths=self.tokens),
            rate_scores("bpc", ids=ids, groups=(), errors=bits, lengths=self.characters),
            ece_scores(ids=ids, groups=(), gaps=np.column_stack([self.gaps, tokens])),
            *likelihood_scores(ids=ids, groups=(), nlls=nlls),
        )


@dataclass(frozen=True, eq=False)
class TestScores:
    """What the test part says of a model.

    Args:
        metrics: by the form of the probabilities and the name of the metric, in its unit; the parts
            of proper scores and the temperature stand with `scaled`.
        bins: of each form, for reliability diagrams.
        blocks: sums over blocks of text.
        tokens: how many were scored.
    """

    __test__ = False  # no class of tests

    metrics: Mapping[str, Mapping[str, float]]
    bins: Mapping[str, ReliabilityBins]
    blocks: BlockSums
    tokens: int

    def write(self, path: Path) -> None:
        """Write bins and blocks; the metrics go into records."""
        arrays = {f"blocks_{name}": values for name, values in vars(self.blocks).items()}
        for form, bins in self.bins.items():
            arrays |= {f"{form}_{name}": values for name, values in vars(bins).items()}
        write_arrays(path, arrays, compress=True)


def read_test_scores(path: Path) -> tuple[dict[str, ReliabilityBins], BlockSums]:
    """The bins of each form, and the sums over blocks, of a file of `TestScores.write`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in read_arrays(path, remedy="score again with --stage 7 --force").items():
        form, _, field = name.partition("_")
        found.setdefault(form, {})[field] = array
    blocks = BlockSums(**found.pop("blocks"))
    return {form: ReliabilityBins(**values) for form, values in found.items()}, blocks


def score_predictions(predictions: Predictions, *, block: int) -> TestScores:
    """Score what a model says of a text.

    Bits per character = -(sum over tokens of log2 p) / characters, whatever the tokens are.

    Args:
        predictions: of the text.
        block: characters of a block; each token counts in the one in which it begins.
    """
    metrics, bins = {}, {}
    for form, scores in predictions.scores.items():
        calibration = scores.calibration(bins=_BINS)
        coverage = score_risk_coverage(confidences=scores.confidences, correct=scores.correct)
        bins[form] = calibration.bins
        metrics[form] = _in_units(
            {
                **calibration.metrics(),
                "bpc": _bits_per_character(scores, predictions.characters),
                "smooth_ece": score_smooth_ece(
                    confidences=scores.confidences, correct=scores.correct
                ),
                "aurc": coverage.aurc,
                "e_aurc": coverage.e_aurc,
            }
        )
    parts = Refinement.between(predictions.scores["softmax"], predictions.scores["scaled"])
    metrics["scaled"] |= {**parts.metrics(), "temperature": predictions.temperature}
    tokens = len(predictions.scores["softmax"])
    return TestScores(metrics, bins, _sum_blocks(predictions, block), tokens)


def _bits_per_character(scores: TokenScores, characters: NDArray[np.integer]) -> float:
    return float(-scores.log_probs.sum() / characters.sum() / math.log(2))


def _in_units(values: dict[str, float]) -> dict[str, float]:
    return {name: 100 * value if name in _PERCENT else value for name, value in values.items()}


def _sum_blocks(predictions: Predictions, block: int) -> BlockSums:
    scores, scaled = predictions.scores["softmax"], predictions.scores["scaled"]
    characters = predictions.characters.astype(np.int64)
    begins = np.cumsum(characters) - characters
    _, numbers = np.unique(begins // block, return_inverse=True)
    count = int(numbers.max()) + 1

    def summed(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(numbers, weights=values, minlength=count)

    edges = np.arange(1, _BINS) / _BINS
    cells = numbers * _BINS + np.searchsorted(edges, scores.confidences, side="left")
    gaps = np.bincount(cells, weights=scores.correct - scores.confidences, minlength=count * _BINS)
    return BlockSums(
        tokens=summed(np.ones(len(numbers))).astype(np.int64),
        characters=summed(characters).astype(np.int64),
        correct=summed(scores.correct).astype(np.int64),
        nlls=summed(-scores.log_probs),
        scaled_nlls=summed(-scaled.log_probs),
        gaps=gaps.reshape(count, _BINS),
    )
