"""The report of enhancement experiments: its page, and the times to match another system."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import soundfile

import tiny_enhancement
from squall.engine.experiment import Experiment
from squall.enhance.report import sections as report
from squall.enhance.report.sections import collect, match_records
from squall.enhance.report.tables import MATCH_SECONDS
from squall.enhance.settings import EnhancementConfig
from squall.report.records import Record
from squall.report.report import Run

pytest.importorskip("matplotlib")

Enhancement = Experiment[EnhancementConfig]


def _run(system: str, errors: dict[str, list[float]], **changes: Any) -> Run:
    """A run whose models had these validation errors after 10, 20, ... seconds."""
    experiment = changes.pop("experiment", "small")
    variant = changes.pop("variant", "")
    seed = changes.pop("seed", 1)
    records = [
        Record("toy", f"{experiment} {variant}".rstrip(), "manifest", system, model, seed,
               "train_seconds", 100.0, "s", 5, "c", "run", "h", 1.0)
        for model in errors
    ]  # fmt: skip
    history = [
        {
            "model": model,
            "history": [{"seconds": 10.0 * (n + 1), "dev_mse": e} for n, e in enumerate(each)],
        }
        for model, each in errors.items()
    ]
    named = f"{system} {variant}".rstrip()
    place = Path("x")
    return Run(place, experiment, place, named, seed, tuple(records), tuple(history), {})


def _matches(run: Run, *runs: Run) -> dict[tuple[str, str], float | None]:
    found = match_records(run, [run, *runs])
    assert all(r.metric.startswith(MATCH_SECONDS) and r.unit == "s" for r in found)
    return {(r.condition, r.metric.removeprefix(MATCH_SECONDS)): r.value for r in found}


def test_the_first_epoch_that_is_as_good_as_the_best_of_the_other_counts() -> None:
    dnn = _run("dnn", {"all": [0.5, 0.3, 0.2, 0.4]})
    kernel = _run("kernel-4", {"all": [0.4, 0.2, 0.1, 0.2]})
    assert _matches(kernel, dnn) == {("all", "dnn"): 20.0}
    found = _matches(dnn, kernel)
    assert list(found) == [("all", "kernel-4")]
    assert found["all", "kernel-4"] is None
    (record,) = match_records(dnn, [dnn, kernel])
    assert record.reason == "the best validation error of kernel-4 was never reached"


def test_each_model_is_matched_with_its_own() -> None:
    dnn = _run("dnn", {"all": [0.2], "babble/0dB": [0.3], "ssn/0dB": [0.1]})
    kernel = _run("kernel-4", {"all": [0.3, 0.2], "babble/0dB": [0.3]})
    assert _matches(kernel, dnn) == {("all", "dnn"): 20.0, ("babble/0dB", "dnn"): 10.0}


@pytest.mark.parametrize(
    "changes", [{"seed": 2}, {"experiment": "large"}, {"variant": "floor=0.1"}]
)
def test_only_runs_of_the_same_experiment_and_seed_are_matched(changes: dict[str, Any]) -> None:
    dnn = _run("dnn", {"all": [0.2]}, **changes)
    kernel = _run("kernel-4", {"all": [0.2]})
    assert _matches(kernel, dnn) == {}
    again = _run("kernel-4", {"all": [0.2]}, **changes)
    assert _matches(again, dnn) == {("all", "dnn"): 10.0}


def test_a_run_is_not_matched_with_itself_or_with_references() -> None:
    kernel = _run("kernel-4", {"all": [0.2]})
    noisy = _run("noisy", {})
    assert _matches(kernel, noisy) == {}
    assert _matches(noisy, kernel) == {}


class _Page(HTMLParser):
    """Collects tags, what they refer to, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.audio: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag == "audio":
            self.audio += [v or "" for k, v in attrs if k == "src"]

    def handle_data(self, data: str) -> None:
        self.text += data


