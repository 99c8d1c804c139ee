"""Test parts: what the collection's folds are, and folds that are those of a cross-validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.studies.tabular.collection import Split, UciSet, read_collection
from squall.studies.tabular.splits import disjoint_folds, fold_overlap, random_fifths

FEW_VALUES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 1)), min_size=20, max_size=120
)


def make_set(rows: list[tuple[int, int, int]], *, name: str = "toy", test_rows: int = 0) -> UciSet:
    """Rows of two inputs and a class; the last ones are those of a test file."""
    values = np.array(rows, dtype=np.float64)
    count = len(rows) - test_rows
    order = np.arange(count)
    folds = tuple(Split(np.delete(order, slice(k, k + 5)), order[k : k + 5]) for k in (0, 2, 4, 6))
    files = Split(order, np.arange(count, len(rows))) if test_rows else None
    return UciSet(name, values[:, :2], values[:, 2].astype(np.int64), folds, folds[0], files)


def _every_class_often(rows: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The rows, and four more of each class with inputs of their own."""
    return rows + [(10 + k, k, label) for k in range(4) for label in (0, 1)]


@pytest.mark.slow
@given(rows=FEW_VALUES)
@settings(deadline=None)
def test_disjoint_folds_test_every_distinct_row_once_and_know_none_from_training(
    rows: list[tuple[int, int, int]],
) -> None:
    data = make_set(_every_class_often(rows))
    folds = disjoint_folds(data)
    assert len(folds) == 4

    def lines(part: np.ndarray) -> list[tuple[float, ...]]:
        return [(*data.inputs[row], data.targets[row]) for row in part]

    tested = lines(np.concatenate([fold.test for fold in folds]))
    assert len(set(tested)) == len(tested)
    assert set(tested) == set(lines(np.arange(len(data.inputs))))
    for fold in folds:
        known = {line[:2] for line in lines(fold.train)}
        assert not known & {line[:2] for line in lines(fold.test)}
        assert set(data.targets[fold.train]) == {0, 1}
        assert len(fold.train) + len(fold.test) == len(tested)
    groups = [len({line[:2] for line in lines(fold.test)}) for fold in folds]
    assert max(groups) - min(groups) <= 1


def test_disjoint_folds_have_the_classes_in_equal_shares() -> None:
    data = make_set([(n, 0, n % 3 == 0) for n in range(120)])
    for fold in disjoint_folds(data):
        assert np.bincount(data.targets[fold.test]).tolist() == [20, 10]


def test_zero_and_minus_zero_are_the_same_input() -> None:
    data = make_set(_every_class_often([(0, 1, 0), (0, 1, 0)] * 10))
    data.inputs[0, 0] = -0.0
    tested = np.concatenate([fold.test for fold in disjoint_folds(data)])
    assert len(tested) == 1 + 8


def test_parts_depend_on_the_set_alone() -> None:
    rows = [(n, 0, n % 2) for n in range(40)]
    for draw in (disjoint_folds, random_fifths):
        one, same, other = (
            draw(make_set(rows)),
            draw(make_set(rows)),
            draw(make_set(rows, name="x")),
        )
        assert [a.test.tolist() for a in one] == [b.test.tolist() for b in same]
        assert [a.test.tolist() for a in one] != [b.test.tolist() for b in other]


@pytest.mark.parametrize("draw", [disjoint_folds, random_fifths])
def test_parts_never_touch_the_test_file(draw: object) -> None:
    data = make_set([(n, 0, n % 2) for n in range(60)], test_rows=20)
    assert callable(draw)
    for split in draw(data):
        assert max(split.train.max(), split.test.max()) < 40


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([(0, 0, 0), (1, 1, 1)] * 10, "class [01]"),
        ([(n, 0, 0) for n in range(20)] + [(99, 9, 1)] * 5, "class 1"),
        ([(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)] * 5, "the set"),
    ],
    ids=["two rows", "one row of a class", "two groups"],
)
def test_a_set_of_too_few_distinct_rows_has_no_disjoint_folds(
    rows: list[tuple[int, int, int]], what: str
) -> None:
    with pytest.raises(ValueError, match=f"^toy: {what} has too few rows with different inputs"):
        disjoint_folds(make_set(rows))


def test_a_random_fifth_is_a_fifth_and_leaves_every_class_in_training() -> None:
    data = make_set([(n, 0, int(n < 2)) for n in range(51)])
    fifths = random_fifths(data)
    assert [len(split.test) for split in fifths] == [10] * 4
    assert len({tuple(sorted(split.test)) for split in fifths}) == 4
    for split in fifths:
        assert sorted([*split.train, *split.test]) == list(range(51))
        assert set(data.targets[split.train]) == {0, 1}


def test_overlap_counts_the_rows_that_are_tested_and_those_that_are_known() -> None:
    rows = [(n, 0, n % 2) for n in range(20)]
    rows[12] = rows[1]  # tested in the first fold alone, and always in training
    found = fold_overlap(make_set(rows))
    assert found.tested == 11 / 20  # rows 0 to 10
    assert found.copied == 1 / 20


@pytest.mark.slow
@pytest.mark.corpus
def test_the_collections_folds_are_no_cross_validation(real_data: Path) -> None:
    sets = read_collection(real_data / "uci121").sets
    found = {name: fold_overlap(data) for name, data in sets.items()}
    tested = sorted(one.tested for one in found.values())
    assert (round(tested[0], 2), round(tested[-1], 2)) == (0.4, 0.75)
    assert round(tested[len(tested) // 2], 2) == 0.68
    assert sum(one.copied > 0 for one in found.values()) == 49
    assert [name for name, one in found.items() if one.copied == 1] == ["titanic"]
    assert len(np.unique(sets["titanic"].inputs, axis=0)) == 14
    for name, data in sets.items():
        assert len(np.concatenate([fold.test for fold in data.folds])) > found[name].tested * len(
            data.inputs if data.files is None else data.files.train
        ), name
        disjoint_folds(data)
