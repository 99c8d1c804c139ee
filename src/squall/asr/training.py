"""Feature statistics and training of a recogniser, by ESPnet."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import yaml

from squall.asr.bridge.distributed import run_training
from squall.asr.bridge.names import MODEL_NAME
from squall.asr.bridge.running import QUIET, espnet_task, run_espnet
from squall.asr.settings import RecognitionConfig
from squall.files import atomic_path, json_text, read_json, write_json
from squall.networks.precision import choose_precision
from squall.settings import changes_since
from squall.workers import OnProgress

__all__ = [
    "begin_or_continue",
    "collect_statistics",
    "model_settings",
    "publish_model",
    "token_settings",
    "train_recogniser",
]

_log = logging.getLogger(__name__)


def collect_statistics(
    config: RecognitionConfig, *, data_dir: Path, tokens_dir: Path, output_dir: Path
) -> None:
    """Write the lengths of all utterances and the mean and variance of the features.

    Args:
        config: the experiment; of its ESPnet part, the frontend decides the result.
        data_dir: folder with `train/wav.scp` and `dev/wav.scp`.
        tokens_dir: folder with `tokens.txt`, `train/text` and `dev/text`.
        output_dir: receives `train/` and `valid/` with `speech_shape`, `text_shape` and
            `feats_stats.npz`, in ESPnet's layout.
    """
    settings = {
        **QUIET,
        **config.espnet,
        **_data(data_dir, tokens_dir),
        **token_settings(config, tokens_dir),
        "collect_stats": True,
        "output_dir": str(output_dir),
        "train_shape_file": [str(data_dir / "train" / "wav.scp")],
        "valid_shape_file": [str(data_dir / "dev" / "wav.scp")],
        "batch_type": "unsorted",
        "batch_size": 16,
    }
    task = espnet_task()
    run_espnet(task, settings, output_dir / "settings.yaml")


def train_recogniser(
    config: RecognitionConfig,
    *,
    data_dir: Path,
    tokens_dir: Path,
    stats_dir: Path,
    output_dir: Path,
    device: str,
    threads: int,
    fingerprint: dict[str, Any],
    on_progress: OnProgress,
    processes: int = 1,
) -> None:
    """Train, or continue a training, and write `model.pth` and `history.json`.

    `model.pth` is the average of the best checkpoints by the first criterion of
    `espnet.best_model_criterion`, as many as `espnet.keep_nbest_models`; with fewer epochs than
    that, ESPnet takes the best one alone.

    Args:
        config: the experiment.
        data_dir, tokens_dir, stats_dir: what the earlier stages wrote.
        output_dir: receives checkpoints, TensorBoard logs and the two files.
        device: `cpu` or `cuda`.
        threads: CPU threads of a process.
        fingerprint: settings and data that a training must share to be continued. Where an earlier
            one differs, its folder is kept under another name and training starts afresh.
        on_progress: told (epochs done, epochs in all, message).
        processes: how many train together on this machine, with `cuda` each on a GPU of its own;
            see `squall.asr.bridge.distributed` for what that changes.

    Raises:
        TrainingDivergedError: the loss is not finite.
        ValueError: ESPnet does not take a setting, or an earlier run has more epochs already.
        RuntimeError: a training process was ended from outside.
    """
    begin_or_continue(output_dir, fingerprint)
    shutil.copyfile(stats_dir / "train" / "feats_stats.npz", output_dir / "feats_stats.npz")
    if config.tokens.units == "bpe":
        shutil.copyfile(tokens_dir / "bpe.model", output_dir / "bpe.model")
    begun = _begun_precision(output_dir / "settings.yaml")
    precision = choose_precision(config.precision, device=device, begun=begun)
    _log.info("the products of a training step are in %s", precision)
    settings = {
        **QUIET,
        "use_tensorboard": True,
        "best_model_criterion": [["valid", "acc", "max"]],
        **config.espnet,
        **_data(data_dir, tokens_dir),
        **token_settings(config, tokens_dir),
        **_shapes(stats_dir),
        "normalize": "global_mvn",
        "normalize_conf": {"stats_file": str(output_dir / "feats_stats.npz")},
        **model_settings(config, precision),
        "seed": config.seed,
        "output_dir": str(output_dir),
        "resume": True,
        "ngpu": 1 if device == "cuda" else 0,
    }
    run_training(
        espnet_task(),
        settings,
        output_dir / "settings.yaml",
        processes=processes,
        threads=threads,
        on_progress=on_progress,
    )
    publish_model(output_dir, settings)


def _begun_precision(settings: Path) -> str | None:
    """That of the training whose ESPnet settings a file holds; None where there is no file."""
    if not settings.is_file():
        return None
    before = yaml.safe_load(settings.read_text(encoding="utf-8"))
    return str(before["model_conf"].get("precision", "float32"))


def model_settings(config: RecognitionConfig, precision: str = "float32") -> dict[str, Any]:
    """What names and makes a `squall.asr.bridge.model.SquallModel` among ESPnet's settings.

    Args:
        config: the experiment.
        precision: as `choose_precision` gives it.
    """
    loss = config.loss.model_dump(include={"name", "scale", "normalize"})
    own = {
        "loss": {**loss, "parameters": config.loss.parameters},
        "fused": config.loss.fused,
        "precision": precision,
    }
    return {"model": MODEL_NAME, "model_conf": {**config.espnet.get("model_conf", {}), **own}}


def begin_or_continue(output_dir: Path, fingerprint: dict[str, Any]) -> None:
    """Leave a training in its folder to be continued, or put it aside where it is another one.

    Args:
        output_dir: folder of the training; put aside as `<name>.before-<number>`.
        fingerprint: settings and data that a training must share to be continued.
    """
    record = output_dir / "started.json"
    for part in output_dir.glob(".*.part"):  # half a checkpoint of a run that was killed
        part.unlink()
    fingerprint = json.loads(json_text(fingerprint, default=str))
    if output_dir.exists() and any(output_dir.iterdir()):
        before = read_json(record) if record.exists() else {}
        changed = changes_since(before, fingerprint)
        if changed:
            _log.warning("another training lies in %s: %s", output_dir, "; ".join(changed))
            set_aside(output_dir)
    write_json(record, fingerprint, indent=1, sort_keys=True)


def set_aside(output_dir: Path) -> None:
    """Rename the folder of a training, if there is one, to `<name>.before-<number>`."""
    if not output_dir.exists():
        return
    number = 1
    while (kept := output_dir.with_name(f"{output_dir.name}.before-{number}")).exists():
        number += 1
    output_dir.rename(kept)
    _log.warning("kept the earlier training as %s", kept)


def publish_model(output_dir: Path, settings: dict[str, Any]) -> None:
    """Copy ESPnet's average of the best checkpoints to `model.pth` and write `history.json`.

    What was not finite in an epoch, as the loss of a training that diverged, is null there.
    """
    from squall.asr.bridge.trainer import read_history

    phase, criterion, _ = settings["best_model_criterion"][0]
    with atomic_path(output_dir / "model.pth") as path:
        shutil.copyfile(output_dir / f"{phase}.{criterion}.ave.pth", path)
    write_json(output_dir / "history.json", read_history(output_dir), nan_as_null=True)


def _data(data_dir: Path, tokens_dir: Path) -> dict[str, Any]:
    def files(split: str) -> list[list[str]]:
        return [
            [str(data_dir / split / "wav.scp"), "speech", "sound"],
            [str(tokens_dir / split / "text"), "text", "text"],
        ]

    return {
        "train_data_path_and_name_and_type": files("train"),
        "valid_data_path_and_name_and_type": files("dev"),
    }


def token_settings(config: RecognitionConfig, tokens_dir: Path) -> dict[str, Any]:
    token_list = str(tokens_dir / "tokens.txt")
    settings = {"token_type": config.tokens.espnet_type, "token_list": token_list}
    if config.tokens.units == "bpe":
        settings["bpemodel"] = str(tokens_dir / "bpe.model")
    return settings


def _shapes(stats_dir: Path) -> dict[str, Any]:
    return {
        f"{split}_shape_file": [
            str(stats_dir / split / f"{name}_shape") for name in ("speech", "text")
        ]
        for split in ("train", "valid")
    }
