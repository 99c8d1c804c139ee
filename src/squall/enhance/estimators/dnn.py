"""A feed-forward network that estimates masks, the baseline of the sources."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squall.enhance.estimators.adagrad import AdagradMomentum
from squall.enhance.estimators.estimator import (
    ESTIMATOR_FILE,
    check_features,
    check_masks,
    read_estimator_file,
    write_estimator_file,
)
from squall.enhance.estimators.mask_loss import MaskLoss
from squall.networks.checkpoint import Checkpoint
from squall.networks.feedforward import FeedForward, seeded_generator
from squall.networks.loop import BatchTraining, Epoch, train
from squall.networks.tensors import load_weights, write_tensors
from squall.workers import OnProgress

__all__ = ["LEARNING_RATES", "DnnEstimator"]

LEARNING_RATES: Mapping[str, float] = {"adam": 1e-3, "adagrad_momentum": 1e-3}
"""The optimizers, and the learning rate of each where none is given."""

_KIND = "dnn"
_WEIGHTS_FILE = "weights.pt"
_EARLY_MOMENTUM, _LATE_MOMENTUM, _EARLY_EPOCHS = 0.5, 0.9, 5
_BLOCK_ROWS = 4096
# Settings that say how far and where to train, not what: a resumed run may change them.
_FREE_TO_CHANGE = ("max_epochs", "patience", "device")


@dataclass
class DnnEstimator:
    """Estimates all channels of a mask at once by a network with a sigmoid at its output.

    Args:
        hidden_layers: number of hidden layers, at least 0.
        hidden_units: units in each.
        dropout: share of hidden units dropped in training, in [0, 1); kept to 1/65536.
        batch_size: frames of a step; the last batch of an epoch may be smaller.
        optimizer: `adam`, or `adagrad_momentum` with momentum 0.5 in the first 5 epochs and 0.9
            after them.
        learning_rate: above 0; None for the optimizer's own in `LEARNING_RATES`.
        decay: factor of the learning rate, in (0, 1], after every 2 epochs in a row without a
            smaller error on the development frames; training then goes on from the best weights.
            1 keeps rate and weights.
        max_epochs: at most so many passes over the training frames.
        patience: stop after so many epochs without a smaller error on the development frames.
        loss: `mse` or `bce` between sigmoid and mask; or a name in `squall.losses.LOSSES` or
            `BASELINE_LOSSES`, for binary masks.
        loss_parameters: of a loss from `squall.losses`, as `{"alpha": 0.1}` for squentropy.
        seed: of initial weights, order of frames and dropout.
        device: as torch names it.

    Attributes:
        history_: per epoch `epoch` (from 1), `seconds` since the fit began, `train_loss` (mean over
            the epoch's batches, with dropout) and `dev_mse`.
        best_epoch_: the epoch whose weights are kept; 0 before fitting.
        network_: the network; None before fitting.

    With a loss from `squall.losses` each unit is a classification into noise (0) and speech (1):
    the network has two logits per unit and the mask is the softmax probability of class 1. With
    `bce`, masks between 0 and 1 are taken as probabilities.

    Early stopping looks at the mean square error of the predicted mask for every loss, the
    quantity that the kernel machines stop by too. Same seed, number of threads and machine: same
    bits.

    Source: Wang, Narayanan, Wang 2014; Hui, Ma, Belkin 2019 (4 x 1024 ReLU units, dropout 0.2).
    """

    hidden_layers: int = 4
    hidden_units: int = 1024
    dropout: float = 0.2
    batch_size: int = 1024
    optimizer: Literal["adam", "adagrad_momentum"] = "adam"
    learning_rate: float | None = None
    decay: float = 1.0
    max_epochs: int = 100
    patience: int = 10
    loss: str = "mse"
    loss_parameters: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("hidden_units", "batch_size", "max_epochs", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.hidden_layers < 0:
            raise ValueError(f"hidden_layers is {self.hidden_layers}; it must be at least 0")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout is {self.dropout}; it must be in [0, 1)")
        if self.optimizer not in LEARNING_RATES:
            known = ", ".join(LEARNING_RATES)
            raise ValueError(f"unknown optimizer {self.optimizer!r}; use one of {known}")
        if self.learning_rate is not None and not self.learning_rate > 0.0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not 0.0 < self.decay <= 1.0:
            raise ValueError(f"decay is {self.decay}; it must be in (0, 1]")
        self._mask_loss()
        self.history_: list[dict[str, float]] = []
        self.best_epoch_ = 0
        self.network_: FeedForward | None = None

    def parameters(self) -> dict[str, Any]:
        """The arguments the estimator was made with."""
        return asdict(self)

    def fit(
        self,
        features: NDArray[np.float32],
        masks: NDArray[np.float32],
        *,
        dev_features: NDArray[np.float32],
        dev_masks: NDArray[np.float32],
        on_progress: OnProgress | None = None,
        checkpoint: Path | None = None,
    ) -> DnnEstimator:
        """Train from random weights, or go on where a checkpoint stands.

        Args:
            features: (N, D) training features, normalised; a memory map is read batch by batch.
            masks: (N, F) their masks in [0, 1]; 0 and 1 only for a loss of `squall.losses`.
            dev_features: (M, D) development features.
            dev_masks: (M, F) their masks.
            on_progress: called after each epoch with the epoch, `max_epochs` and the errors.
            checkpoint: a file written after each epoch. Where it exists, training goes on from it
                and ends with the same bits as without the interruption; `max_epochs`, `patience`
                and `device` may have changed. It is left there at the end.

        Returns:
            The estimator, with the weights of the best epoch.

        Raises:
            ValueError: shapes that do not fit together, values that are not finite, masks out of
                [0, 1], masks that are not binary for a loss that needs them so; a checkpoint that
                is damaged or of other settings or data.
            RuntimeError: the training diverged.
        """
        data = _Frames(features, masks, dev_features, dev_masks, binary=self._mask_loss().binary)
        training = _MaskTraining(self, data)

        def tell(done: Epoch) -> None:
            if on_progress is not None:
                message = f"loss {done.loss:.5f}, dev MSE {done.score:.5f}"
                on_progress(done.epoch, self.max_epochs, message)

        kept = None
        if checkpoint is not None:
            stamp = training.stamp()
            kept = Checkpoint(checkpoint, stamp, refuse_others=True, earlier=_of_first_format)
        trained = train(
            training,
            epochs=self.max_epochs,
            patience=self.patience,
            decay=self.decay,
            checkpoint=kept,
            on_epoch=tell,
        )
        self.network_ = training.mask_network.eval()
        self.history_ = [_entry(epoch) for epoch in trained.history]
        self.best_epoch_ = trained.best.epoch if trained.best else 0
        return self

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Estimate the masks of (N, D) features: (N, F) float32 in [0, 1].

        Raises:
            ValueError: not fitted yet, another D than in training, values that are not finite.
        """
        network = self._fitted()
        check_features("features", features, network.dimensions)
        return np.concatenate(list(self._predict_blocks(network, features)))

    def size(self) -> dict[str, int]:
        """The number of weights, biases among them.

        Raises:
            ValueError: not trained yet.
        """
        return {"params": sum(weights.numel() for weights in self._fitted().parameters())}

    def save(self, directory: Path) -> None:
        """Write parameters, history and weights into a folder, which is made.

        Raises:
            ValueError: not fitted yet.
        """
        network = self._fitted()
        weights = {name: value.cpu() for name, value in network.state_dict().items()}
        write_tensors(directory / _WEIGHTS_FILE, weights)
        content = {
            "parameters": self.parameters(),
            "dimensions": network.dimensions,
            "outputs": network.outputs,
            "best_epoch": self.best_epoch_,
            "history": self.history_,
        }
        write_estimator_file(directory, _KIND, content)

    @classmethod
    def load(cls, directory: Path, *, device: str = "cpu") -> DnnEstimator:
        """Read an estimator that `save` wrote, onto a device of choice.

        Raises:
            ValueError: the folder holds none, one of another kind, or a damaged one.
        """
        directory = Path(directory)
        content = read_estimator_file(directory, _KIND)
        try:
            estimator = cls(**{**content["parameters"], "device": device})
            network = estimator._network(content["dimensions"], content["outputs"])
            estimator.history_, estimator.best_epoch_ = content["history"], content["best_epoch"]
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{directory / ESTIMATOR_FILE}: damaged: {error!r}") from error
        load_weights(network, directory / _WEIGHTS_FILE)
        estimator.network_ = network.eval()
        return estimator

    def _fitted(self) -> FeedForward:
        if self.network_ is None:
            raise ValueError("the network is not trained yet: call fit, or load a saved one")
        return self.network_

    def _network(self, dimensions: int, outputs: int) -> FeedForward:
        return FeedForward(
            dimensions,
            outputs,
            hidden_layers=self.hidden_layers,
            hidden_units=self.hidden_units,
            dropout=self.dropout,
            seed=self.seed,
            device=self.device,
        )

    def _mask_loss(self) -> MaskLoss:
        return MaskLoss(self.loss, self.loss_parameters)

    def _predict_blocks(
        self, network: FeedForward, features: NDArray[np.float32]
    ) -> Iterator[NDArray[np.float32]]:
        network.eval()
        loss = self._mask_loss()
        with torch.inference_mode():
            for start in range(0, len(features), _BLOCK_ROWS):
                block = np.array(features[start : start + _BLOCK_ROWS], dtype=np.float32)
                probs = loss.probs(network(torch.from_numpy(block).to(self.device)))
                yield probs.cpu().numpy()


class _Frames:
    """Training and development frames, checked."""

    def __init__(
        self,
        features: NDArray[np.float32],
        masks: NDArray[np.float32],
        dev_features: NDArray[np.float32],
        dev_masks: NDArray[np.float32],
        *,
        binary: bool,
    ) -> None:
        check_features("features", features)
        check_masks("masks", masks, frames=len(features))
        check_features("dev_features", dev_features, features.shape[1])
        check_masks("dev_masks", dev_masks, frames=len(dev_features), channels=masks.shape[1])
        if binary and not ((masks == 0.0) | (masks == 1.0)).all():
            raise ValueError(
                "a loss of squall.losses needs binary masks, and these have other values than 0 "
                "and 1: train on ideal binary masks, or with loss mse or bce"
            )
        self.features = np.asarray(features, dtype=np.float32)
        self.masks = np.asarray(masks, dtype=np.float32)
        self.dev_features, self.dev_masks = dev_features, dev_masks

    def fingerprint(self) -> str:
        """A digest of the shapes and of some rows, to tell other data by."""
        digest = hashlib.sha256()
        for array in (self.features, self.masks, self.dev_features, self.dev_masks):
            digest.update(str(array.shape).encode())
            rows = np.unique(np.linspace(0, len(array) - 1, 64).round().astype(np.int64))
            digest.update(np.ascontiguousarray(array[rows], dtype=np.float32).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class _Batches:
    """Features (B, D) and masks (B, F) of the training frames, in an order drawn anew each time."""

    data: _Frames
    order: torch.Generator
    batch_size: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.data.features), generator=self.order).numpy()
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            features = torch.from_numpy(np.take(self.data.features, rows, axis=0))
            yield features, torch.from_numpy(np.take(self.data.masks, rows, axis=0))


