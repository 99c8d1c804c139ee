"""The results in the repository: strict JSON, declared metrics, and pages that follow from them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from squall.asr.report.tables import RECOGNITION
from squall.enhance.report.tables import ENHANCEMENT
from squall.report.records import Record, read_records, write_records
from squall.report.tables import Layout, write_results
from squall.scoring.metrics import declared
from squall.studies.asymptotics.tables import ASYMPTOTICS
from squall.studies.charlm.report import CHARLM
from squall.studies.mixtures.report import MIXTURES
from squall.studies.spiral.report import SPIRALS
from squall.studies.tabular.tables import NOTES, tabular_tables

ROOT = Path(__file__).parents[2]
LAYOUTS = {
    "an4": RECOGNITION,
    "timit": RECOGNITION,
    "librispeech": RECOGNITION,
    "wsj": RECOGNITION,
    "enhance_hint": ENHANCEMENT,
    "enhance_timit": ENHANCEMENT,
    "asymptotics": ASYMPTOTICS,
    "charlm": CHARLM,
    "mixtures": MIXTURES,
    "spiral": SPIRALS,
    "tabular": Layout(tabular_tables, NOTES),
}
PATHS = sorted((ROOT / "recipes").glob("*/results.json"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "recipes").glob("*/*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def _objects(content: dict[str, Any]) -> list[dict[str, Any]]:
    """What the lines of the README make of a file, without jq or pandas."""
    return [
        content["runs"][row[0]] | dict(zip(content["columns"], row, strict=True))
        for row in content["records"]
    ]


def _fields(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "run"}


@pytest.fixture(params=PATHS, ids=[path.parent.name for path in PATHS])
def results(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.mark.slow
def test_results_are_strict_json_with_a_reason_for_what_is_null(results: Path) -> None:
    content = json.loads(results.read_text(encoding="utf-8"), parse_constant=_refuse)
    records = [Record(**_fields(found)) for found in _objects(content)]
    assert records == read_records(results)
    assert all(record.reason for record in records if record.value is None)


def test_results_have_declared_metrics_in_their_units(results: Path) -> None:
    units = {(record.metric, record.unit) for record in read_records(results)}
    assert units == {(metric, declared(metric).unit) for metric, _ in units}


def test_recorded_commands_name_no_folder_of_one_machine(results: Path) -> None:
    commands = {record.command for record in read_records(results)}
    assert not [command for command in commands if re.search(r"(^|[ =])(/|~)", command)]


@pytest.mark.slow
def test_results_are_written_as_the_program_writes_them(results: Path, tmp_path: Path) -> None:
    write_records(tmp_path / "results.json", read_records(results))
    assert (tmp_path / "results.json").read_bytes() == results.read_bytes()


@pytest.mark.slow
def test_the_page_is_what_the_program_makes_of_the_results(results: Path, tmp_path: Path) -> None:
    page = results.with_name("RESULTS.md")
    text = page.read_text(encoding="utf-8")
    (tmp_path / "results.json").write_bytes(results.read_bytes())
    title = text.splitlines()[0].removeprefix("# ")
    layout = LAYOUTS[results.parent.name]
    assert write_results(tmp_path, [], title=title, layout=layout).read_text() == text
    assert (tmp_path / "results.json").read_bytes() == results.read_bytes()
    made, kept = (folder / "PEERS.md" for folder in (tmp_path, results.parent))
    assert made.is_file() == kept.is_file()
    assert not kept.is_file() or made.read_bytes() == kept.read_bytes()


def _example(language: str) -> str:
    """What the README says to read the results with, but of the folder that it is run in."""
    (text,) = re.findall(rf"```{language}\n([^`]*recipes/an4/results\.json[^`]*)```", README)
    return str(text).replace("recipes/an4/", "")


def _undefined(folder: Path) -> list[dict[str, Any]]:
    """A file with one number that does not exist; what should be read."""
    records = [
        Record("an4", "grid", "d", "ce", "test", 1, "wer", 8.5, "%", 7, "c", "run 'é'", "h", 1.5),
        Record("an4", "other", "d", "ce", "dev", 2, "stoi", None, "", 7, "c", "r", "h", 0.5, "so"),
    ]
    write_records(folder / "results.json", records)
    return [vars(record) for record in records]


def test_jq_reads_the_results_as_the_readme_says(tmp_path: Path) -> None:
    expected = _undefined(tmp_path)
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    done = subprocess.run(
        ["bash", "-c", _example("bash")], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert [_fields(json.loads(line)) for line in done.stdout.splitlines()] == expected


@pytest.mark.slow
def test_pandas_reads_the_results_as_the_readme_says(tmp_path: Path) -> None:
    expected = _undefined(tmp_path)
    pytest.importorskip("pandas")
    code = f"import json, pandas as pd\n{_example('python')}print(table.to_json(orient='records'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert [_fields(found) for found in json.loads(done.stdout)] == expected


def test_every_recipe_with_results_has_a_layout_here() -> None:
    assert {path.parent.name for path in PATHS} <= LAYOUTS.keys()
    assert len(PATHS) >= 7


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    absent = [link for link in links if not (page.parent / link).exists()]
    assert not absent


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_rows_of_a_table_have_the_cells_of_their_header(page: Path) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for table in tables:
        rows = [re.sub(r"`[^`]*`", "", row).count("|") for row in table.splitlines()]
        assert rows == rows[:1] * len(rows), table
