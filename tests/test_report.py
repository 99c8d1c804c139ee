"""The HTML page and the tables of a few experiments, each a folder of tiny files."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from squall.asr.report import collect
from squall.asr.settings import RecognitionConfig
from squall.experiment import Experiment, RunOptions
from squall.report import Report
from squall.results import Record, write_records

HISTORY = [
    {"epoch": epoch, "train": {"loss": 9.0 / epoch}, "valid": {"acc": 0.1 * epoch}}
    for epoch in (1, 2, 3)
]
COMMAND = "squall run toy --set 'corpus.options.note=<b>&bold'"


def _experiment(tmp_path: Path, *, history: Any = HISTORY, **settings: Any) -> Experiment:
    config = RecognitionConfig.model_validate(
        {"recipe": "toy", "experiment": "small", "corpus": {"name": "demo"}, "espnet": {}}
        | settings
    )
    options = RunOptions(exp_dir=str(tmp_path / "exp"), command=COMMAND)
    experiment = Experiment(config, options)
    experiment.write_settings()
    record = Record(
        recipe="toy",
        experiment=config.experiment,
        dataset="demo",
        system=config.system,
        condition="test",
        seed=config.seed,
        metric="wer",
        value=12.5,
        unit="%",
        n=8,
        commit="c" * 40,
        command=COMMAND,
        hardware="a machine",
        seconds=1.0,
    )
    write_records(experiment.result_path, [record])
    (experiment.directory / "train").mkdir(exist_ok=True)
    (experiment.directory / "train" / "history.json").write_text(json.dumps(history))
    experiment.score_dir.mkdir(parents=True)
    (experiment.score_dir / "test.csv").write_text(
        "utterance,reference,hypothesis\nu1,GO ON,GO ON\nu2,STOP,<STOP>\n"
    )
    (experiment.score_dir / "test.alignments.txt").write_text(
        "u2: 1 S\nREF:  STOP\nHYP:  <STOP>\nEVAL: S\n"
    )
    return experiment


def _html(report: Report, tmp_path: Path) -> str:
    path = tmp_path / "report.html"
    report.write_html(path)
    return path.read_text(encoding="utf-8")


class _Page(HTMLParser):
    """Collects tags, what they refer to, and the text outside of the style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        self.ids += [v or "" for k, v in attrs if k == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_one_file_without_scripts_or_outside_references(tmp_path: Path) -> None:
    text = _html(collect([_experiment(tmp_path)]), tmp_path)
    page = _Page(text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.references
    assert all(reference.startswith("#") for reference in page.references)
    assert not re.findall(r"@import|url\((?!#)", text)


def test_text_is_escaped(tmp_path: Path) -> None:
    page = _Page(_html(collect([_experiment(tmp_path)]), tmp_path))
    assert COMMAND in page.text
    assert "HYP:  <STOP>" in page.text
    assert not {"stop", "b"} & set(page.tags)


def test_errors_are_counted_and_marked(tmp_path: Path) -> None:
    text = _html(collect([_experiment(tmp_path)]), tmp_path)
    assert "1 of 2 test utterances have an error" in text
    assert "<mark>EVAL: S</mark>" in text


def test_numbers_stand_in_the_table(tmp_path: Path) -> None:
    report = collect([_experiment(tmp_path), _experiment(tmp_path, loss={"name": "square"})])
    (table,) = report.tables
    head, rows = table.head, table.rows
    assert head == ["experiment", "system", "seed", "WER %"]
    assert rows == [
        ["small", "ce", "1", "12.50 (of 8)"],
        ["small", "square", "1", "12.50 (of 8)"],
    ]
    assert "12.50 (of 8)" in _html(report, tmp_path)


def test_there_is_one_figure_per_curve_that_was_recorded(tmp_path: Path) -> None:
    text = _html(collect([_experiment(tmp_path)]), tmp_path)
    assert text.count("<svg") == 2
    assert "token accuracy on dev" in text
    assert "training loss" in text
    assert "greedy CTC" not in text


def test_every_run_has_its_line_in_a_figure(tmp_path: Path) -> None:
    experiments = [
        _experiment(tmp_path),
        _experiment(tmp_path, experiment="large"),
        _experiment(tmp_path, espnet={"optim_conf": {"lr": 2}}),
    ]
    text = _html(collect(experiments), tmp_path)
    figures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    for figure in figures:
        assert figure.count("small ce, seed 1") == 2
        assert figure.count("large ce, seed 1") == 1


def test_a_run_without_epochs_has_no_figure(tmp_path: Path) -> None:
    text = _html(collect([_experiment(tmp_path, history=[])]), tmp_path)
    assert "<svg" not in text


def test_a_run_that_did_not_decode_the_test_set_says_so(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path)
    (experiment.score_dir / "test.csv").unlink()
    assert "not decoded" in _html(collect([experiment]), tmp_path)


def test_test_comes_before_the_other_conditions(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path)
    record = collect([experiment]).records[0]
    others = [Record(**{**record.__dict__, "condition": name}) for name in ("other", "dev")]
    write_records(experiment.result_path, [*others, record])
    titles = [table.title for table in collect([experiment]).tables]
    assert titles == ["demo, test", "demo, dev", "demo, other"]


def test_results_are_merged_into_a_folder(tmp_path: Path) -> None:
    for loss in ("ce", "square"):
        report = collect([_experiment(tmp_path, loss={"name": loss})])
        path = report.write_results(tmp_path / "results", title="Results")
    assert len(json.loads((tmp_path / "results" / "results.json").read_text())) == 2
    assert "| small | square | 1 | 12.50 (of 8) |" in path.read_text()


def test_an_experiment_without_a_score_says_what_to_run(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path)
    experiment.result_path.unlink()
    with pytest.raises(FileNotFoundError, match=r"result\.json is missing: run the stages up to 7"):
        collect([experiment])


@pytest.mark.parametrize("name", ["train/history.json", "environment.json", "result.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    experiment = _experiment(tmp_path)
    (experiment.directory / name).write_text("{")
    with pytest.raises(ValueError, match=name):
        collect([experiment])


def test_without_matplotlib_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'squall\[report\]'"):
        collect([_experiment(tmp_path)]).write_html(tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
