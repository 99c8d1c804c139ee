"""What the report of text classifiers shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from squall.classification.report import classifier_layout, classifier_report
from squall.engine.experiment import Experiment
from squall.report.report import Report
from squall.studies.text.published import PUBLISHED

__all__ = ["TEXT", "collect"]

TEXT = classifier_layout(
    "texts", " F1: of the second label, where there are two.", published=PUBLISHED
)
"""The layout of the study."""


def collect(experiments: Sequence[Experiment[Any]]) -> Report:
    """Read finished experiments; raises as `classifier_report`."""
    return classifier_report(experiments, TEXT)
