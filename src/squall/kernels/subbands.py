"""Subband kernel machine: groups of neighbouring channels with kernels of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from squall.kernels.machine import Auto, Centres, KernelMachine, Metric

__all__ = ["SubbandKernelMachine", "split_channels"]


class SubbandKernelMachine(KernelMachine):
    """Kernel machines for subbands of the outputs, on one set of distances.

    Gamma and bandwidth of each subband are chosen by a search on a subsample. Subbands with equal
    parameters share their kernel matrix and are trained together; each stops at its own best epoch.

    Args:
        subbands: into how many groups of neighbouring outputs, as equal as possible.
        gamma: `auto` to search, one power for all subbands, or one for each.
        bandwidth: sigma / median distance^gamma in the same three forms.
        centres, epochs, patience, validation_fraction, subsample_size, batch_size, memory_gb,
        metric, metric_rank, metric_rounds, metric_power, random_state, device: as those of
        `EigenProRegressor`.

    Attributes:
        subbands_: per subband its channels, kernel, best epoch, validation error and ridge.
        history_: per pass: epoch (passes so far), seconds since `fit` began, search included,
            train_mse and validation_mse over all outputs at that time. Where kernels are trained
            one after the other, outputs whose turn has not come count with the error of the mean.
        centres_, alpha_, intercept_, feature_mean_, feature_scale_, target_scale_, metric_factor_,
        search_, n_iter_: as those of `EigenProRegressor`; n_iter_ is the most epochs of a subband.

    Source: Hui, Ma, Belkin 2019, section 3.
    """

    def __init__(
        self,
        *,
        subbands: int = 4,
        gamma: float | Sequence[float] | Auto = "auto",
        bandwidth: float | Sequence[float] | Auto = "auto",
        centres: Centres = "auto",
        epochs: int = 30,
        patience: int | None = 1,
        validation_fraction: float = 0.1,
        subsample_size: int = 2000,
        batch_size: int | Auto = "auto",
        memory_gb: float = 4.0,
        metric: Metric = "euclidean",
        metric_rank: int = 256,
        metric_rounds: int = 1,
        metric_power: float | Auto = "auto",
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        self.subbands = subbands
        self.gamma = gamma
        self.bandwidth = bandwidth
        self.centres = centres
        self.epochs = epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.subsample_size = subsample_size
        self.batch_size = batch_size
        self.memory_gb = memory_gb
        self.metric = metric
        self.metric_rank = metric_rank
        self.metric_rounds = metric_rounds
        self.metric_power = metric_power
        self.random_state = random_state
        self.device = device

    def _groups(self, outputs: int) -> list[slice]:
        if not self.subbands >= 1:
            raise ValueError(f"subbands is {self.subbands}; use a number from 1")
        return split_channels(outputs, min(self.subbands, outputs))

    def _parameters(self, groups: int, median: float) -> list[tuple[float | Auto, float | Auto]]:
        gammas = _for_each("gamma", self.gamma, groups)
        bandwidths = _for_each("bandwidth", self.bandwidth, groups)
        if "auto" in (*gammas, *bandwidths) and len({*gammas, *bandwidths}) > 2:
            raise ValueError("a search takes one gamma or bandwidth for all subbands, not a list")
        return list(zip(gammas, bandwidths, strict=True))


def split_channels(outputs: int, subbands: int) -> list[slice]:
    """Split channels 0 to outputs - 1 into neighbouring groups whose sizes differ by at most one.

    Example:
        >>> split_channels(5, 2)
        [slice(0, 3, None), slice(3, 5, None)]

    Raises:
        ValueError: there are more groups than channels, or none.
    """
    if not 1 <= subbands <= outputs:
        raise ValueError(f"{subbands} subbands of {outputs} channels; use 1 to {outputs}")
    parts = np.array_split(np.arange(outputs), subbands)
    return [slice(int(part[0]), int(part[-1]) + 1) for part in parts]


def _for_each(name: str, value: float | Sequence[float] | Auto, groups: int) -> list[float | Auto]:
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"{name} is {value!r}; use 'auto', a number or one for each subband")
        return ["auto"] * groups
    if isinstance(value, int | float | np.number):
        return [float(value)] * groups
    if len(value) != groups:
        raise ValueError(f"{len(value)} values of {name} for {groups} subbands")
    return [float(one) for one in value]
