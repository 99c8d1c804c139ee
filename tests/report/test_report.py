"""The HTML page and the tables of a few experiments, each a folder of tiny files."""

from __future__ import annotations

import csv
import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from squall.asr.report.sections import collect
from squall.asr.settings import RecognitionConfig
from squall.engine.experiment import Experiment
from squall.report.records import read_records, write_records
from squall.report.report import Report
from tiny_report import COMMAND, HISTORY, write_experiment

pytest.importorskip("matplotlib")

SAID = {"ann_1": "GO ON", "ben_1": "STOP"}
HEARD = {"ann_1": "GO ON", "ben_1": "<STOP>"}


def _experiment(tmp_path: Path, **settings: Any) -> Experiment[RecognitionConfig]:
    return write_experiment(tmp_path, said=SAID, **{"hypotheses": HEARD, **settings})


def _html(report: Report, tmp_path: Path) -> str:
    path = tmp_path / "report.html"
    report.write_html(path)
    return path.read_text(encoding="utf-8")


def _section(text: str, anchor: str) -> str:
    """The part of a page with this anchor."""
    found = re.search(rf'<section id="{anchor}".*?</section>', text, flags=re.DOTALL)
    assert found, anchor
    return found[0]


class _Page(HTMLParser):
    """Collects tags, what they refer to, and the text outside of style and script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] not in (["style"], ["script"]):
            self.text += data


@pytest.mark.slow
def test_the_page_is_one_file_with_nothing_to_load(tmp_path: Path) -> None:
    text = _html(collect([_experiment(tmp_path)]), tmp_path)
    page = _Page(text)
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == 1
    assert not re.findall(r"<script\s", text)
    kinds = {re.split("[-:/]", reference)[0] for reference in page.references}
    assert kinds == {*(f"#figure{number}" for number in range(1, 10)),
                     "data", "exp", *(f"#{anchor}" for anchor in _anchors(text))}  # fmt: skip
    assert not re.findall(r"@import|url\((?!#)", text)


def _anchors(text: str) -> list[str]:
    return [anchor.split("-")[0] for anchor in ["main", *re.findall('<section id="(.*?)"', text)]]


@pytest.mark.slow
def test_text_is_escaped(tmp_path: Path) -> None:
    page = _Page(_html(collect([_experiment(tmp_path)]), tmp_path))
    assert COMMAND in page.text
    assert "<STOP>" in page.text
    assert not {"stop", "bold"} & set(page.tags)


@pytest.mark.slow
@pytest.mark.fault(
    "Hostile input", "ids, speakers and texts with markup or formulas", "text in the report and CSV"
)
def test_ids_speakers_and_texts_are_text(tmp_path: Path) -> None:
    speakers = ['="<script>x"', "'><img/onerror=x>".replace("/", "\f"), "@x"]
    said = {f"{speaker}_1": f"+1 <u>{speaker}" for speaker in speakers}
    said[f"{speakers[0]}_2"] = "-x"
    experiment = write_experiment(
        tmp_path,
        said=said,
        hypotheses=dict.fromkeys(said, '=1+1 "<s>"'),
        description="<i>&",
        experiment="<b>'\"",
    )
    with (experiment.score_dir / "test.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert '\'=1+1 "<s>"' in cells
    assert not [cell for cell in cells if re.match(r"[=+\-@].", cell)]
    page = _Page(_html(collect([experiment]), tmp_path))
    assert page.tags.count("script") == 1
    assert not {"img", "u", "s", "i"} & set(page.tags)
    assert not [name for name in page.attributes if name.startswith("on")]
    assert speakers[1] in page.text
    assert '"<s>"' in page.text


@pytest.mark.slow
def test_errors_are_counted_and_marked(tmp_path: Path) -> None:
    text = _section(_html(collect([_experiment(tmp_path)]), tmp_path), "errors-of-each-run")
    assert "small ce, seed 1: 1 of 2 test utterances have an error" in text
    assert "ben_1: 1 substitution in 1 word<" in text
    assert "<del>STOP</del><ins>&lt;STOP&gt;</ins>" in text
    assert "ann_1" not in text


@pytest.mark.slow
def test_numbers_stand_in_the_table(tmp_path: Path) -> None:
    report = collect([_experiment(tmp_path), _experiment(tmp_path, loss={"name": "square"})])
    table, differences = report.tables[:2]
    assert differences.title == "demo, test: differences to ce"
    assert differences.note.startswith("Told apart from ce at the 5 % level")
    assert table.head[:4] == ["experiment", "system", "seed", "WER %"]
    assert [row[:4] for row in table.rows] == [
        ["small", "ce", "1", "33.33 (of 3)"],
        ["small", "square", "1", "33.33 (of 3)"],
    ]
    text = _html(report, tmp_path)
    assert "33.33 (of 3)" in _section(text, "demo-test")
    assert differences.note in _section(text, "demo-test-differences-to-ce")


@pytest.mark.slow
def test_there_is_one_figure_per_curve_that_was_recorded(tmp_path: Path) -> None:
    text = _section(_html(collect([_experiment(tmp_path)]), tmp_path), "learning-curves")
    assert text.count("<svg") == 3
    assert "token accuracy on dev" in text
    assert "training loss" in text
    assert "greedy CTC" not in text


@pytest.mark.slow
def test_every_run_has_its_line_in_a_figure(tmp_path: Path) -> None:
    experiments = [
        _experiment(tmp_path),
        _experiment(tmp_path, experiment="large"),
        _experiment(tmp_path, espnet={"optim_conf": {"lr": 2}}),
    ]
    text = _section(_html(collect(experiments), tmp_path), "learning-curves")
    figures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(figures) == 3
    for figure in figures:
        lines = re.findall(r'<g id="[^"]*curve-\d+-\d+"><title>(.*?)</title>', figure)
        assert sorted(lines) == ["large ce, seed 1", "small ce, seed 1", "small ce, seed 1"]


@pytest.mark.slow
def test_a_run_without_epochs_has_no_curves(tmp_path: Path) -> None:
    text = _html(collect([_experiment(tmp_path, history=[])]), tmp_path)
    assert "learning-curves" not in text
    assert "token accuracy on dev" not in text


def test_a_run_that_did_not_decode_the_test_set_says_so(tmp_path: Path) -> None:
    text = _html(collect([_experiment(tmp_path, splits=["dev"])]), tmp_path)
    assert "small ce, seed 1: its test set was not decoded" in _section(text, "errors-of-each-run")
    assert "<audio" not in text


def test_test_comes_before_the_other_conditions(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path)
    (record,) = [r for r in collect([experiment]).records if r.metric == "wer"]
    others = [replace(record, condition=name) for name in ("other", "dev")]
    write_records(experiment.result_path, [*others, record])
    for ending in ("csv", "calibration.json"):
        (experiment.score_dir / f"other.{ending}").write_bytes(
            (experiment.score_dir / f"test.{ending}").read_bytes()
        )
    titles = [table.title for table in collect([experiment]).tables]
    assert titles == ["demo, test", "demo, dev", "demo, other"]


@pytest.mark.slow
def test_what_differs_between_the_settings_is_a_table(tmp_path: Path) -> None:
    one = _experiment(tmp_path, description="the first")
    other = _experiment(tmp_path, loss={"name": "squentropy", "alpha": 0.5}, description="other")
    text = _section(_html(collect([one, other]), tmp_path), "settings")
    table = text[: text.index("</table>")]
    assert re.findall(r"<th [^>]*>(.*?)</th>", table) == ["run", "loss.name", "loss.alpha"]
    assert re.findall(r"<td[^>]*>(.*?)</td>", table) == [
        "small ce, seed 1", "ce", "\u2013", "small squentropy-a0.5, seed 1", "squentropy", "0.5",
    ]  # fmt: skip
    assert text.count("<details") == 2
    assert "description: the first" in text


@pytest.mark.slow
def test_many_differences_stand_below_each_other(tmp_path: Path) -> None:
    settings = {"loss": {"name": "square"}, "seed": 2, "decode": {"beam_size": 3}}
    experiments = [_experiment(tmp_path), _experiment(tmp_path, **settings)]
    text = _section(_html(collect(experiments), tmp_path), "settings")
    rows = re.findall(r"<td[^>]*>(.*?)</td>", text[: text.index("</table>")])
    assert [rows[k : k + 3] for k in range(0, len(rows), 3)] == [
        ["seed", "1", "2"], ["loss.name", "ce", "square"], ["decode.beam_size", "10", "3"],
    ]  # fmt: skip


@pytest.mark.slow
def test_a_single_run_has_its_settings_on_paper_too(tmp_path: Path) -> None:
    text = _section(_html(collect([_experiment(tmp_path)]), tmp_path), "settings")
    assert "<table" not in text
    assert "<details data-print>" in text
    runs = [_experiment(tmp_path, seed=seed) for seed in (1, 2)]
    assert "data-print" not in _section(_html(collect(runs), tmp_path), "settings")


@pytest.mark.slow
def test_links_start_from_the_folder_of_the_page(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path, experiment="a b#c")
    below = tmp_path / "pages" / "more"
    text = _section(_html(collect([experiment]), below), "how-it-was-run")
    links = re.findall(r'href="(.*?)"', text)
    name = experiment.directory.name.replace(" ", "%20").replace("#", "%23")
    assert links == [f"../../exp/toy/{name}/", f"../../exp/toy/{name}/logs/"]


@pytest.mark.slow
def test_a_folder_that_is_gone_has_no_link(tmp_path: Path) -> None:
    experiment = _experiment(tmp_path)
    experiment.log_dir.rmdir()
    text = _section(_html(collect([experiment]), tmp_path), "how-it-was-run")
    assert len(re.findall("href=", text)) == 1
    assert ">logs</td>" in text


@pytest.mark.slow
def test_the_same_experiments_give_the_same_page(tmp_path: Path) -> None:
    experiments = [_experiment(tmp_path)]
    assert _html(collect(experiments), tmp_path) == _html(collect(experiments), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [None, math.nan])
def test_a_loss_that_was_not_finite_is_a_gap_in_its_curve(
    tmp_path: Path, number: float | None
) -> None:
    """Null, or NaN as earlier versions wrote it."""
    history = [{**epoch, "train": {**epoch["train"], "loss": number}} for epoch in HISTORY[3:]]
    report = collect([_experiment(tmp_path, history=[*HISTORY[:3], *history])])
    assert [math.isnan(epoch["train"]["loss"]) for epoch in report.runs[0].history[2:4]] == [0, 1]
    assert "training loss" in _html(report, tmp_path)


def test_results_are_merged_into_a_folder(tmp_path: Path) -> None:
    for loss in ("ce", "square"):
        report = collect([_experiment(tmp_path, loss={"name": loss})])
        path = report.write_results(tmp_path / "results", title="Results")
    records = read_records(tmp_path / "results" / "results.json")
    assert {record.system for record in records} == {"ce", "square"}
    assert "| small | square | 1 | 33.33 (of 3) |" in path.read_text()


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
    report = collect([_experiment(tmp_path, history=HISTORY)])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'squall\[report\]'"):
        report.write_html(tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
