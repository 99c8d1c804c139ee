"""The tabular study: every loss on the folds of a set, with several initialisations.

`score_set` trains one network for each loss, fold and seed of a set, all at once, and scores each
on its test part.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from squall.losses import TokenLoss
from squall.networks.batches import Problem
from squall.networks.checkpoint import Checkpoint
from squall.networks.scaling import varying_inputs
from squall.networks.stack import NetworkStack, multiply_adds
from squall.networks.training import OnEpoch, TrainedNetworks, train_networks
from squall.scoring.calibration import score_logits
from squall.studies.losses import build_losses, softmax_logits
from squall.studies.tabular.best_epoch import BestEpochs, HeldOut
from squall.studies.tabular.collection import Split, UciSet
from squall.studies.tabular.constant_answer import constant_answer_loss
from squall.studies.tabular.settings import Scaling, TabularSettings
from squall.studies.tabular.splits import chosen_splits

__all__ = [
    "NetworkScore",
    "ScaledParts",
    "SetScores",
    "scale_parts",
    "score_set",
    "set_cost",
]


_NOTHING_LEARNT = 0.95
_METRICS = ("accuracy", "ece", "ece_adaptive", "brier", "nll")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetworkScore:
    """One network on its test part.

    Args:
        loss: its label.
        fold: number of the fold, from 1.
        seed: of its initial weights.
        samples: in the test part.
        accuracy, ece, ece_adaptive, brier, nll: of the softmax of the logits, as fractions of 1,
            `nll` in nats; NaN where the network diverged.
        train_loss: mean over the last epoch, whichever is scored.
        constant_loss: the lowest that the same answer to every sample has on the training part.
        diverged: the epoch in which the loss stopped being a finite number; 0 if it never did.
    """

    loss: str
    fold: int
    seed: int
    samples: int
    accuracy: float
    ece: float
    ece_adaptive: float
    brier: float
    nll: float
    train_loss: float
    constant_loss: float
    diverged: int = 0

    @property
    def untrained(self) -> bool:
        """Whether it has diverged, or has learnt nothing from its training part.

        Convention: a loss of at least 95 % of the constant answer's counts as nothing. A network
        that is dead behind a ReLU gives a constant answer, and the size of the steps keeps it a
        little from the best one. On some sets (hill-valley) one that is alive gets no further.
        """
        return self.diverged > 0 or self.train_loss >= _NOTHING_LEARNT * self.constant_loss


@dataclass(frozen=True)
class SetScores:
    """All networks of a set.

    Args:
        name: of the set.
        samples, inputs, classes: its size; of a set in two files with both.
        networks: in the order of folds, losses, seeds.
        constant_inputs: per fold, how many inputs have one value only in its training part; with
            the default scaling they are left out there.
        seconds: that the training took.
    """

    name: str
    samples: int
    inputs: int
    classes: int
    networks: tuple[NetworkScore, ...]
    constant_inputs: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class ScaledParts:
    """Inputs of a training part and of a test part, and how many the training part has constant."""

    train: NDArray[np.float32]
    test: NDArray[np.float32]
    constant: int


def scale_parts(inputs: NDArray[np.float64], split: Split, scaling: Scaling) -> ScaledParts:
    """The inputs of a split, scaled.

    Args:
        inputs: (N, D).
        split: training and test part.
        scaling: see `TabularSettings`.

    Convention: an input that is constant in a part that gives the scale has no standard deviation
    to be divided by. It becomes 0 in both parts, as if the set did not have it: the network has
    learnt nothing about it, and its random weights must not answer to the test part's values.
    """
    train, test = inputs[split.train], inputs[split.test]
    varies = varying_inputs(train)
    constant = int((~varies).sum())
    if scaling == "published":
        return ScaledParts(train.astype(np.float32), test.astype(np.float32), constant)
    by_test = test if scaling == "parts" else train
    varies &= varying_inputs(by_test)
    return ScaledParts(
        _standardised(train, by=train, varies=varies),
        _standardised(test, by=by_test, varies=varies),
        constant,
    )


def _standardised(
    inputs: NDArray[np.float64], *, by: NDArray[np.float64], varies: NDArray[np.bool_]
) -> NDArray[np.float32]:
    deviations = np.where(varies, by.std(axis=0), 1.0)
    scaled = np.where(varies, (inputs - by.mean(axis=0)) / deviations, 0.0)
    return np.asarray(scaled, dtype=np.float32)


def set_cost(data: UciSet, settings: TabularSettings) -> int:
    """Multiply-adds of `score_set`; the time goes with it, from some thousand samples on."""
    samples = sum(len(split.train) for split in chosen_splits(data, settings))
    networks = len(settings.losses) * settings.initialisations
    return networks * multiply_adds(
        settings.network, samples=samples, inputs=data.inputs.shape[1], classes=data.classes
    )


def score_set(
    data: UciSet,
    settings: TabularSettings,
    *,
    seed: int = 0,
    on_epoch: OnEpoch | None = None,
    checkpoint: Checkpoint | None = None,
) -> SetScores:
    """Train the networks of a set, all losses, folds and seeds at once, and score each.

    The weights that a network begins with, and the order of its samples, depend on set, fold and
    seed alone: the losses are compared pair by pair.

    Args:
        data: the set.
        settings: what to train.
        seed: of the first initialisation; the others have the numbers after it.
        on_epoch, checkpoint: see `train_networks`. With `epoch: best_test` a checkpoint is not
            used, since it does not hold what was best so far.

    Raises:
        ValueError: the set has no such parts as the settings ask for.

    Convention: probabilities are the softmax of the logits for every loss, the square losses too,
    as in the sources.
    """
    splits = chosen_splits(data, settings)
    seeds = range(seed, seed + settings.initialisations)
    scaled = [scale_parts(data.inputs, split, settings.scaling) for split in splits]
    constant = tuple(part.constant for part in scaled)
    if any(constant):
        _log.warning("%s: %s inputs are constant in the training parts", data.name, list(constant))
    problems = [
        Problem(
            torch.from_numpy(part.train),
            torch.from_numpy(data.targets[split.train]),
            (data.name, fold, seed),
        )
        for fold, (split, part) in enumerate(zip(splits, scaled, strict=True), 1)
        for seed in seeds
    ]
    losses = build_losses(settings.losses)
    parts = [
        HeldOut(
            torch.from_numpy(part.test),
            data.targets[split.test],
            [
                row * len(problems) + fold * len(seeds) + column
                for row in range(len(losses))
                for column in range(len(seeds))
            ],
        )
        for fold, (split, part) in enumerate(zip(splits, scaled, strict=True))
    ]
    best = BestEpochs(parts) if settings.epoch == "best_test" else None

    def look(epoch: int, stack: NetworkStack) -> object:
        if best is not None:
            best.look(stack)
        return on_epoch(epoch, stack) if on_epoch is not None else None

    started = time.perf_counter()
    trained = train_networks(
        problems,
        losses,
        settings.network,
        classes=data.classes,
        on_epoch=look,
        checkpoint=checkpoint if best is None else None,
    )
    seconds = time.perf_counter() - started
    networks: list[NetworkScore] = []
    for fold, (split, part) in enumerate(zip(splits, parts, strict=True)):
        shares = np.bincount(data.targets[split.train], minlength=data.classes) / len(split.train)
        constant_losses = [constant_answer_loss(loss, shares) for loss in losses.values()]
        networks += _score_fold(
            trained,
            list(losses.values()),
            part.predict(trained.stack) if best is None else best.logits[fold],
            part.targets,
            fold=fold,
            seeds=seeds,
            bins=settings.bins,
            constant_losses=constant_losses,
        )
    failed = sum(network.diverged > 0 for network in networks)
    if failed:
        _log.warning("%s: %d of %d networks diverged", data.name, failed, len(networks))
    return SetScores(
        name=data.name,
        samples=len(data.inputs),
        inputs=data.inputs.shape[1],
        classes=data.classes,
        networks=tuple(networks),
        constant_inputs=constant,
        seconds=seconds,
    )


def _score_fold(
    trained: TrainedNetworks,
    losses: Sequence[TokenLoss],
    logits: NDArray[np.floating],
    targets: NDArray[np.int64],
    *,
    fold: int,
    seeds: Sequence[int],
    bins: int,
    constant_losses: Sequence[float],
) -> list[NetworkScore]:
    """The networks of a fold, counted from 0, by their logits (G, N, C) on its test part."""
    columns = range(fold * len(seeds), (fold + 1) * len(seeds))
    places = [(row, column) for row in range(len(trained.losses)) for column in columns]
    scores = []
    for (row, column), own in zip(places, logits, strict=True):
        diverged = int(trained.diverged[row, column])
        metrics = dict.fromkeys(_METRICS, math.nan)
        if not diverged:
            meant = softmax_logits(losses[row], own)
            found = score_logits(logits=meant, targets=targets).calibration(bins=bins)
            metrics = {name: float(getattr(found, name)) for name in _METRICS}
        scores.append(
            NetworkScore(
                loss=trained.losses[row],
                fold=fold + 1,
                seed=seeds[column - columns.start],
                samples=len(targets),
                train_loss=float(trained.train_loss[-1, row, column]),
                constant_loss=constant_losses[row],
                diverged=diverged,
                **metrics,
            )
        )
    return scores
