"""What may import what; the losses and the command line have theirs in tests of their own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import squall.report

LIST_MODULES = (
    "import sys, json, importlib; importlib.import_module(sys.argv[1]); "
    "print(json.dumps(sorted(sys.modules)))"
)


def _loaded_by(module: str) -> set[str]:
    command = [sys.executable, "-c", LIST_MODULES, module]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("room", ["squall.scoring", "squall.kernels"])
def test_scoring_and_kernels_can_be_lifted_out(room: str) -> None:
    ours = {name for name in _loaded_by(room) if name.startswith("squall.")}
    assert {name for name in ours if not name.startswith(room)} == set()


def test_enhancement_needs_no_espnet() -> None:
    assert _loaded_by("squall.enhance.recipe") & {"espnet", "espnet2"} == set()


def test_manifests_need_neither_espnet_nor_torch() -> None:
    assert _loaded_by("squall.corpora.validation") & {"espnet", "espnet2", "torch"} == set()


def test_the_report_knows_no_experiment() -> None:
    """`report/` stands on the ground and the libraries alone, in every module and function."""
    folder = Path(squall.report.__file__).parent
    rooms = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            rooms |= {name.split(".")[1] for name in names if name.startswith("squall.")}
    assert rooms - {"report"} <= {"losses", "kernels", "scoring", "files", "workers", "settings"}