def _page(experiments: list[Enhancement], tmp_path: Path) -> _Page:
    collect(experiments).write_html(tmp_path / "report.html")
    return _Page((tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_page_is_one_file_with_figures_and_players(
    scored: dict[str, Enhancement], tmp_path: Path
) -> None:
    page = _page([*scored.values()], tmp_path)
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    beside = ("#", "data:", "../")
    assert all(reference.startswith(beside) for reference in page.references)
    text = (tmp_path / "report.html").read_text()
    assert not re.findall(r"@import|url\((?!#)", text)
    # Curves of four models, one of the channels, all scores, spectrograms of each condition.
    assert page.tags.count("svg") == 4 + 1 + 1 + 6
    # Each system and the clean speech; below them only one of the references, and both systems.
    assert len(page.audio) == 3 * (len(scored) + 1) + 3 * len(scored)
    for title in (
        "STOI",
        "All scores",
        "Training",
        "Mask error of each channel",
        "Examples",
        "Kernels that were",
    ):
        assert title in page.text
    for system in ("noisy", "kernel-2", "oracle"):
        assert system in page.text


def test_what_the_tune_stage_tried_is_listed_by_its_error(tmp_path: Path) -> None:
    run = replace(_run("dnn", {"all": [0.2]}), directory=tmp_path)
    assert report.tuning_sections([run]) == []
    tried = [
        {"parameters": {"optimizer": name}, "dev_mse": error, "epochs": 3, "seconds": 1.6}
        for name, error in (("adam", 0.05), ("adagrad_momentum", 0.04))
    ]
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "tuning.json").write_text(json.dumps({"candidates": tried}))
    (section,) = report.tuning_sections([run])
    cells = re.findall("<td[^>]*>(.*?)</td>", section.body)
    assert cells[1:5] == ["optimizer adagrad_momentum", "4.000", "3", "2"]
    assert cells[6] == "optimizer adam"


@pytest.mark.slow
def test_players_hold_whole_utterances(scored: dict[str, Enhancement], tmp_path: Path) -> None:
    for source in _page([scored["dnn"]], tmp_path).audio:
        kind, _, data = source.partition(",")
        assert kind == "data:audio/flac;base64"
        samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert rate_hz == 16000
        assert len(samples) == round(1.4 * 16000)
        assert 0.6 < abs(samples).max() < 0.75


@pytest.mark.slow
def test_a_report_leaves_the_experiments_as_they_are(
    scored: dict[str, Enhancement], tmp_path: Path
) -> None:
    folder = scored["dnn"].recipe_dir

    def files() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}

    before = files()
    _page([*scored.values()], tmp_path)
    assert files() == before


@pytest.mark.slow
def test_every_seed_and_variant_has_its_player(
    scored: dict[str, Enhancement], tiny_data: Path, tmp_path: Path
) -> None:
    plain = scored["noisy"]
    exp_dir = plain.recipe_dir.parent
    settings = tiny_enhancement.config(tmp_path, "noisy", seed=2)
    other, _ = tiny_enhancement.run(settings, tiny_data, exp_dir=tmp_path / "exp")
    assert exp_dir != tmp_path / "exp"
    page = _page([plain, other], tmp_path)
    assert len(page.audio) == 3 * 3 + 3 * 2
    assert "noisy, seed 2" in page.text


@pytest.mark.slow
def test_an_experiment_with_other_conditions_is_shown_where_it_can_be(
    scored: dict[str, Enhancement], tiny_data: Path, tmp_path: Path
) -> None:
    settings = tiny_enhancement.config(tmp_path, "noisy", noise__seen=["ssn"], noise__unseen=[])
    other, _ = tiny_enhancement.run(settings, tiny_data, exp_dir=tmp_path / "exp")
    assert len(_page([scored["noisy"], other], tmp_path).audio) == (6 + 2) * 2


@pytest.mark.slow
def test_without_training_there_is_no_empty_section(scored: dict[str, Enhancement]) -> None:
    found = collect([scored["noisy"], scored["oracle"]])
    assert [one.title for one in found.sections(found.runs)] == ["All scores", "Examples"]


@pytest.mark.slow
def test_runs_stand_in_the_order_of_the_tables(scored: dict[str, Enhancement]) -> None:
    report = collect([scored[name] for name in ("oracle", "kernel", "dnn", "noisy")])
    kinds = [run.system.partition("-")[0] for run in report.runs]
    assert kinds == ["noisy", "dnn", "kernel", "oracle"]
    matched = {r.system for r in report.records if r.metric.startswith(MATCH_SECONDS)}
    assert len(matched) == 2


def test_an_experiment_without_a_score_says_what_to_run(tiny_data: Path, tmp_path: Path) -> None:
    settings = tiny_enhancement.config(tmp_path, "noisy")
    experiment, _ = tiny_enhancement.run(settings, tiny_data, exp_dir=tmp_path / "exp", last=0)
    with pytest.raises(FileNotFoundError, match=r"result\.json is missing: run the stages up to 7"):
        collect([experiment])
