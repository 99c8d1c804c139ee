"""Fixtures of the enhancement tests: a tiny corpus with noises, and experiments on it."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_enhancement
from squall.engine.experiment import Experiment
from squall.enhance.settings import EnhancementConfig

Enhancement = Experiment[EnhancementConfig]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny `corpus` and `noise`; nothing may be changed in it."""
    return tiny_enhancement.write(tmp_path_factory.mktemp("enhancement"))


@pytest.fixture(scope="session")
def scored(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Enhancement]:
    """A scored experiment of each estimator, by its name; nothing may be changed in them."""
    exp_dir = tmp_path_factory.mktemp("scored") / "exp"
    found = {}
    for name in ("noisy", "oracle", "dnn", "kernel"):
        settings = tiny_enhancement.config(exp_dir.parent, name)
        found[name], _ = tiny_enhancement.run(settings, tiny_data, exp_dir=exp_dir)
    return found
