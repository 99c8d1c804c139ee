"""The kernel machine as an estimator of masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from squall.enhance.estimators.estimator import (
    check_features,
    check_masks,
    read_estimator_file,
    write_estimator_file,
)
from squall.kernels import SubbandKernelMachine
from squall.workers import OnProgress

__all__ = ["KernelEstimator"]

_KIND = "kernel"
_FILE = "machine.npz"

Array = NDArray[np.float32]


class KernelEstimator:
    """A subband kernel machine whose output is cut to [0, 1].

    Args:
        seed: of the subsample and the order of the batches.
        max_epochs: at most so many passes over the training frames.
        parameters: further ones of `squall.kernels.SubbandKernelMachine`: `subbands`, `gamma`,
            `bandwidth`, `metric`, `memory_gb`, `patience` and so on.
        device: as torch names it.

    Attributes:
        history_: per pass `epoch`, `seconds` since the fit began, the search for the bandwidths
            included, `train_mse` and `dev_mse`.
        details_: gamma, bandwidth and best epoch of each subband, and what the search tried.

    Raises:
        ValueError: there is no such parameter.
    """

    def __init__(
        self, *, seed: int = 0, device: str = "cpu", max_epochs: int = 30, **parameters: Any
    ) -> None:
        known = SubbandKernelMachine().get_params().keys() - {"epochs", "random_state", "device"}
        unknown = sorted(parameters.keys() - known)
        if unknown:
            raise ValueError(
                f"estimator: the kernel machine has no {unknown[0]!r}; it has {sorted(known)}"
            )
        own: dict[str, Any] = {"random_state": seed, "device": device, "epochs": max_epochs}
        self.machine = SubbandKernelMachine(**parameters, **own)
        self.history_: list[dict[str, float]] = []
        self.details_: dict[str, Any] = {}

    def fit(
        self,
        features: Array,
        masks: Array,
        *,
        dev_features: Array,
        dev_masks: Array,
        on_progress: OnProgress | None = None,
        checkpoint: Path | None = None,
    ) -> KernelEstimator:
        """Search the bandwidths, then iterate until the validation error stops falling.

        Args:
            features, masks: (N, D) and (N, F) of the training frames.
            dev_features, dev_masks: (M, D) and (M, F) of the validation frames.
            on_progress: called after each pass.
            checkpoint: file from which a fit with centres apart from the frames goes on after it
                was stopped; another begins anew. Both end with the same bits.

        Raises:
            ValueError: shapes that do not fit together, values that are not finite, masks out of
                [0, 1], a parameter out of its range.
        """
        check_features("features", features)
        check_features("dev_features", dev_features, features.shape[1])
        check_masks("masks", masks, frames=len(features))
        check_masks("dev_masks", dev_masks, frames=len(dev_features), channels=masks.shape[1])
        passes = self.machine.epochs

        def tell(entry: Mapping[str, float]) -> None:
            if on_progress is not None:
                error = entry["validation_mse"]
                on_progress(int(entry["epoch"]), passes, f"validation MSE {error:.5f}")

        self.machine.fit(
            features,
            masks,
            validation=(dev_features, dev_masks),
            on_progress=tell,
            checkpoint=checkpoint,
        )
        self.history_ = [_entry(epoch) for epoch in self.machine.history_]
        self.details_ = {"subbands": [asdict(band) for band in self.machine.subbands_]}
        if self.machine.search_ is not None:
            self.details_["tried"] = self.machine.search_.table()
        return self

    def predict(self, features: Array) -> Array:
        """Estimate the masks of (N, D) features: (N, F) in [0, 1].

        Raises:
            ValueError: not fitted yet, another D than in training, values that are not finite.
        """
        estimate: Array = np.clip(self.machine.predict(features), 0.0, 1.0)
        return estimate

    def size(self) -> dict[str, int]:
        """The number of centres.

        Raises:
            ValueError: not fitted yet.
        """
        check_is_fitted(self.machine)
        return {"centres": len(self.machine.centres_)}

    def save(self, directory: Path) -> None:
        """Write the fitted machine into a folder."""
        directory.mkdir(parents=True, exist_ok=True)
        self.machine.save(directory / _FILE)
        write_estimator_file(directory, _KIND, {"details": self.details_})

    @classmethod
    def load(cls, directory: Path) -> KernelEstimator:
        """Read an estimator that `save` wrote.

        Raises:
            ValueError: the folder holds none, one of another kind, or a damaged one.
        """
        content = read_estimator_file(directory, _KIND)
        found = cls()
        found.machine = SubbandKernelMachine.load(directory / _FILE)
        found.history_ = [_entry(epoch) for epoch in found.machine.history_]
        found.details_ = content["details"]
        return found


def _entry(epoch: Mapping[str, float]) -> dict[str, float]:
    rest = {name: value for name, value in epoch.items() if name != "validation_mse"}
    return {**rest, "dev_mse": epoch["validation_mse"]}
