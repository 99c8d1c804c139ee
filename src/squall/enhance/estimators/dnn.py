"""A feed-forward network that estimates masks, the baseline of the sources."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import skip_init

from squall.enhance.estimators.adagrad import AdagradMomentum
from squall.enhance.estimators.estimator import (
    OnProgress,
    check_features,
    check_masks,
    read_estimator_file,
    write_estimator_file,
)
from squall.files import atomic_path
from squall.losses import LOSSES, TokenLoss, build_loss

__all__ = ["LEARNING_RATES", "DnnEstimator", "MaskNetwork"]

LEARNING_RATES: Mapping[str, float] = {"adam": 1e-3, "adagrad_momentum": 1e-3}
"""The optimizers, and the learning rate of each where none is given."""

_KIND = "dnn"
_WEIGHTS_FILE = "weights.pt"
_MASK_LOSSES = ("mse", "bce")
_EARLY_MOMENTUM, _LATE_MOMENTUM, _EARLY_EPOCHS = 0.5, 0.9, 5
_STALE_EPOCHS = 2  # after so many the learning rate decays
_BLOCK_ROWS = 4096
# Settings that say how far and where to train, not what: a resumed run may change them.
_FREE_TO_CHANGE = ("max_epochs", "patience", "device")


class MaskNetwork(nn.Module):
    """Linear layers with ReLU and dropout between them.

    Args:
        dimensions: D of the input.
        outputs: of the last layer.
        hidden_layers: how many, at least 0.
        hidden_units: of each.
        dropout: share of hidden units set to 0 in training.
        seed: of the initial weights and of the dropout.
        device: where it lives.

    The state of torch's global generator is neither used nor changed.

    Convention: weights start normal with variance 2 / fan-in in front of a ReLU (He, Zhang, Ren,
    Sun 2015) and 1 / fan-in in front of the output; biases start at 0. Dropout is on the hidden
    units only, not on the input, and scales the others up in training.
    """

    def __init__(
        self,
        dimensions: int,
        outputs: int,
        *,
        hidden_layers: int,
        hidden_units: int,
        dropout: float,
        seed: int,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.dimensions, self.outputs = dimensions, outputs
        random = _generator("cpu", seed, 0)
        widths = [dimensions, *[hidden_units] * hidden_layers, outputs]
        self.layers = nn.ModuleList()
        for place, (fan_in, fan_out) in enumerate(pairwise(widths)):
            layer: nn.Linear = skip_init(nn.Linear, fan_in, fan_out)  # type: ignore[no-untyped-call]
            gain = 2.0 if place < hidden_layers else 1.0
            nn.init.normal_(layer.weight, std=math.sqrt(gain / fan_in), generator=random)
            nn.init.zeros_(layer.bias)
            self.layers.append(layer)
        # Dropout to 16 bits: four draws from one 64-bit number take a tenth of torch's time for it.
        self._dropped = round(dropout * 2**16)
        self.dropout_random = _generator(device, seed, 1)
        self.to(device)

    def forward(self, features: Tensor) -> Tensor:
        """The last layer's output for (B, D) features, (B, outputs)."""
        hidden = features
        for layer in self.layers[:-1]:
            hidden = F.relu(layer(hidden))
            if self.training and self._dropped:
                hidden = hidden * self._dropout_factors(hidden)
        output: Tensor = self.layers[-1](hidden)
        return output

    def _dropout_factors(self, hidden: Tensor) -> Tensor:
        """0 for units that are dropped, 1 / (share kept) for the others; of the shape of hidden."""
        draws = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64, device=hidden.device)
        draws.random_(-(2**63), None, generator=self.dropout_random)
        kept = draws.view(torch.int16)[: hidden.numel()].view_as(hidden) >= self._dropped - 2**15
        return kept.to(hidden.dtype).mul_(2**16 / (2**16 - self._dropped))


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
        loss: `mse` or `bce` between sigmoid and mask; or a name in `squall.losses.LOSSES`, for
            binary masks.
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
        if self.loss in _MASK_LOSSES:
            if self.loss_parameters:
                raise ValueError(f"loss {self.loss} has no parameters: {self.loss_parameters}")
        elif self.loss in LOSSES:
            self._unit_loss()
        else:
            known = ", ".join([*_MASK_LOSSES, *LOSSES])
            raise ValueError(f"unknown loss {self.loss!r}; use one of {known}")
        self.history_: list[dict[str, float]] = []
        self.best_epoch_ = 0
        self.network_: MaskNetwork | None = None

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
        data = _Frames(features, masks, dev_features, dev_masks, binary=self.loss in LOSSES)
        run = _Run(self, data)
        if checkpoint is not None and checkpoint.exists():
            run.restore(checkpoint)
        while not run.finished:
            run.train_epoch()
            if checkpoint is not None:
                run.store(checkpoint)
            if on_progress is not None:
                last = run.history[-1]
                message = f"loss {last['train_loss']:.5f}, dev MSE {last['dev_mse']:.5f}"
                on_progress(len(run.history), self.max_epochs, message)
        run.network.load_state_dict(run.best_weights)
        self.network_ = run.network.eval()
        self.history_, self.best_epoch_ = run.history, run.best_epoch
        return self

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Estimate the masks of (N, D) features: (N, F) float32 in [0, 1].

        Raises:
            ValueError: not fitted yet, another D than in training, values that are not finite.
        """
        network = self._fitted()
        check_features("features", features, network.dimensions)
        return np.concatenate(list(self._predict_blocks(network, features)))

    def save(self, directory: Path) -> None:
        """Write parameters, history and weights into a folder, which is made.

        Raises:
            ValueError: not fitted yet.
        """
        network = self._fitted()
        with atomic_path(directory / _WEIGHTS_FILE) as path:
            torch.save({name: value.cpu() for name, value in network.state_dict().items()}, path)
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
        estimator = cls(**{**content["parameters"], "device": device})
        network = estimator._network(content["dimensions"], content["outputs"])
        path = directory / _WEIGHTS_FILE
        try:
            network.load_state_dict(torch.load(path, map_location=device, weights_only=True))
        except Exception as error:  # torch raises many kinds, none its own
            raise ValueError(f"{path}: damaged or missing weights: {error}") from error
        estimator.network_ = network.eval()
        estimator.history_, estimator.best_epoch_ = content["history"], content["best_epoch"]
        return estimator

    def _fitted(self) -> MaskNetwork:
        if self.network_ is None:
            raise ValueError("the network is not trained yet: call fit, or load a saved one")
        return self.network_

    def _network(self, dimensions: int, outputs: int) -> MaskNetwork:
        return MaskNetwork(
            dimensions,
            outputs,
            hidden_layers=self.hidden_layers,
            hidden_units=self.hidden_units,
            dropout=self.dropout,
            seed=self.seed,
            device=self.device,
        )

    def _unit_loss(self) -> TokenLoss:
        # The masks were checked to be of 0 and 1, once and not with every batch.
        return build_loss(self.loss, **self.loss_parameters, class_dim=-1, check=False)

    def _probs(self, output: Tensor) -> Tensor:
        if self.loss in _MASK_LOSSES:
            return torch.sigmoid(output)
        logits = _per_unit(output)
        return torch.sigmoid(logits[..., 1] - logits[..., 0])  # softmax of two classes

    def _predict_blocks(
        self, network: MaskNetwork, features: NDArray[np.float32]
    ) -> Iterator[NDArray[np.float32]]:
        network.eval()
        with torch.inference_mode():
            for start in range(0, len(features), _BLOCK_ROWS):
                block = np.array(features[start : start + _BLOCK_ROWS], dtype=np.float32)
                probs = self._probs(network(torch.from_numpy(block).to(self.device)))
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

    def batches(
        self, order: NDArray[np.int64], batch_size: int, device: str
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Features (B, D) and masks (B, F) in the given order."""
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            features = torch.from_numpy(np.take(self.features, rows, axis=0))
            masks = torch.from_numpy(np.take(self.masks, rows, axis=0))
            yield features.to(device), masks.to(device)

    def fingerprint(self) -> str:
        """A digest of the shapes and of some rows, to tell other data by."""
        digest = hashlib.sha256()
        for array in (self.features, self.masks, self.dev_features, self.dev_masks):
            digest.update(str(array.shape).encode())
            rows = np.unique(np.linspace(0, len(array) - 1, 64).round().astype(np.int64))
            digest.update(np.ascontiguousarray(array[rows], dtype=np.float32).tobytes())
        return digest.hexdigest()


