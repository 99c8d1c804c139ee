"""The study that studies/README.md shows is made from that page, and run through the engine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import squall.studies
from squall.cli import main
from squall.engine.experiment import Experiment, RunOptions
from squall.engine.grid import grid_configs
from squall.engine.runner import Cell, run_cell
from squall.engine.tasks import TASKS, study

PAGE = Path(squall.studies.__path__[0]) / "README.md"
FILE = re.compile(r"^`([\w/.]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the study of the page, which the engine knows of by the page's one line."""
    text = PAGE.read_text(encoding="utf-8")
    files = dict(FILE.findall(text))
    assert sorted(Path(name).name for name in files) == [
        "blobs.yaml", "recipe.py", "report.py", "settings.py", "study.py",
    ]  # fmt: skip
    for name, content in {**files, "src/squall/studies/blobs/__init__.py": ""}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    monkeypatch.setattr(
        squall.studies, "__path__", [*squall.studies.__path__, str(tmp_path / "src/squall/studies")]
    )
    assert '`"blobs": study("blobs", "BlobsConfig"),`' in text
    monkeypatch.setitem(TASKS, "blobs", study("blobs", "BlobsConfig"))
    for name in [name for name in sys.modules if name.startswith("squall.studies.blobs")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("SQUALL_ROOT", str(tmp_path))
    return tmp_path


def _run(root: Path) -> tuple[list[Experiment], list[str]]:
    """All experiments of the page's grid, in this process; what was told."""
    told: list[str] = []
    options = RunOptions(str(root / "exp"))
    cells = [Cell(c, options) for c in grid_configs(root / "conf" / "blobs" / "blobs.yaml", {})]
    for cell in cells:
        run_cell(cell, lambda stage, done, total, text: told.append(f"{stage.title}: {text}"))
    return [cell.experiment for cell in cells], told


@pytest.mark.slow
def test_the_study_of_the_page_runs_and_is_reported(root: Path) -> None:
    experiments, told = _run(root)
    assert "0 check: 3 networks, 400 samples" in told
    assert "5 train: epoch 20 of 20" in told
    report = TASKS["blobs"].collect(experiments)
    values = {(r.system, r.seed, r.metric): r.value for r in report.records}
    assert len(values) == 3 * 3 * 2
    assert all(80 < value < 95 for (_, _, metric), value in values.items() if metric == "accuracy")
    written = report.write_results(root / "results", title="blobs").read_text()
    assert "| blobs | squentropy | 2 |" in written
    report.write_html(root / "report.html")
    assert "blobs, test" in (root / "report.html").read_text()


@pytest.mark.slow
def test_what_is_done_is_skipped_and_what_changed_is_told(root: Path) -> None:
    _run(root)
    _, again = _run(root)
    assert {text.partition(": ")[2] for text in again if text[0] in "57"} == {
        "done before, skipped"
    }
    (experiment, *_), _ = _run(root)
    stamp = experiment.directory / ".stages" / "5-train.json"
    kept = json.loads(stamp.read_text())
    kept["settings"]["study"]["samples"] = 300
    stamp.write_text(json.dumps(kept))
    _, told = _run(root)
    assert "5 train: settings.study.samples was 300, is 400" in told


def test_an_option_that_it_does_not_name_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "blobs", "--download"]) == 1
    assert "--download: blobs is no task that fetches its corpus" in capsys.readouterr().err
