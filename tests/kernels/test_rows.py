from __future__ import annotations

import pytest
import torch

from kernels.regression_data import draw
from squall.kernels import ExponentialPowerKernel
from squall.kernels.functions import Points
from squall.kernels.rows import KernelRows

KERNELS = [ExponentialPowerKernel(1.0, 10.0), ExponentialPowerKernel(0.7, 4.0)]
ROW = 4 * 200


def _points(n: int, seed: int) -> Points:
    return Points.of(torch.from_numpy(draw(n, seed=seed)[0]))


def _rows(rows_in_memory: int, kernels: int = 2, first: int = 0) -> KernelRows:
    return KernelRows(
        _points(200, 0),
        _points(50, 1),
        KERNELS[:kernels],
        first=first,
        batch_size=32,
        memory_bytes=rows_in_memory * ROW,
    )


def _read_all(rows: KernelRows) -> list[torch.Tensor]:
    found = [torch.zeros(rows.count, 200) for _ in rows.kernels]
    for cohort in rows.cohorts():
        rows.prepare(cohort)
        for _ in range(2):  # as two epochs: nothing that is kept may be spoilt by reading
            for part in rows.validation_parts + rows.batches:
                for index, values in rows.read(part, cohort):
                    found[index][part] = values
    return found


@pytest.mark.parametrize("first", [0, 130])
@pytest.mark.parametrize("kernels", [1, 2])
@pytest.mark.parametrize("rows_in_memory", [10**6, 499, 250, 249, 120, 70, 32])
def test_rows_are_the_same_whatever_is_kept(rows_in_memory: int, kernels: int, first: int) -> None:
    centres, validation = _points(200, 0), _points(50, 1)
    points = torch.cat([validation.rows, centres.rows[first:]]).double()
    squared = torch.cdist(
        points, centres.rows.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    found = _read_all(_rows(rows_in_memory, kernels, first))
    for kernel, values in zip(KERNELS[:kernels], found, strict=True):
        expected = kernel(squared.square()).float()
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
        own = values[50:, first:].diagonal()
        assert torch.equal(own, torch.ones(200 - first))


def test_what_is_kept_follows_the_bound() -> None:
    everything = _rows(500)
    assert (everything.stored, everything.kept) == (True, 250)
    one_matrix = _rows(499)
    assert (one_matrix.stored, one_matrix.kept) == (True, 0)
    one_kernel = _rows(250, kernels=1)
    assert (one_kernel.stored, one_kernel.kept) == (True, 0)
    some = _rows(249)
    assert (some.stored, some.kept, some.batch_size) == (False, 249 - 64, 32)
    fewer_per_batch = _rows(40)
    assert (fewer_per_batch.stored, fewer_per_batch.kept, fewer_per_batch.batch_size) == (
        False,
        0,
        20,
    )


def test_bound_without_room_for_a_batch() -> None:
    with pytest.raises(ValueError, match=r"memory_gb = .* holds no batch .* 200 centres; use at"):
        _rows(31)


def test_kernels_that_are_streamed_share_a_pass() -> None:
    assert _rows(249).cohorts() == [[0, 1]]
    assert _rows(500).cohorts() == [[0], [1]]
