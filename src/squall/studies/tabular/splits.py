"""Training and test parts of a set: what the collection's folds are, and others in their place.

The collection's four folds are not those of a cross-validation. They are four independent draws of
three quarters for training, which overlap in all of its sets: between 40 and 75 % of the rows of a
set are ever tested, 68 % of the set in the middle. In 49 of the 118 sets at hand some test rows
have the same inputs as training rows; of `titanic`, which has 14 distinct rows, all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from squall.networks.stack import random_stream
from squall.studies.tabular.collection import Rows, Split, UciSet
from squall.studies.tabular.settings import TabularSettings

__all__ = ["FoldOverlap", "chosen_splits", "disjoint_folds", "fold_overlap", "random_fifths"]

_FOLDS = 4  # as many as the collection has


@dataclass(frozen=True)
class FoldOverlap:
    """What is tested in the collection's folds of a set.

    Args:
        tested: share of the rows that are in a test part at all.
        copied: share of the test rows that have the inputs of a training row of their fold.
    """

    tested: float
    copied: float


def chosen_splits(data: UciSet, settings: TabularSettings) -> tuple[Split, ...]:
    """The training and test parts that the settings ask for.

    Raises:
        ValueError: the set has too few distinct rows for disjoint folds.
    """
    if settings.test == "disjoint":
        return disjoint_folds(data)
    if settings.test == "fifths":
        return random_fifths(data)
    if settings.test == "file" and data.files is not None:
        return (data.files,)
    return data.folds


def fold_overlap(data: UciSet) -> FoldOverlap:
    """How far the folds are from those of a cross-validation, of which each row is tested once."""
    rows = _rows(data)
    copies = _numbered(data.inputs[rows])
    tested = np.unique(np.concatenate([fold.test for fold in data.folds]))
    copied = [np.isin(copies[fold.test], copies[fold.train]) for fold in data.folds]
    return FoldOverlap(len(tested) / len(rows), float(np.concatenate(copied).mean()))


def disjoint_folds(data: UciSet) -> tuple[Split, ...]:
    """Four folds of a cross-validation, in which no test row has its copy in training.

    Of rows that are the same, inputs and class, one is kept, the first. Each of those is in one
    test part. Rows of the same inputs and different classes are in the same part. Classes are
    spread evenly. The folds depend on the set alone. Of a set in two files they are within the
    training file, as the collection's folds are.

    Raises:
        ValueError: a class, or the whole set, has too few rows with different inputs.

    Convention: leaving copies out changes what is asked: accuracy is then over the different rows,
    each with the same weight, and no longer over samples as they come. Of a set with few different
    rows little is left.
    """
    rows = _rows(data)
    copies = _numbered(data.inputs[rows])
    _, first = np.unique(np.stack([copies, data.targets[rows]], 1), axis=0, return_index=True)
    kept = rows[np.sort(first)]
    # Rows with the same inputs are a group; it counts with the class of its first row.
    _, leaders, groups = np.unique(copies[np.sort(first)], return_index=True, return_inverse=True)
    stream = random_stream(data.name, "disjoint folds")
    shuffled = torch.randperm(len(leaders), generator=stream).numpy()
    by_class = shuffled[np.argsort(data.targets[kept[leaders[shuffled]]], kind="stable")]
    numbers = np.empty(len(leaders), dtype=np.int64)
    numbers[by_class] = np.arange(len(leaders)) % _FOLDS
    parts = numbers[groups]
    folds = tuple(Split(kept[parts != part], kept[parts == part]) for part in range(_FOLDS))
    for fold in folds:
        lacking = np.setdiff1d(data.targets[rows], data.targets[fold.train])
        if len(lacking) or not len(fold.test):
            what = f"class {lacking[0]}" if len(lacking) else "the set"
            raise ValueError(
                f"{data.name}: {what} has too few rows with different inputs for {_FOLDS} "
                "disjoint folds; take test=folds"
            )
    return folds


def random_fifths(data: UciSet) -> tuple[Split, ...]:
    """A random fifth as the test part, four times, each drawn anew.

    They depend on the set alone. A draw that leaves a class without training rows is repeated. Of a
    set in two files they are within the training file, as the collection's folds are.
    """
    rows = _rows(data)
    size = max(1, round(len(rows) / 5))
    found: list[Split] = []
    stream = random_stream(data.name, "fifths")
    while len(found) < _FOLDS:
        order = rows[torch.randperm(len(rows), generator=stream).numpy()]
        split = Split(order[size:], order[:size])
        if np.isin(data.targets[rows], data.targets[split.train]).all():
            found.append(split)
    return tuple(found)


def _rows(data: UciSet) -> Rows:
    """Those that folds are drawn from."""
    return np.arange(len(data.inputs)) if data.files is None else data.files.train


def _numbered(inputs: NDArray[np.float64]) -> Rows:
    """A number for each row of (N, D), the same for the same inputs; (N,)."""
    _, numbers = np.unique(inputs + 0.0, axis=0, return_inverse=True)  # -0 is 0
    return numbers.reshape(-1)
