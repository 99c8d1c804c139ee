"""ESPnet's settings: refused with a reason, recorded, and its logging kept out of ours."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiny

pytest.importorskip("espnet2")

from squall.asr.bridge.model import SquallModel
from squall.asr.bridge.names import MODEL_NAME
from squall.asr.bridge.running import (
    espnet_task,
    language_model_task,
    load_espnet_config,
)
from squall.asr.training import collect_statistics
from squall.engine.experiment import Experiment
from training_runs import train


def test_the_model_is_registered_with_espnets_own_task() -> None:
    espnet_task()
    from espnet2.tasks.asr import model_choices

    assert model_choices.get_class(MODEL_NAME) is SquallModel


@pytest.mark.slow
def test_g2p_and_its_downloads_are_kept_out_of_recognition() -> None:
    program = (
        "import sys; from squall.asr.decoding import load_recogniser; "
        "from squall.asr.bridge.running import espnet_task; espnet_task(); "
        "assert not hasattr(sys.modules['g2p_en'], 'G2p')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [False, True])
def test_espnet_imports_transformers_only_where_that_is_asked_for(asked: bool) -> None:
    pytest.importorskip("transformers")
    program = (
        "import sys; import squall.asr.bridge.espnet; print('transformers' in sys.modules); "
        "import transformers; print(transformers.__version__ >= '5')"
    )
    environment = os.environ | ({"SQUALL_ESPNET_TRANSFORMERS": "1"} if asked else {})
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment
    )
    assert done.stdout.split() == [str(asked), "True"]


@pytest.mark.slow
@pytest.mark.parametrize("task_of", [espnet_task, language_model_task])
def test_a_task_that_is_handed_to_another_process_brings_all_it_needs(
    task_of: Callable[[], Any],
) -> None:
    task = task_of()
    assert pickle.loads(pickle.dumps(task)) is task  # noqa: S301 - just written
    program = (
        "import pickle, sys; task = pickle.loads(bytes.fromhex(sys.argv[1])); "
        "from espnet2.tasks.asr import model_choices; "
        "assert task.trainer.__name__ == 'SquallTrainer'; "
        "assert model_choices.get_class('squall').__name__ == 'SquallModel'; "
        "assert not hasattr(sys.modules['g2p_en'], 'G2p')"
    )
    subprocess.run([sys.executable, "-c", program, pickle.dumps(task).hex()], check=True)


def test_statistics_are_of_one_process_whatever_the_launcher_says(
    prepared: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # without RANK, for which ESPnet would ask
    monkeypatch.delenv("RANK", raising=False)
    shared = prepared.recipe_dir / "shared"
    data, tokens, stats = (next(shared.glob(f"{name}-*")) for name in ("data", "tokens", "stats"))
    settings = tiny.config(espnet__multiprocessing_distributed=True)
    collect_statistics(settings, data_dir=data, tokens_dir=tokens, output_dir=tmp_path)
    shapes = "train/speech_shape"
    assert (tmp_path / shapes).read_text() == (stats / shapes).read_text()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"espnet__encodr": "conformer"}, "unrecognized arguments: encodr"),
        ({"espnet__max_epoch": "many"}, "max_epoch: invalid int value: 'many'"),
        ({"espnet__encoder": "conformers"}, "conformers"),
        ({"espnet__encoder_conf": {"blocks": 3}}, "unexpected keyword argument 'blocks'"),
    ],
)
def test_settings_that_espnet_does_not_take_are_named(
    prepared: Experiment, tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        train(prepared, tiny.config(**settings), tmp_path / "train")
    assert reason in str(caught.value)


def test_logging_is_left_as_it_was(prepared: Experiment, tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    train(prepared, tiny.config(espnet__max_epoch=1), tmp_path / "train")
    assert (root.level, list(root.handlers)) == before


def test_what_espnet_was_told_is_on_record(prepared: Experiment, tmp_path: Path) -> None:
    settings = tiny.config(espnet__max_epoch=1, loss__name="ccql", loss__w=2.0, seed=5)
    train(prepared, settings, tmp_path / "train")
    for name in ("settings.yaml", "config.yaml"):
        args = load_espnet_config(tmp_path / "train" / name)
        assert args.seed == 5
        assert args.model == MODEL_NAME
        assert args.model_conf["loss"] == {
            "name": "ccql", "scale": 1.0, "normalize": "batch", "parameters": {"w": 2.0}
        }  # fmt: skip
        assert args.num_att_plot == 0
