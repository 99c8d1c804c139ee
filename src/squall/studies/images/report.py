"""What the report of image classifiers shows: that of every classifier, and neural collapse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from squall.classification.report import classifier_layout, classifier_report
from squall.engine.experiment import Experiment
from squall.report.figures import Curve
from squall.report.page import Section
from squall.report.records import Record
from squall.report.report import Report, Run, curve_figure
from squall.report.tables import Table, mean_and_spread
from squall.scoring.metrics import METRICS, declared
from squall.studies.images.published import PUBLISHED

__all__ = ["IMAGES", "collect"]

_EPOCH = "epoch "
_CURVES = {
    "train_accuracy": "accuracy on the training images, as they were learnt",
    "weight_norm": "norm of the last layer's weights (Frobenius)",
}
_COLLAPSE = (
    *(name for name in METRICS if name.endswith("collapse") or name.startswith("nc_")),
    "transfer_accuracy",
)


def collect(experiments: Sequence[Experiment[Any]]) -> Report:
    """Read finished experiments; raises as `classifier_report`."""
    return classifier_report(experiments, IMAGES, further=_sections, curves=_CURVES)


def _sections(runs: Sequence[Run]) -> list[Section]:
    """Curves of neural collapse along the training."""
    figures = []
    for metric in _COLLAPSE:
        curves = [Curve(run.label, points, group=run.group)
                  for run in runs if (points := _points(run, metric))]  # fmt: skip
        if curves:
            figures.append(curve_figure(curves, METRICS[metric].heading, "epoch"))
    against = [
        Curve(run.label, points, group=run.group) for run in runs if (points := _transfers(run))
    ]
    if against:
        title = "accuracy after fine-tuning, %, from the network before it has collapsed and after"
        figures.append(curve_figure(against, title, METRICS["test_collapse"].heading))
    for metric in ("train_collapse", "test_collapse", "weak_test_collapse"):
        title = f"{METRICS[metric].heading} at the end of the training"
        figures.append(curve_figure(_by_size(runs, metric), title, "training images"))
    return [Section("Neural collapse", "".join(figures))] if figures else []


def _by_size(runs: Sequence[Run], metric: str) -> list[Curve]:
    """What a metric comes to with more training images, of each system and seed; empty where the
    runs do not differ in their number."""
    found: dict[tuple[str, int], dict[float, float]] = {}
    for run in runs:
        size = run.settings.get("images", {}).get("train")
        points = _points(run, metric)
        if size and points:
            found.setdefault((run.system, run.seed), {})[float(size)] = max(points)[1]
    return [
        Curve(f"{system}, seed {seed}", sorted(points.items()), group=system)
        for (system, seed), points in found.items()
        if len(points) > 1
    ]


def _transfers(run: Run) -> list[tuple[float, float]]:
    """Strong test collapse and accuracy after fine-tuning, from the least collapsed on."""
    collapse = dict(_points(run, "test_collapse"))
    tuned = dict(_points(run, "transfer_accuracy"))
    return sorted((collapse[epoch], tuned[epoch]) for epoch in tuned if epoch in collapse)


def _points(run: Run, metric: str) -> list[tuple[float, float]]:
    return [
        (float(record.condition.removeprefix(_EPOCH)), record.number)
        for record in run.records
        if record.metric == metric and record.condition.startswith(_EPOCH)
        if record.value is not None
    ]


def _collapse_tables(dataset: str, records: Sequence[Record]) -> list[Table]:
    """The measures of the network that is kept, the mean over seeds."""
    found: dict[tuple[str, str], dict[str, dict[int, tuple[int, float]]]] = {}
    for record in records:
        if not record.condition.startswith(_EPOCH) or record.value is None:
            continue
        epoch = int(record.condition.removeprefix(_EPOCH))
        of_system = found.setdefault((record.experiment, record.system), {})
        of_metric = of_system.setdefault(record.metric, {})
        if record.seed not in of_metric or of_metric[record.seed][0] < epoch:
            of_metric[record.seed] = (epoch, record.number)
    metrics = [m for m in _COLLAPSE if any(m in of_system for of_system in found.values())]
    rows = [
        [*key, str(max(map(len, of_system.values()))), *_cells(of_system, metrics)]
        for key, of_system in sorted(found.items())
    ]
    head = ["experiment", "system", "seeds", *(declared(m).heading for m in metrics)]
    return [Table(f"{dataset}, neural collapse at the end", head, rows)] if rows else []


def _cells(
    of_system: Mapping[str, Mapping[int, tuple[int, float]]], metrics: Sequence[str]
) -> list[str]:
    return [
        mean_and_spread([value for _, value in of_system.get(m, {}).values()], _written)
        for m in metrics
    ]


def _written(value: float) -> str:
    return f"{value:.4f}"


IMAGES = classifier_layout(
    "images",
    " Train collapse: mean squared distance of training features to the mean of their class, over "
    "that of the means to their mean; strong test collapse the same of the test set, weak test "
    "collapse with the centres of k-means of the test features; means and centres are those at the "
    "end of the training (Hui, Belkin and Nakkiran 2022). NC1 to NC4: Papyan, Han and Donoho 2020, "
    "of the training images.",
    extra=("top5_accuracy", "weight_norm"),
    further=_collapse_tables,
    published=PUBLISHED,
)
"""The layout of the study."""
