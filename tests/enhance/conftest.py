"""Fixtures of the enhancement tests: a tiny corpus with noises, and experiments on it."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny_enhancement
from made_once import made_once
from squall.engine.experiment import Experiment
from squall.enhance.settings import EnhancementConfig

Enhancement = Experiment[EnhancementConfig]


@pytest.fixture(scope="session")
def scored(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Enhancement]:
    """A scored experiment of each estimator, by its name; nothing may be changed in them."""
    folder = made_once(tmp_path_factory, "scored", lambda folder: _score(folder, tiny_data))
    return {
        name: Experiment(settings, tiny_enhancement.options(tiny_data, exp_dir=folder / "exp"))
        for name, settings in _settings(folder).items()
    }


def _settings(folder: Path) -> dict[str, EnhancementConfig]:
    names = ("noisy", "oracle", "dnn", "kernel")
    return {name: tiny_enhancement.config(folder, name) for name in names}


def _score(folder: Path, data: Path) -> None:
    for settings in _settings(folder).values():
        tiny_enhancement.run(settings, data, exp_dir=folder / "exp")
