"""The examples of a report: which utterances are shown, and who can be heard."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from squall.engine.experiment import Experiment
from squall.enhance.report import examples
from squall.enhance.report.examples import example_section
from squall.report.report import Run, Section
from tiny_scored import write_run

SECONDS = 0.1


def _section(*scored: tuple[Experiment[Any], Run]) -> Section:
    return example_section([experiment for experiment, _ in scored], [run for _, run in scored])


@pytest.fixture(autouse=True)
def names_for_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "_spectrograms", lambda files: f"<svg {','.join(files)}>")


def _titles(section: Section) -> list[str]:
    return [html.unescape(t) for t in re.findall(r"<(?:h3|summary)>(.*?)<", section.body)]


def _heard(section: Section) -> list[list[str]]:
    """Who can be heard in each condition."""
    parts = re.split(r"<h3>|<summary>", section.body)[1:]
    return [re.findall(r'aria-label="([^",]*), [^"]*" src="data:audio', part) for part in parts]


def _pictured(section: Section) -> list[str]:
    return re.findall("<svg (.*?)>", section.body)


def _of(condition: str, *values: object) -> dict[tuple[str, str], object]:
    return {(condition, f"u{k}"): value for k, value in enumerate(values)}


def test_the_utterance_on_which_systems_differ_most_stands_for_its_condition(
    tmp_path: Path,
) -> None:
    section = _section(
        write_run(tmp_path, "noisy", _of("rain/-5dB", 0.1, 0.9) | _of("rain/5dB", 0.5, 0.1)),
        write_run(tmp_path, "dnn", _of("rain/-5dB", 0.6, 0.6) | _of("rain/5dB", 0.7, 0.9)),
        write_run(tmp_path, "kernel", _of("rain/-5dB", 0.7, 0.65) | _of("rain/5dB", 0.8, 0.6)),
        write_run(tmp_path, "oracle", _of("rain/-5dB", 0.9, 0.9) | _of("rain/5dB", 0.9, 0.9)),
    )
    kernel = next(name for name in _heard(section)[0] if name.startswith("kernel"))
    dnn = next(name for name in _heard(section)[0] if name.startswith("dnn"))
    assert _titles(section) == [
        f"rain/5dB, u1: STOI 0.600 ({kernel}) to 0.900 ({dnn})",
        f"rain/-5dB, u0: STOI 0.600 ({dnn}) to 0.700 ({kernel})",
    ]
    assert _pictured(section) == [f"noisy,{dnn},clean", f"noisy,{kernel},clean"]


def test_of_a_score_that_is_better_when_it_is_lower_the_lowest_is_best(tmp_path: Path) -> None:
    section = _section(
        write_run(tmp_path, "logmmse", _of("rain/0dB", 9.0), metric="lsd"),
        write_run(tmp_path, "rnnoise", _of("rain/0dB", 7.0), metric="lsd"),
    )
    expected = "rain/0dB, u0: log-spectral distance dB 9.0 (logmmse) to 7.0 (rnnoise)"
    assert _titles(section) == [expected]
    assert _pictured(section) == ["noisy,rnnoise,clean"]


def test_what_gives_no_enhanced_speech_is_left_out_and_named(tmp_path: Path) -> None:
    section = _section(
        write_run(tmp_path, "logmmse", _of("rain/0dB", 0.6, 0.7)),
        write_run(tmp_path, "rnnoise", _of("rain/0dB", "nan", "nan")),
    )
    assert _titles(section) == ["rain/0dB, u0: STOI 0.600 (logmmse)"]
    assert _heard(section) == [["noisy", "logmmse", "clean"]]
    assert "No enhanced speech: rnnoise." in section.body


def test_of_references_alone_there_is_an_utterance_of_each_condition(tmp_path: Path) -> None:
    section = _section(
        write_run(tmp_path, "oracle", _of("rain/0dB", 0.9, 0.8) | _of("city/0dB", 0.9))
    )
    assert _titles(section) == ["city/0dB, u0", "rain/0dB, u0"]
    assert _heard(section) == [["noisy", "oracle", "clean"]] * 2


def test_without_scores_by_mixture_there_is_nothing_to_show(tmp_path: Path) -> None:
    scored = write_run(tmp_path, "noisy", _of("rain/0dB", 0.5))
    (tmp_path / "noisy" / "mixtures.csv").unlink()
    assert _section(scored).body == ""


def _many(tmp_path: Path) -> list[tuple[Experiment[Any], Run]]:
    """Five conditions, in which a fourth system stands between the others."""
    names = {"noisy": 0.0, "logmmse": 0.1, "rnnoise": 0.2, "gtcrn": 0.3}
    return [
        write_run(tmp_path, name, {(f"rain/{k}dB", "u"): f * (k + 1) / 5 for k in range(5)})
        for name, f in names.items()
    ]


def test_every_system_can_be_heard_where_they_differ_most(tmp_path: Path) -> None:
    section = _section(*_many(tmp_path))
    few = ["noisy", "logmmse", "gtcrn", "clean"]
    whole = ["noisy", "logmmse", "rnnoise", "gtcrn", "clean"]
    assert _heard(section) == [whole] * 3 + [few] * 2
    assert section.body.count("<details>") == 2


@pytest.mark.parametrize(
    ("players", "expected"), [(15, [5, 5, 5, 0, 0]), (14, [5, 5, 4, 0, 0]), (4, [4, 0, 0, 0, 0])]
)
def test_the_sound_of_a_page_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, players: int, expected: Sequence[int]
) -> None:
    monkeypatch.setattr(examples, "_SOUND_S", (players + 0.5) * SECONDS)
    section = _section(*_many(tmp_path))
    assert [len(heard) for heard in _heard(section)] == expected
    assert len(_pictured(section)) == 5
