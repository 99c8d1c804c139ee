"""The estimators of masks by their names."""

from __future__ import annotations

from collections.abc import Callable

from squall.enhance.estimators.estimator import MaskEstimator

__all__ = ["ESTIMATORS", "estimator_class"]


def _kernel() -> type[MaskEstimator]:
    from squall.enhance.estimators.kernel import KernelEstimator

    return KernelEstimator


def _dnn() -> type[MaskEstimator]:
    from squall.enhance.estimators.dnn import DnnEstimator

    return DnnEstimator


ESTIMATORS: dict[str, Callable[[], type[MaskEstimator]]] = {"kernel": _kernel, "dnn": _dnn}
"""Name of an estimator to what imports its class; a new estimator is one file and one line here."""


def estimator_class(name: str) -> type[MaskEstimator]:
    """The class of an estimator.

    Raises:
        ValueError: there is no such estimator, or none that is trained.
    """
    if name not in ESTIMATORS:
        raise ValueError(f"estimator.name: {name!r} is not trained; there are {sorted(ESTIMATORS)}")
    return ESTIMATORS[name]()
