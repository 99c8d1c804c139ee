"""A language model over the recogniser's tokens, for shallow fusion in the beam search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from squall.asr.bridge import QUIET, language_model_task, load_espnet_config, run_espnet
from squall.asr.settings import RecognitionConfig
from squall.asr.trainer import load_weights
from squall.asr.training import begin_or_continue, publish_model, token_settings

__all__ = ["load_language_model", "train_language_model"]


def train_language_model(
    config: RecognitionConfig,
    *,
    data_dir: Path,
    tokens_dir: Path,
    output_dir: Path,
    device: str,
    threads: int,
    fingerprint: dict[str, Any],
    on_progress: Callable[[int, int, str], None],
) -> None:
    """Train ESPnet's language model on the training transcripts and write `model.pth`.

    A training that was interrupted is continued.

    Args:
        config: the experiment; `lm.espnet` are ESPnet's settings, passed through unchanged.
        data_dir: folder with `train/text` and `dev/text`.
        tokens_dir: folder with `tokens.txt`.
        output_dir: receives checkpoints and `model.pth`.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        fingerprint: settings and data that a training must share to be continued.
        on_progress: told (epochs done, epochs in all, message).

    Raises:
        ValueError: the experiment has no language model, or ESPnet does not take a setting.
    """
    if config.lm is None:
        raise ValueError("the experiment has no `lm` settings")
    begin_or_continue(output_dir, fingerprint)
    torch.set_num_threads(threads)
    task = language_model_task()
    task.trainer.on_progress = staticmethod(on_progress)
    common = {
        **QUIET,
        **token_settings(config, tokens_dir),
        "train_data_path_and_name_and_type": [[str(data_dir / "train" / "text"), "text", "text"]],
        "valid_data_path_and_name_and_type": [[str(data_dir / "dev" / "text"), "text", "text"]],
    }
    stats = {
        **common,
        "collect_stats": True,
        "output_dir": str(output_dir / "stats"),
        "train_shape_file": [str(data_dir / "train" / "text")],
        "valid_shape_file": [str(data_dir / "dev" / "text")],
        "batch_type": "unsorted",
        "batch_size": 64,
    }
    run_espnet(task, stats, output_dir / "stats" / "settings.yaml")
    settings = {
        "best_model_criterion": [["valid", "loss", "min"]],
        **common,
        **config.lm.espnet,
        "train_shape_file": [str(output_dir / "stats" / "train" / "text_shape")],
        "valid_shape_file": [str(output_dir / "stats" / "valid" / "text_shape")],
        "seed": config.seed,
        "output_dir": str(output_dir),
        "resume": True,
        "ngpu": 1 if device == "cuda" else 0,
    }
    run_espnet(task, settings, output_dir / "settings.yaml")
    publish_model(output_dir, settings)


def load_language_model(directory: Path, device: str) -> Any:
    """The trained model as a scorer of ESPnet's beam search.

    Raises:
        FileNotFoundError: it has not been trained.
        ValueError: the weights do not fit.
    """
    for name in ("config.yaml", "model.pth"):
        if not (directory / name).is_file():
            raise FileNotFoundError(
                f"{directory / name} is missing: run the recipe with this decode.lm_weight first, "
                "from stage 4 (lm) to 6 (decode)"
            )
    model = language_model_task().build_model(load_espnet_config(directory / "config.yaml"))
    load_weights(model, directory / "model.pth")
    return model.lm.to(device).eval()
