"""The estimators of masks by their names, and what the rest of the program knows of each.

A new estimator is one file, with a class as `MaskEstimator` describes it, and one entry in
`ESTIMATORS`. Settings, tables and comparisons ask the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from squall.enhance.estimators.estimator import MaskEstimator
from squall.enhance.peers.peer import Peer
from squall.enhance.peers.registry import PEERS

__all__ = [
    "ESTIMATORS",
    "EstimatorEntry",
    "entry_of_system",
    "estimator_class",
    "order_of_systems",
]


@dataclass(frozen=True)
class EstimatorEntry:
    """What is known of an estimator without importing it.

    Args:
        path: `module:class` of a trained one; None where nothing is trained.
        reference: which mask a reference puts on the mixture; None for no mask.
        peer: what is known of an off-the-shelf enhancer; None for all others.
        plural: what tables call several of them.
        baseline: whether the others are compared with it.
        free: parameters that say how far and in what space a fit works, not what it is: an
            experiment keeps its directory when they change.
        unnamed: parameters that are too much for a table's head.
        always_named: parameters whose value is part of the name, with their defaults: `kernel-4`.
        short_names: of parameters in the name.
        check: raises ValueError for parameters that cannot be right, when settings are loaded.
    """

    path: str | None = None
    reference: Literal["ideal"] | None = None
    peer: Peer | None = None
    plural: str = ""
    baseline: bool = False
    free: tuple[str, ...] = ("max_epochs", "memory_gb")
    unnamed: tuple[str, ...] = ("patience", "decay")
    always_named: Mapping[str, Any] = field(default_factory=dict)
    short_names: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], None] = lambda parameters: None

    @property
    def trained(self) -> bool:
        """Whether there is anything to train."""
        return self.path is not None

    @property
    def timed(self) -> bool:
        """Whether the time of its enhancement is told: not of a reference."""
        return self.trained or self.peer is not None


def _check_mask_loss(parameters: Mapping[str, Any]) -> None:
    from squall.enhance.estimators.mask_loss import MaskLoss

    given = parameters.get("loss_parameters", {})
    if not isinstance(given, Mapping):
        raise ValueError(f"loss_parameters is {given!r}; it must be names with values")
    try:
        MaskLoss(parameters.get("loss", "mse"), given)
    except TypeError as error:
        raise ValueError(f"loss_parameters: {error}") from error


def _check_peer(parameters: Mapping[str, Any]) -> None:
    unknown = sorted(set(parameters) - set(EstimatorEntry.free))
    if unknown:
        raise ValueError(f"an off-the-shelf enhancer has no {unknown[0]!r}: it is run as it is")


ESTIMATORS: dict[str, EstimatorEntry] = {
    "noisy": EstimatorEntry(),
    "dnn": EstimatorEntry(
        "squall.enhance.estimators.dnn:DnnEstimator",
        plural="networks",
        baseline=True,
        check=_check_mask_loss,
    ),
    "kernel": EstimatorEntry(
        "squall.enhance.estimators.kernel:KernelEstimator",
        plural="kernel machines",
        always_named={"subbands": 4},
    ),
    **{name: EstimatorEntry(peer=peer, check=_check_peer) for name, peer in PEERS.items()},
    "oracle": EstimatorEntry(reference="ideal"),
}
"""Name of an estimator, without a hyphen, to what is known of it; in the order of the tables."""


def estimator_class(name: str) -> type[MaskEstimator]:
    """The class of an estimator.

    Raises:
        ValueError: there is no such estimator, or none that is trained.
    """
    trained = sorted(one for one, entry in ESTIMATORS.items() if entry.trained)
    path = ESTIMATORS[name].path if name in ESTIMATORS else None
    if path is None:
        raise ValueError(f"estimator.name: {name!r} is not trained; there are {trained}")
    module, _, called = path.partition(":")
    found: type[MaskEstimator] = getattr(import_module(module), called)
    return found


def entry_of_system(system: str) -> EstimatorEntry:
    """The entry of a system as tables name it, `kernel-4` say."""
    return ESTIMATORS[system.partition("-")[0]]


def order_of_systems(systems: Iterable[str]) -> list[str]:
    """Systems in the order of `ESTIMATORS`: the mixture first, the ideal mask last."""
    places = list(ESTIMATORS)
    return sorted(set(systems), key=lambda s: (places.index(s.partition("-")[0]), s))
