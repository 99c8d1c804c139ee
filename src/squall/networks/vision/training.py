"""Training of an image classifier, and its answers and features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squall.losses import TokenLoss
from squall.networks.loop import generators_of_torch
from squall.networks.precision import rounded_as
from squall.networks.vision.classifier import ImageClassifier
from squall.networks.vision.images import Images, shift_and_mirror

__all__ = ["ImageTraining", "SgdPlan", "feature_blocks", "predict_images", "rate_at"]

_PREDICTED_AT_ONCE = 256


@dataclass(frozen=True)
class SgdPlan:
    """How an image classifier is trained: SGD with momentum.

    Args:
        epochs: of the whole course of the learning rate.
        batch_size: images of a step.
        momentum, weight_decay: of SGD; Nesterov's look-ahead where `nesterov` says so.
        schedule: `cosine` falls to 0 at the end, `steps` is divided by `divisor` after each epoch
            of `milestones`, `none` stays.
        milestones, divisor: see `schedule`.
        augment: whether training images are shifted and mirrored.
        keep: the epoch with the `best` score, or the `last`.
        precision: `float32` or `bfloat16`.
    """

    epochs: int
    batch_size: int = 128
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "steps", "none"] = "cosine"
    milestones: tuple[int, ...] = ()
    divisor: float = 10.0
    augment: bool = False
    keep: Literal["best", "last"] = "best"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


class ImageTraining:
    """A training in the form that `squall.networks.loop.train` takes.

    Args:
        network: with fresh weights.
        images, dev: to train on; to score on.
        loss: of logits (B, C) and targets (B,).
        plan: how.
        learning_rate: the highest.
        seed: of the order of the images, of shifts and mirrors.
        device: `cpu` or `cuda`; the network is there already.
    """

    def __init__(
        self,
        network: ImageClassifier,
        images: Images,
        dev: Images,
        loss: TokenLoss,
        plan: SgdPlan,
        *,
        learning_rate: float,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images, self.dev = images, dev
        self.loss = loss
        self.plan = plan
        self.learning_rate = learning_rate
        self.seed = seed
        self.device = device
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            lr=learning_rate,
            momentum=plan.momentum,
            nesterov=plan.nesterov,
            weight_decay=plan.weight_decay,
        )
        self.generators = generators_of_torch(device)  # dropout draws from them
        self._right = 0

    @property
    def steps(self) -> int:
        """Of one epoch."""
        return -(-len(self.images) // self.plan.batch_size)

    def train_epoch(self, epoch: int) -> float:
        """The mean loss over the images, before the step on each."""
        self.network.train()
        # What an epoch draws depends on its number alone, so that nothing of it need be kept.
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + epoch)
        order = torch.randperm(len(self.images), generator=generator)
        total, self._right = 0.0, 0
        for number, rows in enumerate(torch.split(order, self.plan.batch_size)):
            rate = rate_at(epoch - 1 + number / self.steps, self.plan)
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * rate
            batch = self.images.batch(rows)
            if self.plan.augment:
                batch = shift_and_mirror(batch, generator=generator)
            targets = self.images.targets[rows].to(self.device)
            with rounded_as(self.plan.precision, self.device):
                logits = self.network(_placed(batch, self.device))
            logits = logits.float()
            loss = self.loss(logits, targets)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += loss.item() * len(rows)
            self._right += int((logits.detach().argmax(1) == targets).sum())
        return total / len(self.images)

    def score(self) -> Mapping[str, float | None]:
        """Errors on the development set, which choose the epoch if one is chosen, its accuracy,
        that on the training images as they were learnt, and the norm of the last layer's weights.
        """
        logits = predict_images(self.network, self.dev, self.plan, self.device)
        errors = float((logits.argmax(axis=1) != self.dev.targets.numpy()).mean())
        return {
            "dev_errors": errors if self.plan.keep == "best" else None,
            "dev_accuracy": 1 - errors,
            "train_accuracy": self._right / len(self.images),
            "weight_norm": float(self.network.output_layer.weight.detach().norm()),
        }


def rate_at(epochs_done: float, plan: SgdPlan) -> float:
    """The learning rate as a share of the highest one, when so many epochs are done.

    >>> plan = SgdPlan(epochs=4, schedule="steps", milestones=(2, 3), divisor=4)
    >>> [rate_at(epoch, plan) for epoch in (0, 1.5, 2, 3.9)]
    [1.0, 1.0, 0.25, 0.0625]
    >>> [round(rate_at(epoch, SgdPlan(epochs=4)), 3) for epoch in (0, 1, 2, 3)]
    [1.0, 0.854, 0.5, 0.146]
    """
    if plan.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * epochs_done / plan.epochs))
    if plan.schedule == "steps":
        passed = sum(milestone <= epochs_done for milestone in plan.milestones)
        return float(plan.divisor**-passed)
    return 1.0


def predict_images(
    network: ImageClassifier,
    images: Images,
    plan: SgdPlan,
    device: str = "cpu",
    *,
    on_batch: Callable[[int], object] | None = None,
) -> NDArray[np.float32]:
    """Logits (N, C) of images, in their order.

    Args:
        network, images, plan, device: as of `ImageTraining`.
        on_batch: told how many images are done.
    """
    parts = []
    done = 0
    for features, _ in feature_blocks(network, images, plan, device):
        with torch.inference_mode():
            parts.append(network.output_layer(features).cpu().numpy())
        done += len(features)
        if on_batch is not None:
            on_batch(done)
    found: NDArray[np.float32] = np.concatenate(parts)
    return found


def feature_blocks(
    network: ImageClassifier, images: Images, plan: SgdPlan, device: str = "cpu"
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features (B, D) float32 of the last hidden layer and targets (B,), block by block."""
    network.eval()
    for rows in torch.split(torch.arange(len(images)), _PREDICTED_AT_ONCE):
        with torch.inference_mode(), rounded_as(plan.precision, device):
            features = network.features(_placed(images.batch(rows), device))
        yield features.float(), images.targets[rows]


def _placed(batch: Tensor, device: str) -> Tensor:
    return batch.to(device, memory_format=torch.channels_last)
