"""A corpus of a few utterances, prepared and trained on once for all tests of the recogniser."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny
from squall.engine.experiment import Experiment


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prepared(demo_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Stages 0 to 3: what a training needs."""
    exp_dir = tmp_path_factory.mktemp("prepared")
    return tiny.run(tiny.config(), corpus=demo_corpus, exp_dir=exp_dir, last=3)[0]


@pytest.fixture(scope="session")
def trained(demo_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """All stages, on the square loss: it is decoded with a clipped posterior."""
    exp_dir = tmp_path_factory.mktemp("trained")
    settings = tiny.config(loss__name="square")
    return tiny.run(settings, corpus=demo_corpus, exp_dir=exp_dir)[0]
