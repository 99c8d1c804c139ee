"""The command of a recipe, with its experiments in this process or in their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cells_here import run_cells_here
from squall.cli import main

Squall = Callable[..., tuple[int, str, str]]


@pytest.fixture
def squall(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Squall:
    """`squall run RECIPE`, on `tmp_path/exp` and `tmp_path/results`: exit code, output, errors.

    Its experiments run in this process, which has ESPnet imported already; `processes=True` gives
    each a process of its own, as the command has it.
    """
    monkeypatch.delenv("SQUALL_COMMAND", raising=False)  # set where run.sh runs the tests

    def run(
        recipe: str,
        *arguments: object,
        settings: Mapping[str, Any] = {},
        processes: bool = False,
    ) -> tuple[int, str, str]:
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in settings.items()}
        chosen = [part for k, text in texts.items() for part in ("--set", f"{k}={text}")]
        places = ["--exp-dir", tmp_path / "exp", "--results-dir", tmp_path / "results"]
        capfd.readouterr()
        with monkeypatch.context() as patch:
            if not processes:
                patch.setattr("squall.cli.run.run_cells", run_cells_here)
            code = main(["run", recipe, *map(str, [*places, *chosen, *arguments])])
        return code, *capfd.readouterr()

    return run
