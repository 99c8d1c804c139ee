"""Figures of neural collapse."""

from __future__ import annotations

from pathlib import Path

import pytest

from a_record import a_record
from squall.report.report import Run
from squall.studies.images.report import _by_size


def _run(system: str, seed: int, size: int | None, collapse: dict[int, float]) -> Run:
    records = tuple(
        a_record(system=system, seed=seed, condition=f"epoch {epoch}", metric="test_collapse",
                 value=value)
        for epoch, value in collapse.items()
    )  # fmt: skip
    return Run(
        Path(), "mlp", Path(), system, seed, records, (), {}, settings={"images": {"train": size}}
    )


def test_collapse_at_the_end_stands_against_the_number_of_training_images() -> None:
    runs = [
        _run("ce", 1, 5000, {0: 3.0, 20: 0.4, 5: 1.0}),
        _run("ce", 1, 1250, {0: 3.0, 20: 0.2}),
        _run("ce", 2, 5000, {20: 0.5}),
        _run("square", 1, None, {20: 0.5}),
    ]
    (curve,) = _by_size(runs, "test_collapse")
    assert (curve.label, curve.group) == ("ce, seed 1", "ce")
    assert list(curve.points) == [(1250.0, 0.2), (5000.0, 0.4)]
    assert _by_size(runs, "train_collapse") == []


@pytest.mark.parametrize("size", [None, 5000])
def test_runs_of_one_size_have_no_such_figure(size: int | None) -> None:
    assert _by_size([_run("ce", seed, size, {1: 0.1}) for seed in (1, 2)], "test_collapse") == []
