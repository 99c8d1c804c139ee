"""The parts of the HTML page: tables, anchors, figures, players, and the colours of its style."""

from __future__ import annotations

import base64
import io
import re
from itertools import combinations

import numpy as np
import pytest
import soundfile

from squall.report.figures import SERIES
from squall.report.page import (
    Html,
    Section,
    audio_html,
    cell_value,
    details_html,
    figure_html,
    page_html,
    prose_html,
    table_html,
)
from squall.report.style import STYLE


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8.93 (of 773)", 8.93),
        ("40.1 min", 40.1),
        ("1.2 ± 0.3", 1.2),
        ("-27.27 to +27.27", -27.27),
        ("+3", 3.0),
        ("< 0.001", 0.001),
        ("1e-3", 0.001),
        ("1,234,567", 1234567.0),
        ("12 %", 12.0),
        ("95%", 95.0),
        (" 7 ", 7.0),
        ("-inf", float("-inf")),
    ],
)
def test_the_value_of_a_number(text: str, value: float) -> None:
    assert cell_value(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "undefined", "ce", "2026-01-31", "12:30", "3a7f", "1, 2", "1/2", "seed 1", "1.2.3", "-"],
)
def test_what_is_no_number(text: str) -> None:
    assert cell_value(text) is None


def _cells(table: str, tag: str = "td") -> list[str]:
    return re.findall(rf"<{tag}\b([^>]*)>", table)


def test_a_column_of_numbers_is_marked_with_its_values() -> None:
    table = table_html(["a", "b"], [["x", "8.93 (of 773)"], ["y", ""], ["z", "undefined"]])
    assert _cells(table, "th") == [' scope="col"', ' scope="col" class="number"']
    number = ' class="number"'
    assert _cells(table) == ["", f'{number} data-value="8.93"', "", number, "", number]


def test_a_single_word_makes_a_column_one_of_text() -> None:
    table = table_html(["a"], [["1"], ["2"], ["mean ± sd of 2"]])
    assert "number" not in table
    assert "data-value" not in table


def test_infinity_is_written_as_the_script_reads_it() -> None:
    assert 'data-value="-Infinity"' in table_html(["a"], [["-inf"], ["1"]])


def test_cells_are_escaped_unless_they_are_html() -> None:
    table = table_html(["<a>"], [["<b>&"], [Html("<i>c</i>")]])
    assert "&lt;a&gt;" in table
    assert "<td>&lt;b&gt;&amp;</td>" in table
    assert "<td><i>c</i></td>" in table


def test_only_tables_of_several_rows_sort() -> None:
    assert '<table class="sortable">' in table_html(["a"], [["1"], ["2"]])
    assert "<table>" in table_html(["a"], [["1"]])
    assert "<table>" in table_html(["a"], [])


def test_a_table_has_a_name_and_can_be_scrolled_from_the_keyboard() -> None:
    opening = table_html(["a", "b"], []).partition("<table")[0]
    assert 'tabindex="0" role="region" aria-label="table: a, b"' in opening
    assert 'aria-label="&quot;Rates&quot;"' in table_html(["a"], [], label='"Rates"')


def test_long_tables_and_long_cells_are_marked() -> None:
    assert '"scroll long"' in table_html(["a"], [["x"]] * 26)
    assert '"scroll long"' not in table_html(["a"], [["x"]] * 25)
    assert _cells(table_html(["a"], [["x" * 41], ["x" * 40]])) == [' class="long"', ""]


def test_rows_of_means_stand_out() -> None:
    rows = [["1", "8.93"], ["mean ± sd of 2", "8.0 ± 0.1"], ["mean", "8"], ["meaning", "3"]]
    table = table_html(["seed", "WER %"], rows)
    assert _cells(table, "tr") == ["", "", ' class="mean"', ' class="mean"', ""]


def test_rows_of_another_length_are_an_error() -> None:
    with pytest.raises((ValueError, IndexError)):
        table_html(["a", "b"], [["1"]])


def _page(*sections: Section) -> str:
    return page_html("A <title>", sections, summary="<p>few words</p>")


def test_sections_and_the_table_of_contents_have_the_same_unique_anchors() -> None:
    titles = ["Rates, %", "Rates", "rates", "Main", "ß", "Rates title", "Rates <2>"]
    page = _page(*(Section(title, "<p>body</p>") for title in titles))
    anchors = re.findall(r'<section id="(.*?)"', page)
    assert anchors == [
        "rates",
        "rates-2",
        "rates-3",
        "main-2",
        "part",
        "rates-title-2",
        "rates-2-2",
    ]
    assert re.findall(r'<li><a href="#(.*?)"', page) == anchors
    ids = re.findall(r'\sid="(.*?)"', page)
    assert len(ids) == len(set(ids))
    assert '<h2 id="rates-2-2-title">Rates &lt;2&gt;</h2>' in page


