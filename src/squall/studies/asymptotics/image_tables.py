"""Tables of the study's part on images, from records alone, and what they say of the claim."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from squall.report.records import Record
from squall.report.tables import UNDEFINED, Table, fixed
from squall.studies.asymptotics.images import TOPIC
from squall.studies.simulations import mean_and_error, read_condition, with_error

__all__ = ["CLAIMED", "Gain", "ImageNumbers", "image_tables", "verdict"]

CLAIMED = 15.0
"""Percent that R > 1 is said to gain on subsets of CIFAR-100 (Hui 2023, Figure 3.6)."""

_ERRORS = 3.0  # standard errors


@dataclass(frozen=True)
class Gain:
    """What the best R gains over the first.

    Args:
        rescale: the best R but the first.
        mean: of the gain in points, over seeds.
        error: its standard error; NaN for one seed.
    """

    rescale: float
    mean: float
    error: float


class ImageNumbers:
    """The numbers on images, by what they are of.

    Args:
        records: of one experiment; those of images count.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._found: dict[tuple[str, str, int, float, float], dict[int, float]] = {}
        self.samples: dict[int, int] = {}
        for record in records:
            topic, values = read_condition(record.condition)
            if topic != TOPIC:
                continue
            k = int(values["k"])
            self.samples[k] = int(values["n"])
            key = (record.system, record.metric, k, float(values["R"]),
                   float(values.get("start", "-1")))  # fmt: skip
            self._found.setdefault(key, {})[record.seed] = record.number

    @property
    def classes(self) -> list[int]:
        """The numbers of classes, rising."""
        return sorted(self.samples)

    @property
    def starts(self) -> list[float]:
        """Of gradient descent, the largest first."""
        return sorted({key[4] for key in self._found if key[4] >= 0}, reverse=True)

    def descent(self, k: int, start: float) -> dict[float, dict[int, float]]:
        """R, rising, to the accuracies of the seeds."""
        return {
            key[3]: values
            for key, values in sorted(self._found.items())
            if key[:3] == ("gradient_descent", "accuracy", k) and key[4] == start
        }

    def minimum(self, system: str, metric: str, k: int) -> list[float]:
        """The values of the seeds, in their order; NaN where there is none."""
        for key, values in self._found.items():
            if key[:3] == (system, metric, k):
                return [values[seed] for seed in sorted(values)]
        return []

    def gain(self, k: int, start: float) -> Gain:
        """What the best R gains, chosen on the same numbers."""
        curve = self.descent(k, start)
        if len(curve) < 2:
            return Gain(math.nan, math.nan, math.nan)
        first, *others = curve
        best = max(others, key=lambda R: mean_and_error(list(curve[R].values()))[0])
        gains = [curve[best][seed] - curve[first][seed] for seed in curve[first]]
        return Gain(best, *mean_and_error(gains))


def verdict(gains: Mapping[float, Gain]) -> str:
    """Whether R > 1 gains more than 15 points.

    Args:
        gains: by the size of gradient descent's start.

    >>> verdict({1.0: Gain(30.0, 20.0, 1.0), 0.01: Gain(3.0, 0.5, 0.5)})
    'holds for gradient descent from a start of 1 only'
    >>> verdict({1.0: Gain(30.0, 14.0, 1.0), 0.01: Gain(3.0, 0.5, 0.5)})
    'does not hold, within three standard errors'
    """
    known = {size: gain for size, gain in gains.items() if not math.isnan(gain.mean)}
    if not known:
        return "not tested"
    reached = [size for size, gain in known.items() if gain.mean > CLAIMED]
    nearest = min((abs(gain.mean - CLAIMED), gain.error) for gain in known.values())
    if len(reached) == len(known):
        said = "holds for gradient descent from every start"
    elif reached:
        sizes = " and ".join(f"{size:g}" for size in sorted(reached, reverse=True))
        said = f"holds for gradient descent from a start of {sizes} only"
    else:
        said = "does not hold"
    return said + (", within three standard errors" if nearest[0] <= _ERRORS * nearest[1] else "")


