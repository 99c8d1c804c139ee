"""An experiment of every kind that squall runs, small enough to run in seconds."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tiny
import tiny_enhancement
from cells_here import run_cells_here
from squall.cli import main
from squall.engine.experiment import RunOptions, repository_root
from squall.engine.runner import Cell
from squall.engine.tasks import load_config
from squall.report.records import read_records
from tiny_images import write_bright_images
from tiny_studies import CHARLM, MIXTURES, TABULAR, write_uci_set, write_words
from tiny_texts import write_opinions, write_tiny_encoder

MEASURED = {"rtf", "train_seconds", "decode_seconds", "seconds"}
"""Metrics that are times, which no two runs have in common."""

_WITH_WORKERS = {"enhance_timit", "tabular", "mixtures"}


@dataclass(frozen=True)
class TinyTask:
    """An experiment and how to make what it reads.

    Args:
        recipe: its name.
        preset: of the recipe.
        write: fills a folder, and gives further settings and the command's options of places.
        settings: of the experiment.
        packages: without which it cannot run.
    """

    recipe: str
    preset: str
    write: Callable[[Path], tuple[dict[str, Any], dict[str, str]]]
    settings: dict[str, Any]
    packages: tuple[str, ...] = ()

    def cell(self, folder: Path, exp_dir: Path, **further: Any) -> Cell:
        """The experiment below `exp_dir` on the data of a folder, which are made if absent."""
        settings, places = self.data(folder)
        path = repository_root() / "conf" / self.recipe / f"{self.preset}.yaml"
        chosen = {**self.settings, **settings, "results_dir": str(exp_dir), "grid": {}}
        options = RunOptions(str(exp_dir), workers=1, **places)  # type: ignore[arg-type]
        return Cell(load_config(path, chosen), options, **{"last": 7, **further})

    def run(self, data: Path, folder: Path) -> tuple[int, str, str]:
        """`squall run` in this process, on the data of one folder, with `exp` and `results` in
        another: exit code, output, errors."""
        out, err = io.StringIO(), io.StringIO()
        arguments = self.command(data, folder)
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setattr("squall.cli.run.run_cells", run_cells_here)
            code = main(arguments)
        return code, out.getvalue(), err.getvalue()

    def command(self, data: Path, folder: Path) -> list[str]:
        """The arguments of `squall` for that."""
        exp_dir = ["--exp-dir", str(folder / "exp")]
        return ["run", self.recipe, *exp_dir, *self.arguments(data, folder)]

    def arguments(self, data: Path, folder: Path) -> list[str]:
        """Those of `squall run` for the same experiment but for the folder of experiments."""
        settings, places = self.data(data)
        chosen = {**self.settings, **settings, "grid": {}}
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in chosen.items()}
        return [
            "--preset", self.preset, "--results-dir", str(folder / "results"),
            *(("--workers", "1") if self.recipe in _WITH_WORKERS else ()),
            *(part for k, text in texts.items() for part in ("--set", f"{k}={text}")),
            *(part for k, v in places.items() for part in (f"--{k.replace('_', '-')}", v)),
        ]  # fmt: skip

    def data(self, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
        """Further settings, and the options of the places, of the data in a folder."""
        return self.write(folder)


def numbers(folder: Path) -> dict[tuple[Any, ...], str]:
    """The records of the one experiment in a folder's `exp` to their last digit, as text."""
    (result,) = (folder / "exp").glob("*/*/result.json")
    return numbers_of(result)


def numbers_of(result: Path) -> dict[tuple[Any, ...], str]:
    """The records of an experiment's `result.json`, but those that are times."""
    found = read_records(result)
    return {r.key: repr(r.value) for r in found if r.metric not in MEASURED}


def _corpus(write: Callable[[Path], object]) -> Callable[[Path], Any]:
    def written(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
        corpus = folder / "corpus"
        if not corpus.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write(corpus)
        return {}, {"corpus_dir": str(corpus)}

    return written


def _texts(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    encoder = folder / "encoder"
    if not encoder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_tiny_encoder(encoder)
    _, places = _corpus(write_opinions)(folder)
    return {"model.pretrained": str(encoder)}, places


def _mixtures(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    if not (folder / "corpus").exists():
        folder.mkdir(parents=True, exist_ok=True)
        tiny_enhancement.write(folder)
    return {}, {"corpus_dir": str(folder / "corpus"), "noise_dir": str(folder / "noise")}


def _spoken(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from squall.corpora.demo.corpus import write_demo_corpus

    few = {"train_per_voice": 1, "dev_per_voice": 2, "test_per_voice": 1}
    return _corpus(lambda corpus: write_demo_corpus(corpus, **few))(folder)


def _sets(folder: Path) -> None:
    for name, samples in (("big", 48), ("little", 24)):
        write_uci_set(folder, name, samples=samples)


TASKS = {
    "recognition": TinyTask(
        "demo", "conformer", _spoken,
        {**tiny.SETTINGS, "lm.espnet": tiny.LANGUAGE_MODEL, "decode.lm_weight": 0.5},
        ("espnet2", "espeakng_loader"),
    ),
    "enhancement": TinyTask(
        "enhance_timit", "sample", _mixtures,
        {
            **tiny_enhancement.SETTINGS,
            "estimator": {"name": "dnn", "max_epochs": 2, **tiny_enhancement.SMALL["dnn"]},
            "training": {"models": ["all"], "max_frames": 300, "max_dev_frames": 100},
            "scores": ["stoi"],
        },
    ),
    "kernel machines": TinyTask(
        "enhance_timit", "sample", _mixtures,
        {
            **tiny_enhancement.SETTINGS,
            "estimator": {"name": "kernel", "max_epochs": 2, **tiny_enhancement.SMALL["kernel"]},
            "training": {"models": ["all"], "max_frames": 300, "max_dev_frames": 100},
            "scores": ["stoi"],
        },
    ),
    "spiral": TinyTask(
        "spiral", "spirals", lambda folder: ({}, {}),
        {"study.samples": 40, "study.epochs": [1, 3], "study.grid": 5},
    ),
    "tabular": TinyTask("tabular", "collection", _corpus(_sets), TABULAR),
    "text": TinyTask(
        "text", "bert", _texts,
        {
            "max_length": 16,
            "training.epochs": 2,
            "training.batch_size": 8,
            "training.learning_rate": [0.001, 0.01],
            "training.precision": "float32",
        },
        ("transformers",),
    ),
    "images": TinyTask(
        "images", "cifar10", _corpus(write_bright_images),
        {
            "network": {"name": "resnet18", "width": 4},
            "training.epochs": 3,
            "training.batch_size": 16,
            "training.learning_rate": 0.1,
            "training.augment": False,
            "training.precision": "float32",
            "training.measured_epochs": [0, 1],
        },
    ),
    "charlm": TinyTask("charlm", "text8_small", _corpus(write_words), CHARLM),
    "theory": TinyTask("mixtures", "lemmas", lambda folder: ({}, {}), MIXTURES),
}  # fmt: skip
"""By kind."""