class _MaskTraining(BatchTraining):
    """The network of an estimator, as the loop trains it; gone through are its shuffled frames."""

    def __init__(self, estimator: DnnEstimator, data: _Frames) -> None:
        self.estimator, self.data = estimator, data
        dimensions, channels = data.features.shape[1], data.masks.shape[1]
        loss = estimator._mask_loss()
        self.mask_network = estimator._network(dimensions, loss.outputs(channels))
        self.order = seeded_generator("cpu", estimator.seed, 2)
        super().__init__(
            self.mask_network,
            _build_optimizer(estimator, self.mask_network),
            loss,
            _Batches(data, self.order, estimator.batch_size),
            score=lambda _: self._dev_mse(),
            generators=[self.order, self.mask_network.dropout_random],
            device=estimator.device,
        )

    def train_epoch(self, epoch: int) -> float:
        """A pass over the training frames."""
        for group in self.optimizer.param_groups:
            if "momentum" in group:
                group["momentum"] = _EARLY_MOMENTUM if epoch <= _EARLY_EPOCHS else _LATE_MOMENTUM
        return super().train_epoch(epoch)

    def stamp(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the training that goes on from it."""
        parameters = self.estimator.parameters()
        kept = {name: parameters[name] for name in parameters if name not in _FREE_TO_CHANGE}
        return {**kept, "data": self.data.fingerprint()}

    def _dev_mse(self) -> float:
        square_error, start = 0.0, 0
        dev_masks = self.data.dev_masks
        for probs in self.estimator._predict_blocks(self.mask_network, self.data.dev_features):
            difference = probs - dev_masks[start : start + len(probs)]
            square_error += float(np.square(difference).sum(dtype=np.float64))
            start += len(probs)
        return square_error / dev_masks.size


def _of_first_format(contents: Mapping[str, Any]) -> dict[str, Any]:
    """What squall 0.1's first checkpoints hold, in the form of today's."""
    history = [
        {
            "epoch": entry["epoch"],
            "seconds": entry["seconds"],
            "loss": entry["train_loss"],
            "score": entry["dev_mse"],
        }
        for entry in contents["history"]
    ]
    names = ("network", "optimizer", "best_epoch", "best_weights")
    generators = [contents["order_random"], contents["dropout_random"]]
    state = {**{name: contents[name] for name in names}, "history": history}
    return {"stamp": contents["identity"], "state": {**state, "generators": generators}}


def _build_optimizer(estimator: DnnEstimator, network: FeedForward) -> torch.optim.Optimizer:
    name, rate = estimator.optimizer, estimator.learning_rate
    rate = LEARNING_RATES[name] if rate is None else rate
    if name == "adam":
        return torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    return AdagradMomentum(network.parameters(), lr=rate)


def _entry(done: Epoch) -> dict[str, Any]:
    names = {"loss": "train_loss", "score": "dev_mse"}
    return {names.get(name, name): value for name, value in vars(done).items()}
