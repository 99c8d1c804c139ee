"""Rows that are windows of frames: found where they are, with the distances of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import kernels.naive_kernels as naive
from squall.audio.features import context_window
from squall.kernels import ExponentialPowerKernel, SubbandKernelMachine, windows
from squall.kernels.functions import Points, fill_squared_distances
from squall.kernels.rows import KernelRows, sample_of
from squall.kernels.windows import RUN_ROWS, Layout, find_layout

Array = NDArray[np.float32]
WIDTH, PLACES = 12, 5


def _utterances(*lengths: int, seed: int = 0) -> Array:
    """Windows of five frames of some utterances, one below the other."""
    rng = np.random.default_rng(seed)
    frames = [rng.standard_normal((n, WIDTH)).cumsum(0).astype(np.float32) for n in lengths]
    return np.concatenate([context_window(part) for part in frames])


def _targets(rows: Array, outputs: int) -> Array:
    weights = np.random.default_rng(3).standard_normal((rows.shape[1], outputs))
    return np.tanh(rows @ weights / 40).astype(np.float32)


def _layout(rows: Array) -> Layout:
    """However short the runs are."""
    return windows._layout(rows, WIDTH)


def _points(rows: Array) -> Points:
    return Points.of(torch.from_numpy(rows), _layout(rows))


def test_runs_are_the_utterances() -> None:
    layout = _layout(_utterances(50, 1, 30))
    assert (layout.width, layout.places) == (WIDTH, PLACES)
    assert [(run.first, run.rows, run.frame) for run in layout.runs] == [
        (0, 50, 0),
        (50, 1, 54),
        (51, 30, 59),
    ]
    assert layout.frames == 93


def test_long_runs_are_cut_into_equal_parts() -> None:
    layout = _layout(_utterances(RUN_ROWS + 45))
    assert [run.rows for run in layout.runs] == [278, 279]
    assert layout.runs[1].frame == 278
    assert layout.frames == RUN_ROWS + 45 + PLACES - 1


def test_frames_are_those_with_which_the_windows_were_made() -> None:
    rows = _utterances(20, 7)
    frames = _layout(rows).frames_of(torch.from_numpy(rows)).numpy()
    parts = np.split(rows[:, 2 * WIDTH : 3 * WIDTH], [20])  # the middle of each window
    padded = [np.pad(part, ((2, 2), (0, 0)), mode="edge") for part in parts]
    np.testing.assert_array_equal(frames, np.concatenate(padded))


def test_other_rows_are_no_windows() -> None:
    rows = _utterances(300)
    assert find_layout(rows[np.random.default_rng(0).permutation(300)]) is None
    assert find_layout(np.random.default_rng(0).standard_normal((300, 60), "f4")) is None
    assert find_layout(rows[:1]) is None
    assert find_layout(rows, WIDTH + 1) is None


def test_windows_are_found() -> None:
    rows = _utterances(90, 200, 70)
    assert find_layout(rows) == _layout(rows) == find_layout(rows, WIDTH)


@pytest.mark.parametrize("length", [2, 12, 50])
def test_windows_in_short_runs_are_rows(length: int) -> None:
    """Each pair of runs would be a small product of its own."""
    assert find_layout(_utterances(*[length] * 40)) is None


def test_frames_with_gaps_are_rows() -> None:
    kept = np.random.default_rng(0).random(2000) < 0.9
    assert find_layout(_utterances(2000)[kept]) is None


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    others=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    part=st.tuples(st.integers(0, 30), st.integers(1, 30)),
    kernel=st.sampled_from([None, ExponentialPowerKernel(0.7, 9.0)]),
)
def test_distances_are_those_of_the_rows(
    lengths: list[int],
    others: list[int],
    part: tuple[int, int],
    kernel: ExponentialPowerKernel | None,
) -> None:
    """Between two sets, of a set to itself, and of part of it."""
    x, z = _utterances(90, *lengths, seed=1), _utterances(90, *others, seed=2)
    left, right = _points(x), _points(z)
    for rows, a, points, others_ in (
        (x, z, left, right),
        (x, x, left, None),
        (x[part[0] : sum(part)], z, left[part[0] : sum(part)], right),
    ):
        expected = torch.from_numpy(naive.kernel_matrix(rows, a, 1.0, 1.0)).log().square()
        if kernel is not None:
            expected = kernel(expected)
        out = torch.empty(len(rows), len(a))
        found = fill_squared_distances(points, others_, out=out, kernel=kernel)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    assert points.windows is not None  # of the part


def test_equal_windows_have_no_distance() -> None:
    rows = np.concatenate([_utterances(100), _utterances(100)])
    found = fill_squared_distances(_points(rows), out=torch.empty(200, 200))
    assert torch.equal(found.diagonal(), torch.zeros(200))
    assert torch.equal(found[:100, 100:].diagonal(), torch.zeros(100))
    assert torch.equal(found, found.T)


def test_batches_and_sample_lie_far_apart_and_cover_all() -> None:
    rows = _utterances(100, 60)
    kernel_rows = KernelRows(
        _points(rows),
        _points(rows[:100]),
        [ExponentialPowerKernel(1.0, 9.0)],
        batch_size=32,
        memory_bytes=10**6,
    )
    batches = [range(260)[batch] for batch in kernel_rows.batches]
    assert sorted(place for batch in batches for place in batch) == list(range(100, 260))
    assert max(map(len, batches)) <= 32
    sample = sample_of(kernel_rows.centres, 30)
    assert len(range(160)[sample]) <= 30
    unseen = range(160)[kernel_rows.unseen(sample)]
    assert len(unseen) == 32
    fewest = min(len({*range(160)[sample]} & {p - 100 for p in batch}) for batch in batches)
    assert len({*range(160)[sample]} & {*unseen}) == fewest


@pytest.mark.parametrize("subbands", [1, 2])
def test_windows_are_fitted_as_their_rows_in_any_order_are(subbands: int) -> None:
    """Iterated until they agree with each other, and with the direct solution."""
    rows, held = _utterances(200, 150, 90), _utterances(60, seed=1)
    targets = _targets(rows, 4)
    order = np.random.default_rng(0).permutation(len(rows))
    parameters: dict[str, Any] = {
        "subbands": subbands, "gamma": [0.7, 1.0][:subbands], "bandwidth": 0.5, "epochs": 100,
        "patience": None, "batch_size": 64, "subsample_size": 200,
    }  # fmt: skip
    in_order = SubbandKernelMachine(**parameters)
    in_order.fit(rows, targets, validation=(rows, targets))
    shuffled = SubbandKernelMachine(**parameters)
    shuffled.fit(rows[order], targets[order], validation=(rows, targets))
    # The order of frames is kept, by which predictions are faster too.
    assert find_layout(in_order.centres_) is not None
    assert find_layout(shuffled.centres_) is None
    found = in_order.predict(held)
    np.testing.assert_allclose(found, shuffled.predict(held), atol=2e-4)
    for band in in_order.subbands_:
        exact = naive.predict_exactly(
            rows, targets[:, band.columns], held, band.gamma, band.sigma, ridge=0.0
        )
        np.testing.assert_allclose(found[:, band.columns], exact, atol=1e-3)


@pytest.mark.parametrize("metric", ["euclidean", "diagonal"])
def test_windows_are_predicted_as_single_rows_are(metric: Any) -> None:
    rows, new = _utterances(300), _utterances(80, 30, seed=1).astype(np.float64)
    model = SubbandKernelMachine(subbands=2, gamma=[0.7, 1.0], bandwidth=1.0, metric=metric)
    model.fit(rows, _targets(rows, 4), validation=(rows[:50], _targets(rows, 4)[:50]))
    assert find_layout(model.centres_) is not None
    if metric == "diagonal":
        assert np.array_equal(*np.split(model.metric_factor_, PLACES)[:2])
    together = model.predict(new)
    one_by_one = np.concatenate([model.predict(row[None]) for row in new])
    np.testing.assert_allclose(together, one_by_one, atol=1e-7)
