"""What all scores of speech share: a score or the reason for none, and checked signals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Score", "Signal", "as_signals", "finite_score", "import_package", "unfit"]

Signal = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One metric of one signal.

    Args:
        value: the score; NaN where the metric is not defined for this signal.
        reason: why it is NaN, in words; empty otherwise.
    """

    value: float
    reason: str = ""

    @property
    def defined(self) -> bool:
        """Whether there is a score."""
        return not math.isnan(self.value)


def as_signals(reference: ArrayLike, estimate: ArrayLike) -> tuple[Signal, Signal]:
    """Two signals (N,) in double precision.

    Raises:
        ValueError: they are not vectors of one length.
    """
    clean = np.asarray(reference, dtype=np.float64)
    enhanced = np.asarray(estimate, dtype=np.float64)
    if clean.ndim != 1 or enhanced.ndim != 1:
        raise ValueError(
            f"reference has shape {clean.shape}, estimate {enhanced.shape}; "
            "give vectors of samples, one channel"
        )
    if len(clean) != len(enhanced):
        raise ValueError(
            f"reference has {len(clean)} samples, estimate {len(enhanced)}; "
            "align them and cut them to one length"
        )
    return clean, enhanced


def unfit(**signals: Signal) -> str:
    """Why no score is defined for these signals, which are named, or an empty text."""
    if not all(map(len, signals.values())):
        return "no samples"
    for name, signal in signals.items():
        if not np.isfinite(signal).all():
            return f"the {name} has samples that are not finite"
    for name, signal in signals.items():
        if signal.min() == signal.max():
            return f"the {name} is silent"
    return ""


def finite_score(value: float, name: str) -> Score:
    """A score, which is undefined where the value is not finite."""
    return Score(value) if math.isfinite(value) else Score(math.nan, f"{name} is not finite")


def import_package(module: str, metric: str, extra: str) -> Any:
    """The module that a metric is computed with.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        hint = f"pip install 'squall[{extra}]'"
        raise ImportError(f"{metric} needs the package {package}: {hint}") from error
