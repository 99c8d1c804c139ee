"""Rows of different lengths: kept, padded, and put into batches of about one length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.studies.text.dataset import EncodedTexts, Ragged, length_batches

_rows = st.lists(st.lists(st.integers(0, 40000), min_size=1, max_size=9), min_size=1, max_size=12)


@given(_rows)
def test_rows_are_padded_to_the_longest(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    order = list(range(len(rows)))[::-1]
    padded = ragged.padded(order, fill=7)
    assert padded.shape == (len(rows), max(map(len, rows)))
    for number, row in zip(order, padded.tolist(), strict=True):
        assert row[: len(rows[number])] == rows[number]
        assert set(row[len(rows[number]) :]) <= {7}


def test_texts_are_read_back(tmp_path: Path) -> None:
    inputs = {"a": Ragged.of([[1, 2], [3]]), "b": Ragged.of([[4], [5, 6, 7]])}
    EncodedTexts(inputs, np.array([1, 0]), 3).write(tmp_path / "dev.npz")
    found = EncodedTexts.read(tmp_path / "dev.npz")
    assert found.truncated == 3
    assert found.targets.tolist() == [1, 0]
    assert found.lengths.tolist() == [2, 3]
    assert found.inputs["b"].row(1).tolist() == [5, 6, 7]
    (tmp_path / "dev.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"dev\.npz is damaged: .* --stage 2 --force"):
        EncodedTexts.read(tmp_path / "dev.npz")


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=300),
    st.integers(1, 7),
    st.one_of(st.none(), st.tuples(st.integers(0, 9), st.integers(1, 9))),
)
def test_every_text_is_in_one_batch(
    lengths: list[int], size: int, seed: tuple[int, int] | None
) -> None:
    batches = list(length_batches(np.array(lengths), size, seed=seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert max(map(len, batches)) <= size
    assert len(batches) == -(-len(lengths) // size)


def test_batches_hold_little_padding_and_differ_from_epoch_to_epoch() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 2000)
    orders = [list(length_batches(lengths, 32, seed=(1, epoch))) for epoch in (1, 1, 2)]
    for batches in orders:
        padded = sum(len(rows) * lengths[rows].max() for rows in batches)
        assert padded < 1.05 * lengths.sum()
    first, again, second = (np.concatenate(batches).tolist() for batches in orders)
    assert first == again
    assert first != second
    assert [lengths[rows].mean() for rows in orders[0]] != sorted(
        lengths[rows].mean() for rows in orders[0]
    )
