"""What may import what; the losses and the command line have theirs in tests of their own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LIST_MODULES = (
    "import sys, json, importlib; importlib.import_module(sys.argv[1]); "
    "print(json.dumps(sorted(sys.modules)))"
)


def _loaded_by(module: str) -> set[str]:
    command = [sys.executable, "-c", LIST_MODULES, module]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.parametrize("room", ["squall.scoring", "squall.kernels"])
def test_scoring_and_kernels_can_be_lifted_out(room: str) -> None:
    ours = {name for name in _loaded_by(room) if name.startswith("squall.")}
    assert {name for name in ours if not name.startswith(room)} == set()


def test_enhancement_needs_no_espnet() -> None:
    assert _loaded_by("squall.enhance.recipe") & {"espnet", "espnet2"} == set()


def test_manifests_need_neither_espnet_nor_torch() -> None:
    assert _loaded_by("squall.corpora.validation") & {"espnet", "espnet2", "torch"} == set()
