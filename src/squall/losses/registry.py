"""The losses by name, as a config file spells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from types import MappingProxyType

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

__all__ = ["LINEAR_LOSSES", "LOSSES", "SOURCE_SETTINGS", "build_loss", "loss_parameters"]

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

LINEAR_LOSSES: Mapping[str, type[LinearTokenLoss]] = MappingProxyType(
    {
        "ce": LinearCrossEntropyLoss,
        "square": LinearSquareLoss,
        "rescaled_square": LinearRescaledSquareLoss,
        "ccql": LinearCCQLLoss,
        "squentropy": LinearSquentropyLoss,
    }
)
"""The same losses with the linear layer before them."""

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

    Raises ValueError for an unknown name.

    >>> loss_parameters("squentropy")["alpha"]
    1.0
    """
    if name not in LOSSES:
        raise ValueError(f"no loss is called {name!r}{_suggest(name, LOSSES)}")
    return {field.name: field.default for field in fields(LOSSES[name])}


def build_loss(name: str, **params: object) -> TokenLoss:
    """Build a loss from its name and parameters.

    Args:
        name: a key of `LOSSES`.
        params: arguments of the loss's module; what is not given has its default.

    Raises ValueError for a name, parameter or value that does not exist, with those that do.

    >>> build_loss(**{"name": "squentropy", "alpha": 0.1, "scale": 2.0})
    SquentropyLoss(scale=2.0, alpha=0.1)
    >>> build_loss("squentropi")
    Traceback (most recent call last):
    ValueError: no loss is called 'squentropi'; did you mean 'squentropy'? \
There are: ce, square, rescaled_square, ccql, squentropy
    """
    known = loss_parameters(name)
    for param in params:
        if param not in known:
            raise ValueError(f"{name} has no parameter {param!r}{_suggest(param, known)}")
    return LOSSES[name](**params)  # type: ignore[arg-type]  # the module checks the values


def _suggest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    close = get_close_matches(str(word), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} There are: {', '.join(known)}"
