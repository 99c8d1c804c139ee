"""Tables of the study of asymptotics, from records alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from squall.report.records import Record
from squall.report.tables import UNDEFINED, Layout, Table, fixed
from squall.studies.asymptotics.equations import EQUATIONS
from squall.studies.asymptotics.image_tables import image_tables
from squall.studies.asymptotics.images import TOPIC
from squall.studies.asymptotics.study import MINIMA
from squall.studies.simulations import (
    extrapolated,
    mean_and_error,
    read_condition,
    tables_by_experiment,
    with_error,
)
from squall.studies.verdicts import Claim, judge, summary

__all__ = ["ASYMPTOTICS", "NumbersBy", "Place", "asymptotics_tables"]

Place = tuple[float, float, float, float]
"""k, beta, label noise and lambda."""

_STABLE = 0.01  # percent of the divergence that is due to the jump
_NO_ERROR = 0.1  # percent: of accuracies, what differences count as none


class NumbersBy:
    """The numbers of records, by what they are of.

    Args:
        records: of one experiment; those of images do not count.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._found: dict[tuple[str, str, Place, str, tuple[float, ...]], dict[int, float]] = {}
        self.topics: dict[str, list[Place]] = {}
        for record in records:
            topic, values = read_condition(record.condition)
            if topic == TOPIC:
                continue
            place = _place(values)
            rest = tuple(float(values.get(name, "nan")) for name in ("R", "d", "iteration"))
            key = (record.system, record.metric, place, topic, _plain(rest))
            self._found.setdefault(key, {})[record.seed] = record.number
            places = self.topics.setdefault(topic, [])
            if place not in places:
                places.append(place)

    def of(
        self,
        system: str,
        metric: str,
        place: Place,
        *,
        topic: str = "",
        R: float = math.nan,
        d: float = math.nan,
        iteration: float = math.nan,
    ) -> dict[int, float]:
        """Seed to number; empty where there is none."""
        return self._found.get((system, metric, place, topic, _plain((R, d, iteration))), {})

    def all_of(
        self, system: str, metric: str, place: Place, *, topic: str = ""
    ) -> dict[tuple[float, ...], list[float]]:
        """(R, d, iteration), -1 for none, to the values of the seeds."""
        return {
            key[4]: list(values.values())
            for key, values in sorted(self._found.items())
            if key[:4] == (system, metric, place, topic)
        }

    @property
    def places(self) -> list[Place]:
        """Those that have predictions, in order."""
        return sorted(self.topics.get("", []))

    def limit(self, system: str, metric: str, place: Place) -> tuple[float, float]:
        """The limit of large d at the first R, and its standard error."""
        found = self.all_of(system, metric, place)
        first = min((R for R, _, _ in found), default=-1.0)
        return extrapolated({d: values for (R, d, _), values in found.items() if first == R})


