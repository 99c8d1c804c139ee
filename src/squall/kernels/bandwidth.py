"""Automatic choice of gamma and bandwidth by direct solutions on a subsample."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from typing_extensions import Self

from squall.kernels.components import Components, Sketch, find_components
from squall.kernels.direct import solve_directly
from squall.kernels.functions import (
    ExponentialPowerKernel,
    Points,
    fill_squared_distances,
    median_distance,
)

__all__ = [
    "BANDWIDTHS",
    "GAMMAS",
    "START",
    "Candidate",
    "Search",
    "Trial",
    "search",
    "search_bandwidths",
]

GAMMAS = (0.4, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4)
BANDWIDTHS = tuple(2 ** (half / 2) for half in range(-4, 11))
START = (1.0, 2 * math.sqrt(2))


@dataclass(frozen=True)
class Candidate:
    """A kernel that was tried.

    Args:
        gamma: the power.
        bandwidth: sigma in units of the median distance to the power gamma.
        errors: validation error of each group of channels, mean over its channels.
        mse: that of all channels.
    """

    gamma: float
    bandwidth: float
    errors: Sequence[float]
    mse: float


@dataclass(frozen=True)
class Search:
    """What a search tried and what it chose.

    Args:
        candidates: all that were tried, in that order.
        best: the choice for each group of channels.
        seconds: what it took.
    """

    candidates: tuple[Candidate, ...]
    best: tuple[Candidate, ...]
    seconds: float

    def table(self) -> list[dict[str, float]]:
        """One line per candidate: gamma, bandwidth, mean validation error of all channels."""
        return [
            {"gamma": tried.gamma, "bandwidth": tried.bandwidth, "mse": tried.mse}
            for tried in self.candidates
        ]


@dataclass(frozen=True)
class Trial:
    """A sample and validation rows, whose distances serve all kernels that are tried.

    Args:
        distances: (s, s) squared distances of the sample.
        cross: (v, s) those of the validation rows to it.
        targets: (s, F), centred.
        validation_targets: (v, F), centred in the same way.
    """

    distances: Tensor
    cross: Tensor
    targets: Tensor
    validation_targets: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, validation: tuple[Tensor, Tensor]) -> Self:
        """Of features (s, D) and targets (s, F), and the same of validation rows."""
        centre = x.mean(0)
        points, others = Points.of(x - centre), Points.of(validation[0] - centre)
        distances = fill_squared_distances(points, out=x.new_empty(len(x), len(x)))
        cross = fill_squared_distances(others, points, out=x.new_empty(len(others), len(x)))
        return cls(distances, cross, y, validation[1])

    def sketched(self, sketch: Sketch) -> Trial:
        """The same with targets in fewer directions."""
        of = sketch.directions.of
        targets, held = of(self.targets), of(self.validation_targets)
        return Trial(self.distances, self.cross, targets, held)

    def squares(self, kernel: ExponentialPowerKernel) -> Tensor:
        """Mean squared validation errors (F,) of the direct solution with a kernel."""
        predicted = kernel(self.cross) @ solve_directly(kernel(self.distances), self.targets)
        return (predicted - self.validation_targets).square().mean(0)

    def find_components(
        self, kernel: ExponentialPowerKernel, groups: Sequence[slice]
    ) -> Components:
        """The directions of the targets that a solution with this kernel finds something in."""
        values = kernel(self.distances), kernel(self.cross)
        return find_components(self.targets, *values, self.validation_targets, groups)


def search_bandwidths(
    x: Tensor,
    y: Tensor,
    *,
    validation: tuple[Tensor, Tensor],
    groups: Sequence[slice],
    median: float | None = None,
    gammas: Sequence[float] = GAMMAS,
    bandwidths: Sequence[float] = BANDWIDTHS,
    tolerance: float = 0.005,
) -> Search:
    """Choose gamma and bandwidth for each group of output channels; see `search`.

    Args:
        x: (s, D) a subsample of the training features.
        y: (s, F) its targets, without their mean.
        validation: features (v, D) and targets (v, F), of which the same mean was taken.
        groups: columns of y.
        median: distance that bandwidths are relative to; None takes the median of `x`.
        gammas: the grid, ascending.
        bandwidths: the grid, ascending, in units of median distance^gamma.
        tolerance: relative difference of validation error that does not matter.

    Raises:
        ValueError: a grid is empty.
    """
    trial = Trial.of(x, y, validation)
    return search(
        trial,
        Components.all(groups),
        median=median_distance(trial.distances) if median is None else median,
        gammas=gammas,
        bandwidths=bandwidths,
        tolerance=tolerance,
    )


def search(
    trial: Trial,
    components: Components,
    *,
    median: float,
    gammas: Sequence[float] = GAMMAS,
    bandwidths: Sequence[float] = BANDWIDTHS,
    tolerance: float = 0.005,
) -> Search:
    """Choose gamma and bandwidth for each group of output channels.

    One distance matrix serves all candidates, and one direct solution of a candidate all channels.
    A walk over the grid along the bandwidth, then along gamma, first in strides of two, ends where
    neither direction lowers the mean error of all channels by more than `tolerance`. Each group
    then walks on in strides of two from the best for it that was tried so far, as long as that
    lowers its own error by four times the tolerance. Candidates that were tried cost nothing. Among
    the candidates within `tolerance` of a group's best the one that most groups can share is taken,
    since equal kernels are trained together and the valley is flat.

    The optimum of a small sample that is interpolated is near that of the whole set with early
    stopping, not equal to it; on mask features the choice cost up to 0.43 % of the error
    (benchmarks/kernels.md).

    Args:
        trial: the sample and validation rows.
        components: of the channels of each group; with a few random directions beside them they
            are what a candidate is judged by.
        median: distance that bandwidths are relative to.
        gammas, bandwidths, tolerance: as those of `search_bandwidths`.

    Raises:
        ValueError: a grid is empty.

    Source: Hui, Ma, Belkin 2019, algorithm 1, with a logarithmic scale relative to the data.
    """
    if not gammas or not bandwidths:
        raise ValueError("the search needs at least one gamma and one bandwidth")
    started = time.perf_counter()
    groups = components.groups
    sketch = Sketch.of(components)
    sketched = trial.sketched(sketch)
    widths = [group.stop - group.start for group in groups]
    tried: dict[tuple[int, int], Candidate] = {}

    def candidate(place: tuple[int, int]) -> Candidate:
        if place not in tried:
            gamma, bandwidth = gammas[place[0]], bandwidths[place[1]]
            kernel = ExponentialPowerKernel(gamma, bandwidth * median**gamma)
            errors = sketch.errors(sketched.squares(kernel))
            mse = float(np.average(errors, weights=widths))
            tried[place] = Candidate(gamma, bandwidth, errors, mse)
        return tried[place]

    candidate((_nearest(gammas, START[0]), _nearest(bandwidths, START[1])))
    walks: list[tuple[int | None, tuple[int, ...], float]] = [(None, (2, 1), tolerance)]
    if len(groups) > 1:
        walks += [(group, (2,), 4 * tolerance) for group in range(len(groups))]
    for group, strides, worthwhile in walks:

        def error(place: tuple[int, int], group: int | None = group) -> float:
            found = candidate(place)
            return found.mse if group is None else found.errors[group]

        start = min(tried, key=error)
        _descend(error, start, (len(gammas), len(bandwidths)), strides, worthwhile)
    candidates = tuple(tried.values())
    best = _share(candidates, tolerance)
    return Search(candidates, best, time.perf_counter() - started)


def _nearest(grid: Sequence[float], value: float) -> int:
    return int(np.abs(np.log(np.asarray(grid) / value)).argmin())


def _descend(
    error: Callable[[tuple[int, int]], float],
    start: tuple[int, int],
    shape: tuple[int, int],
    strides: Sequence[int],
    tolerance: float,
) -> tuple[int, int]:
    """Coordinate descent on a grid, in these strides one after the other.

    A place must be better by more than the tolerance to be worth walking to.
    """
    place = start
    for stride in strides:
        moved = True
        while moved:
            moved = False
            for axis in (1, 0):
                for direction in (1, -1):
                    while True:
                        there = list(place)
                        there[axis] += direction * stride
                        if not 0 <= there[axis] < shape[axis]:
                            break
                        if error((there[0], there[1])) >= (1 - tolerance) * error(place):
                            break
                        place, moved = (there[0], there[1]), True
    return place


def _share(candidates: Sequence[Candidate], tolerance: float) -> tuple[Candidate, ...]:
    """Assign a candidate to each group, as few different ones as the tolerance allows."""
    errors = np.array([tried.errors for tried in candidates])
    # Relative loss of each candidate for each group, 0 for its best.
    loss = errors / np.maximum(errors.min(0), np.finfo(float).tiny) - 1
    groups = range(errors.shape[1])
    chosen: dict[int, Candidate] = {}
    while len(chosen) < len(groups):
        left = [group for group in groups if group not in chosen]
        fits = loss[:, left] <= tolerance
        # Most groups first; among equals the smallest loss over those groups.
        totals = [(-row.sum(), loss[i, left][row].sum()) for i, row in enumerate(fits)]
        winner = min(range(len(candidates)), key=lambda i: totals[i])
        for group, suits in zip(left, fits[winner], strict=True):
            if suits:
                chosen[group] = candidates[winner]
    return tuple(chosen[group] for group in groups)
