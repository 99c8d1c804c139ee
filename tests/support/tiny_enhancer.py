"""An enhancement experiment whose mask model is trained on noise, without running a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from squall.audio.features import Normalizer, context_window, extract
from squall.engine.experiment import Experiment, RunOptions
from squall.enhance.estimators.dnn import DnnEstimator
from squall.enhance.model import MaskModel
from squall.enhance.settings import EnhancementConfig

CHANNELS, CONTEXT = 16, 1


def write_enhancer(folder: Path, *conditions: str) -> Path:
    """Write an experiment below a folder, with one model for all conditions or one for each.

    Returns:
        The experiment's folder.
    """
    config = EnhancementConfig.model_validate(
        {
            "recipe": "toy",
            "experiment": "tiny",
            "corpus": {"name": "manifest"},
            "frontend": {"name": "gammatone", "channels": CHANNELS},
            "features": {"context": CONTEXT},
            "training": {"models": ["all"]},
            "estimator": {"name": "dnn"},
        }
    )
    experiment = Experiment(config, RunOptions(exp_dir=str(folder)))
    experiment.write_settings()
    for seed, name in enumerate(conditions or ("all",)):
        directory = experiment.directory / "train" / name
        train_model(seed).save(directory)
        (directory / "training.json").write_text(json.dumps({"epochs": 2}))
    return experiment.directory


def train_model(seed: int) -> MaskModel:
    """A model that turns the features of noise into masks drawn at random."""
    random = np.random.default_rng(seed)
    noise = random.normal(0.0, 0.05, 8000).astype(np.float32)
    features = context_window(extract(noise), CONTEXT, CONTEXT)
    normalizer = Normalizer.fit([features])
    rows = normalizer.apply(features)
    masks = random.uniform(size=(len(rows), CHANNELS)).astype(np.float32)
    estimator = DnnEstimator(hidden_layers=1, hidden_units=16, max_epochs=2, seed=seed)
    estimator.fit(rows, masks, dev_features=rows, dev_masks=masks)
    return MaskModel("dnn", estimator, normalizer, CONTEXT, 0)
