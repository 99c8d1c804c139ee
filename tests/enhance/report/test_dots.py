"""The dot plot of all scores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from squall.enhance.report.dots import score_section
from squall.report.comparison import ScoredRun, mean_scores
from squall.report.records import Record

pytest.importorskip("matplotlib")

SEEN, UNSEEN = "seen noises", "unseen noises"


def _scored(
    system: str, values: Sequence[float], *metrics: str, condition: str = SEEN, **changes: Any
) -> ScoredRun:
    plain = {
        "recipe": "toy", "experiment": "small", "dataset": "manifest", "condition": condition,
        "system": system, "seed": 1, "metric": "stoi", "value": 0.5, "unit": "", "n": 4,
        "commit": "c", "command": "squall run", "hardware": "h", "seconds": 1.0,
    }  # fmt: skip
    ids = [f"u{k}" for k in range(len(values))]
    scores = [mean_scores(m, ids=ids, groups=(), values=values) for m in metrics or ("stoi",)]
    return ScoredRun(Record(**{**plain, **changes}), tuple(scores))


def _titles(body: str) -> list[str]:
    """What dots and lines tell when they are pointed at."""
    return re.findall(r'<g id="(?:dot|line)-[^"]*"><title>(.*?)</title>', body)


def test_a_dot_is_the_mean_with_its_interval_over_utterances() -> None:
    runs = [
        _scored("noisy", [0.5, 0.6, 0.7]),
        _scored("kernel-4", [0.7, 0.8, 0.9]),
        _scored("kernel-4", [0.4, 0.5, 0.6], condition=UNSEEN),
    ]
    found = _titles(score_section(runs).body)
    assert "the mixture, seen noises: 0.600" in found
    (seen,) = [title for title in found if title.startswith("kernel-4, seen noises: 0.800 (")]
    low, high = re.findall(r"\((.*) to (.*)\)", seen)[0]
    assert 0.7 <= float(low) < 0.8 < float(high) <= 0.9
    assert any(title.startswith("kernel-4, unseen noises: 0.500 (") for title in found)
    assert len(found) == 4


def test_there_is_a_panel_for_each_score_with_unit_and_direction() -> None:
    body = score_section([_scored("dnn", [1.0, 2.0], "pesq_wb", "si_sdr", "lsd", "mse")]).body
    texts = re.findall("<text[^>]*>(.*?)</text>", body)
    titles = {"PESQ wb, MOS-LQO", "SI-SDR, dB", "log-spectral distance, dB", "MSE"}
    assert titles <= {*texts}
    assert texts.count("higher is better") == texts.count("lower is better") == 2
    assert texts.count("dnn") == 2  # a row of panels each


def test_seeds_are_one_dot_and_experiments_are_apart() -> None:
    runs = [
        _scored("dnn", [0.5, 0.6]),
        _scored("dnn", [0.7, 0.8], seed=2),
        _scored("dnn", [0.1, 0.2], experiment="large"),
    ]
    body = score_section(runs).body
    assert body.count("<svg") == 2
    assert [title.split(" (")[0] for title in _titles(body)] == [
        "dnn, seen noises: 0.150",
        "dnn, seen noises: 0.650",
    ]


def test_one_utterance_has_a_dot_without_an_interval() -> None:
    body = score_section([_scored("dnn", [0.5])]).body
    assert _titles(body) == ["dnn, seen noises: 0.500 (0.500 to 0.500)"]


def test_the_figure_has_a_name_and_the_colours_of_the_page() -> None:
    both = [_scored("dnn", [0.5, 0.6], condition=condition) for condition in (SEEN, UNSEEN)]
    body = score_section(both).body
    assert 'aria-label="Dot plots of STOI: means over seen and unseen noises; systems: dnn"' in body
    assert "var(--series-1" in body
    assert "var(--series-2" in body


def test_without_scores_there_is_no_figure() -> None:
    assert score_section([]).body == ""
