"""What the report of the study of asymptotics shows: tables, and curves with simulated points."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from squall.engine.experiment import Experiment
from squall.engine.scored import read_run
from squall.report.figures import SERIES, figure_svg
from squall.report.page import figure_html
from squall.report.report import Report, Run, Section
from squall.studies.asymptotics.image_tables import ImageNumbers
from squall.studies.asymptotics.settings import AsymptoticsSettings, Grid
from squall.studies.asymptotics.tables import ASYMPTOTICS, NumbersBy, Place
from squall.studies.simulations import mean_and_error
from squall.theory import rescaled_square_prox

__all__ = ["collect"]

_LINES = {"printed": (SERIES[1], "--"), "corrected": (SERIES[0], "-"), "convex": (SERIES[4], ":")}
_POINTS = {
    "least_squares": (SERIES[2], "s"),
    "random": (SERIES[5], "v"),
    "vamp": (SERIES[0], "x"),
    "gradient_descent": (SERIES[3], "o"),
}
_IN_A_ROW = 3


def collect(experiments: Sequence[Experiment[Any]]) -> Report:
    """Read finished experiments.

    Raises:
        FileNotFoundError: an experiment has not been scored.
        ValueError: one of its files is damaged; the message names it.
    """
    return Report(tuple(map(read_run, experiments)), ASYMPTOTICS, _sections)


def _sections(runs: Sequence[Run]) -> list[Section]:
    sections, drawn = [], False
    for run in runs:
        study = AsymptoticsSettings.model_validate(run.settings["study"])
        numbers = NumbersBy(run.records)
        for name, grid in study.grids.items():
            parts = [figure_html(_against_r(numbers, grid), label=f"accuracy against R, {name}")]
            if len(grid.features) > 1:
                label = f"accuracy against d, {name}"
                parts.append(figure_html(_against_d(numbers, grid), label=label))
            sections.append(Section(f"{run.experiment}: {name}", "".join(parts)))
        images = ImageNumbers(run.records)
        if images.classes:
            label = "accuracy against R, images"
            svg = _images_against_r(images)
            sections.append(Section(f"{run.experiment}: images", figure_html(svg, label=label)))
        if study.grids:
            svg = _message_passing(numbers)
            title = f"{run.experiment}: message passing, iteration by iteration"
            sections.append(Section(title, figure_html(svg, label=html.escape(title))))
            drawn = True
    if drawn:
        sections.append(Section("The prox", figure_html(_prox(), label="the prox against p")))
    return sections


def _places(grid: Grid) -> list[Place]:
    return [(c.classes, c.beta, c.label_noise, c.ridge) for c in grid.cells]


def _axes(figure: Any, count: int) -> list[Any]:
    columns = min(count, _IN_A_ROW)
    axes = figure.subplots(math.ceil(count / columns), columns, squeeze=False).ravel()
    for one in axes[count:]:
        one.set_visible(False)
    return list(axes[:count])


def _size(count: int) -> dict[str, Any]:
    rows = math.ceil(count / _IN_A_ROW)
    return {"width": 3.2 * min(count, _IN_A_ROW) + 1.6, "height": 2.9 * rows + 0.4}


def _titled(axes: Any, place: Place) -> None:
    k, beta, noise, _ = place
    _plain(axes, f"k {k:g}, n/d {beta:g}, noise {noise:g}")


def _plain(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _r_axes(axes: Any) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("R")
    axes.set_ylabel("accuracy %")


def _against_r(numbers: NumbersBy, grid: Grid) -> str:
    """Lines of predictions, points of simulations at the largest d with standard errors."""
    places = _places(grid)
    name = "accuracy in percent against R: predictions and simulations"
    with figure_svg(**_size(len(places)), name=name) as (figure, written):
        for axes, place in zip(_axes(figure, len(places)), places, strict=True):
            for system, (colour, dashes) in _LINES.items():
                found = numbers.all_of(system, "accuracy", place)
                points = [(R, values[0]) for (R, _, _), values in found.items()]
                axes.plot(*zip(*points, strict=True), dashes, color=colour, label=system)
            for system, (colour, marker) in _POINTS.items():
                found = numbers.all_of(system, "accuracy", place)
                _points(axes, {R: v for (R, d, _), v in found.items() if d == grid.features[-1]},
                        colour, marker, system)  # fmt: skip
            _r_axes(axes)
            _titled(axes, place)
        _legend(figure)
    return written[0]


def _images_against_r(numbers: ImageNumbers) -> str:
    """Points of gradient descent from each start, and lines of minima, which R does not move."""
    name = "accuracy in percent on images against R, by the size of the start"
    lines = {"least_squares": "--", "random": ":", "tuned_ridge": "-"}
    with figure_svg(**_size(len(numbers.classes)), name=name) as (figure, written):
        panels = _axes(figure, len(numbers.classes))
        for axes, k in zip(panels, numbers.classes, strict=True):
            for i, start in enumerate(numbers.starts):
                curve = {R: list(v.values()) for R, v in numbers.descent(k, start).items()}
                colour, marker = SERIES[i % len(SERIES)], "osv^x"[i % 5]
                _points(axes, curve, colour, f"{marker}-", f"gradient descent from {start:g}")
            for system, dashes in lines.items():
                mean, _ = mean_and_error(numbers.minimum(system, "accuracy", k))
                if not math.isnan(mean):
                    axes.axhline(mean, linestyle=dashes, color=SERIES[5], label=system)
            _r_axes(axes)
            _plain(axes, f"k {k}, n {numbers.samples[k]}")
        _legend(figure)
    return written[0]


def _against_d(numbers: NumbersBy, grid: Grid) -> str:
    """Simulations over 1/d, and the prediction at 0."""
    places = _places(grid)
    name = "accuracy in percent against 1/d: simulations, and predictions at 0"
    with figure_svg(**_size(len(places)), name=name) as (figure, written):
        for axes, place in zip(_axes(figure, len(places)), places, strict=True):
            for system, (colour, _) in _LINES.items():
                found = numbers.all_of(system, "accuracy", place)
                if found and system != "printed":
                    axes.plot([0], found[min(found)][:1], "*", color=colour, label=system)
            for system, (colour, marker) in _POINTS.items():
                if system == "gradient_descent":
                    continue
                found = numbers.all_of(system, "accuracy", place)
                values = {1 / d: v for (_, d, _), v in found.items()}
                _points(axes, values, colour, marker, system)
            axes.set_xlabel("1/d")
            axes.set_ylabel("accuracy %")
            _titled(axes, place)
        _legend(figure)
    return written[0]


def _message_passing(numbers: NumbersBy) -> str:
    """Overlap and noise of the predictions in each iteration, at the largest d."""
    places = numbers.places
    name = "overlap and noise of message passing in each iteration, and of state evolution"
    with figure_svg(**_size(len(places)), name=name) as (figure, written):
        for axes, place in zip(_axes(figure, len(places)), places, strict=True):
            for metric, colour in (("overlap", SERIES[0]), ("student_noise", SERIES[1])):
                expected = numbers.all_of("corrected", metric, place)
                line = [(i, values[0]) for (_, _, i), values in expected.items() if i > 0]
                if line:
                    axes.plot(*zip(*line, strict=True), "-", color=colour,
                              label=f"{metric.replace('_', ' ')}, predicted")  # fmt: skip
                found = numbers.all_of("message_passing", metric, place)
                followed = {key: values for key, values in found.items() if key[2] > 0}
                largest = max((d for _, d, _ in followed), default=-1.0)
                values = {i: v for (_, d, i), v in followed.items() if d == largest}
                _points(axes, values, colour, "o", f"{metric.replace('_', ' ')}, measured")
            axes.set_xlabel("iteration")
            _titled(axes, place)
        _legend(figure)
    return written[0]


def _points(
    axes: Any, values: dict[float, list[float]], colour: str, marker: str, label: str
) -> None:
    if not values:
        return
    stats = {x: mean_and_error(found) for x, found in sorted(values.items())}
    errors = [0.0 if math.isnan(error) else error for _, error in stats.values()]
    axes.errorbar(
        list(stats),
        [mean for mean, _ in stats.values()],
        yerr=errors,
        fmt=marker,
        color=colour,
        markersize=4,
        capsize=2,
        linewidth=1,
        label=label,
    )


def _prox() -> str:
    """z-hat against p for both labels, R = 1 and 3, gamma = 2."""
    p = np.linspace(-4, 4, 801)
    with figure_svg(width=5.2, height=3.3, name="the prox against p") as (figure, written):
        axes = figure.subplots()
        for number, (label, R) in enumerate(((0, 1.0), (1, 1.0), (1, 3.0))):
            z = rescaled_square_prox(p, label=label, rescale=R, gamma=2.0)
            z[1:][np.abs(np.diff(z)) > 0.1] = np.nan  # no line across the jump
            name = "y = 0" if not label else f"y = 1, R = {R:g}"
            axes.plot(p, z, color=SERIES[number], linestyle=("-", "--", "-.")[number], label=name)
        axes.set_xlabel("p")
        axes.set_ylabel("prox, gamma = 2")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    return written[0]


def _legend(figure: Any) -> None:
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.tight_layout()
    if entries:
        figure.legend(
            entries.values(),
            entries.keys(),
            frameon=False,
            fontsize=8,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=4,
        )
