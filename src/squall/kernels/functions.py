"""Squared distances without cancellation, and the exponential-power kernel of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from squall.kernels.windows import Layout

__all__ = [
    "ExponentialPowerKernel",
    "Points",
    "exponential_power",
    "fill_squared_distances",
    "median_distance",
    "squared_distances",
]

# Small enough for the passes over a tile to stay in the cache; on a GPU each tile is a wait.
TILE_ROWS = {"cpu": 512, "cuda": 8192}
# GEMM leaves an error of a few 1e-7 of the squared norms. Below this share of them a distance is
# computed again from the differences; above it the error moves no kernel value by more than 3e-6.
NEAR = 1e-3
# Differences of single pairs cost about 30 times what their share of a float64 GEMM costs.
PAIRS_SHARE = 1 / 32
PAIR_BYTES = 32 << 20
MAP_ELEMENTS = 1 << 17


@dataclass(frozen=True)
class ExponentialPowerKernel:
    """K(x, z) = exp(-||x - z||^gamma / sigma), a value that can be compared, hashed and saved.

    Args:
        gamma: the power, in (0, 2]; 1 is the Laplacian kernel, 2 the Gaussian.
        sigma: the scale of the distance to that power, > 0.

    Raises:
        ValueError: gamma or sigma is out of range.
    """

    gamma: float
    sigma: float

    def __post_init__(self) -> None:
        _check(self.gamma, self.sigma)

    def __call__(self, squared: Tensor, out: Tensor | None = None) -> Tensor:
        """Kernel values of squared distances; see `exponential_power`."""
        return exponential_power(squared, gamma=self.gamma, sigma=self.sigma, out=out)


@dataclass(frozen=True)
class Points:
    """Rows that distances are taken of, with what each of their products needs.

    Args:
        rows: (N, D), centred for the precision of the distances.
        norms: (N,) their squared norms.
        windows: the frames that the rows overlap in, where they are windows of such.
    """

    rows: Tensor
    norms: Tensor
    windows: Windows | None = None

    @classmethod
    def of(cls, rows: Tensor, layout: Layout | None = None) -> Points:
        """Take the norms of the rows, and the frames of windows."""
        norms = torch.linalg.vecdot(rows, rows)
        if layout is None:
            return cls(rows, norms)
        return cls(rows, norms, Windows(layout, cls.of(layout.frames_of(rows))))

    def __len__(self) -> int:
        return len(self.rows)

    def tiles(self, step: int) -> Iterator[tuple[slice, Points]]:
        """So many rows at a time."""
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, Points(self.rows[rows], self.norms[rows])

    def __getitem__(self, part: slice) -> Points:
        rows, norms = self.rows[part], self.norms[part]
        start, stop, step = part.indices(len(self))
        if self.windows is None or step != 1 or start >= stop:
            return Points(rows, norms)
        return Points(rows, norms, self.windows.cut(start, stop))


@dataclass(frozen=True)
class Windows:
    """Rows as windows of frames.

    Args:
        layout: which row begins at which frame.
        frames: the frames.
    """

    layout: Layout
    frames: Points

    def cut(self, start: int, stop: int) -> Windows:
        """Those of rows start to stop."""
        layout, frame = self.layout.cut(start, stop)
        return Windows(layout, self.frames[frame : frame + layout.frames])

    def runs(self) -> Iterator[tuple[slice, Points]]:
        """Rows that follow each other, with the frames that they are windows of."""
        for run in self.layout.runs:
            frames = run.rows + self.layout.places - 1
            yield (
                slice(run.first, run.first + run.rows),
                self.frames[run.frame : run.frame + frames],
            )


def exponential_power(
    squared: Tensor, *, gamma: float, sigma: float, out: Tensor | None = None
) -> Tensor:
    """Map squared distances to exp(-d^gamma / sigma), with d^gamma = 2^(gamma / 2 log2 d^2).

    A distance of zero gives exactly 1: log 0 is minus infinity, and its power of two 0.

    Args:
        squared: squared distances, >= 0, any shape.
        gamma: the power, in (0, 2].
        sigma: the scale, > 0.
        out: where to write, of the same shape; may be `squared` itself.

    Raises:
        ValueError: gamma or sigma is out of range.

    Source: Hui, Ma, Belkin 2019, equation 1.
    """
    _check(gamma, sigma)
    out = torch.empty_like(squared) if out is None else out
    if squared.is_cuda or squared.dim() != 2:
        return _map(squared, gamma, sigma, out)
    # Five passes over a piece that stays in the cache instead of over the whole matrix.
    rows = max(1, MAP_ELEMENTS // max(1, squared.shape[1]))
    for start in range(0, len(squared), rows):
        _map(squared[start : start + rows], gamma, sigma, out[start : start + rows])
    return out


def squared_distances(x: Tensor, z: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
    """Squared Euclidean distances of all pairs of rows, by GEMM in the inputs' precision.

    ||x||^2 + ||z||^2 - 2 x.z loses the digits of a distance that is small beside the norms. Rows
    are therefore centred, and distances under a thousandth of the norms are computed again from
    differences (many of them in one block: by GEMM in float64), so that near-duplicates keep their
    distance and duplicates have none.

    Args:
        x: (N, D) floating point.
        z: (M, D) of the same type and device; None takes x, computes one triangle of blocks and
            mirrors it, with an exact zero diagonal.
        out: (N, M) to write into.

    Returns:
        (N, M), >= 0.

    Raises:
        ValueError: the inputs are no matrices of equal width.
    """
    if x.dim() != 2 or (z is not None and (z.dim() != 2 or z.shape[1] != x.shape[1])):
        other = "" if z is None else f" and {tuple(z.shape)}"
        raise ValueError(f"distances need matrices of equal width, not {tuple(x.shape)}{other}")
    same = z is None or z is x
    centre = (x if z is None else z).mean(0)
    left = Points.of(x - centre)
    right = None if same or z is None else Points.of(z - centre)
    if out is None:
        out = x.new_empty(len(x), len(x if z is None else z))
    return fill_squared_distances(left, right, out=out)


def fill_squared_distances(
    x: Points,
    z: Points | None = None,
    *,
    out: Tensor,
    kernel: ExponentialPowerKernel | None = None,
) -> Tensor:
    """Do what `squared_distances` does with rows that are centred already, their norms known.

    Args:
        x: N points.
        z: M points; None takes x. Where both are windows, their distances are sums of those of
            their frames.
        out: (N, M) to write into.
        kernel: if given, its values are written in the place of the distances.
    """
    symmetric = z is None
    z = x if z is None else z
    if x.windows is not None and z.windows is not None:
        left, right = list(x.windows.runs()), list(z.windows.runs())
        places = x.windows.layout.places
    else:
        step = TILE_ROWS[out.device.type]
        left, right = list(x.tiles(step)), list(z.tiles(step))
        places = 1
    tiles = _Tiles(out, left, right, places, kernel)
    for i, (rows, points) in enumerate(left):
        for j, (columns, others) in enumerate(right):
            if not symmetric or i <= j:
                tile = tiles.fill(points, others, diagonal=symmetric and i == j)
                out[rows, columns] = tile
            if symmetric and i < j:
                out[columns, rows] = tiles.transposed(tile)
    return out


def median_distance(squared: Tensor) -> float:
    """Median distance between different rows, from their (N, N) matrix of squared distances.

    Where more than half of the pairs coincide it is the root of the mean square instead, and 1
    where all do, so that a scale relative to it is always positive.
    """
    pairs = squared.clone().fill_diagonal_(torch.nan)
    median = pairs.nanmedian().item() if len(pairs) > 1 else 0.0
    mean = pairs.nanmean().item() if len(pairs) > 1 else 0.0
    return math.sqrt(median or mean or 1.0)


def _check(gamma: float, sigma: float) -> None:
    if not 0 < gamma <= 2:
        raise ValueError(f"gamma is {gamma}; the kernel is positive definite for 0 < gamma <= 2")
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma is {sigma}; use a finite number above 0")


def _map(squared: Tensor, gamma: float, sigma: float, out: Tensor) -> Tensor:
    # Powers of two, as exp2 is as exact as exp and takes a third of its time.
    factor = -math.log2(math.e) / sigma
    if gamma == 2:
        return torch.mul(squared, factor, out=out).exp2_()
    if gamma == 1:
        return torch.sqrt(squared, out=out).mul_(factor).exp2_()
    return torch.log2(squared, out=out).mul_(gamma / 2).exp2_().mul_(factor).exp2_()


class _Tiles:
    """Tiles of distances or of kernel values, in memory that stays in the cache.

    Args:
        like: of the type and on the device of the tiles.
        left, right: rows or frames of each tile; the frames of windows are `places` - 1 more than
            the tile has rows.
        places: frames of a window, 1 where distances are of rows.
        kernel: whose values are given in the place of distances.
    """

    def __init__(
        self,
        like: Tensor,
        left: Sequence[tuple[slice, Points]],
        right: Sequence[tuple[slice, Points]],
        places: int,
        kernel: ExponentialPowerKernel | None,
    ) -> None:
        self.places, self.kernel = places, kernel
        size = math.prod(max((len(p) for _, p in side), default=0) for side in (left, right))
        self.distances, self.sums, self.mirrored = like.new_empty(3, size)

    def fill(self, x: Points, z: Points, *, diagonal: bool) -> Tensor:
        """The tile of two sets of points, valid until the next; on the diagonal z is x."""
        frames = _view(self.distances, len(x), len(z))
        _fill_tile(frames, x, z, diagonal)
        tile = frames
        if self.places > 1:  # D(i, j) = sum_k d(i + k, j + k)
            rows, columns = len(x) - self.places + 1, len(z) - self.places + 1
            shifted = [frames[k : k + rows, k : k + columns] for k in range(self.places)]
            tile = _view(self.sums, rows, columns)
            torch.add(shifted[0], shifted[1], out=tile)
            for one in shifted[2:]:
                tile += one
        return tile if self.kernel is None else self.kernel(tile, out=tile)

    def transposed(self, tile: Tensor) -> Tensor:
        """The tile's mirror image."""
        return _view(self.mirrored, *tile.T.shape).copy_(tile.T)


