"""Training a language model: streams of text side by side, segment by segment, with memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squall.losses import LINEAR_LOSSES, TokenLoss
from squall.networks.loop import generators_of_torch
from squall.studies.charlm.settings import LanguageLoss, TrainingSettings
from squall.studies.charlm.tokens import Text
from squall.studies.charlm.transformer_xl import TransformerXL

__all__ = ["LanguageTraining", "cut_streams", "learning_rate", "predict", "time_step"]

_TIMED_STEPS = 4


class LanguageTraining:
    """A `squall.networks.loop.Trainable`: an epoch is `steps_per_epoch` steps.

    Which segments a step takes depends on its number alone, and memories are empty at the beginning
    of an epoch, so that a training that goes on from the end of one has nothing else to know.

    Args:
        network: what is trained, on its device.
        loss: of the next token.
        text: (N,) class numbers of the training part.
        dev: the development part.
        settings: of the training.
        precision: `float32` or `bfloat16`, of the products in a step.
        on_step: told the number of each step that is done.

    Raises:
        ValueError: the text is too short for a segment of each stream, or the loss cannot be fused.
    """

    def __init__(
        self,
        network: TransformerXL,
        loss: LanguageLoss,
        text: NDArray[np.integer],
        dev: Text,
        settings: TrainingSettings,
        *,
        precision: str = "float32",
        on_step: Callable[[int], object] = lambda step: None,
    ) -> None:
        self.network = network
        self.settings = settings
        self.optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        device = network.head.weight.device
        self.generators = generators_of_torch(str(device))
        self._streams = cut_streams(torch.from_numpy(text), settings)
        classes = network.head.out_features
        self._loss: TokenLoss = loss.build(classes=classes)
        self._fused = None
        if loss.is_fused(classes):
            scale = loss.factor(classes=classes)
            self._fused = LINEAR_LOSSES[loss.name](scale=scale, **loss.parameters)
        self._dev = torch.from_numpy(dev.tokens[: settings.dev_tokens])
        self._dev_characters = int(dev.characters[1 : settings.dev_tokens].sum())
        self._autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=precision == "bfloat16"
        )
        self._on_step = on_step

    def train_epoch(self, epoch: int) -> float:
        """The mean loss over the steps of the epoch with this number, from 1."""
        self.network.train()
        first = (epoch - 1) * self.settings.steps_per_epoch
        steps = range(first, min(first + self.settings.steps_per_epoch, self.settings.steps))
        segments = (self._streams.shape[1] - 1) // self.settings.segment
        memory, total = None, 0.0
        for step in steps:
            place = step % segments
            memory = memory if place else None
            start, end = place * self.settings.segment, (place + 1) * self.settings.segment
            window = self._streams[:, start : end + 1].to(self.network.head.weight.device).long()
            with self._autocast:
                hidden, memory = self.network(window[:, :-1], memory)
                loss = self._fused_loss(hidden, window[:, 1:])
            if loss is None:
                loss = self._loss(self.network.head(hidden.float()), window[:, 1:])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step, self.settings)
            self.optimizer.step()
            total += loss.item()
            self._on_step(step + 1)
        return total / len(steps)

    def _fused_loss(self, hidden: Tensor, targets: Tensor) -> Tensor | None:
        if self._fused is None:
            return None
        head = self.network.head
        loss: Tensor = self._fused(hidden, head.weight, targets, head.bias)
        return loss

    def score(self) -> Mapping[str, float]:
        """Share of the tokens of `dev` that are not predicted, and bits per character."""
        wrong = nats = 0.0
        for positions, logits in predict(self.network, self._dev):
            targets = self._dev[positions].long().to(logits.device)
            log_probs = self._loss.softmax_logits(logits).double().log_softmax(dim=-1)
            nats -= float(log_probs.gather(1, targets[:, None]).sum())
            wrong += float((logits.argmax(dim=-1) != targets).sum())
        return {
            "error": wrong / (len(self._dev) - 1),
            "bpc": nats / self._dev_characters / math.log(2),
        }


def time_step(
    network: TransformerXL, loss: LanguageLoss, settings: TrainingSettings, *, precision: str
) -> float:
    """Seconds of a step, from a few on tokens drawn at random, which leave the network another."""
    ends: list[float] = []
    classes = network.head.out_features
    few = settings.model_copy(update={"steps": _TIMED_STEPS, "steps_per_epoch": _TIMED_STEPS})
    length = settings.batch * (_TIMED_STEPS * settings.segment + 1)
    text = np.random.default_rng(0).integers(classes, size=length)
    training = LanguageTraining(
        network,
        loss,
        text,
        Text(text, np.ones_like(text)),
        few,
        precision=precision,
        on_step=lambda step: ends.append(time.perf_counter()),
    )
    training.train_epoch(1)
    return float(min(np.diff(ends)))


def cut_streams(text: Tensor, settings: TrainingSettings) -> Tensor:
    """A text (N,) as streams (B, N // B); what is left over at the end is not trained on.

    Raises:
        ValueError: they are shorter than a segment and the token after it.
    """
    length = len(text) // settings.batch
    if length <= settings.segment:
        raise ValueError(
            f"the training part has {len(text)} tokens, too few for {settings.batch} streams of a "
            f"segment of {settings.segment} and the token after it: lower training.batch or "
            "training.segment"
        )
    return text[: settings.batch * length].view(settings.batch, length)


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """That of a step, from 0."""
    rise = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    return settings.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


def predict(
    network: TransformerXL,
    text: Tensor,
    *,
    streams: int = 16,
    segment: int = 128,
    memory: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The logits of every token of a text but the first, given the true ones before it.

    Args:
        network: in evaluation mode afterwards.
        text: (N,) class numbers.
        streams: the text is cut into so many; each begins without a memory.
        segment: tokens of each in a step.
        memory: positions that each layer attends to beside them; None for those of training.

    Yields:
        The positions (n,) of some tokens in the text, on the CPU, and their logits (n, C) float32.
    """
    network.eval()
    device = network.head.weight.device
    count = len(text) - 1
    length = -(-count // streams)
    starts = torch.arange(0, count, length)
    kept = None
    for start in range(0, length, segment):
        places = starts[:, None] + torch.arange(start, min(start + segment, length))
        inside = places < count
        with torch.inference_mode():
            tokens = text[places.clamp(max=count - 1)].long().to(device)
            hidden, kept = network(tokens, kept, keep=memory)
            logits = network.head(hidden[inside.to(device)])
        yield places[inside] + 1, logits