def _plain(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(-1.0 if math.isnan(value) else value for value in values)


def _place(values: dict[str, str]) -> Place:
    k, beta, noise, ridge = (float(values[name]) for name in ("k", "beta", "noise", "lambda"))
    return k, beta, noise, ridge


def asymptotics_tables(records: Sequence[Record]) -> list[Table]:
    """The tables of every experiment."""
    return tables_by_experiment(records, lambda own: (*_tables(NumbersBy(own)), *image_tables(own)))


def _tables(numbers: NumbersBy) -> Iterator[Table]:
    yield Table(
        "equations as printed",
        ["equation", "settings", "as printed", "correction", "corrected", "verdict"],
        [_equation_row(numbers, name) for name in EQUATIONS if name in numbers.topics],
        "Each equation at the printed fixed point and with the printed assumptions as its input, "
        "against what is measured on random matrices, draws or minima. A value agrees within three "
        "standard errors over seeds, or 2 % (of small numbers: a small difference; of limits of "
        "large d: what twice the size changes, and half of what separates state evolution from its "
        "convex twin).",
    )
    accuracies = [row for place in numbers.places if (row := _accuracy_row(numbers, place))]
    agreed = sum(row[-2].startswith("holds") for row in accuracies)
    yield Table(
        "accuracy % in the limit",
        [
            *_PLACE,
            "printed, first R",
            "corrected",
            "convex twin",
            "jump %",
            "least squares",
            "verdict on printed",
            "verdict on corrected",
            "standard errors off",
        ],
        accuracies,
        f"The corrected prediction holds in {agreed} of {len(accuracies)} settings: within three "
        f"standard errors, or {_NO_ERROR} %. "
        "Minimisers from the least-squares start, ± standard error over seeds, extrapolated to "
        "large d where there are several d. Corrected is state evolution where no share of samples "
        "is about to jump (jump %), else its convex twin counts: there the fixed point is not "
        "stable, and what descent finds lies between the two.",
    )
    yield Table(
        "R",
        [
            *_PLACE,
            "best R as printed",
            "corrected",
            "gradient descent at the first R",
            "best R of it",
            "gain",
        ],
        [row for place in numbers.places if (row := _rescale_row(numbers, place))],
        "Accuracy % of gradient descent from a random start of the settings' size at the largest "
        "d that has several R; gain is that of the best R over the first one, ± standard error "
        "over seeds, chosen on the same numbers. The minimiser itself gains nothing: the "
        "objective is homogeneous, so that R shrinks the start and nothing else (checked above).",
    )
    yield Table(
        "minima by start",
        [
            *(*_PLACE, "d"),
            *(f"{name}: {what}" for name in MINIMA for what in ("accuracy %", "objective")),
            "converged %",
            "message passing settled %",
        ],
        [row for place in numbers.places if (row := _minima_row(numbers, place))],
        "The objective per sample and output at R = 1, at the largest d. From zero nothing moves.",
    )
    yield Table(
        "message passing against its state evolution",
        [*_PLACE, "d", "iterations", "overlap off by at most", "noise off by at most"],
        [row for place in numbers.places if (row := _followed_row(numbers, place))],
        "Undamped, from random predictions that are independent of the data; means over seeds, in "
        "units of R, with the standard errors that they are off in brackets.",
    )


_PLACE = ("k", "n/d", "label noise", "lambda")


def _words(place: Place) -> list[str]:
    return [f"{value:g}" for value in place]


def _equation_row(numbers: NumbersBy, name: str) -> list[str]:
    claims = []
    for place in numbers.topics[name]:
        found = {
            # They are checked at one R.
            system: [
                value
                for seeds in numbers.all_of(system, "equation", place, topic=name).values()
                for value in seeds
            ]
            for system in ("printed", "corrected", "measured", "shift", "gap")
        }
        means = {system: mean_and_error(values)[0] for system, values in found.items() if values}
        unknown = abs(means.get("shift", 0.0)) + means.get("gap", 0.0)
        claims.append(
            Claim(
                means["printed"],
                means["corrected"],
                found["measured"],
                absolute=max(EQUATIONS[name].absolute, unknown),
            )
        )
    verdict, printed_text, corrected_text = summary(claims)
    correction = EQUATIONS[name].correction
    return [name, str(len(claims)), printed_text, correction, corrected_text, verdict]


def _accuracy_row(numbers: NumbersBy, place: Place) -> list[str]:
    predicted = {
        system: _first(numbers, system, "accuracy", place)
        for system in ("printed", "corrected", "convex")
    }
    jump = _first(numbers, "corrected", "jump", place)
    limit, error = numbers.limit("least_squares", "accuracy", place)
    if math.isnan(limit):
        return []
    chosen = predicted["corrected"] if jump < _STABLE else predicted["convex"]
    allowed = max(3 * error, _NO_ERROR)
    measured = [limit]
    return [
        *_words(place),
        *(_percent(value) for value in predicted.values()),
        _percent(jump, 1),
        with_error(limit, error),
        judge(Claim(predicted["printed"], math.nan, measured, absolute=allowed)),
        _verdict_on(chosen, predicted, jump, limit, allowed),
        UNDEFINED if math.isnan(error) or not error else fixed((chosen - limit) / error, 1),
    ]


def _verdict_on(
    chosen: float, predicted: dict[str, float], jump: float, limit: float, allowed: float
) -> str:
    verdict = judge(Claim(chosen, math.nan, [limit], absolute=allowed))
    low, high = sorted((predicted["corrected"], predicted["convex"]))
    if verdict == "does not hold" and jump >= _STABLE and low - allowed <= limit <= high + allowed:
        return "between corrected and convex twin"
    return verdict if jump < _STABLE else f"{verdict} (convex twin)"


def _first(numbers: NumbersBy, system: str, metric: str, place: Place) -> float:
    """A prediction at the first R."""
    found = numbers.all_of(system, metric, place)
    return mean_and_error(found[min(found)])[0] if found else math.nan


def _rescale_row(numbers: NumbersBy, place: Place) -> list[str]:
    found = numbers.all_of("gradient_descent", "accuracy", place)
    sizes = [d for _, d, _ in found]
    largest = max((d for d in sizes if sizes.count(d) > 1), default=-1.0)
    values = {R: numbers.of("gradient_descent", "accuracy", place, R=R, d=d)
              for R, d, _ in found if d == largest}  # fmt: skip
    if len(values) < 2:
        return []
    first = min(values)
    best = max(values, key=lambda R: mean_and_error(list(values[R].values()))[0])
    gains = [values[best][seed] - values[first][seed] for seed in values[first]]
    return [
        *_words(place),
        *(_best_r(numbers, system, place, min(values), max(values))
          for system in ("printed", "corrected")),
        with_error(*mean_and_error(list(values[first].values()))),
        f"{best:g}",
        with_error(*mean_and_error(gains)),
    ]  # fmt: skip


def _best_r(numbers: NumbersBy, system: str, place: Place, low: float, high: float) -> str:
    (value,) = numbers.of(system, "best_rescale", place).values() or (math.nan,)
    if math.isnan(value):
        return "any" if system == "corrected" else UNDEFINED
    edge = value < 1.01 * low or value > 0.99 * high
    return f"{value:.3g}" + (" (end of the range)" if edge else "")


def _minima_row(numbers: NumbersBy, place: Place) -> list[str]:
    found = numbers.all_of("least_squares", "accuracy", place)
    if not found:
        return []
    R, d, _ = max(found, key=lambda key: key[1])
    cells = []
    for system in MINIMA:
        accuracies = list(numbers.of(system, "accuracy", place, R=R, d=d).values())
        objectives = list(numbers.of(system, "objective", place, R=R, d=d).values())
        cells += [with_error(*mean_and_error(accuracies)), f"{mean_and_error(objectives)[0]:.3g}"]
    converged = [
        value
        for system in MINIMA
        for value in numbers.of(system, "converged", place, R=R, d=d).values()
    ]
    settled = list(numbers.of("message_passing", "converged", place, R=R, d=d).values())
    shares = (mean_and_error(values)[0] for values in (converged, settled))
    return [*_words(place), f"{d:g}", *cells, *(_percent(share, 0) for share in shares)]


def _followed_row(numbers: NumbersBy, place: Place) -> list[str]:
    found = numbers.all_of("message_passing", "overlap", place)
    if not found:
        return []
    d = max(d for _, d, _ in found)
    iterations = [i for _, size, i in found if size == d]
    cells, followed = [], 0
    for metric in ("overlap", "student_noise"):
        worst = (0.0, math.nan)
        followed = 0
        for i in iterations:
            expected = list(numbers.of("corrected", metric, place, iteration=i).values())
            if not expected:
                continue
            followed += 1
            values = numbers.of("message_passing", metric, place, d=d, iteration=i).values()
            mean, error = mean_and_error(list(values))
            off = mean - expected[0]
            if abs(off) >= abs(worst[0]):
                worst = (off, off / error if error else math.nan)
        cells.append(f"{worst[0]:+.4f} ({worst[1]:+.1f})")
    return [*_words(place), f"{d:g}", str(followed), *cells]


def _percent(value: float, digits: int = 2) -> str:
    return UNDEFINED if math.isnan(value) else fixed(value, digits)


ASYMPTOTICS = Layout(
    asymptotics_tables,
    "Accuracy is the share of new samples for which the network's and the teacher's largest output "
    "are the same, label noise or not; of images, the share of the test images whose class has the "
    "network's largest output. `printed` is the fixed point of Hui 2023, chapter 3, "
    "`corrected` the one with the true joint law of labels and predictions, `convex` that of the "
    "objective without the ReLU on the true class (`squall.theory.state_evolution`); of images "
    "there are no predictions, as they are neither Gaussian nor have a linear teacher. Minima are "
    "found to a gradient norm of 1e-8, those on images to 1e-7 of the norm at zero. ± is the "
    "standard error over seeds.",
)
"""The layout of the study."""
