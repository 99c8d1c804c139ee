"""The losses by name, as a config file spells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from types import MappingProxyType

import torch

from squall.losses.baselines import (
    BaselineLoss,
    BrierLoss,
    ConfidencePenaltyLoss,
    DualFocalLoss,
    FocalLoss,
    LogitNormLoss,
)
from squall.losses.linear_modules import (
    LinearCCQLLoss,
    LinearCrossEntropyLoss,
    LinearRescaledSquareLoss,
    LinearSquareLoss,
    LinearSquentropyLoss,
    LinearTokenLoss,
)
from squall.losses.modules import (
    CCQLLoss,
    CrossEntropyLoss,
    RescaledSquareLoss,
    SquareLoss,
    SquentropyLoss,
    TokenLoss,
)

__all__ = [
    "BASELINE_LOSSES",
    "LINEAR_LOSSES",
    "LOSSES",
    "SOURCE_SETTINGS",
    "build_loss",
    "initial_value",
    "loss_parameters",
    "scale_of_ce",
]

LOSSES: Mapping[str, type[TokenLoss]] = MappingProxyType(
    {
        "ce": CrossEntropyLoss,
        "square": SquareLoss,
        "rescaled_square": RescaledSquareLoss,
        "ccql": CCQLLoss,
        "squentropy": SquentropyLoss,
    }
)
"""The modules by the names used in configs and results."""

BASELINE_LOSSES: Mapping[str, type[BaselineLoss]] = MappingProxyType(
    {
        "focal": FocalLoss,
        "dual_focal": DualFocalLoss,
        "brier": BrierLoss,
        "logit_norm": LogitNormLoss,
        "confidence_penalty": ConfidencePenaltyLoss,
    }
)
"""Baselines for calibration, by the same kind of names."""

_ALL_LOSSES: Mapping[str, type[TokenLoss]] = {**LOSSES, **BASELINE_LOSSES}

LINEAR_LOSSES: Mapping[str, type[LinearTokenLoss]] = MappingProxyType(
    {
        "ce": LinearCrossEntropyLoss,
        "square": LinearSquareLoss,
        "rescaled_square": LinearRescaledSquareLoss,
        "ccql": LinearCCQLLoss,
        "squentropy": LinearSquentropyLoss,
    }
)
"""Those of `LOSSES` with the linear layer before them."""

SOURCE_SETTINGS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "timit-characters": MappingProxyType({"k": 1.0, "M": 1.0}),
        "timit-phones": MappingProxyType({"k": 1.0, "M": 15.0}),
        "wsj": MappingProxyType({"k": 1.0, "M": 15.0}),
        "librispeech": MappingProxyType({"k": 15.0, "M": 30.0}),
        "cifar": MappingProxyType({"k": 1.0, "M": 10.0}),
        "imagenet": MappingProxyType({"k": 15.0, "M": 30.0}),
        "tabular": MappingProxyType({"k": 1.0, "M": 5.0}),
    }
)
"""k and M of `rescaled_square` by data set, from Hui and Belkin 2021 and Hui 2023."""


def loss_parameters(name: str) -> dict[str, object]:
    """The parameters of a loss and their defaults.

    Args:
        name: a key of `LOSSES` or `BASELINE_LOSSES`.

    Raises ValueError for an unknown name.

    >>> loss_parameters("squentropy")["alpha"]
    1.0
    """
    if name in _ALL_LOSSES:
        return {field.name: field.default for field in fields(_ALL_LOSSES[name])}
    plain = str(name).removeprefix("linear_")
    if plain != name and plain in LINEAR_LOSSES:
        raise ValueError(
            f"no loss of logits is called {name!r}; {plain} with the linear layer before it is "
            f"squall.losses.LINEAR_LOSSES[{plain!r}]"
        )
    raise ValueError(f"no loss is called {name!r}{_suggest(name, _ALL_LOSSES)}")


def build_loss(name: str, **params: object) -> TokenLoss:
    """Build a loss from its name and parameters.

    Args:
        name: a key of `LOSSES` or `BASELINE_LOSSES`.
        params: arguments of the loss's module; what is not given has its default.

    Raises ValueError for a name, parameter or value that does not exist, with those that do.

    >>> build_loss(**{"name": "squentropy", "alpha": 0.1, "scale": 2.0})
    SquentropyLoss(scale=2.0, alpha=0.1)
    >>> build_loss("squentropi")
    Traceback (most recent call last):
    ValueError: no loss is called 'squentropi'; did you mean 'squentropy'? \
There are: ce, square, rescaled_square, ccql, squentropy, focal, dual_focal, brier, logit_norm, \
confidence_penalty
    """
    known = loss_parameters(name)
    for param in params:
        if param not in known:
            raise ValueError(f"{name} has no parameter {param!r}{_suggest(param, known)}")
    return _ALL_LOSSES[name](**params)  # type: ignore[arg-type]  # the module checks the values


def initial_value(name: str, classes: int, **params: object) -> float:
    """The value that a loss has for one token at logits of zero, where an untrained model is.

    Args:
        name: as of `build_loss`.
        classes: C, at least 2.
        params: arguments of the loss's module; `scale` multiplies the value.

    Formula: log C for `ce` and `logit_norm`, 1/C for `square`, k M^2 / C for `rescaled_square`,
    (1 + w) / 2 for `ccql`, log C for `squentropy`, (1 - 1/C)^gamma log C for `focal` and
    `dual_focal`, 1 - 1/C for `brier`, (1 - beta) log C for `confidence_penalty`. In float64.

    Raises as `build_loss`, and ValueError for fewer than two classes.

    >>> initial_value("rescaled_square", 1000, k=15.0, M=30.0)
    13.5
    """
    loss = build_loss(name, **{**params, "reduction": "sum", "class_dim": -1, "ignore_index": -1})
    logits = torch.zeros(1, classes, dtype=torch.float64, device="cpu")
    return float(loss(logits, torch.zeros(1, dtype=torch.int64, device="cpu")))


def scale_of_ce(name: str, classes: int, **params: object) -> float:
    """The `scale` at which a loss begins where cross-entropy does: log C / `initial_value`.

    Args and errors as of `initial_value`; ValueError also for a loss that begins at 0 or below.

    >>> scale_of_ce("square", 10) == 10 * initial_value("ce", 10)
    True
    """
    value = initial_value(name, classes, **params)
    if not value > 0:
        raise ValueError(
            f"{name} with {params} is {value:g} at logits of zero, and no scale brings it to the "
            "value of ce there: give the scale as a number"
        )
    return initial_value("ce", classes) / value


def _suggest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = get_close_matches(str(word), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} There are: {', '.join(known)}"
