"""Reliability diagrams: a panel pair per system, with its name and its calibration error."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from squall.report.reliability import reliability_svg
from squall.scoring.reliability import bin_confidences


def test_each_system_has_a_diagram_that_tells_its_error() -> None:
    systems = {
        name: bin_confidences(
            confidences=[0.75] * 4, correct=[True] * right + [False] * (4 - right)
        )
        for name, right in {"ce": 3, "square": 1, "squentropy": 4, "ccql": 0}.items()
    }
    svg = reliability_svg(systems, "characters")
    assert (
        'aria-label="Reliability diagrams and confidence histograms, characters: ce ECE 0.00 %'
        in svg
    )
    for text in ("ce", "square", "ECE 50.00 %", "squentropy", "ECE 25.00 %", "ccql", "ECE 75.00 %"):
        assert f">{text}<" in svg
    assert svg.count(">confidence<") == 4
