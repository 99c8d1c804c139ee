"""Training of a text classifier, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from squall.losses import TokenLoss
from squall.networks.checkpoint import Checkpoint
from squall.networks.loop import Epoch, Trained, generators_of_torch, train
from squall.networks.precision import rounded_as
from squall.studies.text.dataset import EncodedTexts, length_batches
from squall.studies.text.family import Family
from squall.studies.text.settings import FineTuningSettings

__all__ = ["FineTuning", "fine_tune", "predict_logits", "rate_at"]

_PREDICTED_AT_ONCE = 64


def fine_tune(
    family: Family,
    texts: EncodedTexts,
    dev: EncodedTexts,
    loss: TokenLoss,
    settings: FineTuningSettings,
    *,
    classes: int,
    learning_rate: float,
    seed: int,
    device: str = "cpu",
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
) -> tuple[nn.Module, Trained]:
    """Train a classifier.

    Args:
        family: whose network it is.
        texts, dev: to train on; to choose the epoch on.
        loss: takes logits (B, C) and targets (B,).
        settings: how.
        classes: C.
        learning_rate: the highest.
        seed: of the head's weights, the order of the texts and the dropout.
        device: `cpu` or `cuda`.
        checkpoint: see `squall.networks.loop.train`.
        on_epoch: told each epoch; its score is the share of errors on `dev`.

    Returns:
        The network with the weights of the epoch that the settings keep, and the epochs.

    Raises:
        DivergedError: the loss is not finite.
    """
    torch.manual_seed(seed)
    network = family.network(classes=classes).to(device)
    training = FineTuning(
        network, family, texts, dev, loss, settings,
        learning_rate=learning_rate, seed=seed, device=device,
    )  # fmt: skip
    trained = train(
        training,
        epochs=settings.epochs,
        patience=settings.patience,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    return network, trained


class FineTuning:
    """A training in the form that `squall.networks.loop.train` takes.

    Args: as of `fine_tune`.
    """

    def __init__(
        self,
        network: nn.Module,
        family: Family,
        texts: EncodedTexts,
        dev: EncodedTexts,
        loss: TokenLoss,
        settings: FineTuningSettings,
        *,
        learning_rate: float,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self.network = network
        self.family = family
        self.texts, self.dev = texts, dev
        self.loss = loss
        self.settings = settings
        self.learning_rate = learning_rate
        self.seed = seed
        self.device = device
        self.optimizer = torch.optim.AdamW(
            _groups(network, settings.weight_decay), lr=learning_rate, fused=True
        )
        self.generators = generators_of_torch(device)

    @property
    def steps(self) -> int:
        """Of all epochs."""
        per_epoch = -(-len(self.texts) // self.settings.batch_size)
        return per_epoch * self.settings.epochs

    def train_epoch(self, epoch: int) -> float:
        """The mean loss over the texts, before the step on each."""
        self.network.train()
        step = (epoch - 1) * self.steps // self.settings.epochs
        total = 0.0
        batches = length_batches(
            self.texts.lengths, self.settings.batch_size, seed=(self.seed, epoch)
        )
        for rows in batches:
            step += 1
            rate = self.learning_rate * rate_at(step, self.steps, self.settings)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            targets = torch.from_numpy(self.texts.targets[rows]).to(self.device)
            logits = _logits(
                self.network, self.family, self.texts, rows, self.settings, self.device
            )
            loss = self.loss(logits, targets)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_grad_norm)
            self.optimizer.step()
            total += loss.item() * len(rows)
        return total / len(self.texts)

    def score(self) -> Mapping[str, float | None]:
        """Errors on the development set, which choose the epoch if one is chosen, and accuracy."""
        logits = predict_logits(self.network, self.family, self.dev, self.settings, self.device)
        errors = float((logits.argmax(axis=1) != self.dev.targets).mean())
        chosen = errors if self.settings.keep == "best" else None
        return {"dev_errors": chosen, "dev_accuracy": 1 - errors}


def rate_at(step: int, steps: int, settings: FineTuningSettings) -> float:
    """The learning rate of a step from 1 to `steps`, as a share of the highest one.

    It rises by the same amount in each of the first `warmup` steps, and falls by the same amount in
    each of the others, to 0 behind the last.

    >>> [rate_at(k, 5, FineTuningSettings(warmup=0.4)) for k in range(1, 6)]
    [0.5, 1.0, 0.75, 0.5, 0.25]
    """
    rising = round(settings.warmup * steps)
    if step <= rising:
        return step / rising
    if settings.decay == "none":
        return 1.0
    left = steps - rising + 1
    return (steps - step + 1) / (left if rising else left - 1)


def predict_logits(
    network: nn.Module,
    family: Family,
    texts: EncodedTexts,
    settings: FineTuningSettings,
    device: str = "cpu",
    *,
    on_batch: Callable[[int], object] | None = None,
) -> NDArray[np.float32]:
    """What a network says of texts: logits (N, C), in their order.

    Args:
        network, family, texts, settings, device: as of `fine_tune`.
        on_batch: told how many texts are done.
    """
    network.eval()
    found: NDArray[np.float32] | None = None
    done = 0
    with torch.inference_mode():
        for rows in length_batches(texts.lengths, _PREDICTED_AT_ONCE, seed=None):
            logits = _logits(network, family, texts, rows, settings, device).cpu().numpy()
            if found is None:
                found = np.empty((len(texts), logits.shape[1]), dtype=np.float32)
            found[rows] = logits
            done += len(rows)
            if on_batch is not None:
                on_batch(done)
    if found is None:
        raise ValueError("there are no texts to classify")
    return found


def _logits(
    network: nn.Module,
    family: Family,
    texts: EncodedTexts,
    rows: NDArray[np.int64],
    settings: FineTuningSettings,
    device: str,
) -> Tensor:
    batch = {name: part.to(device) for name, part in family.batch(texts.inputs, rows).items()}
    with rounded_as(settings.precision, device):
        logits: Tensor = network(**batch)
    return logits.float()


def _groups(network: nn.Module, weight_decay: float) -> Sequence[dict[str, object]]:
    """Matrices, which decay, and vectors (biases, normalisations), which do not."""
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in weights if parameter.ndim > 1]
    vectors = [parameter for parameter in weights if parameter.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