class _Run:
    """A training in progress: everything that a checkpoint has to hold."""

    def __init__(self, estimator: DnnEstimator, data: _Frames) -> None:
        self.settings, self.data = estimator, data
        dimensions, channels = data.features.shape[1], data.masks.shape[1]
        self.unit_loss = None if estimator.loss in _MASK_LOSSES else estimator._unit_loss()
        outputs = channels if self.unit_loss is None else 2 * channels
        self.network = estimator._network(dimensions, outputs)
        self.optimizer = self._build_optimizer()
        self.order_random = _generator("cpu", estimator.seed, 2)
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.best_mse = 0, math.inf
        self.best_weights: dict[str, Tensor] = {}
        self.began_s = time.perf_counter()

    @property
    def finished(self) -> bool:
        epochs = len(self.history)
        stale = epochs - self.best_epoch >= self.settings.patience
        return epochs >= self.settings.max_epochs or (epochs > 0 and stale)

    def train_epoch(self) -> None:
        epoch = len(self.history) + 1
        for group in self.optimizer.param_groups:
            if "momentum" in group:
                group["momentum"] = _EARLY_MOMENTUM if epoch <= _EARLY_EPOCHS else _LATE_MOMENTUM
        order = torch.randperm(len(self.data.features), generator=self.order_random).numpy()
        self.network.train()
        loss_sum = 0.0
        for features, masks in self.data.batches(
            order, self.settings.batch_size, self.settings.device
        ):
            loss = self._loss(self.network(features), masks)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            loss_sum += loss.item() * len(features)
        train_loss = loss_sum / len(order)
        dev_mse = self._dev_mse() if math.isfinite(train_loss) else math.nan
        if not math.isfinite(dev_mse):
            raise RuntimeError(
                f"the network diverged in epoch {epoch} (loss {train_loss}): lower learning_rate"
            )
        entry = {
            "epoch": epoch,
            "seconds": time.perf_counter() - self.began_s,
            "train_loss": train_loss,
            "dev_mse": dev_mse,
        }
        self.history.append(entry)
        if dev_mse < self.best_mse:
            self.best_epoch, self.best_mse = epoch, dev_mse
            weights = self.network.state_dict()
            self.best_weights = {name: value.clone() for name, value in weights.items()}
        elif self.settings.decay < 1.0 and (epoch - self.best_epoch) % _STALE_EPOCHS == 0:
            self.network.load_state_dict(self.best_weights)
            for group in self.optimizer.param_groups:
                group["lr"] *= self.settings.decay

    def _loss(self, output: Tensor, masks: Tensor) -> Tensor:
        if self.unit_loss is not None:
            value: Tensor = self.unit_loss(_per_unit(output), masks.long())
            return value
        if self.settings.loss == "bce":
            return F.binary_cross_entropy_with_logits(output, masks)
        return F.mse_loss(torch.sigmoid(output), masks)

    def _dev_mse(self) -> float:
        square_error, start = 0.0, 0
        dev_masks = self.data.dev_masks
        for probs in self.settings._predict_blocks(self.network, self.data.dev_features):
            difference = probs - dev_masks[start : start + len(probs)]
            square_error += float(np.square(difference).sum(dtype=np.float64))
            start += len(probs)
        return square_error / dev_masks.size

    def _build_optimizer(self) -> torch.optim.Optimizer:
        name, rate = self.settings.optimizer, self.settings.learning_rate
        rate = LEARNING_RATES[name] if rate is None else rate
        if name == "adam":
            return torch.optim.Adam(self.network.parameters(), lr=rate, fused=True)
        return AdagradMomentum(self.network.parameters(), lr=rate)

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the run that goes on from it."""
        parameters = self.settings.parameters()
        kept = {name: parameters[name] for name in parameters if name not in _FREE_TO_CHANGE}
        return {**kept, "data": self.data.fingerprint()}

    def store(self, path: Path) -> None:
        state = {
            "identity": self._identity(),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order_random": self.order_random.get_state(),
            "dropout_random": self.network.dropout_random.get_state(),
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_mse": self.best_mse,
            "best_weights": self.best_weights,
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def restore(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.settings.device, weights_only=True)
            identity = dict(state["identity"])
        except Exception as error:  # torch raises many kinds, none its own
            raise ValueError(f"{path}: not a usable checkpoint, remove it: {error}") from error
        differing = [
            name for name, value in self._identity().items() if identity.get(name) != value
        ]
        if differing:
            raise ValueError(
                f"{path}: a checkpoint of a run with other {', '.join(differing)}; remove it to "
                "start anew"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.order_random.set_state(state["order_random"].cpu())
        self.network.dropout_random.set_state(state["dropout_random"].cpu())
        self.history = list(state["history"])
        self.best_epoch, self.best_mse = state["best_epoch"], state["best_mse"]
        self.best_weights = state["best_weights"]
        self.began_s = time.perf_counter() - self.history[-1]["seconds"]


def _per_unit(output: Tensor) -> Tensor:
    """(B, 2 F) outputs as the two logits of each unit, (B, F, 2)."""
    return output.view(len(output), -1, 2)


def _generator(device: str, seed: int, purpose: int) -> torch.Generator:
    """A generator of its own for each purpose, so that their streams have nothing in common."""
    mixed = np.random.SeedSequence([seed, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed))
