"""`squall run` of a small experiment of every kind of task, in this process."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import tiny
import tiny_enhancement
from cells_here import run_cells_here
from squall.cli import main
from squall.report.records import read_records
from tiny_images import write_bright_images
from tiny_letters import write_letters
from tiny_tables import write_uci_set
from tiny_texts import write_opinions, write_tiny_encoder

MEASURED = ("rtf", "train_seconds", "tune_seconds", "seconds", "ms_per_step", "step_ms")

ONE_LOSS = ("--grid", "loss.name=squentropy")


@dataclass(frozen=True)
class TaskRun:
    """A command.

    Args:
        recipe: its name.
        arguments: further ones, as where the corpus lies.
        settings: to set.
        root: where `conf` lies, if not in the checkout.
    """

    recipe: str
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    root: Path | None = None

    def __call__(self, folder: Path) -> tuple[int, str, str]:
        """Run it on `exp` and `results` below a folder: exit code, output, errors."""
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in self.settings.items()}
        chosen = [part for k, text in texts.items() for part in ("--set", f"{k}={text}")]
        places = ["--exp-dir", str(folder / "exp"), "--results-dir", str(folder / "results")]
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setattr("squall.cli.run.run_cells", run_cells_here)
            if self.root:
                patch.setenv("SQUALL_ROOT", str(self.root))
            code = main(["run", self.recipe, *places, "--seed", "1", *chosen, *self.arguments])
        return code, out.getvalue(), err.getvalue()


def numbers(folder: Path) -> dict[tuple[str | int, ...], str]:
    """The results of a run to their last digit, without times."""
    records = read_records(folder / "results" / "results.json")
    found = {r.key: repr(r.value) for r in records if not r.metric.endswith(MEASURED)}
    assert found
    return found


def spiral(folder: Path, _: Callable[[str], Any]) -> TaskRun:
    return TaskRun("spiral", (), {"study.samples": 40, "study.epochs": [1, 3], "study.grid": 5})


def tabular(folder: Path, _: Callable[[str], Any]) -> TaskRun:
    write_uci_set(folder / "uci", "little", samples=24)
    settings = {
        "study.network.epochs": 3,
        "study.network.hidden": [4],
        "study.initialisations": 2,
    }
    return TaskRun("tabular", ("--corpus-dir", str(folder / "uci"), "--workers", "1"), settings)


def mixtures(folder: Path, _: Callable[[str], Any]) -> TaskRun:
    settings = {
        "study.grid": {"classes": [3], "features": [4], "correlation": ["random"]},
        "study.weights": [500],
        "study.path": {
            "mixtures": [{"classes": 3, "features": 4}],
            "samples": 40,
            "test_samples": 100,
            "steps": 20,
        },
        "study.samples": 100,
        "study.seeds": 2,
    }
    return TaskRun("mixtures", ("--workers", "1"), settings)


def images(folder: Path, _: Callable[[str], Any]) -> TaskRun:
    corpus = write_bright_images(folder / "bright", classes=8, train=320, test=80)
    settings = {
        "network": {"name": "resnet18", "width": 4},
        "training.epochs": 2,
        "training.batch_size": 32,
        "training.learning_rate": [0.03],
        "training.augment": False,
        "training.precision": "float32",
        "training.measured_epochs": [0, 1],
    }
    return TaskRun(
        "images", ("--preset", "cifar10", "--corpus-dir", str(corpus), *ONE_LOSS), settings
    )


def text(folder: Path, _: Callable[[str], Any]) -> TaskRun:
    settings = {
        "model.pretrained": str(write_tiny_encoder(folder / "encoder")),
        "max_length": 16,
        "training.epochs": 2,
        "training.batch_size": 8,
        "training.learning_rate": [0.01],
        "training.precision": "float32",
    }
    places = ("--preset", "bert", "--corpus-dir", str(write_opinions(folder / "opinions")))
    return TaskRun("text", (*places, *ONE_LOSS), settings)


def charlm(folder: Path, _: Callable[[str], Any]) -> TaskRun:
    corpus = write_letters(folder / "letters")
    settings = {
        "network.layers": 2, "network.d_model": 16, "network.heads": 2, "network.d_inner": 24,
        "network.memory": 8, "training.batch": 4, "training.segment": 8, "training.steps": 8,
        "training.steps_per_epoch": 4, "training.warmup": 2, "training.dev_tokens": 200,
        "training.precision": "float32", "evaluation.segment": 16, "evaluation.memory": 16,
        "evaluation.block": 50, "text.ngrams": [2, 3],
    }  # fmt: skip
    return TaskRun("charlm", ("--corpus-dir", str(corpus), *ONE_LOSS), settings)


def enhancement(folder: Path, fixture: Callable[[str], Any]) -> TaskRun:
    return _enhancement(folder, fixture, "dnn")


def kernel(folder: Path, fixture: Callable[[str], Any]) -> TaskRun:
    return _enhancement(folder, fixture, "kernel")


def _enhancement(folder: Path, fixture: Callable[[str], Any], estimator: str) -> TaskRun:
    import yaml

    data = fixture("tiny_data")
    config = tiny_enhancement.config(folder / "conf", estimator, estimator__max_epochs=2)
    path = folder / "conf" / "toy" / "tiny.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    places = ("--corpus-dir", str(data / "corpus"), "--noise-dir", str(data / "noise"))
    return TaskRun("toy", (*places, "--workers", "1"), root=folder)


def recognition(folder: Path, fixture: Callable[[str], Any]) -> TaskRun:
    """With a language model; its stages are those of recognition and of stage 4."""
    pytest.importorskip("espnet2")
    language_model = {
        "lm.espnet": "{max_epoch: 1, lm: transformer, batch_type: sorted, batch_size: 8, lm_conf: "
        "{embed_unit: 8, att_unit: 8, head: 2, unit: 8, layer: 1}, use_tensorboard: false}",
        "decode.lm_weight": "0.3",
    }
    settings = {**tiny.SETTINGS, "loss.name": "squentropy", **language_model}
    return TaskRun("demo", ("--corpus-dir", str(fixture("demo_corpus"))), settings)


TASKS = (spiral, mixtures, tabular, text, charlm, images, enhancement, kernel, recognition)