def test_the_page_has_landmarks_and_a_language() -> None:
    page = _page(Section("Rates", ""))
    for part in ('<html lang="en">', '<nav aria-label="Contents">', "<header>", "<main id=",
                 'href="#main"', "<h1>A &lt;title&gt;</h1><p>few words</p>"):  # fmt: skip
        assert page.count(part) == 1


FIGURE = (
    '<svg width="9"><defs><clipPath id="p1"/><path id="m"/></defs><g clip-path="url(#p1)">'
    '<use xlink:href="#m"/><text>one</text></g></svg>'
)


def test_ids_of_figures_are_made_unique() -> None:
    page = _page(Section("One", f"<figure>{FIGURE}</figure>{FIGURE}"), Section("Two", FIGURE))
    for number in (1, 2, 3):
        for part in ('id="{}-p1"', 'id="{}-m"', "url(#{}-p1)", 'xlink:href="#{}-m"'):
            assert page.count(part.format(f"figure{number}")) == 1
    assert 'id="p1"' not in page


def test_figures_without_a_name_get_that_of_their_section() -> None:
    named = FIGURE.replace("<svg", '<svg role="img" aria-label="mine"')
    page = _page(Section('A "b"', FIGURE + named))
    opening = '<svg role="img" aria-label="A &quot;b&quot;" width="9">'
    assert re.findall("<svg[^>]*>", page) == [
        opening,
        '<svg role="img" aria-label="mine" width="9">',
    ]


def test_figures_stand_in_a_container_that_scrolls() -> None:
    page = _page(Section("One", f"<figure>{FIGURE}</figure>{figure_html(FIGURE, label='own')}"))
    names = re.findall(r'<figure><div class="scroll" tabindex="0" role="region" aria-label="(.*?)"',
                       page)  # fmt: skip
    assert names == ["figure: One", "figure: own"]


def test_a_player_holds_its_recording() -> None:
    samples = np.sin(np.arange(8000) / 9).astype(np.float32) * 0.01
    player = audio_html(samples, 8000, label='"a"')
    assert 'aria-label="&quot;a&quot;"' in player
    found = re.search('data:audio/flac;base64,([^"]*)', player)
    assert found
    decoded, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(found[1])))
    assert rate_hz == 8000
    np.testing.assert_allclose(decoded, samples * 70, atol=1e-3)


def test_silence_stays_silence() -> None:
    player = audio_html(np.zeros(10, np.float32), 16000, label="nothing")
    data = player.partition("base64,")[2].partition('"')[0]
    decoded, _ = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert decoded.tolist() == [0.0] * 10


def test_details_and_prose() -> None:
    assert details_html("<a>", "<p>b</p>") == (
        "<details><summary>&lt;a&gt;</summary><p>b</p></details>"
    )
    assert details_html("a", "", printed=True).startswith("<details data-print>")
    assert prose_html("`a<b`: c") == "<p><code>a&lt;b</code>: c</p>"


def _colours(rule: str) -> dict[str, str]:
    """The colours of the style's `:root` rules, by name: the first is light, the second dark."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})[; ]", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE, flags=re.DOTALL)
    )
    return light if rule == "light" else light | dark


def _linear(colour: str) -> np.ndarray:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    values = np.array([int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _contrast(one: str, other: str) -> float:
    light = sorted(float(_linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (one, other))
    return light[1] / light[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_stand_out_from_the_background(scheme: str) -> None:
    colours = _colours(scheme)
    for name in ("ink", "soft", "link", "substituted", "deleted", "inserted"):
        for background in ("paper", "panel"):
            assert _contrast(colours[name], colours[background]) >= 4.5, (name, background)
    for name in ("edge", *(f"series-{k}" for k in range(1, len(SERIES) + 1))):
        assert _contrast(colours[name], colours["paper"]) >= 3, name


# Machado, Oliveira and Fernandes, A physiologically-based model for simulation of color vision
# deficiency, 2009, at full severity, on linear RGB.
VISION = {
    "full": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                 [-0.011820, 0.042940, 0.968881]],
}  # fmt: skip


def _lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB, white D65."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(linear, 0, 1) / to_xyz.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("vision", list(VISION))
def test_any_two_lines_are_told_apart(scheme: str, vision: str) -> None:
    colours = _colours(scheme)
    series = [colours[f"series-{k}"] for k in range(1, len(SERIES) + 1)]
    seen = [_lab(np.asarray(VISION[vision]) @ _linear(colour)) for colour in series]
    for one, other in combinations(range(len(seen)), 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 14, (series[one], series[other])


def test_figures_are_drawn_in_the_light_colours_of_the_page() -> None:
    colours = _colours("light")
    assert tuple(colours[f"series-{k}"] for k in range(1, len(SERIES) + 1)) == SERIES
