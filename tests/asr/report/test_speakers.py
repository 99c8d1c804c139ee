"""The error rate of each speaker, by system."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from squall.asr.report.speakers import speakers_html
from squall.engine.scored import read_run
from squall.report.report import Run
from squall.scoring.error_rates import ErrorReport, score_texts
from tiny_report import SAID, write_experiment


def _run(folder: Path, **settings: Any) -> Run:
    return read_run(write_experiment(folder, **{"errors": 0.0, **settings}))


def _rows(text: str) -> list[list[str]]:
    rows = re.findall("<tr>(.*?)</tr>", text.partition("<tbody>")[2])
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]


def _head(text: str) -> list[str]:
    return re.findall(r"<th [^>]*>(.*?)</th>", text)


def test_speakers_have_a_row_and_systems_a_column(tmp_path: Path) -> None:
    heard = {"ben_02": "TURN LIGHT", "ben_03": "YES YES"}
    runs = [_run(tmp_path, hypotheses=heard), _run(tmp_path, loss={"name": "square"})]
    text = speakers_html(runs)
    assert "<h3>demo, test, WER %</h3>" in text
    assert _head(text) == ["speaker", "counted", "small ce", "small square"]
    assert _rows(text) == [
        ["anna", "12", "0.00", "0.00"],
        ["ben", "10", "30.00", "0.00"],
        ["cleo", "11", "0.00", "0.00"],
    ]


def test_seeds_are_averaged(tmp_path: Path) -> None:
    heard = ({"ben_03": ""}, {"ben_03": "", "ben_01": "THE TRAIN"})
    runs = [_run(tmp_path, hypotheses=h, seed=seed) for seed, h in enumerate(heard)]
    text = speakers_html(runs)
    assert _head(text)[2:] == ["small ce"]
    assert _rows(text)[1] == ["ben", "10", "25.00 ± 21.21"]  # of 10 and 40


def test_the_rates_are_those_of_the_scoring(tmp_path: Path) -> None:
    run = _run(tmp_path, errors=0.4)
    rows = (run.score_dir / "test.csv").read_text().splitlines()
    heard = {line.split(",")[0]: line.split(",")[3] for line in rows[1:]}
    speakers = {id: id.partition("_")[0] for id in SAID}
    report: ErrorReport = score_texts(
        references=SAID, hypotheses=heard, speakers=speakers, unit="word"
    )
    expected = [f"{tally.percent:.2f}" for tally in report.speakers.values()]
    assert [row[2] for row in _rows(speakers_html([run]))] == expected
    assert set(expected) != {"0.00"}


def test_folds_share_a_column(tmp_path: Path) -> None:
    first = {id: text for id, text in SAID.items() if id.startswith("anna")}
    rest = {id: text for id, text in SAID.items() if not id.startswith("anna")}
    runs = []
    for fold, said in enumerate((first, rest)):
        run = _run(tmp_path / str(fold), said=said)
        runs.append(replace(run, experiment=f"{run.experiment} fold {fold}"))
    text = speakers_html(runs)
    assert _head(text)[2:] == ["small ce"]
    assert [row[0] for row in _rows(text)] == ["anna", "ben", "cleo"]


def test_a_speaker_whom_a_system_did_not_hear_has_an_empty_cell(tmp_path: Path) -> None:
    some = {id: text for id, text in SAID.items() if not id.startswith("ben")}
    runs = [
        _run(tmp_path / "a"),
        _run(tmp_path / "b", said=some, loss={"name": "square"}),
    ]
    assert _rows(speakers_html(runs))[1] == ["ben", "10", "0.00", ""]


def test_without_words_a_rate_is_undefined(tmp_path: Path) -> None:
    run = _run(tmp_path, said={"ann_1": "GO", "ben_1": "ON"})
    path = run.score_dir / "test.summary.json"
    summary = json.loads(path.read_text())
    summary["wer"]["speakers"]["ben"] = {"insertions": 2}
    path.write_text(json.dumps(summary))
    assert _rows(speakers_html([run]))[1] == ["ben", "0", "undefined"]


def test_one_speaker_is_no_table(tmp_path: Path) -> None:
    assert speakers_html([_run(tmp_path, said={"ann_1": "GO ON"})]) == ""
    assert speakers_html([_run(tmp_path, splits=["dev"])]) == ""


@pytest.mark.parametrize("content", ["{", "{}", '{"wer": {}}', '{"wer": {"speakers": {"a": 1}}}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    run = _run(tmp_path)
    (run.score_dir / "test.summary.json").write_text(content)
    with pytest.raises(ValueError, match=r"test\.summary\.json is damaged .*--stage 7 --force"):
        speakers_html([run])
