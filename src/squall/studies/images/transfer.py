"""Fine-tuning of a network to another task, from weights along its training.

Source: Hui, Belkin and Nakkiran, *Limitations of neural collapse for understanding generalization
in deep learning*, 2022, section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from squall.engine.loss import LossSettings
from squall.files import read_json, write_json
from squall.networks.checkpoint import Checkpoint
from squall.networks.loop import train
from squall.networks.vision.classifier import ImageClassifier
from squall.networks.vision.images import Images
from squall.networks.vision.training import ImageTraining, predict_images
from squall.studies.images.settings import SgdSettings

__all__ = ["fine_tune"]


def fine_tune(
    build: Callable[[], ImageClassifier],
    images: dict[str, Images],
    loss: LossSettings,
    settings: SgdSettings,
    *,
    classes: int,
    seed: int,
    device: str,
    kept: Path,
    stamp: dict[str, Any],
    on_rate: Callable[[float], object],
) -> dict[str, float]:
    """Fine-tune a network with each learning rate, and test the one that is best on dev.

    Args:
        build: makes the network with the weights to begin from.
        images: of the splits `train`, `dev` and `test`.
        loss: what it is fine-tuned with.
        settings: how.
        classes: of the new task; its last layer is drawn with the seed.
        seed: of the last layer and of the order of the images.
        device: `cpu` or `cuda`.
        kept: a file that keeps the answers of the rates that are done, and those alone with the
            same stamp.
        stamp: everything that decides them.
        on_rate: told each learning rate before its training.

    Returns:
        `learning_rate`, `dev_accuracy` and `accuracy`, that on the test set.
    """
    try:
        known = read_json(kept, sealed=True)
    except (FileNotFoundError, ValueError):  # none yet, or damaged
        known = {}
    done: list[dict[str, float]] = known["rates"] if known.get("stamp") == stamp else []
    for rate in settings.learning_rates[len(done) :]:
        on_rate(rate)
        torch.manual_seed(seed)
        network = build()
        network.output_layer = nn.Linear(network.output_layer.in_features, classes)
        network.to(device)
        training = ImageTraining(
            network, images["train"], images["dev"], loss.build(classes=classes), settings.plan,
            learning_rate=rate, seed=seed, device=device,
        )  # fmt: skip
        checkpoint = Checkpoint(kept.with_suffix(".pt"), {**stamp, "learning_rate": rate}, 60.0)
        train(training, epochs=settings.epochs, patience=settings.patience, checkpoint=checkpoint)
        found = {"learning_rate": rate}
        for name, split in (("dev_accuracy", "dev"), ("accuracy", "test")):
            logits = predict_images(network, images[split], settings.plan, device)
            right = logits.argmax(axis=1) == images[split].targets.numpy()
            found[name] = float(right.mean())
        done.append(found)
        write_json(kept, {"stamp": stamp, "rates": done}, sealed=True)
        checkpoint.path.unlink(missing_ok=True)
    return max(done, key=lambda one: one["dev_accuracy"])