def image_tables(records: Sequence[Record]) -> Iterator[Table]:
    """The tables of one experiment; of no rows where it has no images."""
    numbers = ImageNumbers(records)
    rescale = sorted({R for k in numbers.classes for s in numbers.starts
                      for R in numbers.descent(k, s)})  # fmt: skip
    yield Table(
        "images: accuracy % of gradient descent",
        ["k", "n", "start", *(f"R = {R:g}" for R in rescale)],
        [
            _curve_row(numbers, k, start, rescale)
            for k in numbers.classes
            for start in numbers.starts
        ],
        "Of test images. The start is N(0, start^2); 1 gives outputs of variance 1. R from a start "
        "is R times 1 from a start 1/R its size, so that rows repeat one another's numbers.",
    )
    claims = {k: {s: numbers.gain(k, s) for s in numbers.starts} for k in numbers.classes}
    yield Table(
        f"images: R > 1 helps by more than {CLAIMED:g} points",
        [
            "k",
            *(f"gain from a start of {start:g}" for start in numbers.starts),
            "gain of the minimiser",
            "verdict",
            f"over {CLAIMED:g} by, largest start",
        ],
        [_claim_row(k, gains) for k, gains in claims.items()],
        "Points of accuracy, of the best R over the first, chosen on the same numbers; that R in "
        "brackets. The minimiser gains nothing at any R, as the objective is homogeneous.",
    )
    yield Table(
        "images: minima",
        [
            *("k", "n"),
            *(
                f"{start}: {what}"
                for start in ("least squares", "random")
                for what in ("accuracy %", "objective")
            ),
            *("converged %", "chosen ridge: accuracy %", "chosen ridges"),
        ],
        [_minima_row(numbers, k) for k in numbers.classes],
        "At the first R and the settings' ridge, by whole Newton steps from two starts; the "
        "objective per sample and output at R = 1. The chosen ridge is the best of the settings' "
        "on a fifth of the training images, one for each seed. None where there are more images "
        "than study.images.minimised.",
    )


def _curve_row(numbers: ImageNumbers, k: int, start: float, rescale: Sequence[float]) -> list[str]:
    curve = numbers.descent(k, start)
    cells = (with_error(*mean_and_error(list(curve.get(R, {}).values()))) for R in rescale)
    return [str(k), str(numbers.samples[k]), f"{start:g}", *cells]


def _claim_row(k: int, gains: Mapping[float, Gain]) -> list[str]:
    cells = [
        UNDEFINED if math.isnan(gain.mean)
        else f"{with_error(gain.mean, gain.error)} ({gain.rescale:g})"
        for gain in gains.values()
    ]  # fmt: skip
    largest = gains[max(gains)] if gains else Gain(math.nan, math.nan, math.nan)
    over = with_error(largest.mean - CLAIMED, largest.error)
    return [str(k), *cells, "0", verdict(gains), over]


def _minima_row(numbers: ImageNumbers, k: int) -> list[str]:
    cells = []
    for system in ("least_squares", "random"):
        objective = mean_and_error(numbers.minimum(system, "objective", k))[0]
        cells += [
            with_error(*mean_and_error(numbers.minimum(system, "accuracy", k))),
            UNDEFINED if math.isnan(objective) else f"{objective:.3g}",
        ]
    settled = [
        value
        for system in ("least_squares", "random")
        for value in numbers.minimum(system, "converged", k)
    ]
    share = mean_and_error(settled)[0]
    ridges = ", ".join(f"{ridge:g}" for ridge in numbers.minimum("tuned_ridge", "ridge", k))
    return [
        *(str(k), str(numbers.samples[k]), *cells),
        UNDEFINED if math.isnan(share) else fixed(share, 0),
        with_error(*mean_and_error(numbers.minimum("tuned_ridge", "accuracy", k))),
        ridges or UNDEFINED,
    ]
