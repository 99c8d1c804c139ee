"""Rows that are overlapping windows of frames, whose distances are sums of frame distances.

Features with context repeat every frame once per place of the window. The squared distance of two
windows is the sum of the squared distances of their frames, and windows that follow each other
share all frames but one: D(i, j) = sum_k d(i + k, j + k). A product of one frame's width and a few
additions so take the place of a product of the window's width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Layout", "Run", "find_layout"]

LOOKED_AT = 64
OVERLAPPING = 0.5  # share of the rows looked at that have to overlap the next
# Products of frames cost this share of what products of windows cost, or the windows are left.
WORTHWHILE = 0.5
PLACES = 3  # the least that make up for the additions
SHORTEST = 64  # rows of a run on average: each pair of runs is a product of its own
# A tile of frame distances and one of sums stay near the cache.
RUN_ROWS = 512


@dataclass(frozen=True)
class Run:
    """Windows that follow each other.

    Args:
        first: the first row.
        rows: how many.
        frame: the first frame of the first window.
    """

    first: int
    rows: int
    frame: int


@dataclass(frozen=True)
class Layout:
    """Which rows are windows of which frames.

    Args:
        width: columns of a frame.
        places: frames of a window.
        runs: in the order of the rows, all of them; of at most some hundred rows each.
    """

    width: int
    places: int
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, overlaps: NDArray[np.bool_], *, width: int, places: int) -> Layout:
        """Of rows of which the i-th overlaps the next where `overlaps[i]`."""
        ends = [*(np.flatnonzero(~overlaps) + 1).tolist(), len(overlaps) + 1]
        runs, start, frame = [], 0, 0
        for end in ends:
            pieces = -(-(end - start) // RUN_ROWS)
            cuts = [start + turn * (end - start) // pieces for turn in range(pieces + 1)]
            runs += [Run(a, b - a, frame + a - start) for a, b in pairwise(cuts)]
            frame += end - start + places - 1
            start = end
        return cls(width, places, tuple(runs))

    @property
    def frames(self) -> int:
        """How many frames there are, those of several runs once for each."""
        last = self.runs[-1]
        return last.frame + last.rows + self.places - 1

    def frames_of(self, rows: Tensor) -> Tensor:
        """The frames (M, width) of the windows (N, width * places)."""
        frames = rows.new_empty(self.frames, self.width)
        windows = rows.view(len(rows), self.places, self.width)
        for run in self.runs:
            part = windows[run.first : run.first + run.rows]
            frames[run.frame : run.frame + self.places] = part[0]
            beyond = run.frame + self.places
            frames[beyond : beyond + run.rows - 1] = part[1:, -1]
        return frames

    def cut(self, start: int, stop: int) -> tuple[Layout, int]:
        """The layout of rows start to stop, and the frame that is its first one."""
        runs = [
            Run(
                max(run.first, start),
                min(run.first + run.rows, stop) - max(run.first, start),
                run.frame + max(start - run.first, 0),
            )
            for run in self.runs
            if run.first < stop and run.first + run.rows > start
        ]
        frame = runs[0].frame
        moved = tuple(Run(run.first - start, run.rows, run.frame - frame) for run in runs)
        return Layout(self.width, self.places, moved), frame


def find_layout(rows: NDArray[np.floating], width: int | None = None) -> Layout | None:
    """Find that rows are windows of frames, each the one before it moved on by one frame.

    Args:
        rows: (N, D), equal frames being equal in every bit in all places of the window.
        width: columns of a frame; None tries all divisors of D.

    Returns:
        None where too few rows overlap the next, or too few in a row, for windows to be cheaper.
    """
    n, columns = rows.shape
    if n < 2:
        return None
    looked_at = np.unique(np.linspace(0, n - 2, LOOKED_AT).astype(int))
    ahead, behind = rows[looked_at + 1], rows[looked_at]
    for candidate in [width] if width else _divisors(columns):
        if not columns % candidate and columns // candidate >= PLACES:
            same = (ahead[:, : columns - candidate] == behind[:, candidate:]).all(1)
            if same.mean() > OVERLAPPING:
                found = _layout(rows, candidate)
                share = (found.frames / n) ** 2 / found.places
                cheaper = share < WORTHWHILE and n >= SHORTEST * len(found.runs)
                return found if cheaper else None
    return None


def _layout(rows: NDArray[np.floating], width: int) -> Layout:
    n, columns = rows.shape
    overlaps = np.empty(n - 1, np.bool_)
    for start, stop in _blocks(n - 1, 4096):
        ahead = rows[start + 1 : stop + 1, : columns - width]
        overlaps[start:stop] = (ahead == rows[start:stop, width:]).all(1)
    return Layout.of(overlaps, width=width, places=columns // width)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number) if number % divisor == 0]


def _blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, size):
        yield start, min(start + size, count)