def _view(buffer: Tensor, rows: int, columns: int) -> Tensor:
    return buffer[: rows * columns].view(rows, columns)


def _fill_tile(tile: Tensor, x: Points, z: Points, diagonal: bool) -> None:
    torch.addmm(z.norms, x.rows, z.rows.T, alpha=-2, out=tile)
    tile.add_(x.norms[:, None]).clamp_(min=0)
    near_below = NEAR * x.norms
    if diagonal:
        # Rounding may differ between x_i.x_j and x_j.x_i.
        upper = tile.triu(1)
        torch.add(upper, upper.T, out=tile)
    elif not (tile.amin(1) < near_below).any():  # as most tiles are
        return
    near = tile < near_below[:, None]
    if diagonal:
        near.fill_diagonal_(False)
    count = int(near.count_nonzero())
    if count > PAIRS_SHARE * near.numel():
        _repair_by_gemm(tile, x.rows, z.rows, near)
    elif count:
        _repair_pairs(tile, x.rows, z.rows, near)


def _repair_pairs(tile: Tensor, x: Tensor, z: Tensor, near: Tensor) -> None:
    rows, columns = near.nonzero(as_tuple=True)
    pairs = max(1, PAIR_BYTES // (2 * x.element_size() * x.shape[1]))
    for start in range(0, len(rows), pairs):
        i, j = rows[start : start + pairs], columns[start : start + pairs]
        tile[i, j] = (x[i] - z[j]).square_().sum(1)


def _repair_by_gemm(tile: Tensor, x: Tensor, z: Tensor, near: Tensor) -> None:
    x, z = x.double(), z.double()
    x_norms, z_norms = x.square().sum(1)[:, None], z.square().sum(1)
    exact = torch.addmm(z_norms, x, z.T, alpha=-2).add_(x_norms)
    exact[exact < 1e-14 * x_norms] = 0  # what float64 leaves of two equal rows
    tile[near] = exact[near].to(tile.dtype)
