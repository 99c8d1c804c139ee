"""Frame sets on disk, the frames that a model is trained on, and windows of masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from squall.enhance.frames import FrameSet, average_windows, draw_frames, mask_windows

Array = NDArray[np.float32]


def _set(counts: list[int], *, start: int = 0, dimensions: int = 2, channels: int = 3) -> FrameSet:
    """Frames whose features and masks tell their number."""
    total = sum(counts)
    numbers = np.arange(start, start + total, dtype=np.float32)[:, None]
    features = np.concatenate([numbers + 1000 * d for d in range(dimensions)], axis=1)
    masks = np.concatenate([numbers + 0.1 * f for f in range(channels)], axis=1)
    names = [f"m{start + n}" for n in range(len(counts))]
    return FrameSet(names, counts, features, masks.astype(np.float32))


def test_spans_are_the_rows_of_each_mixture_in_order() -> None:
    spans = list(_set([2, 3, 1]).spans())
    assert spans == [("m0", slice(0, 2)), ("m1", slice(2, 5)), ("m2", slice(5, 6))]


def test_a_set_reads_back_as_it_was(tmp_path: Path) -> None:
    written = _set([2, 3])
    written.write(tmp_path / "babble" / "0dB")
    read = FrameSet.read(tmp_path / "babble" / "0dB")
    assert (list(read.mixtures), list(read.counts), len(read)) == (["m0", "m1"], [2, 3], 5)
    np.testing.assert_array_equal(read.features, written.features)
    np.testing.assert_array_equal(read.masks, written.masks)
    assert read.features.dtype == read.masks.dtype == np.float32
    assert isinstance(read.features, np.memmap)


@pytest.mark.parametrize("name", ["features", "masks"])
def test_arrays_that_do_not_belong_to_their_index_are_refused(tmp_path: Path, name: str) -> None:
    _set([2, 3]).write(tmp_path)
    np.save(tmp_path / f"{name}.npy", np.zeros((4, 2), np.float32))
    with pytest.raises(ValueError, match=rf"names 5 frames.*{name}\S* (has )?4|and {name}.npy 4"):
        FrameSet.read(tmp_path)


def test_arrays_are_no_pickles(tmp_path: Path) -> None:
    _set([1]).write(tmp_path)
    np.save(tmp_path / "masks.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        FrameSet.read(tmp_path)
    assert json.loads((tmp_path / "frames.json").read_text())["counts"] == [1]


def _naive_windows(values: Array, context: int) -> list[list[Array]]:
    """For each frame, the rows of itself and its neighbours, edges repeated."""
    last = len(values) - 1
    return [
        [values[min(max(0, t + k), last)] for k in range(-context, context + 1)]
        for t in range(len(values))
    ]


def _naive_draw(
    sets: list[FrameSet], *, context: int, mask_context: int
) -> tuple[list[Array], list[Array]]:
    features, masks = [], []
    for frames in sets:
        start = 0
        for count in frames.counts:
            rows = slice(start, start + count)
            start += count
            for window in _naive_windows(np.asarray(frames.features[rows]), context):
                features.append(np.concatenate(window))
            for window in _naive_windows(np.asarray(frames.masks[rows]), mask_context):
                masks.append(np.stack(window, axis=1).reshape(-1))  # channel by channel
    return features, masks


@given(
    counts=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3), min_size=1, max_size=3),
    context=st.integers(0, 3),
    mask_context=st.integers(0, 3),
)
def test_all_frames_are_those_of_the_loop(
    counts: list[list[int]], context: int, mask_context: int
) -> None:
    sets, start = [], 0
    for each in counts:
        sets.append(_set(each, start=start))
        start += sum(each)
    contexts = {"context": context, "mask_context": mask_context}
    features, masks = draw_frames(sets, limit=start, seed=0, **contexts)
    slow_features, slow_masks = _naive_draw(sets, **contexts)
    np.testing.assert_array_equal(features, slow_features)
    np.testing.assert_array_equal(masks, slow_masks)


def _drawn(sets: list[FrameSet], *, limit: int, seed: int, context: int = 0) -> list[float]:
    features, masks = draw_frames(sets, context=context, mask_context=0, limit=limit, seed=seed)
    own = features[:, 2 * context]
    np.testing.assert_array_equal(own, masks[:, 0])  # features and targets of the same frames
    return [float(number) for number in own]


def test_a_draw_is_a_subset_in_order_without_repetition() -> None:
    sets = [_set([30, 20]), _set([50], start=50)]
    drawn = _drawn(sets, limit=40, seed=3)
    assert len(set(drawn)) == 40
    assert drawn == sorted(drawn)
    assert set(drawn) <= set(range(100))


def test_the_seed_decides_the_draw() -> None:
    sets = [_set([100])]
    assert _drawn(sets, limit=10, seed=1) == _drawn(sets, limit=10, seed=1)
    assert _drawn(sets, limit=10, seed=1) != _drawn(sets, limit=10, seed=2)


@pytest.mark.parametrize(("limit", "count"), [(99, 99), (100, 100), (101, 100), (1, 1)])
def test_the_limit_is_the_most(limit: int, count: int) -> None:
    assert len(_drawn([_set([60, 40])], limit=limit, seed=0)) == count


def test_neighbours_of_a_drawn_frame_are_those_that_were_not_drawn_too() -> None:
    sets = [_set([40]), _set([60], start=40)]
    features, _ = draw_frames(sets, context=1, mask_context=0, limit=20, seed=0)
    for before, own, after in features[:, ::2]:
        assert before == (own if own in (0, 40) else own - 1)
        assert after == (own if own in (39, 99) else own + 1)


def test_every_set_has_its_share() -> None:
    sets = [_set([500]), _set([500], start=500)]
    drawn = np.array(_drawn(sets, limit=200, seed=0))
    assert 60 < (drawn < 500).sum() < 140


@given(frames=st.integers(1, 9), channels=st.integers(1, 4), context=st.integers(0, 4))
def test_windows_of_masks_are_those_of_the_loop(frames: int, channels: int, context: int) -> None:
    masks = np.random.default_rng(0).random((frames, channels)).astype(np.float32)
    windows = mask_windows(masks, context)
    slow = [np.stack(window, axis=1).reshape(-1) for window in _naive_windows(masks, context)]
    np.testing.assert_array_equal(windows, slow)
    assert windows.shape == (frames, channels * (2 * context + 1))


@pytest.mark.slow
@given(frames=st.integers(1, 9), channels=st.integers(1, 4), context=st.integers(0, 4))
def test_averages_are_those_of_the_loop(frames: int, channels: int, context: int) -> None:
    width = 2 * context + 1
    estimates = np.random.default_rng(1).random((frames, channels * width)).astype(np.float32)
    slow = np.zeros((frames, channels))
    for t in range(frames):
        for f in range(channels):
            got = [
                estimates[t - k, f * width + k + context]  # frame t - k says what t has
                for k in range(-context, context + 1)
                if 0 <= t - k < frames
            ]
            slow[t, f] = np.mean(got)
    averaged = average_windows(estimates, context)
    np.testing.assert_allclose(averaged, slow, atol=1e-6)
    assert averaged.dtype == np.float32


@given(frames=st.integers(1, 9), context=st.integers(0, 4))
def test_the_average_of_true_windows_is_the_mask(frames: int, context: int) -> None:
    masks = np.random.default_rng(2).random((frames, 3)).astype(np.float32)
    np.testing.assert_allclose(
        average_windows(mask_windows(masks, context), context), masks, atol=1e-6
    )


def test_averages_leave_their_input_and_stay_in_range() -> None:
    ones = np.ones((7, 3 * 5), np.float32)
    averaged = average_windows(ones, 2)
    assert (ones == 1).all()
    assert averaged.max() <= 1.0
    np.testing.assert_array_equal(averaged, np.ones((7, 3)))


def test_a_range_of_columns_is_a_range_of_channels() -> None:
    masks = np.array([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0]], np.float32)
    assert mask_windows(masks, 1).tolist() == [
        [0, 0, 1, 10, 10, 11],
        [0, 1, 2, 10, 11, 12],
        [1, 2, 2, 11, 12, 12],
    ]
