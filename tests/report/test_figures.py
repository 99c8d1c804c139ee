"""Figures: SVG that can stand inside a page."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from squall.report.figures import SERIES, Curve, curves_svg, figure_svg

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


def _lines(svg: str) -> dict[str, str]:
    """What each line says when it is pointed at, and how it is drawn."""
    line = r'<g id="curve-[\d-]+"><title>(.*?)</title>\s*<path [^>]*style="(.*?)"'
    return dict(re.findall(line, svg))


def _legend(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>(.*?)</text>", svg[svg.index("legend_1") :])


POINTS = [(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]


def test_lines_differ_in_colour_and_dashes() -> None:
    svg = curves_svg([Curve(str(k), POINTS) for k in range(5)], title="t", x_label="x")
    styles = list(_lines(svg).values())
    for k, style in enumerate(styles):
        assert f"stroke: var(--series-{k + 1}, {SERIES[k]})" in style
    dashes = [re.findall(r"stroke-dasharray: ([\d.,]+)", style) for style in styles]
    assert dashes[0] == []
    assert len({tuple(dash) for dash in dashes}) == 5
    markers = re.findall(r'<g id="curve-\d-0">.*?xlink:href="#(.*?)"', svg, re.DOTALL)
    assert len(set(markers)) == 5


def test_a_group_looks_alike_and_has_one_entry_in_the_legend() -> None:
    curves = [Curve(f"{system}, seed {seed}", POINTS, system) for system in "ab" for seed in (1, 2)]
    svg = curves_svg([*curves, Curve("alone", POINTS, "c")], title="t", x_label="x")
    lines = _lines(svg)
    assert list(lines) == ["a, seed 1", "a, seed 2", "b, seed 1", "b, seed 2", "alone"]
    assert lines["a, seed 1"] == lines["a, seed 2"]
    assert len(set(lines.values())) == 3
    assert _legend(svg) == ["a (2 runs)", "b (2 runs)", "alone"]


def test_curves_without_a_group_are_their_own_even_with_the_same_label() -> None:
    svg = curves_svg([Curve("a", POINTS), Curve("a", POINTS)], title="t", x_label="x")
    assert _legend(svg) == ["a", "a"]


def test_a_figure_has_a_name_for_those_who_do_not_see_it() -> None:
    svg = curves_svg([Curve("<a>", POINTS), Curve("b", POINTS)], title='"t"', x_label="x")
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'Line chart: "t", against x; lines: <a>, b'


def test_texts_and_axes_take_the_colours_of_the_page() -> None:
    svg = curves_svg([Curve("a", POINTS)], title="t", x_label="x", y_label="y")
    texts = re.findall('<text style="([^"]*)"', svg)
    assert len(texts) > 5
    assert all("fill: currentColor" in style for style in texts)
    assert "var(--edge, #808b99)" in svg
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", svg)) == set()


def test_the_same_drawing_gives_the_same_bytes() -> None:
    def draw() -> str:
        return curves_svg([Curve("a", POINTS)], title="t", x_label="x")

    assert draw() == draw()
    assert "metadata" not in draw()


def test_without_curves_there_are_only_axes() -> None:
    assert "legend" not in curves_svg([], title="t", x_label="x")


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
