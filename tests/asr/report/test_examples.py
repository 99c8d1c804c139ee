"""Example utterances of the report: which are chosen, their players, and systems side by side."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile

from squall.asr.report import examples
from squall.asr.report.examples import LONGEST_S, choose_examples, examples_html
from squall.asr.report.utterances import Recognised, read_recognised
from squall.corpora.manifest import read_manifest, write_manifest
from squall.engine.experiment import Experiment
from squall.engine.scored import read_run
from tiny_report import SAID, manifest_of, write_experiment

RATES = {
    "right_1": [0.0, 0.0],
    "right_2": [0.0, 0.0],
    "right_3": [0.0, 0.0],
    "bad": [0.9, 0.9],
    "differs": [0.0, 0.8],
    "middle": [0.3, 0.2],
    "slight": [0.1, 0.1],
}
DURATIONS_S = {"right_1": 1.0, "right_2": 3.0, "right_3": 2.0, "bad": 9.0, "differs": 10.0,
               "middle": 4.0, "slight": 5.0}  # fmt: skip


def test_the_worst_the_median_a_right_one_and_a_difference_are_chosen() -> None:
    assert choose_examples(RATES, DURATIONS_S) == [
        ("Most errors", "bad"),
        ("Median of those with errors", "middle"),
        ("No error", "right_3"),
        ("Systems differ most", "differs"),
    ]


def test_the_choice_does_not_depend_on_the_order() -> None:
    backwards = dict(reversed(RATES.items()))
    assert choose_examples(backwards, DURATIONS_S) == choose_examples(RATES, DURATIONS_S)


def test_long_utterances_are_chosen_only_where_there_are_no_others() -> None:
    long = DURATIONS_S | {"bad": LONGEST_S + 0.01}
    assert choose_examples(RATES, long)[0] == ("Most errors", "differs")
    everywhere = dict.fromkeys(RATES, 60.0)
    assert choose_examples(RATES, everywhere)[0] == ("Most errors", "bad")
    assert choose_examples(RATES, {})[0] == ("Most errors", "bad")


def test_an_utterance_is_chosen_once_and_only_for_what_it_is() -> None:
    assert choose_examples({"a": [0.5], "b": [0.5]}, {}) == [
        ("Most errors", "a"),
        ("Median of those with errors", "b"),
    ]
    assert choose_examples({"a": [0.0]}, {}) == [("No error", "a")]
    assert choose_examples({"a": [0.5, 0.1]}, {}) == [("Most errors", "a")]
    assert choose_examples({}, {}) == []


def _tested(experiments: list[Experiment[Any]]) -> tuple[list[Recognised], dict[Path, Path]]:
    found = [read_recognised(read_run(experiment)) for experiment in experiments]
    manifests = {one.directory: manifest_of(one) for one in experiments}
    return [one for one in found if one is not None], manifests


def _page(experiments: list[Experiment[Any]]) -> str:
    return examples_html(*_tested(experiments))


def _audio(text: str) -> list[bytes]:
    return [
        base64.b64decode(data) for data in re.findall('src="data:audio/flac;base64,(.*?)"', text)
    ]


HEARD = {"cleo_01": "MY NAME", "ben_02": "TURN LIGHT OFF"}


def test_an_example_has_its_player_and_its_reference(tmp_path: Path) -> None:
    text = _page([write_experiment(tmp_path, errors=0.0, hypotheses=HEARD)])
    assert re.findall("<h3>(.*?)</h3>", text) == [
        "Most errors: <code>cleo_01</code>",
        "Median of those with errors: <code>ben_02</code>",
        "No error: <code>anna_03</code>",
    ]
    assert "demo, speaker cleo, 1.3 s" in text
    assert f"<dt>reference</dt><dd>{SAID['cleo_01']}</dd>" in text
    assert "small ce, seed 1: 6 deletions in 8 words" in text
    assert text.count("<del>LETTERS</del>") == 1
    durations_s = [soundfile.info(io.BytesIO(data)).duration for data in _audio(text)]
    assert durations_s == pytest.approx([1.3, 0.9, 1.0])


def test_systems_stand_side_by_side_and_those_that_agree_together(tmp_path: Path) -> None:
    runs = [
        write_experiment(tmp_path, errors=0.0, hypotheses={"ben_03": heard}, seed=seed, loss=loss)
        for loss, seed, heard in (
            ({"name": "ce"}, 1, "YES"),
            ({"name": "ce"}, 2, "YES"),
            ({"name": "square"}, 1, "YES"),
            ({"name": "square"}, 2, "YET"),
        )
    ]
    text = _page(runs)
    first = text.partition("</article>")[0]
    assert "Most errors: <code>ben_03</code>" in first
    assert re.findall("<dt>(.*?)</dt>", first) == [
        "reference",
        "small ce, seeds 1, 2; small square, seed 1: no error in 1 word",
        "small square, seed 2: 1 substitution in 1 word",
    ]
    assert len(_audio(text)) == 2


def test_runs_on_other_utterances_have_examples_of_their_own(tmp_path: Path) -> None:
    one = write_experiment(tmp_path / "a", errors=0.0, said={"ann_1": "GO ON"})
    other = write_experiment(tmp_path / "b", errors=0.0, said={"ben_1": "STOP"})
    text = _page([one, other])
    assert re.findall("<code>(.*?)</code>", text) == ["ann_1", "ben_1"]


def test_the_number_of_examples_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "MOST_EXAMPLES", 3)
    runs = [
        write_experiment(tmp_path / name, errors=0.0, said={f"{name}_1": "GO", f"{name}_2": "ON"},
                         hypotheses={f"{name}_2": "OFF"})
        for name in ("a", "b", "c", "d")
    ]  # fmt: skip
    assert re.findall("<code>(.*?)</code>", _page(runs)) == ["a_2", "b_2", "c_2"]
    assert re.findall("<code>(.*?)</code>", _page(runs[:1])) == ["a_2", "a_1"]


def test_a_recording_that_is_gone_is_said(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, errors=0.0, said={"ann_1": "GO"})
    path = manifest_of(experiment).with_name("ann_1.wav")
    path.unlink()
    text = _page([experiment])
    assert f"No recording: {path}: no such file." in text
    assert _audio(text) == []
    assert "no error in 1 word" in text


def test_a_manifest_that_is_gone_is_said(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, errors=0.0, said={"ann_1": "GO"})
    path = manifest_of(experiment)
    found, manifests = _tested([experiment])
    path.unlink()
    text = examples_html(found, manifests)
    assert f"No recording: {path} is gone or does not have it." in text
    assert "speaker ann</p>" in text


def test_a_long_recording_is_not_put_in(tmp_path: Path) -> None:
    experiment = write_experiment(tmp_path, errors=0.0, said={"ann_1": "GO"})
    path = manifest_of(experiment)
    write_manifest(path, [replace(u, duration_s=LONGEST_S + 1) for u in read_manifest(path)])
    text = _page([experiment])
    assert f"longer than 10 s. It is in {path.with_name('ann_1.wav')}." in text
    assert _audio(text) == []


@pytest.mark.parametrize(("given_hz", "expected_hz"), [(8000, 8000), (44100, 16000)])
def test_high_rates_are_reduced(tmp_path: Path, given_hz: int, expected_hz: int) -> None:
    experiment = write_experiment(tmp_path, errors=0.0, said={"ann_1": "GO"})
    path = manifest_of(experiment)
    samples, _ = soundfile.read(path.with_name("ann_1.wav"))
    soundfile.write(path.with_name("ann_1.wav"), samples, given_hz)
    duration_s = len(samples) / given_hz
    write_manifest(path, [replace(u, sample_rate_hz=given_hz, duration_s=duration_s)
                          for u in read_manifest(path)])  # fmt: skip
    (data,) = _audio(_page([experiment]))
    info = soundfile.info(io.BytesIO(data))
    assert info.samplerate == expected_hz
    assert info.duration == pytest.approx(duration_s, abs=1e-3)


def test_without_runs_there_is_nothing() -> None:
    assert examples_html([], {}) == ""
