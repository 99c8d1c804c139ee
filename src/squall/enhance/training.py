"""Training the mask models of an experiment: their frames, their tuning, their fit."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squall.audio.features import Normalizer
from squall.enhance.estimators.estimator import MaskEstimator
from squall.enhance.estimators.registry import estimator_class
from squall.enhance.frames import FrameSet, draw_frames
from squall.enhance.model import MaskModel
from squall.enhance.settings import ALL, EnhancementConfig, model_conditions
from squall.files import changed_files, read_json, visible_files, write_json, written_state
from squall.settings import digest
from squall.workers import OnProgress

__all__ = [
    "ModelFrames",
    "build_estimator",
    "choose_parameters",
    "read_frames",
    "train_models",
]

Array = NDArray[np.float32]

BLOCK_ROWS = 100_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFrames:
    """What one model is trained on.

    Args:
        normalizer: fitted on the training features.
        features, masks: (N, D) normalised and (N, F) of the training frames.
        dev_features, dev_masks: those of the validation frames.
    """

    normalizer: Normalizer
    features: Array
    masks: Array
    dev_features: Array
    dev_masks: Array


def read_frames(
    config: EnhancementConfig, features_dir: Path, conditions: Sequence[str]
) -> ModelFrames:
    """Draw the frames of a model and normalise them by the training frames.

    Args:
        config: how many frames, and with what context.
        features_dir: folder with `train/<condition>` and `dev/<condition>` frame sets.
        conditions: those that the model is for.
    """
    limits = {"train": config.training.max_frames, "dev": config.training.max_dev_frames}
    drawn = {}
    for split, limit in limits.items():
        sets = [FrameSet.read(features_dir / split / condition) for condition in conditions]
        drawn[split] = draw_frames(
            sets,
            context=config.features.context,
            mask_context=config.mask.context,
            limit=limit,
            seed=config.seed,
        )
    (features, masks), (dev_features, dev_masks) = drawn["train"], drawn["dev"]
    # One mean and scale for all places of a window: equal frames stay equal, which distances use.
    places = 2 * config.features.context + 1
    middle = np.array_split(features, places, axis=1)[config.features.context]
    normalizer = Normalizer.fit(middle[part] for part in _blocks(len(middle))).repeat(places)
    for drawn_features in (features, dev_features):
        for part in _blocks(len(drawn_features)):
            drawn_features[part] = normalizer.apply(drawn_features[part])
    return ModelFrames(normalizer, features, masks, dev_features, dev_masks)


def _blocks(rows: int) -> Iterator[slice]:
    """Parts of many rows, so that no copy of all is made."""
    return (slice(start, start + BLOCK_ROWS) for start in range(0, rows, BLOCK_ROWS))


def choose_parameters(
    config: EnhancementConfig, features_dir: Path, *, device: str, on_progress: OnProgress
) -> dict[str, Any]:
    """Choose among the candidates of the settings by the validation error.

    Each is trained for at most `tune_epochs` on the frames of all conditions, or of the first
    condition where there is no such model, and the best is taken for all models.

    Returns:
        `candidates` (parameters, dev_mse, epochs and seconds of each), `chosen` (parameters).
    """
    candidates = config.estimator.candidates
    if not candidates:
        return {"candidates": [], "chosen": {}}
    models = model_conditions(config)
    frames = read_frames(config, features_dir, models.get(ALL) or next(iter(models.values())))
    tried: list[dict[str, Any]] = []
    for done, parameters in enumerate(candidates):
        on_progress(done, len(candidates), f"candidate {json.dumps(parameters)}")
        limited = {**parameters, "max_epochs": config.estimator.tune_epochs}
        estimator = build_estimator(config, limited, device)
        estimator.fit(
            frames.features,
            frames.masks,
            dev_features=frames.dev_features,
            dev_masks=frames.dev_masks,
        )
        best = min(epoch["dev_mse"] for epoch in estimator.history_)
        tried.append(
            {
                "parameters": dict(parameters),
                "dev_mse": best,
                "epochs": len(estimator.history_),
                "seconds": estimator.history_[-1]["seconds"],
            }
        )
        _log.info("candidate %s: validation MSE %.6f", parameters, best)
    chosen = min(tried, key=lambda one: one["dev_mse"])["parameters"]
    return {"candidates": tried, "chosen": chosen}


def train_models(
    config: EnhancementConfig,
    features_dir: Path,
    directory: Path,
    *,
    tuning: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
    device: str,
    on_progress: OnProgress,
) -> None:
    """Train every model that is not trained yet.

    Each goes to `<directory>/<model>`, with `training.json` (its epochs and times), written last.

    Args:
        config: what to train.
        features_dir: frame sets.
        directory: folder of the models.
        tuning: what `choose_parameters` found.
        fingerprint: everything that decides the models, `settings` with `max_epochs` among them; a
            model with another one is trained again, or further where only that number differs.
        device: `cpu` or `cuda`.
        on_progress: told (models done, models, words).
    """
    models = model_conditions(config)
    mark = digest(fingerprint)
    for done, (name, conditions) in enumerate(models.items()):
        finished = directory / name / "training.json"
        if _mark_of(directory / name) == mark:
            continue
        finished.unlink(missing_ok=True)
        frames = read_frames(config, features_dir, conditions)
        estimator = build_estimator(config, tuning["chosen"], device)
        estimator.fit(
            frames.features,
            frames.masks,
            dev_features=frames.dev_features,
            dev_masks=frames.dev_masks,
            checkpoint=_checkpoint(directory / name, fingerprint),
            on_progress=lambda d, n, text, done=done, name=name: on_progress(  # type: ignore[misc]
                done, len(models), f"{name}: {text}"
            ),
        )
        record = {
            "fingerprint": mark,
            "frames": len(frames.features),
            "dev_frames": len(frames.dev_features),
            "parameters": tuning["chosen"],
            "seconds": estimator.history_[-1]["seconds"],
            "history": estimator.history_,
            "details": getattr(estimator, "details_", {}),
        }
        context = {"context": config.features.context, "mask_context": config.mask.context}
        model = MaskModel(config.estimator.name, estimator, frames.normalizer, **context)
        model.save(directory / name)
        record["files"] = {
            path.name: written_state(path) for path in visible_files(directory / name, "*")
        }
        write_json(finished, record, indent=1, nan_as_null=True, sealed=True)
        _log.info("model %s: %.1f s", name, record["seconds"])


def _mark_of(folder: Path) -> str | None:
    """Of what the model in a folder was made; None where there is none, or a damaged one."""
    try:
        record = read_json(folder / "training.json", sealed=True)
        files = record.get("files", {})
        changed = [name for name, state in files.items() if changed_files(folder / name, state)]
        return None if changed else str(record["fingerprint"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _checkpoint(directory: Path, fingerprint: Mapping[str, Any]) -> Path:
    """The checkpoint of what is trained; one of other frames or settings is removed.

    It is named by everything that decides the model but the number of epochs, so that more epochs
    go on from it.
    """
    settings = {k: v for k, v in fingerprint["settings"].items() if k != "max_epochs"}
    path = directory / f"checkpoint-{digest({**fingerprint, 'settings': settings})[:8]}.pt"
    for other in directory.glob("checkpoint-*.pt"):
        if other != path:
            other.unlink()
    return path


def build_estimator(
    config: EnhancementConfig, parameters: Mapping[str, Any], device: str
) -> MaskEstimator:
    """The estimator of an experiment, not yet trained.

    Args:
        config: names it, with its parameters.
        parameters: further ones, over those of the settings.
        device: `cpu` or `cuda`.

    Raises:
        ValueError: there is no such estimator, it has no such parameter, or a value is out of its
            range.
    """
    settings = {**config.estimator.parameters, **parameters}
    found: Callable[..., MaskEstimator] = estimator_class(config.estimator.name)
    try:
        return found(seed=config.seed, device=device, **settings)
    except TypeError as error:
        raise ValueError(f"estimator: {error}; given {', '.join(sorted(settings))}") from error
