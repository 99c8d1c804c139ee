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
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator

from squall.config import Settings
from squall.losses import SOURCE_SETTINGS, TokenLoss, build_loss
from squall.scoring.calibration import score_logits
from squall.studies.batches import Problem
from squall.studies.checkpoint import Checkpoint
from squall.studies.constant_answer import constant_answer_loss
from squall.studies.networks import NetworkSettings, multiply_adds
from squall.studies.scaling import varying_inputs
from squall.studies.training import OnEpoch, TrainedNetworks, train_networks
from squall.studies.uci import Split, UciSet

__all__ = [
    "ComparedLosses",
    "NetworkScore",
    "ScaledParts",
    "SetScores",
    "TabularSettings",
    "build_losses",
    "chosen_splits",
    "scale_parts",
    "score_set",
    "set_cost",
]

Scaling = Literal["training", "parts", "published"]

_NOTHING_LEARNT = 0.95
_METRICS = ("accuracy", "ece", "ece_adaptive", "brier", "nll")
_log = logging.getLogger(__name__)


class ComparedLosses(Settings):
    """Settings of a study that trains with several losses.

    Args:
        losses: label in the results to the parameters of the loss; the label is the loss's name
            unless `name` is among the parameters (`squentropy-a0.1: {name: squentropy, alpha:
            0.1}`). The source has these three, with k = 1 and M = 5 for the rescaled square loss.
    """

    losses: dict[str, dict[str, Any]] = Field(
        default={
            "ce": {},
            "squentropy": {},
            "rescaled_square": dict(SOURCE_SETTINGS["tabular"]),
        },
        min_length=1,
    )

    @field_validator("losses")
    @classmethod
    def _losses_exist(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        build_losses(value)
        return value


class TabularSettings(ComparedLosses):
    """What the tabular study trains and how it scores.

    Args:
        losses: as in `ComparedLosses`.
        initialisations: networks of each loss and fold, which differ in the seed of their initial
            weights and of the order of samples. Five in the source.
        network: the network and its training.
        test: which rows a network is tested on. `folds`: the test parts of the collection's four
            folds. `file`: the test file, after training on all of the training file, for the sets
            that have one, and the folds for the others. The default is what the authors' script
            does, and the files speak for it: of the 19 test files of the 118 sets at hand, 11 are
            in other units than their training files (one is standardised, the other is not), so
            that a network would be tested on inputs of a kind that it never saw.
        scaling: of the inputs. `training`: each is standardised by mean and standard deviation over
            the training part, so that nothing of the test part is known in training. `parts`: each
            part by its own, which makes sense for `file` only. `published`: as in the files, which
            the collection's authors have standardised over all rows; the authors' script does that.
            The default differs from it little, and does not leave sets like `monks-1` raw, whose
            training file is not standardised.
        bins: of the expected calibration error; 10 in the authors' script.

    Source: Hui 2023 (thesis), section 4.3.3.
    """

    initialisations: int = Field(default=5, ge=1)
    network: NetworkSettings = NetworkSettings()
    test: Literal["folds", "file"] = "folds"
    scaling: Scaling = "training"
    bins: int = Field(default=10, ge=1)


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
        train_loss: mean over the last epoch.
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


def build_losses(given: dict[str, dict[str, Any]]) -> dict[str, TokenLoss]:
    """The losses by their labels.

    Raises:
        ValueError: there is no such loss, parameter or value.
    """
    return {label: build_loss(**{"name": label, **params}) for label, params in given.items()}


def chosen_splits(data: UciSet, settings: TabularSettings) -> tuple[Split, ...]:
    """The training and test parts that the settings ask for."""
    if settings.test == "file" and data.files is not None:
        return (data.files,)
    return data.folds


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
        on_epoch, checkpoint: see `train_networks`.

    Convention: probabilities are the softmax of the logits for every loss, the square losses too,
    as in the sources.
    """
    splits = chosen_splits(data, settings)
    seeds = range(seed, seed + settings.initialisations)
    parts = [scale_parts(data.inputs, split, settings.scaling) for split in splits]
    constant = tuple(part.constant for part in parts)
    if any(constant):
        _log.warning("%s: %s inputs are constant in the training parts", data.name, list(constant))
    problems = [
        Problem(
            torch.from_numpy(part.train),
            torch.from_numpy(data.targets[split.train]),
            (data.name, fold, seed),
        )
        for fold, (split, part) in enumerate(zip(splits, parts, strict=True), 1)
        for seed in seeds
    ]
    losses = build_losses(settings.losses)
    started = time.perf_counter()
    trained = train_networks(
        problems,
        losses,
        settings.network,
        classes=data.classes,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
    )
    seconds = time.perf_counter() - started
    networks: list[NetworkScore] = []
    for fold, (split, part) in enumerate(zip(splits, parts, strict=True)):
        shares = np.bincount(data.targets[split.train], minlength=data.classes) / len(split.train)
        constant_losses = [constant_answer_loss(loss, shares) for loss in losses.values()]
        networks += _score_fold(
            trained,
            part.test,
            data.targets[split.test],
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
    inputs: NDArray[np.float32],
    targets: NDArray[np.int64],
    *,
    fold: int,
    seeds: Sequence[int],
    bins: int,
    constant_losses: Sequence[float],
) -> list[NetworkScore]:
    """The networks of a fold, counted from 0, on its test part (N, D) with targets (N,)."""
    problems = trained.diverged.shape[1]
    columns = range(fold * len(seeds), (fold + 1) * len(seeds))
    places = [(row, column) for row in range(len(trained.losses)) for column in columns]
    stack = trained.stack.select([row * problems + column for row, column in places])
    scores = []
    for (row, column), logits in zip(places, stack.predict(torch.from_numpy(inputs)), strict=True):
        diverged = int(trained.diverged[row, column])
        metrics = dict.fromkeys(_METRICS, math.nan)
        if not diverged:
            found = score_logits(logits=logits, targets=targets).calibration(bins=bins)
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
