"""Every recipe and every config is in tests/recipes.csv, with the test that runs it."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest

from squall.asr.settings import RecognitionConfig
from squall.engine.grid import expand_grid
from squall.engine.tasks import load_config
from squall.enhance.settings import EnhancementConfig
from squall.enhance.training import build_estimator
from squall.losses import build_loss

ROOT = Path(__file__).parents[2]


def _rows() -> list[dict[str, str]]:
    with (ROOT / "tests" / "recipes.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _configs() -> list[Path]:
    return sorted((ROOT / "conf").rglob("*.yaml"))


def test_every_recipe_folder_is_listed() -> None:
    folders = {path.parent.name for path in (ROOT / "recipes").glob("*/run.sh")}
    assert {row["recipe"] for row in _rows()} == folders
    assert {path.name for path in (ROOT / "recipes").iterdir() if path.is_dir()} == folders


def test_every_config_is_listed() -> None:
    listed = {f"{row['recipe']}/{row['config']}" for row in _rows()}
    assert {str(path.relative_to(ROOT / "conf")) for path in _configs()} == listed


def test_every_listed_recipe_has_a_test_that_names_it() -> None:
    for row in _rows():
        text = (Path(__file__).parent / row["test"]).read_text()
        assert f'"{row["recipe"]}"' in text, row


@pytest.mark.parametrize("path", _configs(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_binds(path: Path) -> None:
    config = load_config(path)
    assert config.recipe == path.parent.name
    assert config.description
    for values in (values for grid in config.grids for values in expand_grid(grid)):
        cell = load_config(path, values)
        if isinstance(cell, RecognitionConfig):
            build_loss(cell.loss.name, **cell.loss.parameters)
        elif isinstance(cell, EnhancementConfig) and cell.estimator.trained:
            for parameters in cell.estimator.candidates or ({},):
                build_estimator(cell, parameters, "cpu")


@pytest.mark.parametrize("row", _rows(), ids=lambda row: f"{row['recipe']}/{row['config']}")
def test_every_recipe_hands_over_to_the_command(row: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "squall").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "squall").chmod(0o755)
    script = ROOT / "recipes" / row["recipe"] / "run.sh"
    done = subprocess.run(
        ["bash", str(script), "--stage", "2", "--set", "loss.name=a b"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"run {row['recipe']} --stage 2 --set loss.name=a b\n"
