"""The file in which an experiment keeps the calibration of its levels, for figures and others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from squall.files import read_json, write_json
from squall.scoring.calibration import Calibration
from squall.scoring.levels import LevelDetails
from squall.scoring.reliability import ReliabilityBins

__all__ = ["read_bins", "read_risks", "read_scored", "write_levels"]

Made = TypeVar("Made")


def write_levels(
    path: Path,
    levels: Mapping[str, Calibration],
    details: Mapping[str, LevelDetails],
    further: Mapping[str, Any],
) -> None:
    """Write the metrics and bins of every level as JSON.

    Args:
        path: the file.
        levels: by their names.
        details: of those levels that have them.
        further: what else the file holds beside `levels`.

    A metric of a level without a sample is null.
    """
    content: dict[str, Any] = {}
    for name, level in levels.items():
        known = details.get(name)
        content[name] = {
            "samples": level.samples,
            **level.metrics(),
            **(known.metrics() if known else {}),
            "bins": {
                "edges": level.bins.edges.tolist(),
                "counts": level.bins.counts.tolist(),
                "confidence_sums": level.bins.confidence_sums.tolist(),
                "correct_counts": level.bins.correct_counts.tolist(),
            },
        }
        if known:
            _, risks = known.coverage.thinned()
            content[name]["risks"] = risks.round(6).tolist()
    write_json(path, {"levels": content, **further}, nan_as_null=True)


def read_bins(path: Path) -> dict[str, ReliabilityBins]:
    """The bins of each level of a file of `write_levels`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    return read_scored(
        path,
        lambda: {
            name: ReliabilityBins(
                **{key: np.array(values) for key, values in level["bins"].items()}
            )
            for name, level in read_json(path)["levels"].items()
        },
    )


def read_risks(path: Path) -> dict[str, NDArray[np.float64]]:
    """Risks at coverages of 1/100, 2/100, ..., 1 of a file of `write_levels`, by level.

    Levels without samples, and those of a file that an earlier version wrote, are left out. Errors
    as of `read_bins`.
    """
    return read_scored(
        path,
        lambda: {
            name: np.array(level["risks"], dtype=np.float64)
            for name, level in read_json(path)["levels"].items()
            if level.get("risks")
        },
    )


def read_scored(
    path: Path, make: Callable[[], Made], *, again: str = "score again with --stage 7"
) -> Made:
    """What `make` reads from a file of an experiment.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged; the message names it and how to make it anew.
    """
    try:
        return make()
    except (ValueError, KeyError, TypeError) as error:
        told = str(error) if str(path) in str(error) else f"{path} is damaged: {error}"
        raise ValueError(f"{told}; {again} --force") from error
