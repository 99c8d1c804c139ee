"""Figures: SVG that can stand inside a page."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from squall.figures import Curve, curves_svg, figure_svg

pytest.importorskip("matplotlib")


def test_a_chart_is_one_svg_element_with_its_texts_as_text() -> None:
    curves = [Curve("dnn <a&b>", [(0, 1), (1, 0.5)]), Curve("kernel", [(0, 2)])]
    svg = curves_svg(curves, title="error", x_label="seconds", y_label="MSE")
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    texts = {
        "".join(element.itertext()).strip() for element in root.iter() if "text" in element.tag
    }
    assert {"dnn <a&b>", "kernel", "error", "seconds", "MSE"} <= texts


def test_every_curve_is_drawn() -> None:
    points = [(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]

    def lines(count: int) -> int:
        curves = [Curve(str(number), points) for number in range(count)]
        svg = curves_svg(curves, title="t", x_label="x")
        axes = svg[: svg.index("legend_1")]
        # Grid lines have no name of a curve; count groups of lines and subtract the frame's.
        return axes.count('<g id="line2d_')

    assert lines(3) - lines(1) == 2


def test_nothing_in_a_figure_refers_to_another_file() -> None:
    with figure_svg(width=2, height=2) as (figure, written):
        figure.subplots().imshow([[0.0, 1.0]])
    (svg,) = written
    references = re.findall(r'(?:href|src)="([^"]*)"', svg)
    assert references
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in references)
    assert svg.startswith("<svg")


def test_the_settings_of_matplotlib_are_as_before() -> None:
    import matplotlib

    before = matplotlib.rcParams["svg.fonttype"]
    curves_svg([Curve("a", [(0, 0)])], title="t", x_label="x")
    assert matplotlib.rcParams["svg.fonttype"] == before == "path"


def test_without_matplotlib_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'squall\[report\]'"):
        curves_svg([], title="t", x_label="x")
