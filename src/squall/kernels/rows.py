"""Kernel rows of batches against all centres: kept where memory allows, else computed again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from squall.kernels.functions import ExponentialPowerKernel, Points, fill_squared_distances

__all__ = ["KernelRows", "fits", "sample_of"]

LEAST_BATCH = 16
FLOAT_BYTES = 4
# Rows per read where rows are mapped or multiplied but take no step.
READ_ROWS = 1024


def fits(centres: int, validation: int, memory_bytes: int) -> bool:
    """Whether the kernel rows of these centres and validation rows are stored."""
    return FLOAT_BYTES * centres * (centres + validation) <= memory_bytes


def sample_of(centres: Points, size: int) -> slice:
    """Centres that are a sample of at most this size: the first, or of windows some far apart."""
    n = len(centres)
    return slice(0, size) if centres.windows is None else slice(0, n, math.ceil(n / size))


class KernelRows:
    """Rows K(points, centres) for several kernels of the same distances.

    The rows are those of the validation points first, then those of the training points, which
    are the last of the centres. Their order means nothing, so that consecutive training rows are a
    batch; only windows of frames are in the order of the frames, for the distances, and a batch is
    of rows that lie far apart. Distances are computed once for all kernels. What stays in memory is
    the most that the bound allows:

    1. all distances, and the values of one kernel at a time (one kernel needs no distances): an
       epoch then costs its products with the coefficients only;
    2. the values of one kernel at a time, their distances computed again for each kernel;
    3. as many rows of distances as fit, validation first; the others are computed again in every
       epoch, once for all kernels.

    Args:
        centres: (n, D).
        validation: (v, D), centred in the same way; may be empty.
        kernels: the distinct kernels.
        first: the centre that is the first training point.
        batch_size: rows of a step; made smaller where two batches of rows exceed the bound.
        memory_bytes: bound on distances and kernel values.

    Raises:
        ValueError: not even two small batches of rows fit.
    """

    def __init__(
        self,
        centres: Points,
        validation: Points,
        kernels: Sequence[ExponentialPowerKernel],
        *,
        first: int = 0,
        batch_size: int,
        memory_bytes: int,
    ) -> None:
        self.centres, self.validation, self.kernels, self.first = (
            centres,
            validation,
            kernels,
            first,
        )
        n, training = len(centres), len(centres) - first
        row_bytes = FLOAT_BYTES * n
        self.count = len(validation) + training
        fitting = memory_bytes // row_bytes
        self.batch_size = min(batch_size, training)
        self.stored = fitting >= self.count
        self.in_order = centres.windows is not None
        self.kept = self.count if len(kernels) > 1 and fitting >= 2 * self.count else 0
        if not self.stored:
            self.batch_size = min(self.batch_size, fitting // 2)
            if self.batch_size < min(LEAST_BATCH, training):
                least = 2 * min(LEAST_BATCH, training) * row_bytes
                raise ValueError(
                    f"memory_gb = {memory_bytes / 1e9:g} holds no batch of kernel rows against "
                    f"{n} centres; use at least {least / 1e9:.2g}"
                )
            self.kept = min(self.count, fitting - 2 * self.batch_size)
        self._distances: Tensor | None = None
        self._values: Tensor | None = None

    @property
    def batches(self) -> list[slice]:
        """The training rows in batches."""
        first = len(self.validation)
        if not self.in_order:
            return self._slices(first, self.count, self.batch_size)
        number = math.ceil((self.count - first) / self.batch_size)
        return [slice(first + turn, self.count, number) for turn in range(number)]

    def unseen(self, sample: slice) -> slice:
        """As many centres as a batch has, with as few of the sample among them as possible."""
        n = len(self.centres)
        if not self.in_order:
            return slice(n - self.batch_size, n)
        known = np.zeros(n, np.bool_)
        known[sample] = True
        batches = [self.training_index(batch) for batch in self.batches]
        return min(batches, key=lambda batch: int(known[batch].sum()))

    @property
    def validation_parts(self) -> list[slice]:
        """The validation rows in parts."""
        rows = READ_ROWS if self.stored else self.batch_size
        return self._slices(0, len(self.validation), rows)

    def cohorts(self) -> list[list[int]]:
        """Kernels that are trained together: one at a time if stored, else all of them."""
        everyone = list(range(len(self.kernels)))
        return [[index] for index in everyone] if self.stored else [everyone]

    def prepare(self, cohort: Sequence[int]) -> None:
        """Compute what is kept for these kernels; call it before `read`."""
        n = len(self.centres)
        if self.kept and self._distances is None:
            self._distances = self._fill(self._empty(self.kept, n))
        if not self.stored:
            return
        (index,) = cohort
        if self._values is None:
            self._values = self._empty(self.count, n)
        if self._distances is None:
            self._fill(self._values, self.kernels[index])
        else:
            self.kernels[index](self._distances, out=self._values)

    def read(self, part: slice, kernels: Iterable[int]) -> Iterator[tuple[int, Tensor]]:
        """Give (kernel, K(part, centres)) for each kernel; a matrix is valid until the next.

        Args:
            part: one of `batches` or `validation_parts`.
            kernels: of the cohort that was prepared.
        """
        if self.stored:
            assert self._values is not None
            for index in kernels:
                yield index, self._values[part]
            return
        buffer = self._empty(part.stop - part.start, len(self.centres))
        distances = self._distances_of(part)
        for index in kernels:
            yield index, self.kernels[index](distances, out=buffer)

    def training_index(self, batch: slice) -> slice:
        """The batch counted from the first training point."""
        start = len(self.validation)
        return slice(batch.start - start, batch.stop - start, batch.step)

    def _slices(self, start: int, stop: int, rows: int) -> list[slice]:
        return [slice(i, min(i + rows, stop)) for i in range(start, stop, rows)]

    def _empty(self, rows: int, columns: int) -> Tensor:
        return torch.empty(rows, columns, device=self.centres.rows.device)

    def _distances_of(self, part: slice) -> Tensor:
        kept = min(max(self.kept - part.start, 0), part.stop - part.start)
        if self._distances is not None and part.stop <= self.kept:
            return self._distances[part]
        out = self._empty(part.stop - part.start, len(self.centres))
        if self._distances is not None and kept:
            out[:kept] = self._distances[part.start : self.kept]
        self._compute(part.start + kept, part.stop, out[kept:])
        return out

    def _fill(self, out: Tensor, kernel: ExponentialPowerKernel | None = None) -> Tensor:
        """Distances of the first rows, as many as `out` has, or their kernel values."""
        if len(out) < self.count or self.first:
            self._compute(0, len(out), out, kernel)
        else:
            v = len(self.validation)
            self._compute(0, v, out[:v], kernel)
            fill_squared_distances(self.centres, out=out[v:], kernel=kernel)
        return out

    def _compute(
        self, start: int, stop: int, out: Tensor, kernel: ExponentialPowerKernel | None = None
    ) -> None:
        """Distances of rows start to stop, across the border between the two sets."""
        v = len(self.validation)
        border = min(max(v, start), stop)
        for points, offset, a, b in (
            (self.validation, 0, start, border),
            (self.centres, self.first - v, border, stop),
        ):
            if a < b:
                rows = points[a + offset : b + offset]
                part = out[a - start : b - start]
                fill_squared_distances(rows, self.centres, out=part, kernel=kernel)
