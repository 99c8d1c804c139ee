"""What the answers of a classifier are worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from squall.files import read_arrays, write_arrays
from squall.losses import TokenLoss
from squall.report.calibration import CALIBRATION
from squall.report.levels import write_levels
from squall.scoring.calibration import Calibration, score_logits
from squall.scoring.levels import ScoredLogits, score_level, sum_gaps, sum_nlls
from squall.scoring.temperature import fit_temperature

__all__ = ["LEVELS", "ClassifierScores", "Items", "score_classifier", "score_f1"]

LEVELS = {
    "test": "answers, softmax of the logits for every loss",
    "test/scaled": "the same at a temperature fitted on dev",
}
"""The levels of confidence, and what each means."""

_ITEMS = "test.items.npz"
_SHOWN_ACCURACY = ("accuracy", "f1")


@dataclass(frozen=True, eq=False)
class Items:
    """What adds up over samples, for comparisons of systems.

    Args:
        correct: (N,) whether each answer is right.
        counts: (N, 3) for F1: true positive, false positive, false negative; zeros where there are
            more than two classes.
        gaps, nlls: of each sample, see `sum_gaps` and `sum_nlls`.
    """

    correct: NDArray[np.bool_]
    counts: NDArray[np.float64]
    gaps: NDArray[np.float64]
    nlls: NDArray[np.float64]

    def write(self, folder: Path) -> None:
        """Keep them beside the scores."""
        write_arrays(folder / _ITEMS, vars(self), compress=True)

    @classmethod
    def read(cls, folder: Path) -> Items | None:
        """Those that `write` kept; None where there are none.

        Raises:
            ValueError: the file is damaged.
        """
        path = folder / _ITEMS
        if not path.is_file():
            return None
        return cls(**read_arrays(path, remedy="score again with --stage 7 --force"))


@dataclass(frozen=True, eq=False)
class ClassifierScores:
    """The scores of an experiment.

    Args:
        probs: (N, C) of the test set.
        test: how good they are.
        scaled: the same at a temperature fitted on the development set.
        temperature: that one.
        dev_accuracy: share of right answers on the development set.
        f1: of the second class, where there are two.
        items: what adds up over the samples.
    """

    probs: NDArray[np.float64]
    test: ScoredLogits
    scaled: Calibration
    temperature: float
    dev_accuracy: float
    f1: float | None
    items: Items

    def metrics(self) -> dict[str, dict[str, float]]:
        """By condition and name: shares as fractions of 1."""
        plain = self.test.metrics()
        if self.f1 is not None:
            plain["f1"] = self.f1
        scaled = self.scaled.metrics() | {"temperature": self.temperature}
        for name in _SHOWN_ACCURACY:  # a temperature does not change the answers
            scaled.pop(name, None)
        return {"test": plain, "test/scaled": scaled, "dev": {"accuracy": self.dev_accuracy}}

    def write(self, folder: Path) -> None:
        """Keep what figures and comparisons read."""
        levels = {"test": self.test.calibration, "test/scaled": self.scaled}
        further = {"temperature": self.temperature}
        write_levels(folder / CALIBRATION, levels, {"test": self.test.details}, further)
        self.items.write(folder)


def score_classifier(
    loss: TokenLoss,
    *,
    dev: tuple[NDArray[np.float32], NDArray[np.int64]],
    test: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> ClassifierScores:
    """Score the answers on the test set.

    Args:
        loss: what the network was trained with.
        dev, test: logits (N, C) and targets (N,).
    """
    (dev_logits, dev_targets), (logits, targets) = (
        (loss.softmax_logits(torch.from_numpy(values).double()).numpy(), known)
        for values, known in (dev, test)
    )
    temperature = fit_temperature(logits=dev_logits, targets=dev_targets).temperature
    found = score_level(logits=logits, targets=targets)
    scaled = score_logits(logits=logits, targets=targets, temperature=temperature)
    answers = logits.argmax(axis=1)
    binary = logits.shape[1] == 2
    counts = _f1_counts(answers, targets) if binary else np.zeros((len(targets), 3))
    alone = np.ones(len(targets), dtype=np.int64)
    items = Items(
        found.samples.correct,
        counts,
        sum_gaps(found.samples, alone),
        sum_nlls(found.refined, alone),
    )
    return ClassifierScores(
        torch.softmax(torch.from_numpy(logits), dim=1).numpy(),
        found,
        scaled.calibration(),
        temperature,
        float((dev_logits.argmax(axis=1) == dev_targets).mean()),
        float(score_f1(counts.sum(axis=0))) if binary else None,
        items,
    )


def score_f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 = 2 TP / (2 TP + FP + FN) of counts (..., 3); NaN where all are 0.

    >>> score_f1(np.array([3.0, 1.0, 2.0])).round(4)
    np.float64(0.6667)
    """
    hits = 2 * counts[..., 0]
    with np.errstate(invalid="ignore"):
        return np.asarray(hits / (hits + counts[..., 1] + counts[..., 2]))[()]


def _f1_counts(answers: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    kinds = ((answers & targets), (answers & ~targets & 1), (~answers & 1 & targets))
    return np.stack(kinds, axis=1).astype(np.float64)
