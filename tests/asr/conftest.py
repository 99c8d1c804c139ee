"""A corpus of a few utterances, prepared and trained on once for all tests of the recogniser."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny
from made_once import made_once
from squall.engine.experiment import Experiment


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prepared(demo_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Stages 0 to 3: what a training needs. Nothing may be changed in it."""
    settings = tiny.config()
    exp_dir = made_once(
        tmp_path_factory,
        "prepared",
        lambda folder: tiny.run(settings, corpus=demo_corpus, exp_dir=folder, last=3),
    )
    return tiny.cell(settings, corpus=demo_corpus, exp_dir=exp_dir).experiment


@pytest.fixture(scope="session")
def trained(demo_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """All stages, on the square loss: it is decoded with a clipped posterior. Not to be changed."""
    settings = tiny.config(loss__name="square")
    exp_dir = made_once(
        tmp_path_factory,
        "trained",
        lambda folder: tiny.run(settings, corpus=demo_corpus, exp_dir=folder),
    )
    return tiny.cell(settings, corpus=demo_corpus, exp_dir=exp_dir).experiment
